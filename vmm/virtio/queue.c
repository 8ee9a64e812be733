/*
 * The split virtqueue, device side (virtio 1.2, 2.7). Walks what the driver published, bounded and
 * checked, and hands requests back. It knows no device and raises no interrupt: it only says
 * whether one is wanted.
 *
 * The rings are shared with a guest that may write at any moment. Indices are read and written by
 * atomic operations of natural size; a descriptor is copied once, and only the copy is looked at.
 * The struct virtqueue belongs to its device; one thread at a time may use it.
 */
#include "vmm/virtio/queue.h"

#include <errno.h>
#include <linux/virtio_ring.h>
#include <string.h>

#define DESC_LEN       16u
#define AVAIL_LEN(num) (6ull + 2ull * (num)) /* flags, idx, ring[num], used_event */
#define USED_LEN(num)  (6ull + 8ull * (num)) /* flags, idx, ring[num], avail_event */

/* Offsets in the available and used rings. */
#define RING_FLAGS      0u
#define RING_IDX        2u
#define AVAIL_RING(i)   (4u + 2u * (i))
#define USED_RING(i)    (4u + 8u * (i))
#define CHAIN_BYTES_MAX UINT32_MAX /* 2.7.5: a chain is at most 2^32 bytes */

/* A private copy of one descriptor. */
struct desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next;
};
_Static_assert(sizeof(struct desc) == DESC_LEN, "virtio 1.2, 2.7.5");

/* From here on the compiler may not read the guest's memory again in place of a copy of it. */
static inline void copy_is_final(void)
{
    __asm__ volatile("" ::: "memory");
}

static uint16_t *avail_field(const struct virtqueue *q, unsigned off)
{
    uint8_t *ring = memory_range(q->mem, q->avail, AVAIL_LEN(q->size));
    return ring ? (uint16_t *)(void *)(ring + off) : NULL;
}

static uint8_t *used_ring(const struct virtqueue *q)
{
    return memory_range(q->mem, q->used, USED_LEN(q->size));
}

int queue_check(struct virtqueue *q)
{
    if (q->size == 0 || (q->size & (q->size - 1)) != 0 || q->size > q->size_max)
        return -EINVAL;
    if (q->desc % 16 != 0 || q->avail % 2 != 0 || q->used % 4 != 0)
        return -EINVAL;
    if (!memory_range(q->mem, q->desc, (uint64_t)DESC_LEN * q->size) ||
        !memory_range(q->mem, q->avail, AVAIL_LEN(q->size)) ||
        !memory_range(q->mem, q->used, USED_LEN(q->size)))
        return -EINVAL;
    return 0;
}

void queue_reset(struct virtqueue *q)
{
    *q = (struct virtqueue){.mem = q->mem, .size_max = q->size_max};
}

/*
 * Asks the driver to notify for the next buffer, then looks again: a buffer published before the
 * request became visible would come without a notification (2.7.10). Without EVENT_IDX
 * notifications are never suppressed.
 */
static void arm_notifications(struct virtqueue *q)
{
    uint8_t *ring = used_ring(q);
    if (!q->event_idx || !ring)
        return;
    uint16_t *avail_event = (uint16_t *)(void *)(ring + USED_RING(q->size));
    __atomic_store_n(avail_event, q->next_avail, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* Appends one segment to the chain, checking everything about it. 0 or -EPROTO. */
static int add_segment(const struct virtqueue *q, struct queue_chain *c, const struct desc *d)
{
    bool write = (d->flags & VRING_DESC_F_WRITE) != 0;
    unsigned n = (unsigned)c->nread + c->nwrite;
    if (n >= QUEUE_SEGMENTS_MAX || (!write && c->nwrite > 0))
        return -EPROTO;
    void *host = memory_range(q->mem, d->addr, d->len);
    if (!host || c->read_len + c->write_len + d->len > CHAIN_BYTES_MAX)
        return -EPROTO;
    c->iov[n] = (struct iovec){.iov_base = host, .iov_len = d->len};
    if (write) {
        c->nwrite++;
        c->write_len += d->len;
    } else {
        c->nread++;
        c->read_len += d->len;
    }
    return 0;
}

/*
 * Follows a chain through one table of `count` descriptors from `index`. When it ends in an
 * indirect descriptor (only with a non-NULL `indirect`), that one is left in *indirect and 1 is
 * returned; 0 at the end of the chain; else -EPROTO. A loop is a chain longer than its table.
 */
static int walk_table(const struct virtqueue *q, const uint8_t *table, unsigned count,
                      unsigned index, struct queue_chain *c, struct desc *indirect)
{
    for (unsigned steps = 0; steps < count; steps++) {
        if (index >= count)
            return -EPROTO;
        struct desc d;
        memcpy(&d, table + (size_t)index * DESC_LEN, sizeof(d));
        copy_is_final();

        if (d.flags & VRING_DESC_F_INDIRECT) {
            if (!indirect || (d.flags & VRING_DESC_F_NEXT))
                return -EPROTO;
            *indirect = d;
            return 1;
        }
        if (add_segment(q, c, &d) < 0)
            return -EPROTO;
        if (!(d.flags & VRING_DESC_F_NEXT))
            return 0;
        index = d.next;
    }
    return -EPROTO;
}

static int walk_chain(const struct virtqueue *q, uint16_t head, struct queue_chain *c)
{
    c->head = head;
    c->nread = c->nwrite = 0;
    c->read_len = c->write_len = 0;

    const uint8_t *table = memory_range(q->mem, q->desc, (uint64_t)DESC_LEN * q->size);
    struct desc indirect = {0};
    if (!table)
        return -EPROTO;
    int rc = walk_table(q, table, q->size, head, c, q->indirect ? &indirect : NULL);
    if (rc != 1)
        return rc;

    /* 2.7.5.3: at most one indirect table, which ends the chain and holds no further one. */
    if (indirect.len % DESC_LEN != 0 || indirect.len / DESC_LEN > QUEUE_SEGMENTS_MAX)
        return -EPROTO;
    table = memory_range(q->mem, indirect.addr, indirect.len);
    if (!table)
        return -EPROTO;
    return walk_table(q, table, indirect.len / DESC_LEN, 0, c, NULL);
}

int queue_pop(struct virtqueue *q, struct queue_chain *out)
{
    uint16_t *idx = avail_field(q, RING_IDX);
    if (!q->ready || !idx)
        return -EPROTO;

    uint16_t avail = __atomic_load_n(idx, __ATOMIC_ACQUIRE);
    if (avail == q->next_avail) {
        arm_notifications(q);
        avail = __atomic_load_n(idx, __ATOMIC_ACQUIRE);
        if (avail == q->next_avail)
            return 0;
    }
    if ((uint16_t)(avail - q->next_avail) > q->size)
        return -EPROTO;

    uint16_t slot = q->next_avail & (uint16_t)(q->size - 1);
    uint16_t head = __atomic_load_n(avail_field(q, AVAIL_RING(slot)), __ATOMIC_RELAXED);
    if (walk_chain(q, head, out) < 0)
        return -EPROTO;
    q->next_avail++;
    return 1;
}

void queue_undo_pop(struct virtqueue *q)
{
    q->next_avail--;
}

void queue_push(struct virtqueue *q, uint16_t head, uint32_t written)
{
    uint8_t *ring = used_ring(q);
    if (!q->ready || !ring)
        return;
    uint16_t slot = q->next_used & (uint16_t)(q->size - 1);
    uint32_t *elem = (uint32_t *)(void *)(ring + USED_RING(slot));
    __atomic_store_n(&elem[0], head, __ATOMIC_RELAXED);
    __atomic_store_n(&elem[1], written, __ATOMIC_RELAXED);
    q->next_used++;
    /* Publishes the element and the data before it. */
    __atomic_store_n((uint16_t *)(void *)(ring + RING_IDX), q->next_used, __ATOMIC_RELEASE);
}

bool queue_needs_interrupt(struct virtqueue *q)
{
    uint16_t old = q->signalled_used, now = q->next_used;
    if (old == now || !q->ready)
        return false;
    q->signalled_used = now;

    uint16_t *field = avail_field(q, q->event_idx ? AVAIL_RING(q->size) : RING_FLAGS);
    if (!field)
        return false;
    /* The used index must be visible before the driver's wish is read (2.7.7.2). */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    uint16_t wish = __atomic_load_n(field, __ATOMIC_RELAXED);
    if (!q->event_idx)
        return !(wish & VRING_AVAIL_F_NO_INTERRUPT);
    /* Has used_event been passed since the last question? (2.7.10) */
    return (uint16_t)(now - wish - 1) < (uint16_t)(now - old);
}

unsigned chain_slice(const struct queue_chain *c, bool write, size_t off, size_t len,
                     struct iovec *out, unsigned max)
{
    const struct iovec *iov = write ? c->iov + c->nread : c->iov;
    unsigned count = write ? c->nwrite : c->nread, n = 0;

    for (unsigned i = 0; i < count && n < max && len > 0; i++) {
        if (off >= iov[i].iov_len) {
            off -= iov[i].iov_len;
            continue;
        }
        size_t part = iov[i].iov_len - off;
        if (part > len)
            part = len;
        out[n++] = (struct iovec){.iov_base = (uint8_t *)iov[i].iov_base + off, .iov_len = part};
        len -= part;
        off = 0;
    }
    return n;
}

size_t chain_read(const struct queue_chain *c, size_t off, void *buf, size_t len)
{
    size_t done = 0;
    struct iovec part;
    while (done < len && chain_slice(c, false, off + done, len - done, &part, 1) == 1) {
        memcpy((uint8_t *)buf + done, part.iov_base, part.iov_len);
        done += part.iov_len;
    }
    copy_is_final();
    return done;
}

size_t chain_write(const struct queue_chain *c, size_t off, const void *buf, size_t len)
{
    size_t done = 0;
    struct iovec part;
    while (done < len && chain_slice(c, true, off + done, len - done, &part, 1) == 1) {
        memcpy(part.iov_base, (const uint8_t *)buf + done, part.iov_len);
        done += part.iov_len;
    }
    return done;
}
