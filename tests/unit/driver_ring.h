/*
 * The driver's side of a virtio device, in plain memory: what a guest kernel does, for tests.
 *
 *   struct driver d;
 *   driver_open(&d, dev, 2, 64, features);       device, queues, entries a queue, features
 *   uint64_t buf = driver_alloc(&d, 512, 16);    guest physical memory, zeroed
 *   driver_submit(&d, 0, SEGS(SEG_R(buf, 16), SEG_W(buf + 16, 1)));   publish and kick if wanted
 *   driver_wait(&d, 0, &used);                   runs the loop until a buffer comes back
 *   driver_close(&d);                            resets and frees the device
 *
 * driver_ring_* work on one queue without a device. For rule breaking, driver_desc_set writes any
 * descriptor and driver_avail_put publishes any head.
 */
#ifndef BULKHEAD_TEST_DRIVER_RING_H
#define BULKHEAD_TEST_DRIVER_RING_H

#include "lib/cleanup.h"
#include "vmm/virtio/virtio.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>

#define DRIVER_MEM (16ull << 20)

struct driver_seg {
    uint64_t gpa;
    uint32_t len;
    bool write;
};
#define SEG_R(gpa_, len_)                                                                          \
    {                                                                                              \
        .gpa = (gpa_), .len = (uint32_t)(len_), .write = false                                     \
    }
#define SEG_W(gpa_, len_)                                                                          \
    {                                                                                              \
        .gpa = (gpa_), .len = (uint32_t)(len_), .write = true                                      \
    }
#define SEGS(...)                                                                                  \
    (const struct driver_seg[]){__VA_ARGS__},                                                      \
        sizeof((const struct driver_seg[]){__VA_ARGS__}) / sizeof(struct driver_seg)

struct driver_used {
    uint16_t head;
    uint32_t len;
};

/* One virtqueue as its driver sees it. */
struct driver_ring {
    struct virtqueue *vq;
    uint16_t size, last_used, nfree, free_head;
    uint16_t next[QUEUE_SIZE_MAX];  /* free list, and the rest of each chain in flight */
    uint16_t chain[QUEUE_SIZE_MAX]; /* descriptors in the chain of this head */
    uint64_t table[QUEUE_SIZE_MAX]; /* indirect table of this head, allocated once */
};

struct driver {
    struct memory mem;
    uint64_t brk; /* bump allocator */
    struct driver_ring ring[VIRTIO_QUEUES_MAX];
    struct virtio_device *dev;
    unsigned nqueues;
    unsigned interrupts, config_interrupts, needs_reset;
};

/* --- memory ----------------------------------------------------------------------------------- */

static inline uint64_t driver_alloc(struct driver *d, uint64_t len, uint64_t align)
{
    d->brk = (d->brk + align - 1) / align * align;
    uint64_t gpa = d->brk;
    assert_true(gpa + len <= d->mem.size);
    d->brk += len;
    return gpa;
}

static inline void *driver_ptr(struct driver *d, uint64_t gpa, uint64_t len)
{
    void *p = memory_range(&d->mem, gpa, len);
    assert_non_null(p);
    return p;
}

static inline void driver_mem_open(struct driver *d)
{
    struct err e = ERR_INIT;
    memset(d, 0, sizeof(*d));
    assert_int_equal(memory_init(&d->mem, DRIVER_MEM, &e), 0);
    d->brk = 4096; /* address 0 is nobody's */
}

/* --- one queue -------------------------------------------------------------------------------- */

static inline void driver_ring_reset(struct driver *d, struct driver_ring *r)
{
    r->last_used = 0;
    r->nfree = r->size;
    r->free_head = 0;
    for (uint16_t i = 0; i < r->size; i++)
        r->next[i] = (uint16_t)(i + 1);
    memset(driver_ptr(d, r->vq->avail, 6 + 2ull * r->size), 0, 6 + 2ull * r->size);
    memset(driver_ptr(d, r->vq->used, 6 + 8ull * r->size), 0, 6 + 8ull * r->size);
}

/* Lays out the rings in guest memory and makes vq ready. */
static inline void driver_ring_open(struct driver *d, struct driver_ring *r, struct virtqueue *vq,
                                    uint16_t size, bool event_idx, bool indirect)
{
    memset(r, 0, sizeof(*r));
    r->vq = vq;
    r->size = size;
    vq->mem = &d->mem;
    if (vq->size_max == 0)
        vq->size_max = QUEUE_SIZE_MAX;
    queue_reset(vq);
    vq->size = size;
    vq->event_idx = event_idx;
    vq->indirect = indirect;
    vq->desc = driver_alloc(d, 16ull * size, 16);
    vq->avail = driver_alloc(d, 6 + 2ull * size, 2);
    vq->used = driver_alloc(d, 6 + 8ull * size, 4);
    driver_ring_reset(d, r);
    assert_int_equal(queue_check(vq), 0);
    vq->ready = true;
}

static inline uint16_t *driver_avail(struct driver *d, const struct driver_ring *r)
{
    return driver_ptr(d, r->vq->avail, 6 + 2ull * r->size); /* flags, idx, ring[], used_event */
}

static inline uint16_t *driver_used(struct driver *d, const struct driver_ring *r)
{
    return driver_ptr(d, r->vq->used, 6 + 8ull * r->size); /* flags, idx, ring[], avail_event */
}

static inline void driver_desc_put(struct driver *d, uint64_t table, unsigned i, uint64_t addr,
                                   uint32_t len, uint16_t flags, uint16_t next)
{
    struct vring_desc desc = {.addr = addr, .len = len, .flags = flags, .next = next};
    memcpy(driver_ptr(d, table + 16ull * i, 16), &desc, sizeof(desc));
}

static inline void driver_desc_set(struct driver *d, struct driver_ring *r, unsigned i,
                                   uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
    driver_desc_put(d, r->vq->desc, i, addr, len, flags, next);
}

/* Publishes any head. Returns whether the device asked for a notification of it. */
static inline bool driver_avail_put(struct driver *d, struct driver_ring *r, uint16_t head)
{
    uint16_t *avail = driver_avail(d, r), old = avail[1];
    avail[2 + old % r->size] = head;
    __atomic_store_n(&avail[1], (uint16_t)(old + 1), __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    uint16_t *used = driver_used(d, r);
    if (!r->vq->event_idx)
        return !(used[0] & VRING_USED_F_NO_NOTIFY);
    return __atomic_load_n(&used[2 + 4 * r->size], __ATOMIC_RELAXED) == old;
}

/* Takes a descriptor off the free list. */
static inline uint16_t driver_desc_get(struct driver_ring *r)
{
    assert_true(r->nfree > 0);
    uint16_t i = r->free_head;
    r->free_head = r->next[i];
    r->nfree--;
    return i;
}

static inline uint16_t driver_seg_flags(const struct driver_seg *s, bool last)
{
    return (uint16_t)((s->write ? VRING_DESC_F_WRITE : 0) | (last ? 0 : VRING_DESC_F_NEXT));
}

/* Adds a chain of direct descriptors without publishing it; returns its head. */
static inline uint16_t driver_ring_chain(struct driver *d, struct driver_ring *r,
                                         const struct driver_seg *segs, size_t n)
{
    assert_true(n > 0 && n <= r->nfree);
    uint16_t head = driver_desc_get(r), at = head;
    for (size_t i = 0; i < n; i++) {
        uint16_t next = i + 1 < n ? driver_desc_get(r) : 0;
        driver_desc_set(d, r, at, segs[i].gpa, segs[i].len, driver_seg_flags(&segs[i], i + 1 == n),
                        next);
        r->next[at] = next;
        at = next;
    }
    r->chain[head] = (uint16_t)n;
    return head;
}

/* Adds a chain and publishes it. Returns whether the device wants a notification. */
static inline bool driver_ring_add(struct driver *d, struct driver_ring *r,
                                   const struct driver_seg *segs, size_t n)
{
    return driver_avail_put(d, r, driver_ring_chain(d, r, segs, n));
}

/* The same through an indirect table. */
static inline bool driver_ring_add_indirect(struct driver *d, struct driver_ring *r,
                                            const struct driver_seg *segs, size_t n)
{
    assert_true(n > 0 && n <= QUEUE_SEGMENTS_MAX);
    uint16_t head = driver_desc_get(r);
    if (!r->table[head])
        r->table[head] = driver_alloc(d, 16ull * QUEUE_SEGMENTS_MAX, 16);
    for (size_t i = 0; i < n; i++)
        driver_desc_put(d, r->table[head], (unsigned)i, segs[i].gpa, segs[i].len,
                        driver_seg_flags(&segs[i], i + 1 == n), (uint16_t)(i + 1));
    driver_desc_set(d, r, head, r->table[head], (uint32_t)(16 * n), VRING_DESC_F_INDIRECT, 0);
    r->chain[head] = 1;
    return driver_avail_put(d, r, head);
}

/* The next used buffer, whose descriptors are free again; asks for an interrupt for the one after.
 */
static inline bool driver_ring_used(struct driver *d, struct driver_ring *r,
                                    struct driver_used *out)
{
    uint16_t *used = driver_used(d, r);
    if (__atomic_load_n(&used[1], __ATOMIC_ACQUIRE) == r->last_used)
        return false;
    uint32_t elem[2];
    memcpy(elem, (uint8_t *)used + 4 + 8ull * (r->last_used % r->size), sizeof(elem));
    r->last_used++;
    uint16_t *used_event = driver_avail(d, r) + 2 + r->size;
    __atomic_store_n(used_event, r->last_used, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);

    assert_true(elem[0] < r->size);
    uint16_t head = (uint16_t)elem[0], n = r->chain[head], tail = head;
    if (n > 0) {
        for (uint16_t i = 1; i < n; i++)
            tail = r->next[tail];
        r->next[tail] = r->free_head;
        r->free_head = head;
        r->nfree = (uint16_t)(r->nfree + n);
        r->chain[head] = 0;
    }
    *out = (struct driver_used){.head = head, .len = elem[1]};
    return true;
}

/* --- a whole device --------------------------------------------------------------------------- */

static inline void driver_interrupt(struct virtio_device *dev, bool config_changed)
{
    struct driver *d = dev->transport;
    __atomic_add_fetch(config_changed ? &d->config_interrupts : &d->interrupts, 1,
                       __ATOMIC_RELAXED);
}

static inline void driver_needs_reset(struct virtio_device *dev)
{
    struct driver *d = dev->transport;
    d->needs_reset++;
}

/* Sets the queues up and says DRIVER_OK. */
static inline void driver_activate(struct driver *d, unsigned nqueues, uint16_t size,
                                   uint64_t features)
{
    struct virtio_device *dev = d->dev;
    assert_true(nqueues <= dev->ops->nqueues);
    d->nqueues = nqueues;
    dev->features = features;
    for (unsigned i = 0; i < nqueues; i++) {
        dev->queues[i].size_max = dev->ops->queue_max;
        driver_ring_open(d, &d->ring[i], &dev->queues[i], size,
                         features & (1ull << VIRTIO_RING_F_EVENT_IDX),
                         features & (1ull << VIRTIO_RING_F_INDIRECT_DESC));
    }
    dev->broken = false;
    dev->active = true;
    assert_int_equal(dev->ops->activate(dev), 0);
}

/* Takes over dev: memory, all queues with `size` entries, DRIVER_OK. */
static inline void driver_open(struct driver *d, struct virtio_device *dev, unsigned nqueues,
                               uint16_t size, uint64_t features)
{
    driver_mem_open(d);
    d->dev = dev;
    dev->transport = d;
    dev->interrupt = driver_interrupt;
    dev->needs_reset = driver_needs_reset;
    for (unsigned i = 0; i < dev->ops->nqueues; i++)
        dev->queues[i] = (struct virtqueue){.mem = &d->mem, .size_max = dev->ops->queue_max};
    driver_activate(d, nqueues, size, features);
}

/* Writes status 0, as the transport handles it. */
static inline void driver_reset(struct driver *d)
{
    d->dev->ops->reset(d->dev);
    d->dev->active = false;
    d->dev->broken = d->dev->stuck;
    for (unsigned i = 0; i < d->dev->ops->nqueues; i++)
        queue_reset(&d->dev->queues[i]);
}

static inline void driver_close(struct driver *d)
{
    if (d->dev->active)
        driver_reset(d);
    d->dev->ops->free(d->dev);
    memory_done(&d->mem);
}

static inline void driver_kick(struct driver *d, unsigned q)
{
    if (!d->dev->broken)
        d->dev->ops->kick(d->dev, q);
}

/* Publishes a chain and notifies the device if it wants that. */
static inline void driver_submit(struct driver *d, unsigned q, const struct driver_seg *segs,
                                 size_t n)
{
    if (driver_ring_add(d, &d->ring[q], segs, n))
        driver_kick(d, q);
}

static inline bool driver_poll(struct driver *d, unsigned q, struct driver_used *out)
{
    return driver_ring_used(d, &d->ring[q], out);
}

/* Runs the device's loop until a buffer of queue q comes back. */
static inline void driver_wait(struct driver *d, unsigned q, struct driver_used *out)
{
    while (!driver_poll(d, q, out))
        assert_int_equal(loop_once(d->dev->loop, 1), 0);
}

#endif
