/*
 * The virtio-mmio transport with a fake device and no KVM: what a driver reads in the register
 * page, the whole hand-shake, and drivers that break every rule they can.
 */
#include "tests/unit/mmio_fake.h"

static int machine_try(struct machine *m, struct memory *mem, int fail_at, struct err *e)
{
    struct err e2 = ERR_INIT;

    assert_int_equal(memory_init(mem, 16 << 20, &e2), 0);
    machine_open(m, mem);
    return machine_add(m, fake_new(), fail_at, e);
}

static int setup(void **state)
{
    static struct machine m;
    static struct memory mem;
    struct err e = ERR_INIT;

    assert_int_equal(machine_try(&m, &mem, 0, &e), 0);
    *state = &m;
    return 0;
}

static int teardown(void **state)
{
    struct machine *m = *state;
    struct memory mem = *m->mem;
    unsigned before = frees;

    machine_close(m);
    memory_done(&mem);
    assert_int_equal(frees, before + 1);
    return 0;
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
    assert_int_equal(fake(m)->kicks[0], 0); /* too early */
    bring_up(m);
    assert_int_equal(rd(m, VIRTIO_MMIO_STATUS), 15);
    assert_int_equal(fake(m)->activated, 1);
    assert_true(m->dev->active);
    assert_int_equal(m->dev->features, V1 | 1ull << 29 | 1ull << 5);
    assert_true(m->dev->queues[0].event_idx);
    assert_false(m->dev->queues[0].indirect);
    assert_int_equal(m->dev->queues[0].size, 64);
    assert_int_equal(m->dev->queues[1].used, 0x22000);
    notify(m, 1);
    assert_int_equal(fake(m)->kicks[1], 1);
    m->dev->interrupt(m->dev, false);
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
    assert_int_equal(fake(m)->resets, 1);
    assert_false(m->dev->active);
    assert_int_equal(rd(m, VIRTIO_MMIO_STATUS), 0);
    assert_int_equal(rd(m, VIRTIO_MMIO_QUEUE_READY), 0);
    assert_int_equal(m->dev->queues[0].size_max, 128);
    notify(m, 0);
    assert_int_equal(fake(m)->kicks[0], 0);
    bring_up(m); /* and again */
    assert_int_equal(fake(m)->activated, 2);
    assert_int_equal(rd(m, VIRTIO_MMIO_STATUS), 15);
}

static void test_config_change(void **state)
{
    struct machine *m = *state;
    uint32_t generation = rd(m, VIRTIO_MMIO_CONFIG_GENERATION);

    bring_up(m);
    m->dev->config[0] = 'C';
    m->dev->interrupt(m->dev, true);
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
    assert_int_equal(m->dev->features, V1);
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
    assert_int_equal(fake(m)->activated, 0);
    wr(m, VIRTIO_MMIO_STATUS, 15); /* nothing but a reset helps */
    assert_int_equal(fake(m)->activated, 0);
    wr(m, VIRTIO_MMIO_STATUS, 0);
    assert_false(needs_reset(m));
    assert_false(m->dev->broken);
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
    assert_int_equal(m->dev->queues[0].desc, 0x10000);
    assert_int_equal(m->dev->queues[0].size, 64);
    wr(m, VIRTIO_MMIO_QUEUE_READY, 0);
    assert_int_equal(rd(m, VIRTIO_MMIO_QUEUE_READY), 0);
    queue(m, 0, 32, 0x10000);
    wr(m, VIRTIO_MMIO_STATUS, 15);
    assert_int_equal(fake(m)->activated, 1);
    /* Taking a live queue away is a breach. */
    wr(m, VIRTIO_MMIO_QUEUE_READY, 0);
    assert_true(needs_reset(m));
    notify(m, 0);
    assert_int_equal(fake(m)->kicks[0], 0);
}

/* A reset that could not end is not shown as one, until one can. */
static void test_stuck(void **state)
{
    struct machine *m = *state;

    features(m, V1);
    queue(m, 0, 64, 0x10000);
    wr(m, VIRTIO_MMIO_STATUS, 15);
    assert_int_equal(fake(m)->activated, 1);
    fake(m)->hangs = true;
    for (unsigned i = 1; i < 4; i++) {
        wr(m, VIRTIO_MMIO_STATUS, 0);
        assert_int_equal(fake(m)->resets, i);
        assert_int_equal(rd(m, VIRTIO_MMIO_STATUS), VIRTIO_CONFIG_S_NEEDS_RESET);
        wr(m, VIRTIO_MMIO_STATUS, 15);
        notify(m, 0);
    }
    assert_int_equal(fake(m)->activated, 1);
    assert_int_equal(fake(m)->kicks[0], 0);
    fake(m)->hangs = false;
    wr(m, VIRTIO_MMIO_STATUS, 0);
    assert_int_equal(rd(m, VIRTIO_MMIO_STATUS), 0);
    features(m, V1);
    queue(m, 0, 64, 0x10000);
    wr(m, VIRTIO_MMIO_STATUS, 15);
    assert_int_equal(fake(m)->activated, 2);
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

    fake(m)->activate_result = -EIO;
    bring_up(m);
    assert_true(needs_reset(m));
    assert_int_equal(rd(m, VIRTIO_MMIO_INTERRUPT_STATUS), 3);
    assert_int_equal(interrupts(m), 1);
    notify(m, 0);
    assert_int_equal(fake(m)->kicks[0], 0);
    fake(m)->activate_result = 0;
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
        struct memory mem;
        struct err e = ERR_INIT;
        assert_int_equal(machine_try(&m, &mem, n, &e), -EBUSY);
        assert_non_null(strstr(e.msg, "virtio fake"));
        loop_done(&m.loop);
        memory_done(&mem);
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
