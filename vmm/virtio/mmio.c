/*
 * The virtio-mmio transport (virtio 1.2, 4.2 "Virtio Over MMIO"): registers, feature negotiation,
 * the device status machine, ioeventfds and the interrupt. It knows nothing of requests.
 *
 * A `struct mmio` owns its device, the register page and the descriptors. Register writes come from
 * vCPU threads with the loop's lock held, notifications from the loop thread with the same lock, so
 * nothing here locks. The driver is hostile: every write that does not fit the state is ignored or
 * sets DEVICE_NEEDS_RESET, and nothing it writes is used before it was checked.
 */
#include "vmm/virtio/mmio.h"

#include "lib/cleanup.h"
#include "lib/clock.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#define MAGIC     0x74726976u /* "virt" */
#define VERSION   2u
#define VENDOR_ID 0x444b4c42u /* "BLKD" */

#define TRANSPORT_FEATURES                                                                         \
    (1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_EVENT_IDX |                                \
     1ull << VIRTIO_RING_F_INDIRECT_DESC)

#define STATUS_KNOWN                                                                               \
    (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK |          \
     VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_FAILED)

struct mmio_queue {
    struct mmio *m;
    int efd;
    struct loop_source source;
};

struct mmio {
    struct virtio_device *dev;
    struct mmio_place place;
    uint8_t *page;
    struct irq_line irq;
    int ack_efd; /* swallows InterruptACK; never read */
    struct mmio_queue queue[VIRTIO_QUEUES_MAX];
    uint32_t device_sel, driver_sel, queue_sel; /* as the driver wrote them */
    uint64_t driver_features;
    uint32_t status;
    uint64_t kicks, t_driver_ok;
};

static void page_set(struct mmio *m, unsigned reg, uint32_t value)
{
    __atomic_store_n((uint32_t *)(void *)(m->page + reg), htole32(value), __ATOMIC_RELEASE);
}

static uint32_t page_get(const struct mmio *m, unsigned reg)
{
    return le32toh(
        __atomic_load_n((const uint32_t *)(const void *)(m->page + reg), __ATOMIC_RELAXED));
}

/* The selected queue, NULL when the driver selected one that does not exist. */
static struct virtqueue *selected(struct mmio *m)
{
    return m->queue_sel < m->dev->ops->nqueues ? &m->dev->queues[m->queue_sel] : NULL;
}

static void show_queue(struct mmio *m)
{
    const struct virtqueue *q = selected(m);

    page_set(m, VIRTIO_MMIO_QUEUE_NUM_MAX, q ? q->size_max : 0);
    page_set(m, VIRTIO_MMIO_QUEUE_READY, q ? q->ready : 0);
}

static void show_features(struct mmio *m)
{
    uint64_t offered = m->dev->offered | TRANSPORT_FEATURES;
    uint32_t word = 0;

    if (m->device_sel < 2)
        word = (uint32_t)(offered >> (32 * m->device_sel));
    page_set(m, VIRTIO_MMIO_DEVICE_FEATURES, word);
}

static void show_status(struct mmio *m)
{
    page_set(m, VIRTIO_MMIO_STATUS, m->status);
}

/*
 * The generation goes up before and after, so that a driver that reads while we copy sees it
 * change, unless both its looks fall between the two; the interrupt that follows makes it read
 * again in any case.
 */
static void show_config(struct mmio *m)
{
    const struct virtio_device *d = m->dev;
    uint32_t generation = page_get(m, VIRTIO_MMIO_CONFIG_GENERATION);
    size_t len = d->config_len <= VIRTIO_CONFIG_MAX ? d->config_len : VIRTIO_CONFIG_MAX;

    page_set(m, VIRTIO_MMIO_CONFIG_GENERATION, generation + 1);
    for (size_t i = 0; i < len; i += 4) {
        uint32_t word = 0;
        memcpy(&word, d->config + i, len - i < 4 ? len - i : 4);
        page_set(m, (unsigned)(VIRTIO_MMIO_CONFIG + i), le32toh(word));
    }
    page_set(m, VIRTIO_MMIO_CONFIG_GENERATION, generation + 2);
}

static void raise_config(struct mmio *m)
{
    page_set(m, VIRTIO_MMIO_INTERRUPT_STATUS, VIRTIO_MMIO_INT_VRING | VIRTIO_MMIO_INT_CONFIG);
    if (m->status & VIRTIO_CONFIG_S_DRIVER_OK)
        irq_raise(&m->irq);
}

static void on_interrupt(struct virtio_device *dev, bool config_changed)
{
    struct mmio *m = dev->transport;

    if (config_changed) {
        show_config(m);
        raise_config(m);
    } else {
        irq_raise(&m->irq);
    }
}

/* 2.1.2: the device is lost until the driver resets it. */
static void on_needs_reset(struct virtio_device *dev)
{
    struct mmio *m = dev->transport;

    if (m->status & VIRTIO_CONFIG_S_NEEDS_RESET)
        return;
    m->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
    show_status(m);
    raise_config(m);
}

static void on_kick(struct loop_source *s, uint32_t events)
{
    struct mmio_queue *q = s->arg;
    struct mmio *m = q->m;
    struct virtio_device *dev = m->dev;
    unsigned n = (unsigned)(q - m->queue);
    eventfd_t count;

    (void)events;
    if (eventfd_read(q->efd, &count) < 0)
        return;
    m->kicks += count;
    if (dev->active && !dev->broken && dev->queues[n].ready)
        dev->ops->kick(dev, n);
}

/* Everything as at power-on, but for the configuration and its generation. */
static void reset(struct mmio *m)
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
    page_set(m, VIRTIO_MMIO_INTERRUPT_STATUS, VIRTIO_MMIO_INT_VRING);
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
        reset(m);
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

/* A write that exited. No device has writable configuration, so only registers are looked at. */
static void on_write(void *arg, uint64_t off, const void *data, unsigned len)
{
    struct mmio *m = arg;
    uint32_t v;

    if (len != sizeof(v) || off % sizeof(v) != 0 || off >= VIRTIO_MMIO_CONFIG)
        return;
    memcpy(&v, data, sizeof(v));
    v = le32toh(v);
    switch (off) {
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
            page_set(m, VIRTIO_MMIO_INTERRUPT_STATUS, VIRTIO_MMIO_INT_VRING);
        break;
    case VIRTIO_MMIO_STATUS:
        write_status(m, v);
        break;
    default:
        write_queue(m, off, v);
        break;
    }
}

/* Guest reads are served from the page by the machine; this is for accesses it had to emulate. */
static void on_read(void *arg, uint64_t off, void *data, unsigned len)
{
    const struct mmio *m = arg;

    memcpy(data, m->page + off, len);
}

static int map_page(struct mmio *m, struct err *e)
{
    const struct mmio_place *p = &m->place;

    m->page =
        mmap(NULL, MMIO_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m->page == MAP_FAILED) {
        m->page = NULL;
        return err_errno(e, "memory for a register page");
    }
    page_set(m, VIRTIO_MMIO_MAGIC_VALUE, MAGIC);
    page_set(m, VIRTIO_MMIO_VERSION, VERSION);
    page_set(m, VIRTIO_MMIO_DEVICE_ID, m->dev->ops->id);
    page_set(m, VIRTIO_MMIO_VENDOR_ID, VENDOR_ID);
    /* 4.2.2: a shared memory region that does not exist has length and base ~0. */
    page_set(m, VIRTIO_MMIO_SHM_LEN_LOW, ~0u);
    page_set(m, VIRTIO_MMIO_SHM_LEN_HIGH, ~0u);
    page_set(m, VIRTIO_MMIO_SHM_BASE_LOW, ~0u);
    page_set(m, VIRTIO_MMIO_SHM_BASE_HIGH, ~0u);
    show_config(m);
    reset(m);
    int r = p->bus_host->readonly_page(p->bus_host->arg, p->gpa, m->page, e);
    if (r < 0)
        return r;
    struct bus_range range = {p->gpa, MMIO_PAGE_SIZE, on_read, on_write, m};
    return bus_add(p->bus, &range, e);
}

static int connect_queue(struct mmio *m, unsigned n, struct err *e)
{
    const struct mmio_place *p = &m->place;
    struct mmio_queue *q = &m->queue[n];

    q->efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (q->efd < 0)
        return err_errno(e, "eventfd for queue %u", n);
    int r =
        p->bus_host->ioeventfd(p->bus_host->arg, q->efd, p->gpa + VIRTIO_MMIO_QUEUE_NOTIFY, n, e);
    if (r < 0)
        return r;
    r = loop_add(p->loop, &q->source, q->efd, EPOLLIN, on_kick, q);
    return r < 0 ? err_set(e, -r, "cannot watch queue %u: %s", n, strerror(-r)) : 0;
}

static int connect_all(struct mmio *m, struct err *e)
{
    const struct mmio_place *p = &m->place;
    int r = map_page(m, e);

    if (r < 0)
        return r;
    for (unsigned i = 0; i < m->dev->ops->nqueues; i++) {
        r = connect_queue(m, i, e);
        if (r < 0)
            return r;
    }
    m->ack_efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (m->ack_efd < 0)
        return err_errno(e, "eventfd for acknowledgements");
    r = p->bus_host->ioeventfd(p->bus_host->arg, m->ack_efd, p->gpa + VIRTIO_MMIO_INTERRUPT_ACK,
                               VIRTIO_MMIO_INT_VRING, e);
    if (r < 0)
        return r;
    return irq_open(&m->irq, p->irq_host, p->gsi, e);
}

int mmio_new(struct virtio_device *dev, const struct mmio_place *place, struct mmio **out,
             struct err *e)
{
    struct mmio *m = calloc(1, sizeof(*m));

    if (m == NULL) {
        dev->ops->free(dev);
        return err_set(e, ENOMEM, "no memory for a virtio device");
    }
    m->dev = dev;
    m->place = *place;
    m->irq.efd = m->ack_efd = -1;
    for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++)
        m->queue[i] = (struct mmio_queue){.m = m, .efd = -1, .source = LOOP_SOURCE_INIT};
    for (unsigned i = 0; i < dev->ops->nqueues; i++) {
        dev->queues[i].mem = place->mem;
        dev->queues[i].size_max = dev->ops->queue_max;
    }
    dev->transport = m;
    dev->interrupt = on_interrupt;
    dev->needs_reset = on_needs_reset;
    int r = connect_all(m, e);
    if (r < 0) {
        err_wrap(e, "virtio %s at 0x%llx", dev->ops->name, (unsigned long long)place->gpa);
        mmio_free(m);
        return r;
    }
    *out = m;
    return 0;
}

void mmio_free(struct mmio *m)
{
    if (m == NULL)
        return;
    if (m->dev->active)
        m->dev->ops->reset(m->dev);
    m->dev->active = false;
    for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++) {
        if (m->queue[i].source.fd >= 0)
            loop_del(m->place.loop, &m->queue[i].source);
        close_fd(&m->queue[i].efd);
    }
    m->dev->ops->free(m->dev);
    irq_close(&m->irq);
    close_fd(&m->ack_efd);
    if (m->page)
        munmap(m->page, MMIO_PAGE_SIZE);
    free(m);
}

void mmio_add_stats(const struct mmio *m, struct mmio_stats *s)
{
    s->kicks += m->kicks;
    s->interrupts += atomic_load(&m->irq.raised);
    if (m->t_driver_ok > s->t_driver_ok)
        s->t_driver_ok = m->t_driver_ok;
    if (m->dev->t_connection != 0)
        s->t_connection = m->dev->t_connection;
}

const void *mmio_page(const struct mmio *m)
{
    return m->page;
}
