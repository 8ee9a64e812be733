/* The entropy device against a driver in plain memory. */
#include "tests/unit/driver_ring.h"

#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* The device's rests, in place of the C library's: `held` ones do not end by themselves. */
static bool held;
static unsigned rests;
static int timer_fd;
static struct itimerspec timer_spec;

int timerfd_settime(int fd, int flags, const struct itimerspec *spec, struct itimerspec *old)
{
    rests++;
    timer_fd = fd;
    timer_spec = *spec;
    return held ? 0 : (int)syscall(SYS_timerfd_settime, fd, flags, spec, old);
}

struct fixture {
    struct loop loop;
    struct driver d;
};

#define EVENT_IDX (1ull << VIRTIO_RING_F_EVENT_IDX)

static void open_it(struct fixture *f, uint16_t size)
{
    struct err e = ERR_INIT;
    memset(f, 0, sizeof(*f));
    assert_int_equal(loop_init(&f->loop, &e), 0);
    struct virtio_device *dev = virtio_rng_new(&f->loop, &e);
    assert_non_null(dev);
    assert_int_equal(dev->ops->id, 4);
    driver_open(&f->d, dev, 1, size, EVENT_IDX);
}

static void close_it(struct fixture *f)
{
    driver_close(&f->d);
    loop_done(&f->loop);
}

static void test_fills(void **state)
{
    (void)state;
    struct fixture f;
    struct driver_used used;
    open_it(&f, 16);
    uint64_t a = driver_alloc(&f.d, 256, 1);
    uint8_t *p = driver_ptr(&f.d, a, 256);
    driver_submit(&f.d, 0, SEGS(SEG_W(a, 100), SEG_W(a + 100, 100)));
    driver_wait(&f.d, 0, &used);
    assert_int_equal(used.len, 200);
    assert_int_equal(f.d.interrupts, 1);
    unsigned zeros = 0, tail = 0;
    for (unsigned i = 0; i < 200; i++)
        zeros += p[i] == 0;
    for (unsigned i = 200; i < 256; i++)
        tail |= p[i];
    assert_true(zeros < 20);
    assert_int_equal(tail, 0);
    close_it(&f);
}

static void test_bounded(void **state)
{
    (void)state;
    struct fixture f;
    struct driver_used used;
    open_it(&f, 16);
    uint64_t a = driver_alloc(&f.d, 1 << 20, 1);
    driver_submit(&f.d, 0, SEGS(SEG_W(a, 1 << 20)));
    driver_wait(&f.d, 0, &used);
    assert_int_equal(used.len, 4096);
    assert_int_equal(*(uint8_t *)driver_ptr(&f.d, a + 4096, 1), 0);
    /* Many tiny segments: at least one byte comes back, and no more than it says. */
    struct driver_seg segs[16];
    for (unsigned i = 0; i < 16; i++)
        segs[i] = (struct driver_seg)SEG_W(a + i, 1);
    driver_submit(&f.d, 0, segs, 16);
    driver_wait(&f.d, 0, &used);
    assert_in_range(used.len, 1, 16);
    close_it(&f);
}

static void test_readable_buffer_breaks(void **state)
{
    (void)state;
    struct fixture f;
    struct driver_used used;
    open_it(&f, 16);
    uint64_t a = driver_alloc(&f.d, 16, 1);
    driver_submit(&f.d, 0, SEGS(SEG_R(a, 8), SEG_W(a + 8, 8)));
    assert_true(f.d.dev->broken);
    assert_int_equal(f.d.needs_reset, 1);
    assert_false(driver_poll(&f.d, 0, &used));

    /* A reset mends it. */
    driver_reset(&f.d);
    driver_activate(&f.d, 1, 16, EVENT_IDX);
    driver_submit(&f.d, 0, SEGS(SEG_W(a, 16)));
    driver_wait(&f.d, 0, &used);
    assert_int_equal(used.len, 16);
    close_it(&f);
}

static void test_bad_ring_breaks(void **state)
{
    (void)state;
    struct fixture f;
    open_it(&f, 4);
    (void)driver_avail_put(&f.d, &f.d.ring[0], 9);
    driver_kick(&f.d, 0);
    assert_true(f.d.dev->broken);
    close_it(&f);
}

/* A driver whose ring never runs dry: one kick serves a bounded share, the loop the rest. */
static void test_endless_ring(void **state)
{
    (void)state;
    struct fixture f;
    struct driver_used used;
    open_it(&f, 16);
    uint64_t a = driver_alloc(&f.d, 16, 1);
    for (unsigned i = 0; i < 16; i++)
        (void)driver_ring_add(&f.d, &f.d.ring[0], SEGS(SEG_W(a, 1)));
    driver_kick(&f.d, 0);
    for (unsigned i = 0; i < 16; i++)
        assert_true(driver_poll(&f.d, 0, &used));
    for (unsigned i = 0; i < 16; i++)
        assert_false(driver_ring_add(&f.d, &f.d.ring[0], SEGS(SEG_W(a, 1))));
    for (unsigned i = 0; i < 16; i++) /* without a kick */
        driver_wait(&f.d, 0, &used);
    driver_reset(&f.d);
    assert_int_equal(loop_once(&f.loop, 0), 0);
    close_it(&f);
}

/* Kicks and turns of the loop in which nothing may be served. */
static void expect_rest(struct fixture *f)
{
    struct driver_used used;
    unsigned before = rests;

    for (unsigned i = 0; i < 100; i++) {
        driver_kick(&f->d, 0);
        assert_int_equal(loop_once(&f->loop, 0), 0);
    }
    assert_false(driver_poll(&f->d, 0, &used));
    assert_int_equal(rests, before);
}

static void end_rest(void)
{
    assert_in_range(timer_spec.it_value.tv_nsec, 1000000, 100000000);
    assert_int_equal(syscall(SYS_timerfd_settime, timer_fd, 0, &timer_spec, NULL), 0);
}

/* A driver that never stops has a bounded part of the loop thread's time, however often it kicks,
 * asks for next to nothing, or resets the device. */
static void test_rests(void **state)
{
    (void)state;
    struct fixture f;
    struct driver_used used;

    held = true;
    rests = 0;
    open_it(&f, 16);
    uint64_t a = driver_alloc(&f.d, 16, 1);
    for (unsigned i = 0; i < 16; i++) {
        assert_int_equal(rests, 0);
        driver_submit(&f.d, 0, SEGS(SEG_W(a, 1)));
        assert_true(driver_poll(&f.d, 0, &used));
        assert_int_equal(used.len, 1);
    }
    assert_int_equal(rests, 1);
    for (unsigned i = 0; i < 16; i++)
        (void)driver_ring_add(&f.d, &f.d.ring[0], SEGS(SEG_W(a, 1)));
    expect_rest(&f);
    end_rest();
    for (unsigned i = 0; i < 16; i++)
        driver_wait(&f.d, 0, &used);
    assert_int_equal(rests, 2);

    driver_reset(&f.d);
    driver_activate(&f.d, 1, 16, EVENT_IDX);
    (void)driver_ring_add(&f.d, &f.d.ring[0], SEGS(SEG_W(a, 1)));
    expect_rest(&f);
    end_rest();
    driver_wait(&f.d, 0, &used);
    assert_int_equal(rests, 2);
    held = false;
    close_it(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fills),
        cmocka_unit_test(test_bounded),
        cmocka_unit_test(test_readable_buffer_breaks),
        cmocka_unit_test(test_bad_ring_breaks),
        cmocka_unit_test(test_endless_ring),
        cmocka_unit_test(test_rests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
