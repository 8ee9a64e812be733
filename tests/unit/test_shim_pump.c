/* The streams, each way, to pipes, sockets and files. */
#include "tests/unit/shim_rig.h"

#include <pthread.h>
#include <sys/mman.h>

#define BULK (100u * MIB)

struct bulk {
    int fd;
    size_t len;
    uint64_t sum;
    bool close;
};

static uint64_t mix(uint64_t sum, const unsigned char *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        sum = (sum ^ p[i]) * 1099511628211u;
    return sum;
}

static void *bulk_write(void *arg)
{
    struct bulk *b = arg;
    uint64_t x = (uint64_t)b->fd + 88172645463325252u;
    static _Thread_local unsigned char buf[60000];

    for (size_t left = b->len; left;) {
        size_t n = left < sizeof(buf) ? left : 1 + x % sizeof(buf);

        for (size_t i = 0; i < n; i += 8) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            memcpy(buf + i, &x, n - i < 8 ? n - i : 8);
        }
        if (io_write_full(b->fd, buf, n) < 0)
            break;
        b->sum = mix(b->sum, buf, n);
        left -= n;
    }
    if (b->close && shutdown(b->fd, SHUT_WR) < 0)
        close(b->fd); /* a pipe */
    return NULL;
}

static void *bulk_read(void *arg)
{
    struct bulk *b = arg;
    static _Thread_local unsigned char buf[50000];
    ssize_t n;

    while ((n = read(b->fd, buf, sizeof(buf))) > 0) {
        b->sum = mix(b->sum, buf, (size_t)n);
        b->len += (size_t)n;
    }
    return NULL;
}

/* len bytes on all three streams at once, each compared by checksum. */
static void all_ways(struct rig *r, size_t len)
{
    struct bulk w[3] = {{r->in, len, 0, true}, {r->s[1], len, 0, true}, {r->s[2], len, 0, true}};
    struct bulk g[3] = {{r->s[0], 0, 0, false}, {r->out, 0, 0, false}, {r->err, 0, 0, false}};
    pthread_t writers[3], readers[3];

    for (int i = 0; i < 3; i++) {
        pthread_create(&writers[i], NULL, bulk_write, &w[i]);
        pthread_create(&readers[i], NULL, bulk_read, &g[i]);
    }
    pthread_join(writers[0], NULL);
    pthread_join(readers[0], NULL);
    pthread_join(writers[1], NULL);
    pthread_join(writers[2], NULL);
    agent_exit(r, 0, 0);
    assert_int_equal(rig_wait(r), 0);
    pthread_join(readers[1], NULL);
    pthread_join(readers[2], NULL);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(g[i].len, len);
        assert_int_equal(g[i].sum, w[i].sum);
    }
}

static void test_bulk_pipes(void **state)
{
    struct rig r;

    WANT_ROOT(state);
    rig_start(&r);
    all_ways(&r, BULK);
    r.in = -1; /* closed by its writer */
    rig_done(&r);
}

static void test_bulk_sockets(void **state)
{
    struct shim_params p = defaults();
    int ours[3], theirs[3];
    struct rig r;

    WANT_ROOT(state);
    for (int i = 0; i < 3; i++) {
        pair(&ours[i], &theirs[i]);
        p.stdio[i] = theirs[i];
    }
    rig_begin(&r, &p);
    for (int i = 0; i < 3; i++)
        close(theirs[i]);
    close(r.in), close(r.out), close(r.err);
    r.in = ours[0], r.out = ours[1], r.err = ours[2];
    all_ways(&r, 20 * MIB);
    rig_done(&r);
}

/* stdout and stderr share one file's description and its offset; stdin is a file too. */
static void test_files(void **state)
{
    struct shim_params p = defaults();
    int in = memfd_create("in", 0), out = memfd_create("out", 0);
    static char got[70000];
    struct rig r;

    WANT_ROOT(state);
    for (int i = 0; i < 10000; i++)
        say(in, "line...");
    lseek(in, 0, SEEK_SET);
    say(out, "before ");
    p.stdio[0] = in;
    p.stdio[1] = p.stdio[2] = out;
    rig_begin(&r, &p);
    assert_int_equal(io_read_full(r.s[0], got, sizeof(got)), 70000);
    expect_end(r.s[0]);
    say(r.s[1], "one ");
    close_fd(&r.s[1]);
    expect_file(out, "before one ");
    say(r.s[2], "two");
    agent_close_streams(&r);
    agent_exit(&r, 0, 0);
    assert_int_equal(rig_wait(&r), 0);
    expect_file(out, "before one two");
    rig_done(&r);
    close(in);
    close(out);
}

static void test_stdin_end(void **state)
{
    struct rig r;

    WANT_ROOT(state);
    rig_start(&r);
    say(r.in, "last");
    close_fd(&r.in);
    expect(r.s[0], "last");
    expect_end(r.s[0]);
    say(r.s[1], "still here"); /* only half of it was closed */
    expect(r.out, "still here");
    rig_finish(&r, 0);
}

/* The guest does not read stdin any more: its writer learns it, though it writes nothing. */
static void test_guest_closes_stdin(void **state)
{
    struct pollfd p = {.events = 0};
    struct rig r;

    WANT_ROOT(state);
    rig_start(&r);
    close_fd(&r.s[0]);
    p.fd = r.in;
    assert_int_equal(poll(&p, 1, -1), 1);
    assert_true(p.revents & POLLERR);
    rig_finish(&r, 0);
}

static void test_guest_closes_stdout(void **state)
{
    struct rig r;

    WANT_ROOT(state);
    rig_start(&r);
    say(r.s[1], "bye");
    close_fd(&r.s[1]);
    expect(r.out, "bye");
    expect_end(r.out);
    say(r.s[2], "on");
    expect(r.err, "on");
    rig_finish(&r, 0);
}

/* The reader of stdout is gone: the guest gets EPIPE, and the shim no SIGPIPE to pass on. */
static void test_reader_gone(void **state)
{
    struct rig r;
    int n = 0;

    WANT_ROOT(state);
    rig_start(&r);
    close_fd(&r.out);
    while (send(r.s[1], "x", 1, MSG_NOSIGNAL) == 1)
        poll(NULL, 0, 1);
    assert_int_equal(errno, EPIPE);
    say(r.s[2], "on");
    expect(r.err, "on");
    kill(r.shim.pid, SIGUSR1);
    assert_int_equal(agent_hear_signal(&r), SIGUSR1);
    assert_int_equal(recv(r.control, &n, sizeof(n), MSG_DONTWAIT), -1);
    rig_finish(&r, 0);
}

/* A stdout that nobody reads holds up neither stderr, stdin, nor signals. */
static void test_full_stdout_blocks_nothing(void **state)
{
    struct rig r;

    WANT_ROOT(state);
    rig_start(&r);
    stuff(r.s[1]);
    say(r.s[2], "error");
    expect(r.err, "error");
    say(r.in, "input");
    expect(r.s[0], "input");
    kill(r.shim.pid, SIGTERM);
    assert_int_equal(agent_hear_signal(&r), SIGTERM);
    rig_kill(&r);
}

/* The flags of descriptions that others share are as they were. */
static void test_flags_of_pipes(void **state)
{
    struct shim_params p = defaults();
    struct rig r;
    int out[2];

    WANT_ROOT(state);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    p.stdio[1] = out[1];
    rig_begin(&r, &p);
    stuff(r.s[1]);
    assert_int_equal(fcntl(out[1], F_GETFL) & O_NONBLOCK, 0);
    rig_kill(&r);
    close(out[0]);
    close(out[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bulk_pipes),
        cmocka_unit_test(test_bulk_sockets),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_stdin_end),
        cmocka_unit_test(test_guest_closes_stdin),
        cmocka_unit_test(test_guest_closes_stdout),
        cmocka_unit_test(test_reader_gone),
        cmocka_unit_test(test_full_stdout_blocks_nothing),
        cmocka_unit_test(test_flags_of_pipes),
    };

    return cmocka_run_group_tests(tests, make_rootfs, remove_rootfs);
}
