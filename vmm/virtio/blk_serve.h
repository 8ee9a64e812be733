/*
 * Inside the block device: taking requests from the queue and doing them on the disk. blk.c decides
 * which thread does, one at a time, and when none may.
 */
#ifndef BULKHEAD_VMM_BLK_SERVE_H
#define BULKHEAD_VMM_BLK_SERVE_H

#include "vmm/virtio/disk.h"
#include "vmm/virtio/virtio.h"

#include <linux/virtio_blk.h>

#define BLK_QUEUE_SIZE          128
#define BLK_SEG_MAX             (BLK_QUEUE_SIZE - 2) /* header and status take one each */
#define BLK_SIZE_MAX            (1u << 20)           /* bytes of a segment */
#define BLK_DISCARD_SECTORS_MAX (1u << 22)           /* 2 GiB */
#define BLK_ZEROES_SECTORS_MAX  (1u << 15)           /* 16 MiB: may have to be written */
#define BLK_RANGES_MAX          16u                  /* of one DISCARD */

struct blk_server {
    struct virtio_device *dev;
    struct disk disk;
    uint64_t sectors;
    char id[VIRTIO_BLK_ID_BYTES]; /* padded with NUL, not always terminated */
    bool hold;                    /* nothing may be begun, the ring not be written; set atomically,
                                     from any thread */
    struct queue_chain chain;     /* the request in hand */
    struct iovec iov[QUEUE_SEGMENTS_MAX];
};

/* Serves at most `max` requests: 1 when there may be more, 0 when the queue is empty or on hold, or
 * -EPROTO. */
int blk_serve(struct blk_server *s, unsigned max) must_check;

#endif
