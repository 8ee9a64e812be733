/*
 * A virtio device behind its mmio transport, with no KVM and a driver that does as the input says:
 * any register write, any ring, any bytes in guest memory; and, so that it comes far, the
 * hand-shake and requests in good order.
 *
 * The driver's queues lie at fixed places (unless the input moves them), what requests point to
 * behind them.
 */
#ifndef BULKHEAD_TEST_FUZZ_DEVICE_H
#define BULKHEAD_TEST_FUZZ_DEVICE_H

#include "tests/fuzz/fuzz.h"
#include "tests/unit/driver_ring.h"
#include "vmm/virtio/mmio.h"

#include <linux/virtio_mmio.h>
#include <sys/eventfd.h>

#define DEVICE_GPA       0xd0000000ull
#define DEVICE_QUEUE_MAX 64u
#define DEVICE_DATA      0x20000ull
#define DEVICE_DATA_LEN  0x20000ull
#define DEVICE_SEGS_MAX  8u

struct device {
    struct driver d; /* its memory alone: the driver here keeps no books */
    struct loop loop;
    struct bus bus;
    struct bus_host bus_host;
    struct irq_host irq_host;
    int notify[VIRTIO_QUEUES_MAX];
    uint16_t size[VIRTIO_QUEUES_MAX]; /* of the queues; not 0 */
    unsigned nqueues;
    struct virtio_device *dev;
    struct mmio *mmio;
    uint64_t brk; /* of DEVICE_DATA */
};

static inline uint64_t device_desc(unsigned q)
{
    return 0x4000ull * (q + 1);
}

static inline uint64_t device_avail(unsigned q)
{
    return device_desc(q) + 0x1000;
}

static inline uint64_t device_used(unsigned q)
{
    return device_desc(q) + 0x2000;
}

/* --- the machine ------------------------------------------------------------------------------ */

static inline int device_ioeventfd(void *arg, int efd, uint64_t gpa, uint32_t match, struct err *e)
{
    struct device *t = arg;

    (void)e;
    if (gpa == DEVICE_GPA + VIRTIO_MMIO_QUEUE_NOTIFY) {
        assert_true(match < VIRTIO_QUEUES_MAX);
        t->notify[match] = efd;
    }
    return 0;
}

static inline int device_page(void *arg, uint64_t gpa, void *page, struct err *e)
{
    (void)arg;
    (void)gpa;
    (void)page;
    (void)e;
    return 0;
}

static inline int device_irq(void *arg, int efd, unsigned gsi, struct err *e)
{
    (void)arg;
    (void)efd;
    (void)gsi;
    (void)e;
    return 0;
}

/* Memory and loop, for the device that device_open then takes. */
static inline void device_machine(struct device *t)
{
    struct err e = ERR_INIT;

    memset(t, 0, sizeof(*t));
    driver_mem_open(&t->d);
    assert_int_equal(loop_init(&t->loop, &e), 0);
    bus_init(&t->bus, NULL);
    t->bus_host = (struct bus_host){device_ioeventfd, device_page, t};
    t->irq_host = (struct irq_host){device_irq, t};
}

static inline void device_open(struct device *t, struct virtio_device *dev)
{
    struct mmio_place place = {&t->d.mem,    &t->loop,   &t->bus, &t->bus_host,
                               &t->irq_host, DEVICE_GPA, 7};
    struct err e = ERR_INIT;

    assert_non_null(dev);
    t->dev = dev;
    t->nqueues = dev->ops->nqueues;
    for (unsigned q = 0; q < t->nqueues; q++)
        t->size[q] =
            dev->ops->queue_max < DEVICE_QUEUE_MAX ? dev->ops->queue_max : DEVICE_QUEUE_MAX;
    assert_int_equal(mmio_new(dev, &place, &t->mmio, &e), 0);
}

static inline void device_close(struct device *t)
{
    mmio_free(t->mmio);
    loop_done(&t->loop);
    memory_done(&t->d.mem);
}

static inline uint32_t device_read(struct device *t, unsigned reg)
{
    uint32_t v;

    bus_read(&t->bus, DEVICE_GPA + reg, &v, sizeof(v));
    return v;
}

static inline void device_write(struct device *t, unsigned reg, uint32_t v)
{
    bus_write(&t->bus, DEVICE_GPA + reg, &v, sizeof(v));
}

/* A device that was broken shows it, and one that was not does not. */
static inline void device_turn(struct device *t)
{
    assert_int_equal(loop_once(&t->loop, 0), 0);
    assert_int_equal(!!(device_read(t, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET),
                     t->dev->broken);
}

static inline void device_notify(struct device *t, unsigned q)
{
    assert_int_equal(eventfd_write(t->notify[q], 1), 0);
    device_turn(t);
}

/* --- a driver in good order ------------------------------------------------------------------- */

static inline void device_queue_up(struct device *t, unsigned q)
{
    device_write(t, VIRTIO_MMIO_QUEUE_SEL, q);
    device_write(t, VIRTIO_MMIO_QUEUE_NUM, t->size[q]);
    device_write(t, VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)device_desc(q));
    device_write(t, VIRTIO_MMIO_QUEUE_DESC_HIGH, 0);
    device_write(t, VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)device_avail(q));
    device_write(t, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, 0);
    device_write(t, VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)device_used(q));
    device_write(t, VIRTIO_MMIO_QUEUE_USED_HIGH, 0);
    memset(driver_ptr(&t->d, device_desc(q), 0x4000), 0, 0x4000);
    device_write(t, VIRTIO_MMIO_QUEUE_READY, 1);
}

/* From reset to DRIVER_OK; of the features that are offered those in `wanted`. */
static inline void device_up(struct device *t, uint64_t wanted)
{
    uint64_t offered;

    device_write(t, VIRTIO_MMIO_STATUS, 0);
    device_write(t, VIRTIO_MMIO_STATUS, 3);
    device_write(t, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
    offered = device_read(t, VIRTIO_MMIO_DEVICE_FEATURES);
    device_write(t, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
    offered |= (uint64_t)device_read(t, VIRTIO_MMIO_DEVICE_FEATURES) << 32;
    wanted = offered & (wanted | 1ull << VIRTIO_F_VERSION_1);
    device_write(t, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
    device_write(t, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)wanted);
    device_write(t, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
    device_write(t, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(wanted >> 32));
    device_write(t, VIRTIO_MMIO_STATUS, 11);
    for (unsigned q = 0; q < t->nqueues; q++)
        device_queue_up(t, q);
    device_write(t, VIRTIO_MMIO_STATUS, 15);
}

/* Room in DEVICE_DATA, which is used again and again. */
static inline uint64_t device_room(struct device *t, uint64_t len)
{
    if (t->brk + len > DEVICE_DATA_LEN)
        t->brk = 0;
    t->brk += len;
    return DEVICE_DATA + t->brk - len;
}

static inline void device_publish(struct device *t, unsigned q, uint16_t head)
{
    uint16_t *avail = driver_ptr(&t->d, device_avail(q), 0x400);
    uint16_t idx = avail[1];

    avail[2 + idx % t->size[q]] = head;
    avail[1] = (uint16_t)(idx + 1);
}

/* A chain of these segments, direct or by a table, and a notification. */
static inline void device_submit(struct device *t, unsigned q, const struct driver_seg *segs,
                                 unsigned n, bool indirect)
{
    const uint16_t *avail = driver_ptr(&t->d, device_avail(q), 0x400);
    uint16_t first = (uint16_t)(avail[1] * DEVICE_SEGS_MAX % t->size[q]);
    uint64_t table = indirect ? device_room(t, 16ull * n) : device_desc(q);

    for (unsigned i = 0; i < n; i++) {
        unsigned at = indirect ? i : first + i;
        driver_desc_put(&t->d, table, at, segs[i].gpa, segs[i].len,
                        driver_seg_flags(&segs[i], i + 1 == n), (uint16_t)(at + 1));
    }
    if (indirect)
        driver_desc_put(&t->d, device_desc(q), first, table, 16 * n, VRING_DESC_F_INDIRECT, 0);
    device_publish(t, q, first);
    device_notify(t, q);
}

/* --- what the input says ---------------------------------------------------------------------- */

/* A request of up to three segments each way; what the device reads comes from the input. */
static inline void device_fuzz_request(struct device *t, struct fuzz *f)
{
    struct driver_seg segs[DEVICE_SEGS_MAX];
    unsigned q = fuzz_u8(f) % t->nqueues, n = 0;
    uint8_t how = fuzz_u8(f);

    for (unsigned i = 0; i < (how & 3u); i++) {
        size_t len;
        const uint8_t *bytes = fuzz_bytes(f, fuzz_u8(f), &len);
        uint64_t gpa = device_room(t, len);

        if (len > 0)
            memcpy(driver_ptr(&t->d, gpa, len), bytes, len);
        segs[n++] = (struct driver_seg){gpa, (uint32_t)len, false};
    }
    for (unsigned i = 0; i < (how >> 2 & 3u); i++) {
        uint32_t len = fuzz_u16(f);
        segs[n++] = (struct driver_seg){device_room(t, len), len, true};
    }
    if (n > 0)
        device_submit(t, q, segs, n, how & 16);
}

static inline void device_fuzz_poke(struct device *t, struct fuzz *f)
{
    uint64_t at = fuzz_u32(f) % (DEVICE_DATA + DEVICE_DATA_LEN);
    size_t len;
    const uint8_t *bytes = fuzz_bytes(f, fuzz_u8(f), &len);

    if (len > 0)
        memcpy(driver_ptr(&t->d, at, len), bytes, len);
}

/* One descriptor as the input has it; published if it says so. */
static inline void device_fuzz_descriptor(struct device *t, struct fuzz *f)
{
    unsigned q = fuzz_u8(f) % t->nqueues;
    uint16_t i = (uint16_t)(fuzz_u8(f) % t->size[q]);
    uint8_t how = fuzz_u8(f);
    uint64_t addr = how & 8 ? fuzz_u64(f) : DEVICE_DATA + fuzz_u16(f);
    uint32_t len = how & 8 ? fuzz_u32(f) : fuzz_u16(f);

    driver_desc_put(&t->d, device_desc(q), i, addr, len, how & 7, fuzz_u8(f));
    if (how & 16) {
        device_publish(t, q, i);
        device_notify(t, q);
    }
}

/* An access of any length anywhere in the page. */
static inline void device_fuzz_access(struct device *t, struct fuzz *f)
{
    uint8_t how = fuzz_u8(f), bytes[8];
    unsigned len = 1u << (how & 3);
    uint64_t gpa = DEVICE_GPA + fuzz_u16(f) % (MMIO_PAGE_SIZE - 8);

    fuzz_take(f, bytes, len);
    if (how & 4)
        bus_read(&t->bus, gpa, bytes, len);
    else
        bus_write(&t->bus, gpa, bytes, len);
}

/* The device's own steps, for what is behind it on the host. */
typedef void device_step_fn(struct device *t, struct fuzz *f, uint8_t step);
#define DEVICE_STEPS 9u

static inline void device_fuzz_step(struct device *t, struct fuzz *f, device_step_fn *own)
{
    uint8_t step = fuzz_u8(f), which;

    if (step >= 0x80 && own) {
        own(t, f, step & 0x7f);
        return;
    }
    which = step % DEVICE_STEPS;
    if (which == 0)
        device_up(t, fuzz_u64(f));
    else if (which == 1 || which == 2)
        device_fuzz_request(t, f);
    else if (which == 3)
        device_fuzz_poke(t, f);
    else if (which == 4)
        device_fuzz_descriptor(t, f);
    else if (which == 5)
        device_fuzz_access(t, f);
    else if (which == 6)
        device_write(t, 4u * (fuzz_u8(f) % 64), fuzz_u32(f));
    else if (which == 7)
        device_notify(t, fuzz_u8(f) % t->nqueues);
    else
        device_turn(t);
}

/* Runs the whole input. */
static inline void device_fuzz(struct device *t, struct fuzz *f, device_step_fn *own)
{
    while (f->left > 0)
        device_fuzz_step(t, f, own);
    for (unsigned i = 0; i < 4; i++)
        device_turn(t);
}

#endif
