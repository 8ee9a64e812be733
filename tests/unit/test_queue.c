/* The split virtqueue against a driver in plain memory: the normal ways, the boundaries, and every
 * rule a hostile driver can break. */
#include "tests/unit/driver_ring.h"

#include <errno.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct fixture {
    struct driver d;
    struct driver_ring r;
    struct virtqueue q;
    struct queue_chain c;
};

static void open_with(struct fixture *f, uint16_t size, bool event_idx, bool indirect)
{
    memset(f, 0, sizeof(*f));
    driver_mem_open(&f->d);
    driver_ring_open(&f->d, &f->r, &f->q, size, event_idx, indirect);
}

static void close_it(struct fixture *f)
{
    memory_done(&f->d.mem);
}

static void add(struct fixture *f, const struct driver_seg *segs, size_t n)
{
    (void)driver_ring_add(&f->d, &f->r, segs, n);
}

/* Publishes head 0 after the test has written the descriptors itself. */
static void expect_violation(struct fixture *f)
{
    uint16_t before = f->q.next_avail;
    (void)driver_avail_put(&f->d, &f->r, 0);
    assert_int_equal(queue_pop(&f->q, &f->c), -EPROTO);
    assert_int_equal(f->q.next_avail, before);
}

static void test_check(void **state)
{
    (void)state;
    struct fixture f;
    open_with(&f, 8, true, true);
    struct virtqueue good = f.q, q = good;
    assert_int_equal(queue_check(&q), 0);

#define REFUSED(change)                                                                            \
    do {                                                                                           \
        q = good;                                                                                  \
        change;                                                                                    \
        assert_int_equal(queue_check(&q), -EINVAL);                                                \
    } while (0)
    REFUSED(q.size = 0);
    REFUSED(q.size = 3);
    REFUSED(q.size = 512);
    REFUSED(q.size_max = 4);
    REFUSED(q.desc += 8);
    REFUSED(q.avail += 1);
    REFUSED(q.used += 2);
    REFUSED(q.desc = DRIVER_MEM - 16 * 7);
    REFUSED(q.avail = DRIVER_MEM - 20);
    REFUSED(q.used = DRIVER_MEM - 68);
    REFUSED(q.desc = UINT64_MAX - 15);
    REFUSED(q.avail = UINT64_MAX - 1);
    REFUSED(q.used = UINT64_MAX - 3);
#undef REFUSED
    /* The last byte of RAM is as good as any: 6 + 8 * 8 = 70, and alignment takes 2. */
    q = good;
    q.used = DRIVER_MEM - 72;
    assert_int_equal(queue_check(&q), 0);
    q.size = 1;
    assert_int_equal(queue_check(&q), 0);

    queue_reset(&f.q);
    assert_false(f.q.ready);
    assert_int_equal(f.q.size, 0);
    assert_int_equal(f.q.size_max, QUEUE_SIZE_MAX);
    assert_ptr_equal(f.q.mem, &f.d.mem);
    assert_int_equal(queue_pop(&f.q, &f.c), -EPROTO);
    close_it(&f);
}

static void test_one_request(void **state)
{
    (void)state;
    struct fixture f;
    open_with(&f, 8, false, false);
    assert_int_equal(queue_pop(&f.q, &f.c), 0);

    uint64_t a = driver_alloc(&f.d, 100, 1), b = driver_alloc(&f.d, 50, 1);
    memset(driver_ptr(&f.d, a, 100), 'a', 100);
    add(&f, SEGS(SEG_R(a, 60), SEG_R(a + 60, 40), SEG_W(b, 20), SEG_W(b + 20, 30)));
    assert_int_equal(queue_pop(&f.q, &f.c), 1);
    assert_int_equal(f.c.nread, 2);
    assert_int_equal(f.c.nwrite, 2);
    assert_int_equal(f.c.read_len, 100);
    assert_int_equal(f.c.write_len, 50);
    assert_ptr_equal(f.c.iov[1].iov_base, driver_ptr(&f.d, a + 60, 40));
    assert_int_equal(queue_pop(&f.q, &f.c), 0);

    queue_push(&f.q, f.c.head, 50);
    assert_true(queue_needs_interrupt(&f.q));
    assert_false(queue_needs_interrupt(&f.q));
    struct driver_used used;
    assert_true(driver_ring_used(&f.d, &f.r, &used));
    assert_int_equal(used.len, 50);
    assert_int_equal(f.r.nfree, 8);
    assert_false(driver_ring_used(&f.d, &f.r, &used));
    close_it(&f);
}

/* Both rings wrap, and the 16-bit indices too. */
static void test_wraps(void **state)
{
    (void)state;
    struct fixture f;
    open_with(&f, 4, true, false);
    uint64_t a = driver_alloc(&f.d, 16, 16);
    struct driver_used used;
    unsigned interrupts = 0;
    for (unsigned i = 0; i < 70000; i++) {
        add(&f, SEGS(SEG_R(a, 1 + i % 16)));
        assert_int_equal(queue_pop(&f.q, &f.c), 1);
        assert_int_equal(f.c.read_len, 1 + i % 16);
        queue_push(&f.q, f.c.head, i);
        interrupts += queue_needs_interrupt(&f.q);
        assert_true(driver_ring_used(&f.d, &f.r, &used));
        assert_int_equal(used.len, i);
    }
    assert_int_equal(interrupts, 70000);
    close_it(&f);
}

static void test_full_ring(void **state)
{
    (void)state;
    struct fixture f;
    open_with(&f, QUEUE_SIZE_MAX, true, false);
    uint64_t a = driver_alloc(&f.d, QUEUE_SIZE_MAX, 16);
    for (unsigned i = 0; i < QUEUE_SIZE_MAX; i++)
        add(&f, SEGS(SEG_W(a + i, 1)));
    assert_int_equal(f.r.nfree, 0);
    for (unsigned i = 0; i < QUEUE_SIZE_MAX; i++) {
        assert_int_equal(queue_pop(&f.q, &f.c), 1);
        assert_ptr_equal(f.c.iov[0].iov_base, driver_ptr(&f.d, a + i, 1));
        queue_push(&f.q, f.c.head, 1);
    }
    assert_int_equal(queue_pop(&f.q, &f.c), 0);
    close_it(&f);
}

static void test_undo_pop(void **state)
{
    (void)state;
    struct fixture f;
    open_with(&f, 4, true, false);
    uint64_t a = driver_alloc(&f.d, 16, 16);
    add(&f, SEGS(SEG_R(a, 5)));
    assert_int_equal(queue_pop(&f.q, &f.c), 1);
    queue_undo_pop(&f.q);
    memset(&f.c, 0, sizeof(f.c));
    assert_int_equal(queue_pop(&f.q, &f.c), 1);
    assert_int_equal(f.c.read_len, 5);
    assert_int_equal(queue_pop(&f.q, &f.c), 0);
    close_it(&f);
}

/* Notifications: wanted only after the queue was seen empty. */
static void test_avail_event(void **state)
{
    (void)state;
    struct fixture f;
    open_with(&f, 8, true, false);
    uint64_t a = driver_alloc(&f.d, 16, 16);
    const struct driver_seg seg[] = {SEG_R(a, 1)};

    assert_true(driver_ring_add(&f.d, &f.r, seg, 1)); /* the very first */
    assert_false(driver_ring_add(&f.d, &f.r, seg, 1));
    assert_int_equal(queue_pop(&f.q, &f.c), 1);
    assert_false(driver_ring_add(&f.d, &f.r, seg, 1));
    assert_int_equal(queue_pop(&f.q, &f.c), 1);
    assert_int_equal(queue_pop(&f.q, &f.c), 1);
    assert_int_equal(queue_pop(&f.q, &f.c), 0);
    assert_true(driver_ring_add(&f.d, &f.r, seg, 1));
    close_it(&f);
}

/* Interrupts: when used_event was passed, and never twice for the same buffers. */
static void test_used_event(void **state)
{
    (void)state;
    struct fixture f;
    open_with(&f, 8, true, false);
    uint64_t a = driver_alloc(&f.d, 16, 16);
    for (unsigned i = 0; i < 6; i++)
        add(&f, SEGS(SEG_R(a, 1)));
    uint16_t *used_event = &driver_avail(&f.d, &f.r)[2 + 8];

#define SERVE()                                                                                    \
    do {                                                                                           \
        assert_int_equal(queue_pop(&f.q, &f.c), 1);                                                \
        queue_push(&f.q, f.c.head, 0);                                                             \
    } while (0)
    assert_false(queue_needs_interrupt(&f.q));
    *used_event = 2; /* "when the third has been used" */
    SERVE();
    assert_false(queue_needs_interrupt(&f.q));
    SERVE();
    SERVE();
    SERVE();
    assert_true(queue_needs_interrupt(&f.q));
    SERVE();
    assert_false(queue_needs_interrupt(&f.q));
    *used_event = 5;
    SERVE();
    assert_true(queue_needs_interrupt(&f.q));
#undef SERVE
    close_it(&f);
}

static void test_no_interrupt_flag(void **state)
{
    (void)state;
    struct fixture f;
    open_with(&f, 8, false, false);
    uint64_t a = driver_alloc(&f.d, 16, 16);
    add(&f, SEGS(SEG_R(a, 1)));
    driver_avail(&f.d, &f.r)[0] = VRING_AVAIL_F_NO_INTERRUPT;
    assert_int_equal(queue_pop(&f.q, &f.c), 1);
    queue_push(&f.q, f.c.head, 0);
    assert_false(queue_needs_interrupt(&f.q));
    close_it(&f);
}

static void test_indirect(void **state)
{
    (void)state;
    struct fixture f;
    open_with(&f, 4, true, true);
    uint64_t a = driver_alloc(&f.d, 4096, 16);
    struct driver_seg segs[QUEUE_SEGMENTS_MAX];
    for (unsigned i = 0; i < QUEUE_SEGMENTS_MAX; i++)
        segs[i] = (struct driver_seg){.gpa = a + i, .len = 1, .write = i >= 100};
    (void)driver_ring_add_indirect(&f.d, &f.r, segs, QUEUE_SEGMENTS_MAX);
    assert_int_equal(queue_pop(&f.q, &f.c), 1);
    assert_int_equal(f.c.nread, 100);
    assert_int_equal(f.c.nwrite, QUEUE_SEGMENTS_MAX - 100);

    /* A direct part, then an indirect end (2.7.5.3.2). */
    uint64_t table = driver_alloc(&f.d, 32, 16);
    driver_desc_put(&f.d, table, 0, a + 8, 3, VRING_DESC_F_WRITE, 0);
    driver_desc_set(&f.d, &f.r, 1, a, 7, VRING_DESC_F_NEXT, 2);
    driver_desc_set(&f.d, &f.r, 2, table, 16, VRING_DESC_F_INDIRECT, 0);
    (void)driver_avail_put(&f.d, &f.r, 1);
    assert_int_equal(queue_pop(&f.q, &f.c), 1);
    assert_int_equal(f.c.read_len, 7);
    assert_int_equal(f.c.write_len, 3);

    /* A table at an odd address is nobody's fault. */
    driver_desc_put(&f.d, table + 3, 0, a, 9, 0, 0);
    driver_desc_set(&f.d, &f.r, 3, table + 3, 16, VRING_DESC_F_INDIRECT, 0);
    (void)driver_avail_put(&f.d, &f.r, 3);
    assert_int_equal(queue_pop(&f.q, &f.c), 1);
    assert_int_equal(f.c.read_len, 9);
    close_it(&f);
}

static void test_bad_indirect(void **state)
{
    (void)state;
    struct fixture f;
    uint64_t t, big, a;
#define CASE(indirect, len, flags, addr)                                                           \
    do {                                                                                           \
        open_with(&f, 4, true, indirect);                                                          \
        a = driver_alloc(&f.d, 64, 16);                                                            \
        t = driver_alloc(&f.d, 64, 16);                                                            \
        big = driver_alloc(&f.d, 16 * 300, 16);                                                    \
        (void)a;                                                                                   \
        (void)big;                                                                                 \
        driver_desc_put(&f.d, t, 0, a, 1, 0, 0);                                                   \
        driver_desc_set(&f.d, &f.r, 0, addr, len, flags, 0);                                       \
        expect_violation(&f);                                                                      \
        close_it(&f);                                                                              \
    } while (0)
    CASE(false, 16, VRING_DESC_F_INDIRECT, t);                    /* not negotiated */
    CASE(true, 0, VRING_DESC_F_INDIRECT, t);                      /* empty */
    CASE(true, 17, VRING_DESC_F_INDIRECT, t);                     /* not whole descriptors */
    CASE(true, 16 * 257, VRING_DESC_F_INDIRECT, big);             /* too long */
    CASE(true, 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, t); /* both flags */
    CASE(true, 16, VRING_DESC_F_INDIRECT, DRIVER_MEM - 15);       /* beyond RAM */
    CASE(true, UINT32_MAX - 15, VRING_DESC_F_INDIRECT, t);
#undef CASE
    /* An indirect table within an indirect table, a loop in one, a next beyond it. */
    for (unsigned i = 0; i < 3; i++) {
        open_with(&f, 4, true, true);
        a = driver_alloc(&f.d, 64, 16);
        t = driver_alloc(&f.d, 64, 16);
        if (i == 0)
            driver_desc_put(&f.d, t, 0, t + 16, 16, VRING_DESC_F_INDIRECT, 0);
        else
            driver_desc_put(&f.d, t, 0, a, 1, VRING_DESC_F_NEXT, i == 1 ? 0 : 2);
        driver_desc_put(&f.d, t, 1, a, 1, 0, 0);
        driver_desc_put(&f.d, t, 2, a, 1, 0, 0);
        driver_desc_set(&f.d, &f.r, 0, t, 32, VRING_DESC_F_INDIRECT, 0);
        expect_violation(&f);
        close_it(&f);
    }
}

static void test_bad_chains(void **state)
{
    (void)state;
    struct fixture f;
    const uint16_t next = VRING_DESC_F_NEXT, write = VRING_DESC_F_WRITE;
    struct {
        uint64_t addr;
        uint32_t len;
        uint16_t flags, next;
    } cases[][2] = {
        {{4096, 1, next, 0}, {0, 0, 0, 0}},                  /* a loop of one */
        {{4096, 1, next, 1}, {4096, 1, next, 0}},            /* a loop of two */
        {{4096, 1, next, 4}, {0, 0, 0, 0}},                  /* next beyond the table */
        {{4096, 1, next, UINT16_MAX}, {0, 0, 0, 0}},         /* far beyond */
        {{4096, 1, write | next, 1}, {4096, 1, 0, 0}},       /* readable after writable */
        {{4096, 0, 0, 0}, {0, 0, 0, 0}},                     /* empty segment */
        {{DRIVER_MEM, 1, 0, 0}, {0, 0, 0, 0}},               /* just outside RAM */
        {{DRIVER_MEM - 1, 2, 0, 0}, {0, 0, 0, 0}},           /* half outside */
        {{UINT64_MAX - 7, 16, 0, 0}, {0, 0, 0, 0}},          /* wraps around */
        {{4096, UINT32_MAX, write, 0}, {0, 0, 0, 0}},        /* longer than RAM */
        {{MEMORY_HOLE_START, 4096, write, 0}, {0, 0, 0, 0}}, /* device memory */
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        open_with(&f, 4, true, false);
        for (unsigned k = 0; k < 2; k++)
            driver_desc_set(&f.d, &f.r, k, cases[i][k].addr, cases[i][k].len, cases[i][k].flags,
                            cases[i][k].next);
        expect_violation(&f);
        close_it(&f);
    }
}

static void test_bad_avail(void **state)
{
    (void)state;
    struct fixture f;
    open_with(&f, 4, true, false);
    driver_desc_set(&f.d, &f.r, 0, 4096, 1, 0, 0);
    (void)driver_avail_put(&f.d, &f.r, 4); /* a head beyond the table */
    assert_int_equal(queue_pop(&f.q, &f.c), -EPROTO);
    close_it(&f);

    open_with(&f, 4, true, false);
    driver_avail(&f.d, &f.r)[1] = 5; /* more buffers than entries */
    assert_int_equal(queue_pop(&f.q, &f.c), -EPROTO);
    driver_avail(&f.d, &f.r)[1] = 0xffff; /* behind us */
    assert_int_equal(queue_pop(&f.q, &f.c), -EPROTO);
    close_it(&f);
}

static void test_copies(void **state)
{
    (void)state;
    struct fixture f;
    open_with(&f, 8, false, false);
    uint64_t a = driver_alloc(&f.d, 32, 1);
    char text[32], *guest = driver_ptr(&f.d, a, 32);
    memcpy(guest, "0123456789abcdef", 16);
    add(&f,
        SEGS(SEG_R(a, 3), SEG_R(a + 3, 1), SEG_R(a + 4, 12), SEG_W(a + 16, 5), SEG_W(a + 21, 11)));
    assert_int_equal(queue_pop(&f.q, &f.c), 1);

    memset(text, 0, sizeof(text));
    assert_int_equal(chain_read(&f.c, 0, text, 16), 16);
    assert_string_equal(text, "0123456789abcdef");
    memset(text, 0, sizeof(text));
    assert_int_equal(chain_read(&f.c, 2, text, 4), 4);
    assert_string_equal(text, "2345");
    assert_int_equal(chain_read(&f.c, 14, text, 10), 2);
    assert_int_equal(chain_read(&f.c, 16, text, 1), 0);
    assert_int_equal(chain_read(&f.c, SIZE_MAX, text, 1), 0);

    assert_int_equal(chain_write(&f.c, 3, "VWXYZ", 5), 5);
    assert_memory_equal(guest + 16, "\0\0\0VWXYZ\0", 9);
    assert_int_equal(chain_write(&f.c, 14, "VWXYZ", 5), 2);
    assert_int_equal(chain_write(&f.c, 16, "V", 1), 0);

    struct iovec iov[4];
    assert_int_equal(chain_slice(&f.c, false, 2, 4, iov, 4), 3);
    assert_int_equal(iov[0].iov_len, 1);
    assert_int_equal(iov[1].iov_len, 1);
    assert_int_equal(iov[2].iov_len, 2);
    assert_ptr_equal(iov[2].iov_base, guest + 4);
    assert_int_equal(chain_slice(&f.c, false, 2, 4, iov, 2), 2);
    assert_int_equal(chain_slice(&f.c, true, 0, SIZE_MAX, iov, 4), 2);
    assert_int_equal(chain_slice(&f.c, true, 16, 1, iov, 4), 0);
    assert_int_equal(chain_slice(&f.c, true, 0, 0, iov, 4), 0);
    close_it(&f);
}

/* Whatever bytes the rings and tables hold, popping ends and stays inside RAM. */
static void test_random_rings(void **state)
{
    (void)state;
    struct fixture f;
    unsigned seed = 1;
    for (unsigned round = 0; round < 3000; round++) {
        open_with(&f, 16, round & 1, round & 2);
        for (unsigned i = 0; i < 16; i++) {
            seed = seed * 1103515245u + 12345u;
            driver_desc_set(&f.d, &f.r, i, (seed >> 8) % (DRIVER_MEM + 64), (seed >> 16) & 0x1ff,
                            (uint16_t)((seed >> 12) & 7), (uint16_t)((seed >> 20) % 17));
            (void)driver_avail_put(&f.d, &f.r, (uint16_t)((seed >> 9) % 17));
        }
        for (unsigned pops = 0; queue_pop(&f.q, &f.c) == 1; pops++) {
            assert_true(pops < 16);
            for (unsigned i = 0; i < (unsigned)f.c.nread + f.c.nwrite; i++) {
                uint8_t *p = f.c.iov[i].iov_base;
                assert_true(p >= f.d.mem.region[0].host);
                assert_true(p + f.c.iov[i].iov_len <= f.d.mem.region[0].host + DRIVER_MEM);
            }
            queue_push(&f.q, f.c.head, 0);
        }
        close_it(&f);
    }
}

/*
 * Driver and device on two threads that sleep whenever the rings let them: a notification or an
 * interrupt that is lost leaves both asleep.
 */
#define THREADED_REQUESTS 200000u

struct threaded {
    struct fixture f;
    int kick, interrupt;
};

static void *device_thread(void *arg)
{
    struct threaded *t = arg;
    struct virtqueue *q = &t->f.q;
    eventfd_t count;
    for (unsigned done = 0; done < THREADED_REQUESTS;) {
        (void)eventfd_read(t->kick, &count);
        int rc;
        while ((rc = queue_pop(q, &t->f.c)) == 1) {
            queue_push(q, t->f.c.head, (uint32_t)t->f.c.read_len);
            if (++done % 7 == 0 && queue_needs_interrupt(q))
                (void)eventfd_write(t->interrupt, 1);
        }
        assert_int_equal(rc, 0);
        if (queue_needs_interrupt(q))
            (void)eventfd_write(t->interrupt, 1);
    }
    return NULL;
}

static void threads(bool event_idx)
{
    static struct threaded t;
    pthread_t device;
    struct driver_used used;
    eventfd_t count;
    open_with(&t.f, 16, event_idx, false);
    t.kick = eventfd(0, EFD_CLOEXEC);
    t.interrupt = eventfd(0, EFD_CLOEXEC);
    assert_int_equal(pthread_create(&device, NULL, device_thread, &t), 0);
    uint64_t a = driver_alloc(&t.f.d, 16, 16);
    for (unsigned sent = 0, got = 0; got < THREADED_REQUESTS;) {
        unsigned burst = 1 + sent % 23; /* at times more than the ring takes */
        for (; burst > 0 && sent < THREADED_REQUESTS && t.f.r.nfree > 0; burst--, sent++) {
            if (driver_ring_add(&t.f.d, &t.f.r, SEGS(SEG_R(a, 1 + sent % 16))))
                (void)eventfd_write(t.kick, 1);
        }
        while (!driver_ring_used(&t.f.d, &t.f.r, &used))
            (void)eventfd_read(t.interrupt, &count);
        do
            assert_int_equal(used.len, 1 + got++ % 16);
        while (driver_ring_used(&t.f.d, &t.f.r, &used));
    }
    assert_int_equal(pthread_join(device, NULL), 0);
    close(t.kick);
    close(t.interrupt);
    close_it(&t.f);
}

static void test_threads_event_idx(void **state)
{
    (void)state;
    threads(true);
}

static void test_threads_flags(void **state)
{
    (void)state;
    threads(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_one_request),
        cmocka_unit_test(test_wraps),
        cmocka_unit_test(test_full_ring),
        cmocka_unit_test(test_undo_pop),
        cmocka_unit_test(test_avail_event),
        cmocka_unit_test(test_used_event),
        cmocka_unit_test(test_no_interrupt_flag),
        cmocka_unit_test(test_indirect),
        cmocka_unit_test(test_bad_indirect),
        cmocka_unit_test(test_bad_chains),
        cmocka_unit_test(test_bad_avail),
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_random_rings),
        cmocka_unit_test(test_threads_event_idx),
        cmocka_unit_test(test_threads_flags),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
