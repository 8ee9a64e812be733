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
#include "tests/unit/mmio_machine.h"

#define DEVICE_QUEUE_MAX 64u
#define DEVICE_DATA      0x20000ull
#define DEVICE_DATA_LEN  0x20000ull
#define DEVICE_SEGS_MAX  8u

struct device {
    struct driver d; /* its memory alone: the driver here keeps no books */
    struct machine m;
    unsigned nqueues;
    uint16_t size[VIRTIO_QUEUES_MAX]; /* of the queues; not 0 */
    uint64_t brk;                     /* of DEVICE_DATA */
};

static inline uint64_t device_desc(unsigned q)
{
    return 0x4000ull * (q + 1);
}

static inline uint64_t device_avail(unsigned q)
{
    return device_desc(q) + 0x1000;
}

/* --- the machine ------------------------------------------------------------------------------ */

/* Memory and loop, for the device that device_open then takes. */
static inline void device_machine(struct device *t)
{
    memset(t, 0, sizeof(*t));
    driver_mem_open(&t->d);
    machine_open(&t->m, &t->d.mem);
}

static inline void device_open(struct device *t, struct virtio_device *dev)
{
    struct err e = ERR_INIT;

    assert_non_null(dev);
    t->nqueues = dev->ops->nqueues;
    for (unsigned q = 0; q < t->nqueues; q++)
        t->size[q] =
            dev->ops->queue_max < DEVICE_QUEUE_MAX ? dev->ops->queue_max : DEVICE_QUEUE_MAX;
    assert_int_equal(machine_add(&t->m, dev, 0, &e), 0);
}

static inline void device_close(struct device *t)
{
    machine_close(&t->m);
    memory_done(&t->d.mem);
}

/* A device that was broken shows it, and one that was not does not. */
static inline void device_turn(struct device *t)
{
    assert_int_equal(loop_once(&t->m.loop, 0), 0);
    assert_int_equal(needs_reset(&t->m), t->m.dev->broken);
}

static inline void device_notify(struct device *t, unsigned q)
{
    notify(&t->m, q);
    device_turn(t);
}

/* --- a driver in good order ------------------------------------------------------------------- */

/* From reset to DRIVER_OK; of the features that are offered those in `wanted`. */
static inline void device_up(struct device *t, uint64_t wanted)
{
    uint64_t offered;

    wr(&t->m, VIRTIO_MMIO_STATUS, 0);
    wr(&t->m, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
    offered = rd(&t->m, VIRTIO_MMIO_DEVICE_FEATURES);
    wr(&t->m, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
    offered |= (uint64_t)rd(&t->m, VIRTIO_MMIO_DEVICE_FEATURES) << 32;
    features(&t->m, offered & (wanted | V1));
    for (unsigned q = 0; q < t->nqueues; q++) {
        memset(driver_ptr(&t->d, device_desc(q), 0x4000), 0, 0x4000);
        queue(&t->m, q, t->size[q], device_desc(q));
    }
    wr(&t->m, VIRTIO_MMIO_STATUS, 15);
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
    uint64_t gpa = GPA + fuzz_u16(f) % (MMIO_PAGE_SIZE - 8);

    fuzz_take(f, bytes, len);
    if (how & 4)
        bus_read(&t->m.bus, gpa, bytes, len);
    else
        bus_write(&t->m.bus, gpa, bytes, len);
}

/*
 * The state is saved, changed as the input says, and loaded into the transport as it is after a
 * reset. One that was not changed must be taken.
 */
static inline void device_fuzz_state(struct device *t, struct fuzz *f)
{
    static uint8_t state[MMIO_SAVE_MAX];
    int len = mmio_save(t->m.mmio, state, sizeof(state)), got;
    uint8_t changes = fuzz_u8(f) % 4, cut = fuzz_u8(f);

    if (len < 0)
        return;
    for (unsigned i = 0; i < changes; i++)
        state[fuzz_u16(f) % (unsigned)len] = fuzz_u8(f);
    if (cut & 1 && cut < len)
        len -= cut;
    wr(&t->m, VIRTIO_MMIO_STATUS, 0);
    got = mmio_load(t->m.mmio, state, (size_t)len);
    assert_true(got == 0 || changes > 0 || (cut & 1));
    if (got == 0)
        assert_int_equal(mmio_save(t->m.mmio, state, sizeof(state)), len);
    device_turn(t);
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
    if (step >= 0x7c && step < 0x80) {
        device_fuzz_state(t, f);
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
        wr(&t->m, 4u * (fuzz_u8(f) % 64), fuzz_u32(f));
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
