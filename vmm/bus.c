/*
 * Dispatch of guest accesses that exit. A linear search: there are at most BUS_RANGES_MAX ranges,
 * and exits are rare by design. The table is constant once vCPUs run, so only the callbacks are
 * locked.
 */
#include "vmm/bus.h"

#include <errno.h>
#include <string.h>

void bus_init(struct bus *b, pthread_mutex_t *lock)
{
    memset(b, 0, sizeof(*b));
    b->lock = lock;
}

int bus_add(struct bus *b, const struct bus_range *r, struct err *e)
{
    if (r->len == 0 || r->base + r->len < r->base)
        return err_set(e, EINVAL, "bus range at 0x%llx has no valid length",
                       (unsigned long long)r->base);
    for (unsigned i = 0; i < b->n; i++) {
        const struct bus_range *o = &b->range[i];
        if (r->base < o->base + o->len && o->base < r->base + r->len)
            return err_set(e, EEXIST, "bus range at 0x%llx overlaps another",
                           (unsigned long long)r->base);
    }
    if (b->n == BUS_RANGES_MAX)
        return err_set(e, ENOSPC, "more than %d devices on a bus", BUS_RANGES_MAX);
    b->range[b->n++] = *r;
    return 0;
}

static const struct bus_range *find(const struct bus *b, uint64_t addr, unsigned len)
{
    for (unsigned i = 0; i < b->n; i++) {
        const struct bus_range *r = &b->range[i];
        if (addr >= r->base && addr - r->base < r->len && len <= r->len - (addr - r->base))
            return r;
    }
    return NULL;
}

void bus_read(struct bus *b, uint64_t addr, void *data, unsigned len)
{
    const struct bus_range *r = find(b, addr, len);

    memset(data, 0xff, len);
    if (r == NULL || r->read == NULL)
        return;
    if (b->lock)
        pthread_mutex_lock(b->lock);
    r->read(r->arg, addr - r->base, data, len);
    if (b->lock)
        pthread_mutex_unlock(b->lock);
}

void bus_write(struct bus *b, uint64_t addr, const void *data, unsigned len)
{
    const struct bus_range *r = find(b, addr, len);

    if (r == NULL || r->write == NULL)
        return;
    if (b->lock)
        pthread_mutex_lock(b->lock);
    r->write(r->arg, addr - r->base, data, len);
    if (b->lock)
        pthread_mutex_unlock(b->lock);
}
