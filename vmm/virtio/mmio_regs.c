/*
 * What a driver writes to the registers of virtio-mmio (virtio 1.2, 4.2.2) and the device status
 * machine (2.1, 3.1): feature negotiation, queues, DRIVER_OK, reset. It knows nothing of requests.
 *
 * Every write that does not fit the state is ignored or sets DEVICE_NEEDS_RESET, and nothing that
 * was written is used before it was checked. All state is struct mmio's.
 */
#include "vmm/virtio/mmio_internal.h"

#include "lib/clock.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>

#define TRANSPORT_FEATURES                                                                         \
    (1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_EVENT_IDX |                                \
     1ull << VIRTIO_RING_F_INDIRECT_DESC)

#define STATUS_KNOWN                                                                               \
    (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK |          \
     VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_FAILED)

/* The selected queue, NULL when the driver selected one that does not exist. */
static struct virtqueue *selected(struct mmio *m)
{
    return m->queue_sel < m->dev->ops->nqueues ? &m->dev->queues[m->queue_sel] : NULL;
}

static void show_queue(struct mmio *m)
{
    const struct virtqueue *q = selected(m);

    mmio_page_set(m, VIRTIO_MMIO_QUEUE_NUM_MAX, q ? q->size_max : 0);
    mmio_page_set(m, VIRTIO_MMIO_QUEUE_READY, q ? q->ready : 0);
}

static void show_features(struct mmio *m)
{
    uint64_t offered = m->dev->offered | TRANSPORT_FEATURES;
    uint32_t word = 0;

    if (m->device_sel < 2)
        word = (uint32_t)(offered >> (32 * m->device_sel));
    mmio_page_set(m, VIRTIO_MMIO_DEVICE_FEATURES, word);
}

static void show_status(struct mmio *m)
{
    mmio_page_set(m, VIRTIO_MMIO_STATUS, m->status);
}

/*
 * The generation goes up before and after, so that a driver that reads while we copy sees it
 * change, unless both its looks fall between the two; the interrupt that follows makes it read
 * again in any case.
 */
void mmio_show_config(struct mmio *m)
{
    const struct virtio_device *d = m->dev;
    uint32_t generation = mmio_page_get(m, VIRTIO_MMIO_CONFIG_GENERATION);
    size_t len = d->config_len <= VIRTIO_CONFIG_MAX ? d->config_len : VIRTIO_CONFIG_MAX;

    mmio_page_set(m, VIRTIO_MMIO_CONFIG_GENERATION, generation + 1);
    for (size_t i = 0; i < len; i += 4) {
        uint32_t word = 0;
        memcpy(&word, d->config + i, len - i < 4 ? len - i : 4);
        mmio_page_set(m, (unsigned)(VIRTIO_MMIO_CONFIG + i), le32toh(word));
    }
    mmio_page_set(m, VIRTIO_MMIO_CONFIG_GENERATION, generation + 2);
}

static void raise_config(struct mmio *m)
{
    mmio_page_set(m, VIRTIO_MMIO_INTERRUPT_STATUS, VIRTIO_MMIO_INT_VRING | VIRTIO_MMIO_INT_CONFIG);
    if (m->status & VIRTIO_CONFIG_S_DRIVER_OK)
        irq_raise(&m->irq);
}

void mmio_interrupt(struct virtio_device *dev, bool config_changed)
{
    struct mmio *m = dev->transport;

    if (config_changed) {
        mmio_show_config(m);
        raise_config(m);
    } else {
        irq_raise(&m->irq);
    }
}

/* 2.1.2: the device is lost until the driver resets it. */
void mmio_needs_reset(struct virtio_device *dev)
{
    struct mmio *m = dev->transport;

    if (m->status & VIRTIO_CONFIG_S_NEEDS_RESET)
        return;
    m->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
    show_status(m);
    raise_config(m);
}

void mmio_reset(struct mmio *m)
{
    struct virtio_device *dev = m->dev;

    if (dev->active || dev->stuck)
        dev->ops->reset(dev);
    dev->active = false;
    dev->broken = dev->stuck;
    dev->features = 0;
    for (unsigned i = 0; i < dev->ops->nqueues; i++)
        queue_reset(&dev->queues[i]);
    m->device_sel = m->driver_sel = m->queue_sel = 0;
    m->driver_features = 0;
    m->status = dev->stuck ? VIRTIO_CONFIG_S_NEEDS_RESET : 0;
    mmio_page_set(m, VIRTIO_MMIO_INTERRUPT_STATUS, VIRTIO_MMIO_INT_VRING);
    show_features(m);
    show_queue(m);
    show_status(m);
}

/* 3.1.1 step 5: FEATURES_OK stays only if every feature taken was offered, VERSION_1 among them. */
static bool negotiate(struct mmio *m)
{
    struct virtio_device *dev = m->dev;
    uint64_t f = m->driver_features;

    if ((f & ~(dev->offered | TRANSPORT_FEATURES)) != 0 || !(f & 1ull << VIRTIO_F_VERSION_1))
        return false;
    dev->features = f;
    for (unsigned i = 0; i < dev->ops->nqueues; i++) {
        dev->queues[i].event_idx = (f >> VIRTIO_RING_F_EVENT_IDX) & 1;
        dev->queues[i].indirect = (f >> VIRTIO_RING_F_INDIRECT_DESC) & 1;
    }
    return true;
}

static void activate(struct mmio *m)
{
    struct virtio_device *dev = m->dev;

    m->t_driver_ok = monotonic_ns();
    dev->active = true;
    if (dev->ops->activate(dev) < 0)
        virtio_broken(dev);
}

/* 2.1: bits are only ever added, in order, until a write of 0 takes them all. */
static void write_status(struct mmio *m, uint32_t v)
{
    uint32_t fresh = v & STATUS_KNOWN & ~m->status;

    if (v == 0) {
        mmio_reset(m);
        return;
    }
    if (m->status & VIRTIO_CONFIG_S_NEEDS_RESET)
        return;
    if (m->status & STATUS_KNOWN & ~v) {
        virtio_broken(m->dev);
        return;
    }
    if ((fresh & VIRTIO_CONFIG_S_FEATURES_OK) && !negotiate(m))
        fresh &= ~(uint32_t)(VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
    m->status |= fresh;
    show_status(m);
    if (!(fresh & VIRTIO_CONFIG_S_DRIVER_OK))
        return;
    if (m->status & VIRTIO_CONFIG_S_FEATURES_OK)
        activate(m);
    else
        virtio_broken(m->dev);
}

static void write_driver_features(struct mmio *m, uint32_t v)
{
    unsigned shift = 32 * m->driver_sel;

    if (m->driver_sel > 1) {
        /* Bits 64 and up: none exists, so none may be taken. */
        if (v != 0)
            virtio_broken(m->dev);
        return;
    }
    if (m->status & VIRTIO_CONFIG_S_FEATURES_OK)
        return;
    m->driver_features = (m->driver_features & ~(0xffffffffull << shift)) | (uint64_t)v << shift;
}

static void write_queue_ready(struct mmio *m, struct virtqueue *q, uint32_t v)
{
    if (q->ready || v != 1) {
        /* Stopping one queue is VIRTIO_F_RING_RESET, which is not offered: before DRIVER_OK it is
         * a change of mind, after it a breach. */
        if (q->ready && v == 0) {
            if (m->dev->active)
                virtio_broken(m->dev);
            else
                q->ready = false;
        }
    } else if (!(m->status & VIRTIO_CONFIG_S_FEATURES_OK) || m->dev->active || queue_check(q) < 0) {
        virtio_broken(m->dev);
    } else {
        q->ready = true;
    }
    show_queue(m);
}

static void set_half(uint64_t *addr, bool high, uint32_t v)
{
    *addr = high ? (*addr & 0xffffffffull) | (uint64_t)v << 32 : (*addr & ~0xffffffffull) | v;
}

/* Writes to the registers of the selected queue; while it is ready only QueueReady may change. */
static void write_queue(struct mmio *m, uint64_t reg, uint32_t v)
{
    struct virtqueue *q = selected(m);

    if (q == NULL)
        return;
    if (reg == VIRTIO_MMIO_QUEUE_READY) {
        write_queue_ready(m, q, v);
        return;
    }
    if (q->ready)
        return;
    switch (reg) {
    case VIRTIO_MMIO_QUEUE_NUM:
        /* Anything unusable becomes 0, which queue_check refuses. */
        q->size = (v != 0 && v <= q->size_max && (v & (v - 1)) == 0) ? (uint16_t)v : 0;
        break;
    case VIRTIO_MMIO_QUEUE_DESC_LOW:
    case VIRTIO_MMIO_QUEUE_DESC_HIGH:
        set_half(&q->desc, reg == VIRTIO_MMIO_QUEUE_DESC_HIGH, v);
        break;
    case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
    case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
        set_half(&q->avail, reg == VIRTIO_MMIO_QUEUE_AVAIL_HIGH, v);
        break;
    case VIRTIO_MMIO_QUEUE_USED_LOW:
    case VIRTIO_MMIO_QUEUE_USED_HIGH:
        set_half(&q->used, reg == VIRTIO_MMIO_QUEUE_USED_HIGH, v);
        break;
    }
}

void mmio_write(struct mmio *m, uint64_t reg, uint32_t v)
{
    switch (reg) {
    case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
        m->device_sel = v;
        show_features(m);
        break;
    case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
        m->driver_sel = v;
        break;
    case VIRTIO_MMIO_DRIVER_FEATURES:
        write_driver_features(m, v);
        break;
    case VIRTIO_MMIO_QUEUE_SEL:
        m->queue_sel = v;
        show_queue(m);
        break;
    case VIRTIO_MMIO_INTERRUPT_ACK:
        if (v & VIRTIO_MMIO_INT_CONFIG)
            mmio_page_set(m, VIRTIO_MMIO_INTERRUPT_STATUS, VIRTIO_MMIO_INT_VRING);
        break;
    case VIRTIO_MMIO_STATUS:
        write_status(m, v);
        break;
    default:
        write_queue(m, reg, v);
        break;
    }
}
