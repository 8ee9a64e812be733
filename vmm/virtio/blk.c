/*
 * The block device (virtio 1.2, 5.2): one queue over a raw file or a host block device (disk.h).
 *
 * Requests are served by the device's own thread, one at a time, so that a slow disk never stalls
 * the loop thread and the devices that live on it. The loop thread (or a vCPU thread that resets)
 * and the worker share only `struct blk.lock` and the flags it guards; the queue belongs to the
 * worker while `busy`, to nobody else until `hold` is set and `busy` has gone. The worker never
 * takes the transport's lock: what only the loop thread may do (DEVICE_NEEDS_RESET) it asks for
 * through an eventfd. Until virtio_ops.start was called the loop thread does the worker's part.
 *
 * Writes reach the host's page cache; FLUSH makes them durable. A driver that did not negotiate
 * FLUSH gets durable writes (5.2.6.2). No request allocates.
 */
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "vmm/virtio/again.h"
#include "vmm/virtio/disk.h"
#include "vmm/virtio/virtio.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#define BLK_QUEUE_SIZE          128
#define BLK_SEG_MAX             (BLK_QUEUE_SIZE - 2) /* header and status take one each */
#define BLK_SIZE_MAX            (1u << 20)           /* bytes of a segment */
#define BLK_DISCARD_SECTORS_MAX (1u << 22)           /* 2 GiB */
#define BLK_ZEROES_SECTORS_MAX  (1u << 15)           /* 16 MiB: may have to be written */
#define BLK_RANGES_MAX          16u                  /* of one DISCARD */
#define BLK_ROUND_MAX           16                   /* requests a turn, on the loop thread */
#define BLK_STACK_SIZE          (128 * 1024)
#define SECTOR                  DISK_SECTOR

/* Of one request. A reset has to wait for the one in hand. */
#define BLK_DATA_MAX ((size_t)BLK_SEG_MAX * BLK_SIZE_MAX)

struct blk {
    struct virtio_device dev;
    struct disk disk;
    uint64_t sectors;
    char id[VIRTIO_BLK_ID_BYTES]; /* padded with NUL, not always terminated */
    struct queue_chain chain;     /* the request in hand */
    struct iovec iov[QUEUE_SEGMENTS_MAX];

    struct again again; /* only without a worker */
    bool started;
    pthread_t worker;
    struct loop_source report; /* eventfd: the worker found the queue broken */
    pthread_mutex_t lock;      /* guards the rest */
    pthread_cond_t wake, idle;
    bool kicked, busy, quit, bad;
    bool begun;        /* the worker knows whether it may work: */
    struct err *enter; /* why not; blk_start's */
    bool hold;         /* between reset and activate; written under the lock, read without */
};

/* A saved device: all its requests are either done or still in the guest's ring. */
struct blk_state {
    uint32_t version, readonly;
    uint64_t sectors;
    char id[VIRTIO_BLK_ID_BYTES];
    uint32_t pad;
};
#define BLK_STATE_VERSION 1

static struct blk *to_blk(struct virtio_device *dev)
{
    return (struct blk *)dev;
}

static bool has_feature(const struct blk *b, unsigned bit)
{
    return b->dev.features & (1ull << bit);
}

/* Without FLUSH the driver takes a write that is done for durable (5.2.6.2). */
static bool writes_through(const struct blk *b)
{
    return !has_feature(b, VIRTIO_BLK_F_FLUSH);
}

/* --- requests --------------------------------------------------------------------------------- */

static bool in_disk(const struct blk *b, uint64_t sector, uint64_t count)
{
    return sector <= b->sectors && count <= b->sectors - sector;
}

static uint8_t status_of(int rc)
{
    return rc == 0 ? VIRTIO_BLK_S_OK : rc == -EOPNOTSUPP ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR;
}

static uint8_t serve_data(struct blk *b, bool write, uint64_t sector)
{
    size_t off = write ? sizeof(struct virtio_blk_outhdr) : 0;
    size_t len = write ? b->chain.read_len - off : b->chain.write_len - 1;
    if ((write && b->disk.readonly) || len % SECTOR != 0 || len > BLK_DATA_MAX ||
        !in_disk(b, sector, len / SECTOR))
        return VIRTIO_BLK_S_IOERR;
    unsigned n = chain_slice(&b->chain, !write, off, len, b->iov, QUEUE_SEGMENTS_MAX);
    return status_of(disk_transfer(&b->disk, write, writes_through(b), b->iov, n, sector * SECTOR));
}

/* One range of a DISCARD or WRITE_ZEROES (5.2.6.2); returns the status. */
static uint8_t serve_range(struct blk *b, bool zeroes,
                           const struct virtio_blk_discard_write_zeroes *r)
{
    uint32_t known = zeroes ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0;
    uint32_t max = zeroes ? BLK_ZEROES_SECTORS_MAX : BLK_DISCARD_SECTORS_MAX;
    if (r->flags & ~known)
        return VIRTIO_BLK_S_UNSUPP;
    if (r->num_sectors > max || !in_disk(b, r->sector, r->num_sectors))
        return VIRTIO_BLK_S_IOERR;
    if (r->num_sectors == 0)
        return VIRTIO_BLK_S_OK;

    uint64_t off = r->sector * SECTOR, len = (uint64_t)r->num_sectors * SECTOR;
    return status_of(zeroes ? disk_zero(&b->disk, off, len, r->flags != 0, writes_through(b))
                            : disk_discard(&b->disk, off, len));
}

static uint8_t serve_ranges(struct blk *b, bool zeroes)
{
    struct virtio_blk_discard_write_zeroes range[BLK_RANGES_MAX];
    size_t head = sizeof(struct virtio_blk_outhdr), len = b->chain.read_len - head;
    if (!has_feature(b, zeroes ? VIRTIO_BLK_F_WRITE_ZEROES : VIRTIO_BLK_F_DISCARD))
        return VIRTIO_BLK_S_UNSUPP;
    if (b->disk.readonly || len == 0 || len % sizeof(range[0]) != 0 ||
        len / sizeof(range[0]) > (zeroes ? 1 : BLK_RANGES_MAX))
        return VIRTIO_BLK_S_IOERR;

    (void)chain_read(&b->chain, head, range, len);
    for (size_t i = 0; i < len / sizeof(range[0]); i++) {
        uint8_t status = serve_range(b, zeroes, &range[i]);
        if (status != VIRTIO_BLK_S_OK)
            return status;
    }
    return VIRTIO_BLK_S_OK;
}

static uint8_t serve_id(struct blk *b)
{
    if (b->chain.write_len - 1 != sizeof(b->id))
        return VIRTIO_BLK_S_IOERR;
    (void)chain_write(&b->chain, 0, b->id, sizeof(b->id));
    return VIRTIO_BLK_S_OK;
}

static uint8_t serve_type(struct blk *b, uint32_t type, uint64_t sector)
{
    switch (type) {
    case VIRTIO_BLK_T_IN:
        return serve_data(b, false, sector);
    case VIRTIO_BLK_T_OUT:
        return serve_data(b, true, sector);
    case VIRTIO_BLK_T_FLUSH:
        return status_of(disk_flush(&b->disk));
    case VIRTIO_BLK_T_GET_ID:
        return serve_id(b);
    case VIRTIO_BLK_T_DISCARD:
        return serve_ranges(b, false);
    case VIRTIO_BLK_T_WRITE_ZEROES:
        return serve_ranges(b, true);
    default:
        return VIRTIO_BLK_S_UNSUPP;
    }
}

static bool on_hold(const struct blk *b)
{
    return __atomic_load_n(&b->hold, __ATOMIC_ACQUIRE);
}

/* Serves b->chain and hands it back. -EPROTO when it has no place for a header or a status. */
static int serve_chain(struct blk *b)
{
    struct queue_chain *c = &b->chain;
    struct virtio_blk_outhdr head;
    if (chain_read(c, 0, &head, sizeof(head)) < sizeof(head) || c->write_len < 1)
        return -EPROTO;

    uint8_t status = serve_type(b, head.type, head.sector);
    if (on_hold(b))
        return 0; /* reset meanwhile, and perhaps not waited for: the ring is not ours any more */
    (void)chain_write(c, c->write_len - 1, &status, 1);
    /* "Written" counts from the first byte on, so data that failed to come hides the status. */
    bool whole = status == VIRTIO_BLK_S_OK || c->write_len == 1;
    queue_push(&b->dev.queues[0], c->head, whole ? (uint32_t)c->write_len : 0);
    virtio_notify(&b->dev, 0);
    return 0;
}

/* Serves at most `max` requests: 1 when there may be more, 0 when the queue is empty or on hold, or
 * -EPROTO. */
static int serve(struct blk *b, unsigned max)
{
    for (unsigned i = 0; i < max; i++) {
        if (on_hold(b))
            return 0;
        int rc = queue_pop(&b->dev.queues[0], &b->chain);
        if (rc == 1)
            rc = serve_chain(b) < 0 ? -EPROTO : 1;
        if (rc <= 0)
            return rc;
    }
    return 1;
}

/* --- threads ---------------------------------------------------------------------------------- */

static void *worker_main(void *arg)
{
    struct blk *b = arg;
    int entered = virtio_thread_enter(&b->dev, b->enter);
    pthread_mutex_lock(&b->lock);
    b->begun = true;
    b->quit = entered < 0;
    pthread_cond_broadcast(&b->idle);
    for (;;) {
        while (!b->quit && (!b->kicked || b->hold))
            pthread_cond_wait(&b->wake, &b->lock);
        if (b->quit)
            break;
        b->kicked = false;
        b->busy = true;
        pthread_mutex_unlock(&b->lock);
        int rc = serve(b, UINT32_MAX);
        pthread_mutex_lock(&b->lock);
        b->busy = false;
        if (rc < 0) {
            b->bad = b->hold = true;
            (void)eventfd_write(b->report.fd, 1);
        }
        pthread_cond_broadcast(&b->idle);
    }
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

/* On the loop thread: the worker found a broken queue, unless it has been reset since. */
static void on_report(struct loop_source *s, uint32_t events)
{
    struct blk *b = s->arg;
    eventfd_t value;
    (void)events;
    (void)eventfd_read(s->fd, &value);
    pthread_mutex_lock(&b->lock);
    bool bad = b->bad;
    b->bad = false;
    pthread_mutex_unlock(&b->lock);
    if (bad)
        virtio_broken(&b->dev);
}

/* The worker's part while there is none. */
static void serve_on_loop(void *arg)
{
    struct blk *b = arg;
    if (!b->dev.active || b->dev.broken)
        return;
    int rc = serve(b, BLK_ROUND_MAX);
    if (rc < 0)
        virtio_broken(&b->dev);
    else if (rc == 1)
        again_ask(&b->again);
}

static void blk_kick(struct virtio_device *dev, unsigned n)
{
    struct blk *b = to_blk(dev);
    (void)n;
    if (!b->started) {
        serve_on_loop(b);
        return;
    }
    pthread_mutex_lock(&b->lock);
    b->kicked = true;
    pthread_cond_signal(&b->wake);
    pthread_mutex_unlock(&b->lock);
}

static int blk_start(struct virtio_device *dev, struct err *e)
{
    struct blk *b = to_blk(dev);
    sigset_t all, old;
    pthread_attr_t attr;

    b->enter = e;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, BLK_STACK_SIZE);
    int rc = pthread_create(&b->worker, &attr, worker_main, b);
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0)
        return err_set(e, rc, "virtio-blk: cannot start its thread: %s", strerror(rc));
    pthread_mutex_lock(&b->lock);
    while (!b->begun)
        pthread_cond_wait(&b->idle, &b->lock);
    b->started = !b->quit;
    b->enter = NULL;
    pthread_mutex_unlock(&b->lock);
    if (b->started)
        return 0;
    pthread_join(b->worker, NULL);
    return -e->code;
}

static int blk_activate(struct virtio_device *dev)
{
    struct blk *b = to_blk(dev);
    pthread_mutex_lock(&b->lock);
    __atomic_store_n(&b->hold, false, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&b->lock);
    return 0;
}

/* The request in hand, if any, ends first, unless the disk hangs: then the device is stuck until a
 * later reset, which waits no more, finds it ended. */
static void blk_reset(struct virtio_device *dev)
{
    struct blk *b = to_blk(dev);
    const struct timespec until = deadline_timespec(deadline_ns(VIRTIO_RESET_WAIT_MS));
    int rc = dev->stuck ? ETIMEDOUT : 0;
    again_cancel(&b->again);
    pthread_mutex_lock(&b->lock);
    __atomic_store_n(&b->hold, true, __ATOMIC_RELEASE);
    while (b->busy && rc == 0)
        rc = pthread_cond_timedwait(&b->idle, &b->lock, &until);
    if (b->busy && !dev->stuck)
        log_warning("virtio-blk: a request hangs in the host's disk: the device stops");
    dev->stuck = b->busy;
    b->kicked = b->bad = false;
    pthread_mutex_unlock(&b->lock);
}

/* A thread that hangs in the host's disk stays, and with it all that it uses, until the process
 * ends. */
static void blk_free(struct virtio_device *dev)
{
    if (!dev)
        return;
    struct blk *b = to_blk(dev);
    if (b->started) {
        blk_reset(dev);
        pthread_mutex_lock(&b->lock);
        b->quit = true;
        pthread_cond_signal(&b->wake);
        pthread_mutex_unlock(&b->lock);
        if (dev->stuck) {
            loop_del(dev->loop, &b->report);
            again_done(&b->again);
            return;
        }
        pthread_join(b->worker, NULL);
    }
    again_done(&b->again);
    int report = b->report.fd;
    loop_del(dev->loop, &b->report);
    close_fd(&report);
    close_fd(&b->disk.fd);
    pthread_cond_destroy(&b->wake);
    pthread_cond_destroy(&b->idle);
    pthread_mutex_destroy(&b->lock);
    free(b);
}

/* --- snapshots -------------------------------------------------------------------------------- */

/* Waits until the worker has emptied the queue, as a reset does: then there is no state besides
 * what the disk is. -EBUSY when the disk hangs. */
static int blk_save(struct virtio_device *dev, void *buf, size_t size)
{
    struct blk *b = to_blk(dev);
    struct blk_state s = {
        .version = BLK_STATE_VERSION, .readonly = b->disk.readonly, .sectors = b->sectors};
    const struct timespec until = deadline_timespec(deadline_ns(VIRTIO_RESET_WAIT_MS));
    int rc = 0;
    if (size < sizeof(s))
        return -ENOSPC;
    pthread_mutex_lock(&b->lock);
    while (rc == 0 && b->started && (b->busy || (b->kicked && !b->hold)))
        rc = pthread_cond_timedwait(&b->idle, &b->lock, &until);
    pthread_mutex_unlock(&b->lock);
    if (rc != 0)
        return -EBUSY;
    memcpy(s.id, b->id, sizeof(s.id));
    memcpy(buf, &s, sizeof(s));
    return (int)sizeof(s);
}

/* -EINVAL unless the disk has the size and mode it had when the state was saved. */
static int blk_load(struct virtio_device *dev, const void *buf, size_t len)
{
    struct blk *b = to_blk(dev);
    struct blk_state s;
    if (len != sizeof(s))
        return -EINVAL;
    memcpy(&s, buf, sizeof(s));
    if (s.version != BLK_STATE_VERSION || s.readonly != b->disk.readonly || s.sectors != b->sectors)
        return -EINVAL;
    memcpy(b->id, s.id, sizeof(b->id));
    return 0;
}

static const struct virtio_ops blk_ops = {
    .name = "blk",
    .id = VIRTIO_ID_BLOCK,
    .nqueues = 1,
    .queue_max = BLK_QUEUE_SIZE,
    .start = blk_start,
    .activate = blk_activate,
    .kick = blk_kick,
    .reset = blk_reset,
    .free = blk_free,
    .save = blk_save,
    .load = blk_load,
};

/* --- creation --------------------------------------------------------------------------------- */

static void set_config(struct blk *b)
{
    const struct disk *disk = &b->disk;
    uint32_t io_min = disk->io_min / disk->logical;
    struct virtio_blk_config c = {
        .capacity = b->sectors,
        .size_max = BLK_SIZE_MAX,
        .seg_max = BLK_SEG_MAX,
        .blk_size = disk->logical,
        .min_io_size = (uint16_t)(io_min < UINT16_MAX ? io_min : 0),
        .opt_io_size = disk->io_opt / disk->logical,
        .max_discard_sectors = BLK_DISCARD_SECTORS_MAX,
        .max_discard_seg = BLK_RANGES_MAX,
        .discard_sector_alignment = disk->physical / SECTOR,
        .max_write_zeroes_sectors = BLK_ZEROES_SECTORS_MAX,
        .max_write_zeroes_seg = 1,
        .write_zeroes_may_unmap = 1,
    };
    for (uint32_t size = disk->logical; size < disk->physical; size *= 2)
        c.physical_block_exp++;
    b->dev.config_len = offsetof(struct virtio_blk_config, max_secure_erase_sectors);
    memcpy(b->dev.config, &c, b->dev.config_len);

    b->dev.offered = 1ull << VIRTIO_BLK_F_SIZE_MAX | 1ull << VIRTIO_BLK_F_SEG_MAX |
                     1ull << VIRTIO_BLK_F_BLK_SIZE | 1ull << VIRTIO_BLK_F_FLUSH |
                     1ull << VIRTIO_BLK_F_TOPOLOGY;
    if (b->disk.readonly)
        b->dev.offered |= 1ull << VIRTIO_BLK_F_RO;
    else
        b->dev.offered |= 1ull << VIRTIO_BLK_F_WRITE_ZEROES |
                          (disk->can_discard ? 1ull << VIRTIO_BLK_F_DISCARD : 0);
}

struct virtio_device *virtio_blk_new(struct loop *loop, int fd, bool readonly, const char *id,
                                     struct err *e)
{
    struct disk disk;
    if (disk_probe(fd, readonly, &disk, e) < 0)
        return NULL;
    struct blk *b = calloc(1, sizeof(*b));
    if (!b) {
        (void)err_set(e, ENOMEM, "virtio-blk: out of memory");
        return NULL;
    }
    b->dev.ops = &blk_ops;
    b->dev.loop = loop;
    b->disk = disk;
    b->sectors = disk.size / SECTOR;
    b->hold = true;
    b->again = (struct again)AGAIN_INIT;
    b->report = (struct loop_source)LOOP_SOURCE_INIT;
    if (id)
        memcpy(b->id, id, strnlen(id, sizeof(b->id)));
    set_config(b);
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->wake, NULL);
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&b->idle, &clock);
    pthread_condattr_destroy(&clock);

    int report = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = report < 0 ? -errno : loop_add(loop, &b->report, report, EPOLLIN, on_report, b);
    if (rc < 0)
        close_fd(&report);
    else
        rc = again_init(&b->again, loop, serve_on_loop, b);
    if (rc < 0) {
        (void)err_set(e, -rc, "virtio-blk: cannot make its eventfds");
        b->disk.fd = -1; /* still the caller's */
        blk_free(&b->dev);
        return NULL;
    }
    return &b->dev;
}
