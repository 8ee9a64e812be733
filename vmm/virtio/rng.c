/*
 * The entropy device (virtio 1.2, 5.4): fills the guest's buffers from the host's getrandom. It has
 * no state but its queue, and thus nothing to save. Runs on the loop thread.
 */
#include "vmm/virtio/again.h"
#include "vmm/virtio/virtio.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <sys/random.h>

#define RNG_QUEUE_SIZE  16
#define RNG_BYTES_MAX   4096 /* of one request: the device may give less than was asked (5.4.6.2) */
#define RNG_ROUND_MAX   RNG_QUEUE_SIZE /* requests before the loop's other sources get their turn */
#define RNG_SEGMENT_MAX 8

struct rng {
    struct virtio_device dev;
    struct again again;
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

static void rng_serve(void *arg)
{
    struct rng *r = arg;
    struct virtqueue *q = &r->dev.queues[0];
    int rc = 0;

    if (!r->dev.active || r->dev.broken)
        return;
    for (unsigned i = 0; i < RNG_ROUND_MAX && (rc = queue_pop(q, &r->chain)) == 1; i++) {
        if (r->chain.nread > 0) { /* 5.4.6.1: the driver places no readable buffer */
            rc = -EPROTO;
            break;
        }
        queue_push(q, r->chain.head, fill(&r->chain));
    }
    virtio_notify(&r->dev, 0);
    if (rc < 0)
        virtio_broken(&r->dev);
    else if (rc == 1)
        again_ask(&r->again);
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
    again_cancel(&to_rng(dev)->again);
}

static void rng_free(struct virtio_device *dev)
{
    if (!dev)
        return;
    again_done(&to_rng(dev)->again);
    free(dev);
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
    r->again = (struct again)AGAIN_INIT;
    int rc = again_init(&r->again, loop, rng_serve, r);
    if (rc < 0) {
        (void)err_set(e, -rc, "virtio-rng: cannot make its eventfd");
        free(r);
        return NULL;
    }
    return &r->dev;
}
