/* Looking at vCPUs while all of them are paused (vcpu_set_paused). */
#ifndef BULKHEAD_VMM_VCPU_STATE_H
#define BULKHEAD_VMM_VCPU_STATE_H

#include "vmm/vcpu.h"

#include <stdbool.h>

/* Logs where each one stands: for a guest that hangs. */
void vcpu_set_dump(const struct vcpu_set *s);

/*
 * Whether none can ever run again: each has halted with interrupts off, or waits to be started by
 * another. So ends a Linux that was told to power off a machine without ACPI
 * (arch/x86/kernel/process.c, stop_this_cpu). What KVM does not tell counts as running.
 */
bool vcpu_set_halted(const struct vcpu_set *s);

#endif
