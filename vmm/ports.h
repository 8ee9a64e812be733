/* The two legacy ports that still mean something without a BIOS: ways to reset a PC. */
#ifndef BULKHEAD_VMM_PORTS_H
#define BULKHEAD_VMM_PORTS_H

#include "lib/err.h"
#include "vmm/bus.h"

struct ports {
    void (*reset)(void *arg); /* called on a vCPU thread */
    void *arg;
};

/* The keyboard controller's reset line (0x64) and the PCI reset register (0xcf9). */
int ports_add(struct ports *p, struct bus *pio, struct err *e) must_check;

#endif
