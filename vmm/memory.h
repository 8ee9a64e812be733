/*
 * Guest RAM: private anonymous memory, and the one function by which the rest of the VMM reaches
 * it.
 *
 * Layout (x86): RAM from 0 up to MEMORY_HOLE_START, the rest from 4 GiB up; between them the MMIO
 * hole. Everything read through a pointer from memory_range is hostile and may change between two
 * reads.
 */
#ifndef BULKHEAD_VMM_MEMORY_H
#define BULKHEAD_VMM_MEMORY_H

#include "lib/err.h"

#include <stddef.h>
#include <stdint.h>

#define MEMORY_HOLE_START  0xc0000000ull
#define MEMORY_HOLE_END    0x100000000ull
#define MEMORY_REGIONS_MAX 2
/*
 * A guest with less RAM than this never gets huge pages of the host, from here on it gets what the
 * host's setting gives. A small guest touches its RAM in many places and little of each: with 2 MiB
 * pages an idle container costs 6 MiB more, and khugepaged makes it more with time. Linux draws
 * its own line for itself at the same size (mm/huge_memory.c, hugepage_init).
 */
#define MEMORY_HUGE_PAGES_MIN (512ull << 20)

struct memory_region {
    uint64_t gpa, size;
    uint8_t *host;
};

struct memory {
    struct memory_region region[MEMORY_REGIONS_MAX];
    unsigned nregions;
    uint64_t size; /* total bytes of RAM */
};

/* Maps size bytes (a multiple of 4096) MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE. ENOMEM, EINVAL.
 */
int memory_init(struct memory *m, uint64_t size, struct err *e) must_check;
/* Whether RAM of this size lies within physical addresses of so many bits. ERANGE. */
int memory_check_bits(uint64_t size, unsigned bits, struct err *e) must_check;
void memory_done(struct memory *m);

/* The host address of [gpa, gpa + len), or NULL unless all of it lies in one region of RAM. len 0
 * gives NULL. */
void *memory_range(const struct memory *m, uint64_t gpa, uint64_t len);

#endif
