/* What the VMM counts, gathered for CONTROL_STATS and for the last line of a stand-alone run. */
#ifndef BULKHEAD_VMM_STATS_H
#define BULKHEAD_VMM_STATS_H

#include "lib/plan.h"
#include "vmm/memory.h"

#include <stdint.h>

/* Bytes of guest RAM that are in host memory. */
uint64_t stats_resident(const struct memory *m);
/* One line for people: exits by kind, kicks, interrupts, times. */
void stats_format(const struct control_reply *r, char *buf, size_t size);

#endif
