/*
 * The state of a virtio-mmio transport and its device as one plain structure, for snapshots.
 *
 * A state that is loaded is hostile bytes, as hostile as a driver's: so it is loaded by writing
 * into the registers what the driver had written, through the same checks, and what then would be
 * saved has to be what was loaded. Only what a driver cannot write is put in place directly.
 */
#include "vmm/virtio/mmio_internal.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <string.h>
#include <sys/eventfd.h>

#define STATE_VERSION 1u

/* What a load writes into the status register before the features: all but what they decide. */
#define STATUS_EARLY (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FAILED)

struct queue_state {
    uint64_t desc, avail, used;
    uint16_t size, ready, next_avail, next_used, signalled_used, pad[3];
};

struct mmio_state {
    uint32_t version, device, nqueues;
    uint32_t status, interrupt_status, generation;
    uint32_t device_sel, driver_sel, queue_sel, pad;
    uint64_t driver_features;
    struct queue_state queue[VIRTIO_QUEUES_MAX];
};
_Static_assert(sizeof(struct queue_state) == 40, "no hidden padding");
_Static_assert(sizeof(struct mmio_state) <= MMIO_SAVE_MAX - VIRTIO_SAVE_MAX, "all of it fits");
_Static_assert(sizeof(struct mmio_state) == 48 + VIRTIO_QUEUES_MAX * 40, "no hidden padding");

static void take(const struct mmio *m, struct mmio_state *s)
{
    const struct virtio_device *dev = m->dev;

    *s = (struct mmio_state){
        .version = STATE_VERSION,
        .device = dev->ops->id,
        .nqueues = dev->ops->nqueues,
        .status = m->status,
        .interrupt_status = mmio_page_get(m, VIRTIO_MMIO_INTERRUPT_STATUS),
        .generation = mmio_page_get(m, VIRTIO_MMIO_CONFIG_GENERATION),
        .device_sel = m->device_sel,
        .driver_sel = m->driver_sel,
        .queue_sel = m->queue_sel,
        .driver_features = m->driver_features,
    };
    for (unsigned i = 0; i < dev->ops->nqueues; i++) {
        const struct virtqueue *q = &dev->queues[i];
        s->queue[i] = (struct queue_state){
            .desc = q->desc,
            .avail = q->avail,
            .used = q->used,
            .size = q->size,
            .ready = q->ready,
            .next_avail = q->next_avail,
            .next_used = q->next_used,
            .signalled_used = q->signalled_used,
        };
    }
}

/* Whether the device holds requests it has taken and not given back. A broken one holds none: what
 * it took is lost until it is reset. */
static bool in_flight(const struct virtio_device *dev)
{
    for (unsigned i = 0; i < dev->ops->nqueues && !dev->broken; i++) {
        if (dev->queues[i].next_avail != dev->queues[i].next_used)
            return true;
    }
    return false;
}

int mmio_save(struct mmio *m, void *buf, size_t size)
{
    struct virtio_device *dev = m->dev;
    struct mmio_state s;
    int len = 0;

    if (size < sizeof(s))
        return -ENOSPC;
    if (dev->stuck)
        return -EBUSY;
    /* First the device: it may end requests before it answers. */
    if (dev->ops->save)
        len = dev->ops->save(dev, (uint8_t *)buf + sizeof(s), size - sizeof(s));
    if (len < 0)
        return len;
    if (in_flight(dev))
        return -EBUSY;
    take(m, &s);
    memcpy(buf, &s, sizeof(s));
    return (int)sizeof(s) + len;
}

static void write_half(struct mmio *m, unsigned low, unsigned high, uint64_t v)
{
    mmio_write(m, low, (uint32_t)v);
    mmio_write(m, high, (uint32_t)(v >> 32));
}

static void load_queue(struct mmio *m, unsigned n, const struct queue_state *s)
{
    struct virtqueue *q = &m->dev->queues[n];

    mmio_write(m, VIRTIO_MMIO_QUEUE_SEL, n);
    mmio_write(m, VIRTIO_MMIO_QUEUE_NUM, s->size);
    write_half(m, VIRTIO_MMIO_QUEUE_DESC_LOW, VIRTIO_MMIO_QUEUE_DESC_HIGH, s->desc);
    write_half(m, VIRTIO_MMIO_QUEUE_AVAIL_LOW, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, s->avail);
    write_half(m, VIRTIO_MMIO_QUEUE_USED_LOW, VIRTIO_MMIO_QUEUE_USED_HIGH, s->used);
    if (s->ready)
        mmio_write(m, VIRTIO_MMIO_QUEUE_READY, 1);
    if (!q->ready)
        return; /* its indices are 0, or this was no such state */
    q->next_avail = s->next_avail;
    q->next_used = s->next_used;
    q->signalled_used = s->signalled_used;
}

/* 0 is what the status is already, and a write of it would be a reset. */
static void write_status(struct mmio *m, uint32_t v)
{
    if (v != 0)
        mmio_write(m, VIRTIO_MMIO_STATUS, v);
}

/* What the driver did, in its order: features, queues, DRIVER_OK, which activates the device. */
static void load_registers(struct mmio *m, const struct mmio_state *s)
{
    write_status(m, s->status & STATUS_EARLY);
    for (unsigned i = 0; i < 2; i++) {
        mmio_write(m, VIRTIO_MMIO_DRIVER_FEATURES_SEL, i);
        mmio_write(m, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(s->driver_features >> (32 * i)));
    }
    write_status(m, s->status & (STATUS_EARLY | VIRTIO_CONFIG_S_FEATURES_OK));
    for (unsigned i = 0; i < m->dev->ops->nqueues; i++)
        load_queue(m, i, &s->queue[i]);
    write_status(m, s->status & ~(uint32_t)VIRTIO_CONFIG_S_NEEDS_RESET);
    if (s->status & VIRTIO_CONFIG_S_NEEDS_RESET)
        virtio_broken(m->dev);
    mmio_write(m, VIRTIO_MMIO_DEVICE_FEATURES_SEL, s->device_sel);
    mmio_write(m, VIRTIO_MMIO_DRIVER_FEATURES_SEL, s->driver_sel);
    mmio_write(m, VIRTIO_MMIO_QUEUE_SEL, s->queue_sel);
    mmio_page_set(m, VIRTIO_MMIO_INTERRUPT_STATUS,
                  VIRTIO_MMIO_INT_VRING | (s->interrupt_status & VIRTIO_MMIO_INT_CONFIG));
    mmio_page_set(m, VIRTIO_MMIO_CONFIG_GENERATION, s->generation);
}

static int load(struct mmio *m, const void *buf, size_t len)
{
    struct virtio_device *dev = m->dev;
    struct mmio_state s, now;

    if (len < sizeof(s))
        return -EINVAL;
    memcpy(&s, buf, sizeof(s));
    load_registers(m, &s);
    take(m, &now);
    if (memcmp(&s, &now, sizeof(s)) != 0 || in_flight(dev))
        return -EINVAL;
    len -= sizeof(s);
    if (!dev->ops->load)
        return len == 0 ? 0 : -EINVAL;
    return dev->ops->load(dev, (const uint8_t *)buf + sizeof(s), len);
}

/* What was on its way when the state was saved, and is not in it: a notification to each queue, an
 * interrupt, and a look at a configuration that may be another now. One too many does no harm. */
static void remind(struct mmio *m)
{
    for (unsigned i = 0; i < m->dev->ops->nqueues; i++) {
        if (m->dev->queues[i].ready)
            (void)eventfd_write(m->queue[i].efd, 1);
    }
    mmio_show_config(m);
    if (m->dev->active)
        irq_raise(&m->irq);
}

int mmio_load(struct mmio *m, const void *buf, size_t len)
{
    int rc = load(m, buf, len);

    if (rc < 0)
        mmio_reset(m);
    else
        remind(m);
    return rc;
}
