/* A device that only counts what the transport asks of it, on a machine without KVM. */
#ifndef BULKHEAD_TEST_MMIO_FAKE_H
#define BULKHEAD_TEST_MMIO_FAKE_H

#include "tests/unit/mmio_machine.h"

#include <stdlib.h>

struct fake {
    struct virtio_device dev;
    unsigned activated, resets, kicks[2], freed;
    int activate_result;
    bool hangs; /* a reset cannot end */
};

static unsigned frees;

static inline int fake_activate(struct virtio_device *dev)
{
    struct fake *f = (struct fake *)dev;

    f->activated++;
    return f->activate_result;
}

static inline void fake_kick(struct virtio_device *dev, unsigned n)
{
    ((struct fake *)dev)->kicks[n]++;
}

static inline void fake_reset(struct virtio_device *dev)
{
    ((struct fake *)dev)->resets++;
    dev->stuck = ((struct fake *)dev)->hangs;
}

static inline void fake_free(struct virtio_device *dev)
{
    frees++;
    free(dev);
}

static const struct virtio_ops fake_ops = {.name = "fake",
                                           .id = 42,
                                           .nqueues = 2,
                                           .queue_max = 128,
                                           .activate = fake_activate,
                                           .kick = fake_kick,
                                           .reset = fake_reset,
                                           .free = fake_free};

static inline struct virtio_device *fake_new(void)
{
    struct fake *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    f->dev.ops = &fake_ops;
    f->dev.offered = 1ull << 5 | 1ull << 40;
    memcpy(f->dev.config, "configuration", 13);
    f->dev.config_len = 13;
    return &f->dev;
}

static inline struct fake *fake(struct machine *m)
{
    return (struct fake *)m->dev;
}

static inline void bring_up(struct machine *m)
{
    features(m, V1 | 1ull << VIRTIO_RING_F_EVENT_IDX | 1ull << 5);
    queue(m, 0, 64, 0x10000);
    queue(m, 1, 128, 0x20000);
    wr(m, VIRTIO_MMIO_STATUS, 15);
}

#endif
