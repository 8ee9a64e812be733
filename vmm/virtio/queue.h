/*
 * The split virtqueue, device side (virtio 1.2, 2.7), with indirect descriptors and EVENT_IDX.
 *
 * The contract with a hostile driver: each descriptor is read once; a chain has at most
 * QUEUE_SEGMENTS_MAX segments and no loops; every segment lies in guest RAM; readable segments come
 * before writable ones. A driver that breaks a rule makes queue_pop return -EPROTO, upon which the
 * device calls virtio_broken() and touches its queues no more.
 */
#ifndef BULKHEAD_VMM_QUEUE_H
#define BULKHEAD_VMM_QUEUE_H

#include "vmm/memory.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define QUEUE_SIZE_MAX     256
#define QUEUE_SEGMENTS_MAX 256 /* direct or indirect */

struct virtqueue {
    const struct memory *mem;
    uint16_t size_max; /* what the device offers */
    uint16_t size;     /* what the driver chose: a power of two, <= size_max */
    bool ready;
    bool event_idx;                 /* VIRTIO_F_EVENT_IDX was negotiated */
    bool indirect;                  /* VIRTIO_F_INDIRECT_DESC was negotiated */
    uint64_t desc, avail, used;     /* guest physical */
    uint16_t next_avail, next_used; /* free running */
    uint16_t signalled_used;        /* next_used at the last interrupt decision */
};

/* A request: iov[0 .. nread) is for the device to read, iov[nread .. nread + nwrite) to write. */
struct queue_chain {
    uint16_t head;
    uint16_t nread, nwrite;
    size_t read_len, write_len; /* bytes */
    struct iovec iov[QUEUE_SEGMENTS_MAX];
};

/* Checks alignment and that the three rings lie in RAM (2.7: 16, 2, 4 bytes). 0 or -EINVAL. Called
 * by the transport when the driver sets QueueReady. */
int queue_check(struct virtqueue *q) must_check;
void queue_reset(struct virtqueue *q); /* keeps mem and size_max */

/* The next request: 1 and *out, 0 when there is none (then the driver's notifications are armed),
 * or -EPROTO. */
int queue_pop(struct virtqueue *q, struct queue_chain *out) must_check;
/* Un-pops the last popped chain, for a device that cannot serve it yet. */
void queue_undo_pop(struct virtqueue *q);
/* Hands a request back with the number of bytes written to its writable part. */
void queue_push(struct virtqueue *q, uint16_t head, uint32_t written);
/* Whether the driver wants an interrupt for what was pushed since the last question. */
bool queue_needs_interrupt(struct virtqueue *q);

/* Copies between a plain buffer and the readable or writable part of a chain at a byte offset;
 * returns bytes copied (short at the end). */
size_t chain_read(const struct queue_chain *c, size_t off, void *buf, size_t len);
size_t chain_write(const struct queue_chain *c, size_t off, const void *buf, size_t len);
/*
 * Fills out[] with the sub-range [off, off + len) of the readable (write = false) or writable part,
 * for preadv/pwritev. Returns the number of entries, 0 when off is beyond the part; the range is
 * cut at its end.
 */
unsigned chain_slice(const struct queue_chain *c, bool write, size_t off, size_t len,
                     struct iovec *out, unsigned max);

#endif
