/* The VMM's control socket: several clients that send messages of any content and length, leave
 * when they like, and are told nothing that is not a whole reply. */
#include "tests/fuzz/fuzz.h"

#include "lib/cleanup.h"
#include "vmm/control.h"

#include <sys/socket.h>
#include <sys/un.h>

#define CLIENTS (CONTROL_CLIENTS_MAX + 2u)

enum step { DIAL, ASK, SAY, HEAR, LEAVE, PAUSED, TURN, STEPS };

struct target {
    struct loop loop;
    struct control control;
    int listen_fd, fd[CLIENTS];
    struct sockaddr_un addr;
    socklen_t addr_len;
    bool paused;
};

static void do_nothing(void *arg)
{
    (void)arg;
}

static void do_resume(void *arg)
{
    ((struct target *)arg)->paused = false;
}

static bool is_paused(void *arg)
{
    return ((struct target *)arg)->paused;
}

static void get_stats(void *arg, struct control_reply *out)
{
    (void)arg;
    out->exits = 1;
}

static const struct control_ops ops = {do_nothing, do_nothing, do_resume, is_paused, get_stats};

static void open_target(struct target *t)
{
    struct err e = ERR_INIT;

    memset(t, 0, sizeof(*t));
    for (unsigned i = 0; i < CLIENTS; i++)
        t->fd[i] = -1;
    t->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    t->addr.sun_family = AF_UNIX; /* autobind: an abstract address */
    assert_int_equal(bind(t->listen_fd, (void *)&t->addr, sizeof(sa_family_t)), 0);
    t->addr_len = sizeof(t->addr);
    assert_int_equal(getsockname(t->listen_fd, (void *)&t->addr, &t->addr_len), 0);
    assert_int_equal(listen(t->listen_fd, CLIENTS), 0);
    assert_int_equal(loop_init(&t->loop, &e), 0);
    assert_int_equal(control_init(&t->control, &t->loop, t->listen_fd, &ops, t, &e), 0);
}

static void close_target(struct target *t)
{
    for (unsigned i = 0; i < CLIENTS; i++)
        close_fd(&t->fd[i]);
    assert_int_equal(loop_once(&t->loop, 0), 0);
    control_done(&t->control);
    loop_done(&t->loop);
    close(t->listen_fd);
}

static void dial(struct target *t, int *fd)
{
    close_fd(fd);
    *fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (connect(*fd, (void *)&t->addr, t->addr_len) < 0)
        close_fd(fd); /* its backlog is full */
}

static void hear(int fd)
{
    struct control_reply r;
    ssize_t n;

    while ((n = recv(fd, &r, sizeof(r), MSG_DONTWAIT | MSG_TRUNC)) > 0) {
        assert_int_equal(n, sizeof(r));
        assert_int_equal(r.version, PLAN_VERSION);
    }
}

static void take_step(struct target *t, struct fuzz *f)
{
    uint8_t step = fuzz_u8(f);
    int *fd = &t->fd[step / STEPS % CLIENTS];
    struct control_request q = {PLAN_VERSION, 0};
    const uint8_t *bytes;
    size_t len;

    switch ((enum step)(step % STEPS)) {
    case DIAL:
        dial(t, fd);
        break;
    case ASK:
        q.op = fuzz_u8(f) % 6;
        (void)!send(*fd, &q, sizeof(q), MSG_NOSIGNAL | MSG_DONTWAIT);
        break;
    case SAY:
        bytes = fuzz_bytes(f, fuzz_u8(f), &len);
        (void)!send(*fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        break;
    case HEAR:
        hear(*fd);
        break;
    case LEAVE:
        close_fd(fd);
        break;
    case PAUSED:
        t->paused = true;
        control_paused(&t->control);
        break;
    default:
        assert_int_equal(loop_once(&t->loop, 0), 0);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};
    struct target t;

    open_target(&t);
    while (f.left > 0)
        take_step(&t, &f);
    close_target(&t);
    return 0;
}
