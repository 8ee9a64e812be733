/*
 * A virtual machine from a plan: builds it, runs it, takes it down. One call, one VM.
 *
 * Guest physical memory: RAM below 3 GiB and above 4 GiB (memory.h); from VM_MMIO_BASE one page of
 * registers for each virtio device, in the order of the plan; local APICs, IOAPIC and Intel's TSS
 * where KVM puts them. Interrupt lines: the serial port on 4, devices on vm_gsi[], which leaves out
 * what a PC has wired up (0 timer, 1 keyboard, 2 cascade, 3 second serial port, 8 clock, 13 FPU).
 */
#ifndef BULKHEAD_VMM_VM_H
#define BULKHEAD_VMM_VM_H

#include "lib/err.h"
#include "lib/plan.h"

#include <stdbool.h>

#define VM_MMIO_BASE 0xd0000000ull
extern const unsigned char vm_gsi[PLAN_DEVICES_MAX];

struct vm_options {
    bool jail;
    bool report;  /* log the statistics when the VM has ended */
    bool signals; /* SIGTERM and SIGINT end it. Without, they do nothing: who signals all processes
                     of a container, as systemd does when it stops a scope, means the container,
                     and bulkhead-shim tells it */
};

/*
 * Runs until the guest or somebody else ends it. The plan's descriptors belong to it from here on.
 * Returns why it ended. What there is to say of that is logged before any descriptor is closed:
 * whoever sees the VM's sockets close finds the reason in its log.
 */
enum vmm_status vm_run(const struct plan *p, const struct vm_options *o);

#endif
