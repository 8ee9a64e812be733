/* The Intel MultiProcessor Specification 1.4 table: how a guest without ACPI learns of its vCPUs
 * and interrupt lines. */
#ifndef BULKHEAD_VMM_MPTABLE_H
#define BULKHEAD_VMM_MPTABLE_H

#include "lib/err.h"

#include <stddef.h>
#include <stdint.h>

#define MPTABLE_PINS 24

/*
 * Writes floating pointer and table to buf, which the guest sees at gpa (a multiple of 16): vCPUs
 * with APIC ids 0 to ncpus - 1, one IOAPIC with MPTABLE_PINS pins, pin n being edge-triggered ISA
 * interrupt n. Returns bytes used or -ENOSPC.
 */
int mptable_write(uint8_t *buf, size_t size, uint64_t gpa, unsigned ncpus,
                  struct err *e) must_check;

#endif
