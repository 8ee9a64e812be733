/*
 * The virtio-mmio transport with a fake device and no KVM: what a driver reads in the register
 * page, the whole hand-shake, and drivers that break every rule they can.
 */
#include "vmm/virtio/mmio.h"

#include "cmocka_all.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#define GPA       0xd0000000ull
#define NOTIFIERS 8

struct fake {
    struct virtio_device dev;
    unsigned activated, resets, kicks[2], freed;
    int activate_result;
    bool hangs; /* a reset cannot end */
};

static unsigned frees;

static int fake_activate(struct virtio_device *dev)
{
    struct fake *f = (struct fake *)dev;

    f->activated++;
    return f->activate_result;
}

static void fake_kick(struct virtio_device *dev, unsigned n)
{
    ((struct fake *)dev)->kicks[n]++;
}

static void fake_reset(struct virtio_device *dev)
{
    ((struct fake *)dev)->resets++;
    dev->stuck = ((struct fake *)dev)->hangs;
}

static void fake_free(struct virtio_device *dev)
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

/* A machine of plain memory: remembers what it was asked for. */
struct machine {
    struct memory mem;
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
    struct fake *fake;
};

static int maybe_fail(struct machine *m, struct err *e)
{
    return m->fail_at > 0 && --m->fail_at == 0 ? err_set(e, EBUSY, "no") : 0;
}

static int fake_ioeventfd(void *arg, int efd, uint64_t gpa, uint32_t match, struct err *e)
{
    struct machine *m = arg;

    assert_true(m->nnotifiers < NOTIFIERS);
    m->notifier[m->nnotifiers].efd = efd;
    m->notifier[m->nnotifiers].gpa = gpa;
    m->notifier[m->nnotifiers++].match = match;
    return maybe_fail(m, e);
}

static int fake_page(void *arg, uint64_t gpa, void *page, struct err *e)
{
    struct machine *m = arg;

    assert_int_equal((uintptr_t)page % 4096, 0);
    m->page_gpa = gpa;
    return maybe_fail(m, e);
}

static int fake_irq(void *arg, int efd, unsigned gsi, struct err *e)
{
    struct machine *m = arg;

    m->irq_efd = efd;
    m->gsi = gsi;
    return maybe_fail(m, e);
}

static int machine_try(struct machine *m, int fail_at, struct err *e)
{
    struct err e2 = ERR_INIT;

    memset(m, 0, sizeof(*m));
    m->fail_at = fail_at;
    assert_int_equal(memory_init(&m->mem, 16 << 20, &e2), 0);
    assert_int_equal(loop_init(&m->loop, &e2), 0);
    bus_init(&m->bus, NULL);
    m->bus_host = (struct bus_host){fake_ioeventfd, fake_page, m};
    m->irq_host = (struct irq_host){fake_irq, m};
    m->fake = calloc(1, sizeof(*m->fake));
    assert_non_null(m->fake);
    m->fake->dev.ops = &fake_ops;
    m->fake->dev.offered = 1ull << 5 | 1ull << 40;
    memcpy(m->fake->dev.config, "configuration", 13);
    m->fake->dev.config_len = 13;
    struct mmio_place place = {&m->mem, &m->loop, &m->bus, &m->bus_host, &m->irq_host, GPA, 7};
    return mmio_new(&m->fake->dev, &place, &m->mmio, e);
}

static void machine_close(struct machine *m)
{
    mmio_free(m->mmio);
    loop_done(&m->loop);
    memory_done(&m->mem);
}

static int setup(void **state)
{
    static struct machine m;
    struct err e = ERR_INIT;

    assert_int_equal(machine_try(&m, 0, &e), 0);
    *state = &m;
    return 0;
}

static int teardown(void **state)
{
    unsigned before = frees;

    machine_close(*state);
    assert_int_equal(frees, before + 1);
    return 0;
}

static uint32_t rd(struct machine *m, unsigned reg)
{
    uint32_t v;

    memcpy(&v, (const uint8_t *)mmio_page(m->mmio) + reg, 4);
    return v;
}

static void wr(struct machine *m, unsigned reg, uint32_t v)
{
    bus_write(&m->bus, GPA + reg, &v, 4);
}

/* A guest's write to QueueNotify: KVM finds the eventfd. */
static void notify(struct machine *m, unsigned queue)
{
    for (unsigned i = 0; i < m->nnotifiers; i++) {
        if (m->notifier[i].gpa == GPA + VIRTIO_MMIO_QUEUE_NOTIFY && m->notifier[i].match == queue)
            assert_int_equal(eventfd_write(m->notifier[i].efd, 1), 0);
    }
    assert_int_equal(loop_once(&m->loop, 0), 0);
}

static unsigned interrupts(struct machine *m)
{
    eventfd_t n = 0;

    return eventfd_read(m->irq_efd, &n) == 0 ? (unsigned)n : 0;
}

static void features(struct machine *m, uint64_t f)
{
    wr(m, VIRTIO_MMIO_STATUS, 1);
    wr(m, VIRTIO_MMIO_STATUS, 3);
    wr(m, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
    wr(m, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)f);
    wr(m, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
    wr(m, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(f >> 32));
    wr(m, VIRTIO_MMIO_STATUS, 11);
}

static void queue(struct machine *m, unsigned n, uint32_t size, uint64_t base)
{
    wr(m, VIRTIO_MMIO_QUEUE_SEL, n);
    wr(m, VIRTIO_MMIO_QUEUE_NUM, size);
    wr(m, VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)base);
    wr(m, VIRTIO_MMIO_QUEUE_DESC_HIGH, (uint32_t)(base >> 32));
    wr(m, VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)base + 0x1000);
    wr(m, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, (uint32_t)(base >> 32));
    wr(m, VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)base + 0x2000);
    wr(m, VIRTIO_MMIO_QUEUE_USED_HIGH, (uint32_t)(base >> 32));
    wr(m, VIRTIO_MMIO_QUEUE_READY, 1);
}

#define V1 (1ull << VIRTIO_F_VERSION_1)

static void bring_up(struct machine *m)
{
    features(m, V1 | 1ull << VIRTIO_RING_F_EVENT_IDX | 1ull << 5);
    queue(m, 0, 64, 0x10000);
    queue(m, 1, 128, 0x20000);
    wr(m, VIRTIO_MMIO_STATUS, 15);
}

static bool needs_reset(struct machine *m)
{
    return rd(m, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

static void test_identity(void **state)
{
    struct machine *m = *state;

    assert_int_equal(rd(m, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
    assert_int_equal(rd(m, VIRTIO_MMIO_VERSION), 2);
    assert_int_equal(rd(m, VIRTIO_MMIO_DEVICE_ID), 42);
    assert_int_equal(rd(m, VIRTIO_MMIO_STATUS), 0);
    assert_int_equal(rd(m, VIRTIO_MMIO_QUEUE_NUM_MAX), 128);
    assert_int_equal(rd(m, VIRTIO_MMIO_INTERRUPT_STATUS), 1);
    assert_int_equal(rd(m, VIRTIO_MMIO_SHM_LEN_LOW), UINT32_MAX);
    assert_memory_equal((const char *)mmio_page(m->mmio) + VIRTIO_MMIO_CONFIG, "configuration", 14);
    assert_int_equal(m->page_gpa, GPA);
    assert_int_equal(m->gsi, 7);
    /* Two queues and the acknowledgement. */
    assert_int_equal(m->nnotifiers, 3);
    assert_int_equal(m->notifier[2].gpa, GPA + VIRTIO_MMIO_INTERRUPT_ACK);
    assert_int_equal(m->notifier[2].match, 1);
}

static void test_features_windows(void **state)
{
    struct machine *m = *state;

    wr(m, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
    assert_int_equal(rd(m, VIRTIO_MMIO_DEVICE_FEATURES), 1u << 5 | 1u << 28 | 1u << 29);
    wr(m, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
    assert_int_equal(rd(m, VIRTIO_MMIO_DEVICE_FEATURES), 1u << 8 | 1);
    wr(m, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 2);
    assert_int_equal(rd(m, VIRTIO_MMIO_DEVICE_FEATURES), 0);
    wr(m, VIRTIO_MMIO_DEVICE_FEATURES_SEL, UINT32_MAX);
    assert_int_equal(rd(m, VIRTIO_MMIO_DEVICE_FEATURES), 0);
}

static void test_good_driver(void **state)
{
    struct machine *m = *state;
    struct mmio_stats s = {0};

    notify(m, 0);
    assert_int_equal(m->fake->kicks[0], 0); /* too early */
    bring_up(m);
    assert_int_equal(rd(m, VIRTIO_MMIO_STATUS), 15);
    assert_int_equal(m->fake->activated, 1);
    assert_true(m->fake->dev.active);
    assert_int_equal(m->fake->dev.features, V1 | 1ull << 29 | 1ull << 5);
    assert_true(m->fake->dev.queues[0].event_idx);
    assert_false(m->fake->dev.queues[0].indirect);
    assert_int_equal(m->fake->dev.queues[0].size, 64);
    assert_int_equal(m->fake->dev.queues[1].used, 0x22000);
    notify(m, 1);
    assert_int_equal(m->fake->kicks[1], 1);
    m->fake->dev.interrupt(&m->fake->dev, false);
    assert_int_equal(interrupts(m), 1);
    assert_int_equal(rd(m, VIRTIO_MMIO_INTERRUPT_STATUS), 1);
    mmio_add_stats(m->mmio, &s);
    assert_int_equal(s.kicks, 2);
    assert_int_equal(s.interrupts, 1);
    assert_true(s.t_driver_ok > 0);
}

static void test_reset(void **state)
{
    struct machine *m = *state;

    bring_up(m);
    wr(m, VIRTIO_MMIO_STATUS, 0);
    assert_int_equal(m->fake->resets, 1);
    assert_false(m->fake->dev.active);
    assert_int_equal(rd(m, VIRTIO_MMIO_STATUS), 0);
    assert_int_equal(rd(m, VIRTIO_MMIO_QUEUE_READY), 0);
    assert_int_equal(m->fake->dev.queues[0].size_max, 128);
    notify(m, 0);
    assert_int_equal(m->fake->kicks[0], 0);
    bring_up(m); /* and again */
    assert_int_equal(m->fake->activated, 2);
    assert_int_equal(rd(m, VIRTIO_MMIO_STATUS), 15);
}

static void test_config_change(void **state)
{
    struct machine *m = *state;
    uint32_t generation = rd(m, VIRTIO_MMIO_CONFIG_GENERATION);

    bring_up(m);
    m->fake->dev.config[0] = 'C';
    m->fake->dev.interrupt(&m->fake->dev, true);
    assert_int_equal(interrupts(m), 1);
    assert_int_not_equal(rd(m, VIRTIO_MMIO_CONFIG_GENERATION), generation);
    assert_int_equal(rd(m, VIRTIO_MMIO_INTERRUPT_STATUS), 3);
    assert_int_equal(rd(m, VIRTIO_MMIO_CONFIG) & 0xff, 'C');
    wr(m, VIRTIO_MMIO_INTERRUPT_ACK, 3);
    assert_int_equal(rd(m, VIRTIO_MMIO_INTERRUPT_STATUS), 1);
}

/* Features that were not offered, or not VERSION_1: FEATURES_OK does not stick. */
static void test_features_refused(void **state)
{
    struct machine *m = *state;

    features(m, V1 | 1ull << 6);
    assert_int_equal(rd(m, VIRTIO_MMIO_STATUS), 3);
    wr(m, VIRTIO_MMIO_STATUS, 0);
    features(m, 1ull << 5);
    assert_int_equal(rd(m, VIRTIO_MMIO_STATUS), 3);
    wr(m, VIRTIO_MMIO_STATUS, 0);
    features(m, V1);
    assert_int_equal(rd(m, VIRTIO_MMIO_STATUS), 11);
    /* Too late to change one's mind. */
    wr(m, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
    wr(m, VIRTIO_MMIO_DRIVER_FEATURES, 1u << 5);
    queue(m, 0, 64, 0x10000);
    wr(m, VIRTIO_MMIO_STATUS, 15);
    assert_int_equal(m->fake->dev.features, V1);
}

static void test_high_features(void **state)
{
    struct machine *m = *state;

    wr(m, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 2);
    wr(m, VIRTIO_MMIO_DRIVER_FEATURES, 0);
    assert_false(needs_reset(m));
    wr(m, VIRTIO_MMIO_DRIVER_FEATURES, 1);
    assert_true(needs_reset(m));
}

static void expect_broken(struct machine *m)
{
    assert_true(needs_reset(m));
    assert_int_equal(m->fake->activated, 0);
    wr(m, VIRTIO_MMIO_STATUS, 15); /* nothing but a reset helps */
    assert_int_equal(m->fake->activated, 0);
    wr(m, VIRTIO_MMIO_STATUS, 0);
    assert_false(needs_reset(m));
    assert_false(m->fake->dev.broken);
}

static void test_bad_queues(void **state)
{
    static const struct {
        uint32_t size;
        uint64_t base;
    } bad[] = {
        {0, 0x10000},
        {3, 0x10000},
        {256, 0x10000},
        {65536 + 64, 0x10000},
        {64, 0x10001},
        {64, 16ull << 20},
        {64, UINT64_MAX - 0x1fff},
        {64, 0xd0000000},
    };
    struct machine *m = *state;

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        features(m, V1);
        queue(m, 0, bad[i].size, bad[i].base);
        assert_int_equal(rd(m, VIRTIO_MMIO_QUEUE_READY), 0);
        expect_broken(m);
    }
    /* Before FEATURES_OK. */
    queue(m, 0, 64, 0x10000);
    expect_broken(m);
}

static void test_queue_while_ready(void **state)
{
    struct machine *m = *state;

    features(m, V1);
    queue(m, 0, 64, 0x10000);
    assert_int_equal(rd(m, VIRTIO_MMIO_QUEUE_READY), 1);
    wr(m, VIRTIO_MMIO_QUEUE_DESC_HIGH, 0xffff);
    wr(m, VIRTIO_MMIO_QUEUE_NUM, 128);
    assert_int_equal(m->fake->dev.queues[0].desc, 0x10000);
    assert_int_equal(m->fake->dev.queues[0].size, 64);
    wr(m, VIRTIO_MMIO_QUEUE_READY, 0);
    assert_int_equal(rd(m, VIRTIO_MMIO_QUEUE_READY), 0);
    queue(m, 0, 32, 0x10000);
    wr(m, VIRTIO_MMIO_STATUS, 15);
    assert_int_equal(m->fake->activated, 1);
    /* Taking a live queue away is a breach. */
    wr(m, VIRTIO_MMIO_QUEUE_READY, 0);
    assert_true(needs_reset(m));
    notify(m, 0);
    assert_int_equal(m->fake->kicks[0], 0);
}

/* A reset that could not end is not shown as one, until one can. */
static void test_stuck(void **state)
{
    struct machine *m = *state;

    features(m, V1);
    queue(m, 0, 64, 0x10000);
    wr(m, VIRTIO_MMIO_STATUS, 15);
    assert_int_equal(m->fake->activated, 1);
    m->fake->hangs = true;
    for (unsigned i = 1; i < 4; i++) {
        wr(m, VIRTIO_MMIO_STATUS, 0);
        assert_int_equal(m->fake->resets, i);
        assert_int_equal(rd(m, VIRTIO_MMIO_STATUS), VIRTIO_CONFIG_S_NEEDS_RESET);
        wr(m, VIRTIO_MMIO_STATUS, 15);
        notify(m, 0);
    }
    assert_int_equal(m->fake->activated, 1);
    assert_int_equal(m->fake->kicks[0], 0);
    m->fake->hangs = false;
    wr(m, VIRTIO_MMIO_STATUS, 0);
    assert_int_equal(rd(m, VIRTIO_MMIO_STATUS), 0);
    features(m, V1);
    queue(m, 0, 64, 0x10000);
    wr(m, VIRTIO_MMIO_STATUS, 15);
    assert_int_equal(m->fake->activated, 2);
}

static void test_no_such_queue(void **state)
{
    struct machine *m = *state;

    features(m, V1);
    for (uint32_t n = 2; n != 0; n <<= 1) {
        queue(m, n, 64, 0x10000);
        assert_int_equal(rd(m, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
        assert_int_equal(rd(m, VIRTIO_MMIO_QUEUE_READY), 0);
    }
    assert_false(needs_reset(m));
}

static void test_status_order(void **state)
{
    struct machine *m = *state;

    wr(m, VIRTIO_MMIO_STATUS, 1 | 2 | 4); /* DRIVER_OK without FEATURES_OK */
    expect_broken(m);
    features(m, V1);
    wr(m, VIRTIO_MMIO_STATUS, 1); /* bits taken away */
    expect_broken(m);
    wr(m, VIRTIO_MMIO_STATUS, 0xffffff30); /* bits that mean nothing */
    assert_int_equal(rd(m, VIRTIO_MMIO_STATUS), 0);
}

static void test_activate_fails(void **state)
{
    struct machine *m = *state;

    m->fake->activate_result = -EIO;
    bring_up(m);
    assert_true(needs_reset(m));
    assert_int_equal(rd(m, VIRTIO_MMIO_INTERRUPT_STATUS), 3);
    assert_int_equal(interrupts(m), 1);
    notify(m, 0);
    assert_int_equal(m->fake->kicks[0], 0);
    m->fake->activate_result = 0;
    wr(m, VIRTIO_MMIO_STATUS, 0);
    bring_up(m);
    assert_int_equal(rd(m, VIRTIO_MMIO_STATUS), 15);
}

/* Accesses of the wrong size or place change nothing. */
static void test_odd_accesses(void **state)
{
    struct machine *m = *state;
    uint8_t before[MMIO_PAGE_SIZE], junk[8] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

    memcpy(before, mmio_page(m->mmio), sizeof(before));
    for (uint64_t off = 0; off < MMIO_PAGE_SIZE; off++) {
        for (unsigned len = 1; len <= 8; len *= 2) {
            if (len == 4 && off % 4 == 0 && off < 0x100)
                continue;
            bus_write(&m->bus, GPA + off, junk, len);
        }
    }
    assert_memory_equal(before, mmio_page(m->mmio), sizeof(before));
    uint32_t v = 0;
    bus_read(&m->bus, GPA, &v, 4);
    assert_int_equal(v, 0x74726976);
}

/* Every register, in random order, with random values: it must only survive. */
static void test_storm(void **state)
{
    struct machine *m = *state;
    uint32_t x = 1;

    for (unsigned i = 0; i < 200000; i++) {
        x = x * 1664525u + 1013904223u;
        uint32_t value = x >> 8 & ((x & 1) ? 0xfu : 0xffffffu);
        wr(m, (x >> 16) & 0xfc, value);
        if (i % 64 == 0) {
            bring_up(m);
            notify(m, x >> 31);
        }
    }
    wr(m, VIRTIO_MMIO_STATUS, 0);
    bring_up(m);
    assert_int_equal(rd(m, VIRTIO_MMIO_STATUS), 15);
}

/* Each request to the machine fails once: an error with the device's name, and nothing leaks. */
static void test_nth_failure(void **state)
{
    unsigned before = frees;
    (void)state;

    for (int n = 1; n <= 5; n++) {
        struct machine m;
        struct err e = ERR_INIT;
        assert_int_equal(machine_try(&m, n, &e), -EBUSY);
        assert_non_null(strstr(e.msg, "virtio fake"));
        loop_done(&m.loop);
        memory_done(&m.mem);
    }
    assert_int_equal(frees, before + 5);
}

#define WITH_MACHINE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_MACHINE(test_identity),
        WITH_MACHINE(test_features_windows),
        WITH_MACHINE(test_good_driver),
        WITH_MACHINE(test_reset),
        WITH_MACHINE(test_config_change),
        WITH_MACHINE(test_features_refused),
        WITH_MACHINE(test_high_features),
        WITH_MACHINE(test_bad_queues),
        WITH_MACHINE(test_queue_while_ready),
        WITH_MACHINE(test_stuck),
        WITH_MACHINE(test_no_such_queue),
        WITH_MACHINE(test_status_order),
        WITH_MACHINE(test_activate_fails),
        WITH_MACHINE(test_odd_accesses),
        WITH_MACHINE(test_storm),
        cmocka_unit_test(test_nth_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
