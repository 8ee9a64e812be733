/* lib/loop: dispatch, interest, deletion from within callbacks. */
#include "lib/loop.h"
#include "tests/unit/cmocka_all.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct counter {
    struct loop *loop;
    struct loop_source source, *victim;
    int seen;
};

static void count(struct loop_source *s, uint32_t events)
{
    struct counter *c = s->arg;

    assert_true(events & EPOLLIN);
    c->seen++;
    if (c->victim)
        loop_del(c->loop, c->victim);
}

static void setup(struct loop *l, struct counter c[2])
{
    struct err e = ERR_INIT;

    assert_int_equal(loop_init(l, &e), 0);
    for (int i = 0; i < 2; i++) {
        c[i] = (struct counter){.loop = l};
        assert_int_equal(loop_add(l, &c[i].source, eventfd(1, EFD_CLOEXEC), EPOLLIN, count, &c[i]),
                         0);
    }
}

static void teardown(struct loop *l, int fd0, int fd1)
{
    close(fd0);
    close(fd1);
    loop_done(l);
}

static void a_deleted_source_is_not_called(void **state)
{
    struct counter c[2];
    struct loop l;
    int a, b;

    (void)state;
    setup(&l, c);
    a = c[0].source.fd;
    b = c[1].source.fd;
    c[0].victim = &c[1].source;
    c[1].victim = &c[0].source;
    assert_int_equal(loop_once(&l, 0), 0);
    assert_int_equal(c[0].seen + c[1].seen, 1); /* whoever came first removed the other */
    teardown(&l, a, b);
}

static void a_source_may_delete_itself(void **state)
{
    struct counter c[2];
    struct loop l;
    int a, b;

    (void)state;
    setup(&l, c);
    a = c[0].source.fd;
    b = c[1].source.fd;
    c[0].victim = &c[0].source;
    assert_int_equal(loop_once(&l, 0), 0);
    assert_int_equal(loop_once(&l, 0), 0);
    assert_int_equal(c[0].seen, 1);
    assert_int_equal(c[1].seen, 2);
    assert_int_equal(c[0].source.fd, -1);
    teardown(&l, a, b);
}

static void interest_comes_and_goes(void **state)
{
    struct counter c[2];
    struct loop l;

    (void)state;
    setup(&l, c);
    assert_int_equal(loop_watch(&l, &c[0].source, 0), 0);
    assert_int_equal(loop_watch(&l, &c[0].source, 0), 0);
    assert_int_equal(loop_once(&l, 0), 0);
    assert_int_equal(c[0].seen, 0);
    assert_int_equal(loop_watch(&l, &c[0].source, EPOLLIN), 0);
    assert_int_equal(loop_once(&l, 0), 0);
    assert_int_equal(c[0].seen, 1);
    teardown(&l, c[0].source.fd, c[1].source.fd);
}

static void stop_from_source(struct loop_source *s, uint32_t events)
{
    (void)events;
    loop_stop(((struct counter *)s->arg)->loop);
}

static void run_ends_at_stop(void **state)
{
    struct counter c[2];
    struct loop l;

    (void)state;
    setup(&l, c);
    c[1].source.fn = stop_from_source;
    assert_int_equal(loop_run(&l), 0);
    assert_int_equal(loop_add(&l, &c[0].source, -1, EPOLLIN, count, &c[0]), -EBADF);
    teardown(&l, c[1].source.fd, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_deleted_source_is_not_called),
        cmocka_unit_test(a_source_may_delete_itself),
        cmocka_unit_test(interest_comes_and_goes),
        cmocka_unit_test(run_ends_at_stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
