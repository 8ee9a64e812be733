/*
 * The control socket with a fake VM: every operation, several clients, and clients that are wrong,
 * too many, or gone.
 */
#include "lib/cleanup.h"
#include "lib/io.h"
#include "vmm/control.h"

#include "cmocka_all.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

struct fake {
    struct loop loop;
    struct control control;
    int listen_fd;
    struct sockaddr_un addr;
    socklen_t addr_len;
    unsigned stops, pauses, resumes;
    bool want_pause, paused;
};

static void do_stop(void *arg)
{
    ((struct fake *)arg)->stops++;
}

static void do_pause(void *arg)
{
    struct fake *f = arg;

    f->pauses++;
    f->want_pause = true;
}

static void do_resume(void *arg)
{
    struct fake *f = arg;

    f->resumes++;
    f->want_pause = f->paused = false;
}

static bool is_paused(void *arg)
{
    return ((struct fake *)arg)->paused;
}

static void get_stats(void *arg, struct control_reply *out)
{
    (void)arg;
    out->exits = 123;
    out->resident = 1 << 20;
}

static const struct control_ops ops = {do_stop, do_pause, do_resume, is_paused, get_stats};

static int setup(void **state)
{
    static struct fake f;
    struct err e = ERR_INIT;

    memset(&f, 0, sizeof(f));
    assert_int_equal(loop_init(&f.loop, &e), 0);
    /* An address of its own choice in the abstract name space. */
    f.listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    f.addr.sun_family = AF_UNIX;
    assert_int_equal(bind(f.listen_fd, (struct sockaddr *)&f.addr, sizeof(sa_family_t)), 0);
    f.addr_len = sizeof(f.addr);
    assert_int_equal(getsockname(f.listen_fd, (struct sockaddr *)&f.addr, &f.addr_len), 0);
    assert_int_equal(listen(f.listen_fd, 32), 0);
    assert_int_equal(control_init(&f.control, &f.loop, f.listen_fd, &ops, &f, &e), 0);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fake *f = *state;

    control_done(&f->control);
    loop_done(&f->loop);
    close_fd(&f->listen_fd);
    return 0;
}

static void turn(struct fake *f)
{
    for (int i = 0; i < 4; i++)
        assert_int_equal(loop_once(&f->loop, 0), 0);
}

static int dial(struct fake *f)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&f->addr, f->addr_len), 0);
    return fd;
}

static void ask(struct fake *f, int fd, uint32_t op)
{
    struct control_request q = {PLAN_VERSION, op};

    assert_int_equal(send(fd, &q, sizeof(q), MSG_NOSIGNAL), sizeof(q));
    turn(f);
}

/* The reply that must be there. */
static struct control_reply answer(int fd)
{
    struct control_reply r;

    assert_int_equal(recv(fd, &r, sizeof(r), 0), sizeof(r));
    assert_int_equal(r.version, PLAN_VERSION);
    return r;
}

static void assert_silent(int fd)
{
    struct control_reply r;

    assert_int_equal(recv(fd, &r, sizeof(r), 0), -1);
    assert_int_equal(errno, EAGAIN);
}

static void assert_closed(int fd)
{
    struct control_reply r;

    assert_int_equal(recv(fd, &r, sizeof(r), 0), 0);
}

static void test_stats_and_stop(void **state)
{
    struct fake *f = *state;
    cleanup_fd int fd = dial(f);

    ask(f, fd, CONTROL_STATS);
    struct control_reply r = answer(fd);
    assert_int_equal(r.error, 0);
    assert_int_equal(r.exits, 123);
    assert_int_equal(r.resident, 1 << 20);
    ask(f, fd, CONTROL_STOP);
    assert_int_equal(answer(fd).error, 0);
    assert_int_equal(f->stops, 1);
}

/* The reply to a pause comes when the vCPUs have stopped, to everyone who asked. */
static void test_pause(void **state)
{
    struct fake *f = *state;
    cleanup_fd int a = dial(f), b = dial(f), c = dial(f);

    ask(f, a, CONTROL_PAUSE);
    ask(f, b, CONTROL_PAUSE);
    ask(f, a, CONTROL_STATS); /* waits behind the pause */
    assert_silent(a);
    assert_silent(b);
    ask(f, c, CONTROL_STATS);
    assert_int_equal(answer(c).paused, 0);
    f->paused = true;
    control_paused(&f->control);
    assert_int_equal(answer(a).paused, 1);
    assert_int_equal(answer(b).paused, 1);
    turn(f);
    assert_int_equal(answer(a).exits, 123);
    ask(f, c, CONTROL_PAUSE); /* already */
    assert_int_equal(answer(c).error, 0);
    ask(f, c, CONTROL_RESUME);
    assert_int_equal(answer(c).paused, 0);
    assert_int_equal(f->resumes, 1);
}

static void test_resume_beats_pause(void **state)
{
    struct fake *f = *state;
    cleanup_fd int a = dial(f), b = dial(f);

    ask(f, a, CONTROL_PAUSE);
    ask(f, b, CONTROL_RESUME);
    assert_int_equal(answer(a).error, -ECANCELED);
    assert_int_equal(answer(b).error, 0);
}

/* A process that has no descriptor left still serves one client, and then the next. */
static void test_no_descriptors(void **state)
{
    struct fake *f = *state;
    cleanup_fd int b = -1;
    int a, taken[1024];
    unsigned n = 0;
    struct rlimit was, low;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    a = dial(f);
    b = dial(f);
    low = (struct rlimit){.rlim_cur = 64, .rlim_max = was.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    while (n < 1024 && (taken[n] = dup(f->listen_fd)) >= 0)
        n++;
    assert_int_equal(errno, EMFILE);
    ask(f, a, CONTROL_STATS);
    assert_int_equal(answer(a).exits, 123);
    assert_int_equal(f->control.reserve, -1);
    ask(f, b, CONTROL_STATS);
    assert_silent(b);
    /* Not close: its number must stay taken. */
    assert_int_equal(shutdown(a, SHUT_RDWR), 0);
    turn(f);
    assert_int_equal(answer(b).exits, 123);
    assert_int_equal(shutdown(b, SHUT_RDWR), 0);
    turn(f);
    assert_true(f->control.reserve >= 0);
    close(a);
    while (n > 0)
        close(taken[--n]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
}

static void test_bad_requests(void **state)
{
    static const uint8_t big[4096];
    struct fake *f = *state;
    struct control_request q = {PLAN_VERSION + 1, CONTROL_STOP};
    cleanup_fd int fd = dial(f);

    ask(f, fd, 0);
    assert_int_equal(answer(fd).error, -ENOSYS);
    ask(f, fd, UINT32_MAX);
    assert_int_equal(answer(fd).error, -ENOSYS);
    assert_int_equal(send(fd, &q, sizeof(q), 0), sizeof(q));
    turn(f);
    assert_int_equal(answer(fd).error, -EPROTO);
    assert_int_equal(send(fd, big, sizeof(big), 0), sizeof(big));
    turn(f);
    assert_int_equal(answer(fd).error, -EPROTO);
    assert_int_equal(send(fd, &q, 3, 0), 3);
    turn(f);
    assert_int_equal(answer(fd).error, -EPROTO);
    ask(f, fd, CONTROL_STATS); /* it is still served */
    assert_int_equal(answer(fd).error, 0);
    assert_int_equal(f->stops, 0);
}

static void test_client_gone_while_waiting(void **state)
{
    struct fake *f = *state;
    int fd = dial(f);
    cleanup_fd int other = dial(f);

    ask(f, fd, CONTROL_PAUSE);
    close(fd);
    turn(f);
    f->paused = true;
    control_paused(&f->control);
    turn(f);
    ask(f, other, CONTROL_STATS);
    assert_int_equal(answer(other).paused, 1);
}

/* One more than there are slots is served as soon as another leaves. */
static void test_too_many(void **state)
{
    struct fake *f = *state;
    int fd[CONTROL_CLIENTS_MAX + 1];

    for (unsigned i = 0; i <= CONTROL_CLIENTS_MAX; i++) {
        fd[i] = dial(f);
        ask(f, fd[i], CONTROL_STATS);
    }
    turn(f);
    turn(f);
    for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
        assert_int_equal(answer(fd[i]).exits, 123);
    assert_silent(fd[CONTROL_CLIENTS_MAX]);
    close(fd[0]);
    turn(f);
    turn(f);
    assert_int_equal(answer(fd[CONTROL_CLIENTS_MAX]).exits, 123);
    for (unsigned i = 1; i <= CONTROL_CLIENTS_MAX; i++)
        close(fd[i]);
}

/* A client that asks and never reads is dropped when its socket is full; nobody waits for it. */
static void test_never_reads(void **state)
{
    struct fake *f = *state;
    struct control_request q = {PLAN_VERSION, CONTROL_STATS};
    cleanup_fd int fd = dial(f);
    cleanup_fd int other = dial(f);
    unsigned sent = 0;

    while (sent < 100000 && send(fd, &q, sizeof(q), MSG_NOSIGNAL) == (ssize_t)sizeof(q)) {
        sent++;
        assert_int_equal(loop_once(&f->loop, 0), 0);
    }
    assert_true(sent < 100000);
    ask(f, other, CONTROL_STATS);
    assert_int_equal(answer(other).exits, 123);
    struct control_reply r;
    while (recv(fd, &r, sizeof(r), 0) == (ssize_t)sizeof(r)) {
    }
    assert_closed(fd);
}

#define WITH_FAKE(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FAKE(test_stats_and_stop),
        WITH_FAKE(test_pause),
        WITH_FAKE(test_resume_beats_pause),
        WITH_FAKE(test_bad_requests),
        WITH_FAKE(test_client_gone_while_waiting),
        WITH_FAKE(test_too_many),
        WITH_FAKE(test_never_reads),
        WITH_FAKE(test_no_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
