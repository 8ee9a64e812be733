/*
 * A machine without KVM around a virtio-mmio transport, for tests: remembers what it was asked for,
 * and is the guest's processor: register writes exit to the bus, notifications are eventfds.
 *
 *   struct machine m;
 *   machine_open(&m, &mem);                          loop, bus
 *   machine_add(&m, dev, 0, &e);                     the transport, which owns dev
 *   features(&m, f); queue(&m, 0, 64, 0x10000); wr(&m, VIRTIO_MMIO_STATUS, 15);
 *   machine_close(&m);
 */
#ifndef BULKHEAD_TEST_MMIO_MACHINE_H
#define BULKHEAD_TEST_MMIO_MACHINE_H

#include "tests/unit/cmocka_all.h"

#include "vmm/virtio/mmio.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/eventfd.h>

#define GPA       0xd0000000ull
#define NOTIFIERS 8
#define V1        (1ull << VIRTIO_F_VERSION_1)

struct machine {
    const struct memory *mem;
    struct loop loop;
    struct bus bus;
    struct bus_host bus_host;
    struct irq_host irq_host;
    struct {
        int efd;
        uint64_t gpa;
        uint32_t match;
    } notifier[NOTIFIERS];
    unsigned nnotifiers;
    uint64_t page_gpa;
    int irq_efd;
    unsigned gsi;
    int fail_at; /* the n-th request of the machine fails; 0 = none */
    struct mmio *mmio;
    struct virtio_device *dev;
};

static inline int maybe_fail(struct machine *m, struct err *e)
{
    return m->fail_at > 0 && --m->fail_at == 0 ? err_set(e, EBUSY, "no") : 0;
}

static inline int fake_ioeventfd(void *arg, int efd, uint64_t gpa, uint32_t match, struct err *e)
{
    struct machine *m = arg;

    assert_true(m->nnotifiers < NOTIFIERS);
    m->notifier[m->nnotifiers].efd = efd;
    m->notifier[m->nnotifiers].gpa = gpa;
    m->notifier[m->nnotifiers++].match = match;
    return maybe_fail(m, e);
}

static inline int fake_page(void *arg, uint64_t gpa, void *page, struct err *e)
{
    struct machine *m = arg;

    assert_int_equal((uintptr_t)page % 4096, 0);
    m->page_gpa = gpa;
    return maybe_fail(m, e);
}

static inline int fake_irq(void *arg, int efd, unsigned gsi, struct err *e)
{
    struct machine *m = arg;

    m->irq_efd = efd;
    m->gsi = gsi;
    return maybe_fail(m, e);
}

static inline void machine_open(struct machine *m, const struct memory *mem)
{
    struct err e = ERR_INIT;

    memset(m, 0, sizeof(*m));
    m->mem = mem;
    assert_int_equal(loop_init(&m->loop, &e), 0);
    bus_init(&m->bus, NULL);
    m->bus_host = (struct bus_host){fake_ioeventfd, fake_page, m};
    m->irq_host = (struct irq_host){fake_irq, m};
}

static inline int machine_add(struct machine *m, struct virtio_device *dev, int fail_at,
                              struct err *e)
{
    struct mmio_place place = {m->mem, &m->loop, &m->bus, &m->bus_host, &m->irq_host, GPA, 7};

    m->fail_at = fail_at;
    m->dev = dev;
    return mmio_new(dev, &place, &m->mmio, e);
}

static inline void machine_close(struct machine *m)
{
    mmio_free(m->mmio);
    loop_done(&m->loop);
}

static inline uint32_t rd(struct machine *m, unsigned reg)
{
    uint32_t v;

    memcpy(&v, (const uint8_t *)mmio_page(m->mmio) + reg, 4);
    return v;
}

static inline void wr(struct machine *m, unsigned reg, uint32_t v)
{
    bus_write(&m->bus, GPA + reg, &v, 4);
}

/* A guest's write to QueueNotify: KVM finds the eventfd. */
static inline void notify(struct machine *m, unsigned queue)
{
    for (unsigned i = 0; i < m->nnotifiers; i++) {
        if (m->notifier[i].gpa == GPA + VIRTIO_MMIO_QUEUE_NOTIFY && m->notifier[i].match == queue)
            assert_int_equal(eventfd_write(m->notifier[i].efd, 1), 0);
    }
    assert_int_equal(loop_once(&m->loop, 0), 0);
}

static inline unsigned interrupts(struct machine *m)
{
    eventfd_t n = 0;

    return eventfd_read(m->irq_efd, &n) == 0 ? (unsigned)n : 0;
}

static inline void features(struct machine *m, uint64_t f)
{
    wr(m, VIRTIO_MMIO_STATUS, 1);
    wr(m, VIRTIO_MMIO_STATUS, 3);
    wr(m, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
    wr(m, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)f);
    wr(m, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
    wr(m, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(f >> 32));
    wr(m, VIRTIO_MMIO_STATUS, 11);
}

static inline void queue_at(struct machine *m, unsigned n, uint32_t size, uint64_t desc,
                            uint64_t avail, uint64_t used)
{
    wr(m, VIRTIO_MMIO_QUEUE_SEL, n);
    wr(m, VIRTIO_MMIO_QUEUE_NUM, size);
    wr(m, VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)desc);
    wr(m, VIRTIO_MMIO_QUEUE_DESC_HIGH, (uint32_t)(desc >> 32));
    wr(m, VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)avail);
    wr(m, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, (uint32_t)(avail >> 32));
    wr(m, VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)used);
    wr(m, VIRTIO_MMIO_QUEUE_USED_HIGH, (uint32_t)(used >> 32));
    wr(m, VIRTIO_MMIO_QUEUE_READY, 1);
}

static inline void queue(struct machine *m, unsigned n, uint32_t size, uint64_t base)
{
    queue_at(m, n, size, base, base + 0x1000, base + 0x2000);
}

static inline bool needs_reset(struct machine *m)
{
    return rd(m, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

#endif
