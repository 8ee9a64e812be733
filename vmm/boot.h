/*
 * Fills fresh guest RAM so that the first vCPU can start the kernel at once: the 64-bit Linux boot
 * protocol (Documentation/x86/boot.rst, "64-bit BOOT PROTOCOL"). No firmware, no decompressor.
 *
 * Below 1 MiB:
 *     0x00500  GDT                    0x09000  page tables (6 pages: first 4 GiB one to one)
 *     0x07000  boot_params            0x20000  kernel command line
 *     0x08000  setup_data: RNG seed   0xf0000  MP table
 * The kernel goes where its ELF says, the initrd to the top of RAM below MEMORY_HOLE_START.
 */
#ifndef BULKHEAD_VMM_BOOT_H
#define BULKHEAD_VMM_BOOT_H

#include "lib/err.h"
#include "vmm/cpu_x86.h"
#include "vmm/memory.h"

#include <stdint.h>

/* What a kernel needs beyond its image and the initrd to get as far as its own out-of-memory
 * message. */
#define BOOT_MEMORY_SLACK (8ull << 20)

struct boot_config {
    int kernel_fd;
    int initrd_fd; /* -1 = none */
    const char *cmdline;
    unsigned vcpus;
};

/* Loads kernel and initrd with pread and writes all tables. RAM must be zero. */
int boot_load(const struct memory *mem, const struct boot_config *c, struct cpu_entry *out,
              struct err *e) must_check;

#endif
