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
#include "vmm/virtio/blk_serve.h"
#include "vmm/virtio/virtio.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#define BLK_ROUND_MAX  16 /* requests a turn, on the loop thread */
#define BLK_STACK_SIZE (128 * 1024)

struct blk {
    struct virtio_device dev;
    struct blk_server server; /* `hold`: between reset and activate; written under the lock */
    struct again again;       /* only without a worker */
    bool started;
    pthread_t worker;
    struct loop_source report; /* eventfd: the worker found the queue broken */
    pthread_mutex_t lock;      /* guards the rest */
    pthread_cond_t wake, idle;
    bool kicked, busy, quit, bad;
    bool begun;        /* the worker knows whether it may work: */
    struct err *enter; /* why not; blk_start's */
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
        while (!b->quit && (!b->kicked || b->server.hold))
            pthread_cond_wait(&b->wake, &b->lock);
        if (b->quit)
            break;
        b->kicked = false;
        b->busy = true;
        pthread_mutex_unlock(&b->lock);
        int rc = blk_serve(&b->server, UINT32_MAX);
        pthread_mutex_lock(&b->lock);
        b->busy = false;
        if (rc < 0) {
            b->bad = true;
            __atomic_store_n(&b->server.hold, true, __ATOMIC_RELEASE);
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
    int rc = blk_serve(&b->server, BLK_ROUND_MAX);
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
    __atomic_store_n(&b->server.hold, false, __ATOMIC_RELEASE);
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
    __atomic_store_n(&b->server.hold, true, __ATOMIC_RELEASE);
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
    close_fd(&b->server.disk.fd);
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
    struct blk_state s = {.version = BLK_STATE_VERSION,
                          .readonly = b->server.disk.readonly,
                          .sectors = b->server.sectors};
    const struct timespec until = deadline_timespec(deadline_ns(VIRTIO_RESET_WAIT_MS));
    int rc = 0;
    if (size < sizeof(s))
        return -ENOSPC;
    pthread_mutex_lock(&b->lock);
    while (rc == 0 && b->started && (b->busy || (b->kicked && !b->server.hold)))
        rc = pthread_cond_timedwait(&b->idle, &b->lock, &until);
    pthread_mutex_unlock(&b->lock);
    if (rc != 0)
        return -EBUSY;
    memcpy(s.id, b->server.id, sizeof(s.id));
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
    if (s.version != BLK_STATE_VERSION || s.readonly != b->server.disk.readonly ||
        s.sectors != b->server.sectors)
        return -EINVAL;
    memcpy(b->server.id, s.id, sizeof(b->server.id));
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
    const struct disk *disk = &b->server.disk;
    uint32_t io_min = disk->io_min / disk->logical;
    struct virtio_blk_config c = {
        .capacity = b->server.sectors,
        .size_max = BLK_SIZE_MAX,
        .seg_max = BLK_SEG_MAX,
        .blk_size = disk->logical,
        .min_io_size = (uint16_t)(io_min < UINT16_MAX ? io_min : 0),
        .opt_io_size = disk->io_opt / disk->logical,
        .max_discard_sectors = BLK_DISCARD_SECTORS_MAX,
        .max_discard_seg = BLK_RANGES_MAX,
        .discard_sector_alignment = disk->physical / DISK_SECTOR,
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
    if (b->server.disk.readonly)
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
    b->server.dev = &b->dev;
    b->server.disk = disk;
    b->server.sectors = disk.size / DISK_SECTOR;
    b->server.hold = true;
    b->again = (struct again)AGAIN_INIT;
    b->report = (struct loop_source)LOOP_SOURCE_INIT;
    if (id)
        memcpy(b->server.id, id, strnlen(id, sizeof(b->server.id)));
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
        b->server.disk.fd = -1; /* still the caller's */
        blk_free(&b->dev);
        return NULL;
    }
    return &b->dev;
}
