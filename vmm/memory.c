/*
 * Guest RAM. One or two private anonymous mappings, and the translation from guest physical to
 * host addresses that everything else in the VMM goes through. It does not know KVM: vm.c registers
 * the regions as memory slots. The struct memory is its owner's and is constant after memory_init,
 * so that any thread may call memory_range.
 */
#include "vmm/memory.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096ull
/* KVM maps a huge page only where guest and host addresses are congruent modulo its size. */
#define HUGE_PAGE (2ull << 20)

/* Maps `size` bytes at an address that is a multiple of HUGE_PAGE, or returns NULL (errno set). */
static uint8_t *map_aligned(uint64_t size)
{
    uint64_t whole = size + HUGE_PAGE;
    uint8_t *p = mmap(NULL, whole, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    uint64_t before = (HUGE_PAGE - ((uintptr_t)p & (HUGE_PAGE - 1))) & (HUGE_PAGE - 1);
    uint64_t after = whole - before - size;
    if (before)
        munmap(p, before);
    if (after)
        munmap(p + before + size, after);
    return p + before;
}

static int add_region(struct memory *m, uint64_t gpa, uint64_t size, struct err *e)
{
    uint8_t *host = map_aligned(size);
    if (!host)
        return err_errno(e, "map %llu MiB of guest memory", (unsigned long long)(size >> 20));
    m->region[m->nregions++] = (struct memory_region){.gpa = gpa, .size = size, .host = host};
    m->size += size;
    return 0;
}

/* Keeps a small guest's RAM in small pages. EINVAL is from a host without huge pages at all. */
static int forbid_huge_pages(const struct memory *m, struct err *e)
{
    for (unsigned i = 0; i < m->nregions; i++) {
        if (madvise(m->region[i].host, m->region[i].size, MADV_NOHUGEPAGE) < 0 && errno != EINVAL)
            return err_errno(e, "madvise guest memory");
    }
    return 0;
}

int memory_init(struct memory *m, uint64_t size, struct err *e)
{
    if (size == 0 || size % PAGE != 0 || size > UINT64_MAX / 4)
        return err_set(e, EINVAL, "guest memory of %llu bytes: must be a multiple of %llu",
                       (unsigned long long)size, PAGE);

    struct memory made = {.nregions = 0};
    uint64_t low = size < MEMORY_HOLE_START ? size : MEMORY_HOLE_START;
    int rc = add_region(&made, 0, low, e);
    if (rc == 0 && size > low)
        rc = add_region(&made, MEMORY_HOLE_END, size - low, e);
    if (rc == 0 && size < MEMORY_HUGE_PAGES_MIN)
        rc = forbid_huge_pages(&made, e);
    if (rc < 0) {
        memory_done(&made);
        return rc;
    }
    *m = made;
    return 0;
}

int memory_check_bits(uint64_t size, unsigned bits, struct err *e)
{
    const uint64_t hole = MEMORY_HOLE_END - MEMORY_HOLE_START;

    if (bits >= 63 || size <= MEMORY_HOLE_START || size <= (1ull << bits) - hole)
        return 0;
    return err_set(e, ERANGE,
                   "%llu MiB of memory: this processor's physical addresses have %u bits, which is "
                   "room for %llu MiB",
                   (unsigned long long)(size >> 20), bits,
                   (unsigned long long)(((1ull << bits) - hole) >> 20));
}

void memory_done(struct memory *m)
{
    if (!m)
        return;
    for (unsigned i = 0; i < m->nregions; i++)
        munmap(m->region[i].host, m->region[i].size);
    memset(m, 0, sizeof(*m));
}

void *memory_range(const struct memory *m, uint64_t gpa, uint64_t len)
{
    if (len == 0)
        return NULL;
    for (unsigned i = 0; i < m->nregions; i++) {
        const struct memory_region *r = &m->region[i];
        /* No sum here can overflow: both differences are taken after their comparison. */
        if (gpa >= r->gpa && gpa - r->gpa < r->size && len <= r->size - (gpa - r->gpa))
            return r->host + (gpa - r->gpa);
    }
    return NULL;
}
