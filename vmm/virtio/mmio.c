/*
 * The virtio-mmio transport (virtio 1.2, 4.2 "Virtio Over MMIO"): the register page, ioeventfds and
 * the interrupt. What writes to the registers mean is mmio_regs.c.
 *
 * A `struct mmio` owns its device, the register page and the descriptors. Register writes come from
 * vCPU threads with the loop's lock held, notifications from the loop thread with the same lock, so
 * nothing here locks.
 */
#include "vmm/virtio/mmio_internal.h"

#include "lib/cleanup.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#define MAGIC     0x74726976u /* "virt" */
#define VERSION   2u
#define VENDOR_ID 0x444b4c42u /* "BLKD" */

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

/* A write that exited. No device has writable configuration, so only registers are looked at. */
static void on_write(void *arg, uint64_t off, const void *data, unsigned len)
{
    struct mmio *m = arg;
    uint32_t v;

    if (len != sizeof(v) || off % sizeof(v) != 0 || off >= VIRTIO_MMIO_CONFIG)
        return;
    memcpy(&v, data, sizeof(v));
    mmio_write(m, off, le32toh(v));
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
    mmio_page_set(m, VIRTIO_MMIO_MAGIC_VALUE, MAGIC);
    mmio_page_set(m, VIRTIO_MMIO_VERSION, VERSION);
    mmio_page_set(m, VIRTIO_MMIO_DEVICE_ID, m->dev->ops->id);
    mmio_page_set(m, VIRTIO_MMIO_VENDOR_ID, VENDOR_ID);
    /* 4.2.2: a shared memory region that does not exist has length and base ~0. */
    mmio_page_set(m, VIRTIO_MMIO_SHM_LEN_LOW, ~0u);
    mmio_page_set(m, VIRTIO_MMIO_SHM_LEN_HIGH, ~0u);
    mmio_page_set(m, VIRTIO_MMIO_SHM_BASE_LOW, ~0u);
    mmio_page_set(m, VIRTIO_MMIO_SHM_BASE_HIGH, ~0u);
    mmio_show_config(m);
    mmio_reset(m);
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
    dev->interrupt = mmio_interrupt;
    dev->needs_reset = mmio_needs_reset;
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
