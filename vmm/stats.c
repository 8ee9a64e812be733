/* Statistics that belong to no other module. Keeps no state. */
#include "vmm/stats.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE_SIZE   4096u
#define CHUNK_PAGES 16384u /* 64 MiB of guest RAM a call */

static uint64_t resident_pages(uint8_t *host, uint64_t size)
{
    unsigned char seen[CHUNK_PAGES];
    uint64_t pages = 0;

    for (uint64_t off = 0; off < size; off += (uint64_t)CHUNK_PAGES * PAGE_SIZE) {
        uint64_t len = size - off;
        if (len > (uint64_t)CHUNK_PAGES * PAGE_SIZE)
            len = (uint64_t)CHUNK_PAGES * PAGE_SIZE;
        if (mincore(host + off, len, seen) < 0)
            continue;
        for (uint64_t i = 0; i < len / PAGE_SIZE; i++)
            pages += seen[i] & 1;
    }
    return pages;
}

uint64_t stats_resident(const struct memory *m)
{
    uint64_t pages = 0;

    for (unsigned i = 0; i < m->nregions; i++)
        pages += resident_pages(m->region[i].host, m->region[i].size);
    return pages * PAGE_SIZE;
}

static unsigned long long ms(uint64_t from, uint64_t to)
{
    return to > from ? (to - from) / 1000000u : 0;
}

void stats_format(const struct control_reply *r, char *buf, size_t size)
{
    snprintf(
        buf, size,
        "exits %llu (port %llu, memory %llu, halt %llu, other %llu), kicks %llu, interrupts "
        "%llu, set up in %llu ms, last driver ready after %llu ms, %llu KiB of guest RAM touched",
        (unsigned long long)r->exits, (unsigned long long)r->exits_io,
        (unsigned long long)r->exits_mmio, (unsigned long long)r->exits_hlt,
        (unsigned long long)r->exits_other, (unsigned long long)r->kicks,
        (unsigned long long)r->interrupts, ms(r->t_start, r->t_run), ms(r->t_run, r->t_driver_ok),
        (unsigned long long)(r->resident >> 10));
}
