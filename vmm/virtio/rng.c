/*
 * The entropy device (virtio 1.2, 5.4): fills the guest's buffers from the host's getrandom. It has
 * no state but its queue, and thus nothing to save. Runs on the loop thread, which a guest that
 * asks for ever must not keep busy: after a share of requests the device rests.
 */
#include "lib/cleanup.h"
#include "vmm/virtio/virtio.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define RNG_QUEUE_SIZE  16
#define RNG_BYTES_MAX   4096 /* of one request: the device may give less than was asked (5.4.6.2) */
#define RNG_SHARE       RNG_QUEUE_SIZE /* requests between two rests: 64 KiB at most */
#define RNG_REST_NS     5000000        /* twenty times what such a share takes */
#define RNG_SEGMENT_MAX 8

struct rng {
    struct virtio_device dev;
    struct loop_source timer; /* ends a rest */
    unsigned left;            /* of the share; 0: the timer is set. A reset gives none back */
    struct queue_chain chain;
};

static struct rng *to_rng(struct virtio_device *dev)
{
    return (struct rng *)dev;
}

/* Returns bytes written to the guest. */
static uint32_t fill(const struct queue_chain *c)
{
    struct iovec iov[RNG_SEGMENT_MAX];
    unsigned n = chain_slice(c, true, 0, RNG_BYTES_MAX, iov, RNG_SEGMENT_MAX);
    uint32_t done = 0;
    for (unsigned i = 0; i < n; i++) {
        ssize_t got = getrandom(iov[i].iov_base, iov[i].iov_len, 0);
        if (got > 0)
            done += (uint32_t)got;
        if (got < 0 || (size_t)got < iov[i].iov_len)
            break;
    }
    return done;
}

static void rng_serve(struct rng *r)
{
    const struct itimerspec rest = {.it_value.tv_nsec = RNG_REST_NS};
    struct virtqueue *q = &r->dev.queues[0];
    int rc = 0;

    if (!r->dev.active || r->dev.broken || r->left == 0)
        return;
    while (r->left > 0 && (rc = queue_pop(q, &r->chain)) == 1) {
        if (r->chain.nread > 0) { /* 5.4.6.1: the driver places no readable buffer */
            rc = -EPROTO;
            break;
        }
        queue_push(q, r->chain.head, fill(&r->chain));
        if (--r->left == 0)
            (void)timerfd_settime(r->timer.fd, 0, &rest, NULL);
    }
    virtio_notify(&r->dev, 0);
    if (rc < 0)
        virtio_broken(&r->dev);
}

static void on_timer(struct loop_source *s, uint32_t events)
{
    struct rng *r = s->arg;
    uint64_t count;

    (void)events;
    if (read(s->fd, &count, sizeof(count)) != (ssize_t)sizeof(count))
        return;
    r->left = RNG_SHARE;
    rng_serve(r);
}

static void rng_kick(struct virtio_device *dev, unsigned n)
{
    (void)n;
    rng_serve(to_rng(dev));
}

static int rng_activate(struct virtio_device *dev)
{
    (void)dev;
    return 0;
}

static void rng_reset(struct virtio_device *dev)
{
    (void)dev;
}

static void rng_free(struct virtio_device *dev)
{
    struct rng *r = to_rng(dev);
    int fd;

    if (!r)
        return;
    fd = r->timer.fd;
    loop_del(dev->loop, &r->timer);
    close_fd(&fd);
    free(r);
}

static const struct virtio_ops rng_ops = {
    .name = "rng",
    .id = VIRTIO_ID_RNG,
    .nqueues = 1,
    .queue_max = RNG_QUEUE_SIZE,
    .activate = rng_activate,
    .kick = rng_kick,
    .reset = rng_reset,
    .free = rng_free,
};

struct virtio_device *virtio_rng_new(struct loop *loop, struct err *e)
{
    struct rng *r = calloc(1, sizeof(*r));
    if (!r) {
        (void)err_set(e, ENOMEM, "virtio-rng: out of memory");
        return NULL;
    }
    r->dev.ops = &rng_ops;
    r->dev.loop = loop;
    r->left = RNG_SHARE;
    r->timer = (struct loop_source)LOOP_SOURCE_INIT;
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    int rc = fd < 0 ? -errno : loop_add(loop, &r->timer, fd, EPOLLIN, on_timer, r);
    if (rc < 0) {
        close_fd(&fd);
        (void)err_set(e, -rc, "virtio-rng: cannot make its timer: %s", strerror(-rc));
        free(r);
        return NULL;
    }
    return &r->dev;
}
