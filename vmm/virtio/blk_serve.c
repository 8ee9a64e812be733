/*
 * The requests of the block device (virtio 1.2, 5.2.6): what a driver asks of the disk, one after
 * the other. No request allocates; which thread this runs on is blk.c's matter.
 */
#include "vmm/virtio/blk_serve.h"

#include <errno.h>
#include <linux/virtio_config.h>

#define SECTOR DISK_SECTOR

/* Of one request. A reset has to wait for the one in hand. */
#define BLK_DATA_MAX ((size_t)BLK_SEG_MAX * BLK_SIZE_MAX)

static bool has_feature(const struct blk_server *s, unsigned bit)
{
    return s->dev->features & (1ull << bit);
}

/* Without FLUSH the driver takes a write that is done for durable (5.2.6.2). */
static bool writes_through(const struct blk_server *s)
{
    return !has_feature(s, VIRTIO_BLK_F_FLUSH);
}

static bool in_disk(const struct blk_server *s, uint64_t sector, uint64_t count)
{
    return sector <= s->sectors && count <= s->sectors - sector;
}

static uint8_t status_of(int rc)
{
    return rc == 0 ? VIRTIO_BLK_S_OK : rc == -EOPNOTSUPP ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR;
}

static uint8_t serve_data(struct blk_server *s, bool write, uint64_t sector)
{
    size_t off = write ? sizeof(struct virtio_blk_outhdr) : 0;
    size_t len = write ? s->chain.read_len - off : s->chain.write_len - 1;
    if ((write && s->disk.readonly) || len % SECTOR != 0 || len > BLK_DATA_MAX ||
        !in_disk(s, sector, len / SECTOR))
        return VIRTIO_BLK_S_IOERR;
    unsigned n = chain_slice(&s->chain, !write, off, len, s->iov, QUEUE_SEGMENTS_MAX);
    return status_of(disk_transfer(&s->disk, write, writes_through(s), s->iov, n, sector * SECTOR));
}

/* One range of a DISCARD or WRITE_ZEROES (5.2.6.2); returns the status. */
static uint8_t serve_range(struct blk_server *s, bool zeroes,
                           const struct virtio_blk_discard_write_zeroes *r)
{
    uint32_t known = zeroes ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0;
    uint32_t max = zeroes ? BLK_ZEROES_SECTORS_MAX : BLK_DISCARD_SECTORS_MAX;
    if (r->flags & ~known)
        return VIRTIO_BLK_S_UNSUPP;
    if (r->num_sectors > max || !in_disk(s, r->sector, r->num_sectors))
        return VIRTIO_BLK_S_IOERR;
    if (r->num_sectors == 0)
        return VIRTIO_BLK_S_OK;

    uint64_t off = r->sector * SECTOR, len = (uint64_t)r->num_sectors * SECTOR;
    return status_of(zeroes ? disk_zero(&s->disk, off, len, r->flags != 0, writes_through(s))
                            : disk_discard(&s->disk, off, len));
}

static uint8_t serve_ranges(struct blk_server *s, bool zeroes)
{
    struct virtio_blk_discard_write_zeroes range[BLK_RANGES_MAX];
    size_t head = sizeof(struct virtio_blk_outhdr), len = s->chain.read_len - head;
    if (!has_feature(s, zeroes ? VIRTIO_BLK_F_WRITE_ZEROES : VIRTIO_BLK_F_DISCARD))
        return VIRTIO_BLK_S_UNSUPP;
    if (s->disk.readonly || len == 0 || len % sizeof(range[0]) != 0 ||
        len / sizeof(range[0]) > (zeroes ? 1 : BLK_RANGES_MAX))
        return VIRTIO_BLK_S_IOERR;

    (void)chain_read(&s->chain, head, range, len);
    for (size_t i = 0; i < len / sizeof(range[0]); i++) {
        uint8_t status = serve_range(s, zeroes, &range[i]);
        if (status != VIRTIO_BLK_S_OK)
            return status;
    }
    return VIRTIO_BLK_S_OK;
}

static uint8_t serve_id(struct blk_server *s)
{
    if (s->chain.write_len - 1 != sizeof(s->id))
        return VIRTIO_BLK_S_IOERR;
    (void)chain_write(&s->chain, 0, s->id, sizeof(s->id));
    return VIRTIO_BLK_S_OK;
}

static uint8_t serve_type(struct blk_server *s, uint32_t type, uint64_t sector)
{
    switch (type) {
    case VIRTIO_BLK_T_IN:
        return serve_data(s, false, sector);
    case VIRTIO_BLK_T_OUT:
        return serve_data(s, true, sector);
    case VIRTIO_BLK_T_FLUSH:
        return status_of(disk_flush(&s->disk));
    case VIRTIO_BLK_T_GET_ID:
        return serve_id(s);
    case VIRTIO_BLK_T_DISCARD:
        return serve_ranges(s, false);
    case VIRTIO_BLK_T_WRITE_ZEROES:
        return serve_ranges(s, true);
    default:
        return VIRTIO_BLK_S_UNSUPP;
    }
}

static bool on_hold(const struct blk_server *s)
{
    return __atomic_load_n(&s->hold, __ATOMIC_ACQUIRE);
}

/* Serves s->chain and hands it back. -EPROTO when it has no place for a header or a status. */
static int serve_chain(struct blk_server *s)
{
    struct queue_chain *c = &s->chain;
    struct virtio_blk_outhdr head;
    if (chain_read(c, 0, &head, sizeof(head)) < sizeof(head) || c->write_len < 1)
        return -EPROTO;

    uint8_t status = serve_type(s, head.type, head.sector);
    if (on_hold(s))
        return 0; /* reset meanwhile, and perhaps not waited for: the ring is not ours any more */
    (void)chain_write(c, c->write_len - 1, &status, 1);
    /* "Written" counts from the first byte on, so data that failed to come hides the status. */
    bool whole = status == VIRTIO_BLK_S_OK || c->write_len == 1;
    queue_push(&s->dev->queues[0], c->head, whole ? (uint32_t)c->write_len : 0);
    virtio_notify(s->dev, 0);
    return 0;
}

int blk_serve(struct blk_server *s, unsigned max)
{
    for (unsigned i = 0; i < max; i++) {
        if (on_hold(s))
            return 0;
        int rc = queue_pop(&s->dev->queues[0], &s->chain);
        if (rc == 1)
            rc = serve_chain(s) < 0 ? -EPROTO : 1;
        if (rc <= 0)
            return rc;
    }
    return 1;
}
