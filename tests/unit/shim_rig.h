/*
 * The shim, for real: spawned as root into its namespaces by runtime/shim.c, while the test plays
 * its client (stdio, signals, wait) and, over socket pairs, the agent in the guest.
 */
#ifndef BULKHEAD_TESTS_SHIM_RIG_H
#define BULKHEAD_TESTS_SHIM_RIG_H

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/proto.h"
#include "runtime/shim.h"
#include "tests/unit/cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define MIB (1024u * 1024)

static char rootfs[] = "/tmp/bulkhead-test-shim-XXXXXX";
static const char *program;

/* How each test begins that spawns one. */
#define WANT_ROOT(state)                                                                           \
    do {                                                                                           \
        (void)(state);                                                                             \
        if (geteuid() != 0) {                                                                      \
            skip_because("it wants root: it makes namespaces");                                    \
        }                                                                                          \
    } while (0)

/* One process: the test's ends of everything. */
struct rig {
    struct shim shim;
    int in, out, err;  /* the client's ends of stdio */
    int control, s[3]; /* the agent's ends */
    int far[4];        /* the shim's ends, until rig_go */
    int log;
    int oom[OOM_FDS];
    bool killed; /* for memory: what agent_exit says */
};

static inline void pair(int *ours, int *theirs)
{
    int p[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p), 0);
    *ours = p[0];
    *theirs = p[1];
}

static inline struct shim_params defaults(void)
{
    return (struct shim_params){.program = program,
                                .title = "box",
                                .rootfs = rootfs,
                                .cgroup_fd = -1,
                                .stdio = {-1, -1, -1}};
}

/* Spawns with pipes for stdio (unless p says otherwise) and connections ready. */
static inline void rig_spawn(struct rig *r, struct shim_params *p)
{
    int in[2], out[2], err[2];
    struct err e = ERR_INIT;

    *r = (struct rig){.shim = SHIM_INIT, .log = -1, .oom = OOM_NONE};
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    assert_int_equal(pipe2(err, O_CLOEXEC), 0);
    r->in = in[1];
    r->out = out[0];
    r->err = err[0];
    pair(&r->control, &r->far[0]);
    for (int i = 0; i < 3; i++)
        pair(&r->s[i], &r->far[i + 1]);
    if (p->stdio[0] < 0)
        p->stdio[0] = in[0];
    if (p->stdio[1] < 0)
        p->stdio[1] = out[1];
    if (p->stdio[2] < 0)
        p->stdio[2] = err[1];
    if (shim_spawn(p, &r->shim, &e) < 0)
        fail_msg("shim_spawn: %s", e.msg);
    close(in[0]);
    close(out[1]);
    close(err[1]);
}

static inline void rig_go(struct rig *r)
{
    struct shim_guest g = {.control = r->far[0],
                           .streams = {r->far[1], r->far[2], r->far[3]},
                           .console_log = r->log,
                           .oom = {r->oom[0], r->oom[1], r->oom[2], r->oom[3]},
                           .container = "box",
                           .process = "e\"1"};
    struct err e = ERR_INIT;

    if (r->shim.terminal)
        g.streams[1] = g.streams[2] = -1;
    if (shim_go(&r->shim, &g, &e) < 0)
        fail_msg("shim_go: %s", e.msg);
    for (int i = 0; i < 4; i++)
        close_fd(&r->far[i]);
}

/* Spawned and handed over: it relays. */
static inline void rig_begin(struct rig *r, struct shim_params *p)
{
    rig_spawn(r, p);
    rig_go(r);
}

static inline void rig_start(struct rig *r)
{
    struct shim_params p = defaults();

    rig_begin(r, &p);
}

/* Waits for the end as a client does. Returns the exit status, or 1000 + signal. */
static inline int rig_wait(struct rig *r)
{
    int status;

    assert_int_equal(waitpid(r->shim.pid, &status, 0), r->shim.pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static inline void rig_done(struct rig *r)
{
    shim_release(&r->shim);
    close_fd(&r->in);
    close_fd(&r->out);
    close_fd(&r->err);
    close_fd(&r->control);
    for (int i = 0; i < 3; i++)
        close_fd(&r->s[i]);
    for (int i = 0; i < 4; i++)
        close_fd(&r->far[i]);
    close_fd(&r->log);
    for (int i = 0; i < OOM_FDS; i++)
        close_fd(&r->oom[i]);
}

static inline void rig_kill(struct rig *r)
{
    kill(r->shim.pid, SIGKILL);
    assert_int_equal(rig_wait(r), 1000 + SIGKILL);
    rig_done(r);
}

/* Gives up one that was not handed over. */
static inline void rig_abort(struct rig *r)
{
    shim_abort(&r->shim);
    rig_done(r);
}

static inline void agent_exit(struct rig *r, int status, int signal)
{
    json_t *b = json_pack("{s:i, s:i, s:b, s:I}", "status", status, "signal", signal, "oom",
                          r->killed, "ns", (json_int_t)123456789012);
    struct err e = ERR_INIT;

    assert_int_equal(proto_send(r->control, PROTO_EXIT, 0, b, &e), 0);
    json_decref(b);
}

static inline void agent_close_streams(struct rig *r)
{
    for (int i = 0; i < 3; i++)
        close_fd(&r->s[i]);
}

/* The next frame from the shim; its id and process are checked. Returns the body. */
static inline json_t *agent_hear(struct rig *r, uint16_t type)
{
    struct proto_frame f;
    struct err e = ERR_INIT;

    if (proto_recv(r->control, -1, &f, &e) < 0)
        fail_msg("agent: %s", e.msg);
    assert_int_equal(f.type, type);
    assert_string_equal(json_string_value(json_object_get(f.body, "id")), "box");
    assert_string_equal(json_string_value(json_object_get(f.body, "process")), "e\"1");
    return f.body;
}

static inline int agent_hear_signal(struct rig *r)
{
    json_t *b = agent_hear(r, PROTO_PROCESS_SIGNAL);
    int n = (int)json_integer_value(json_object_get(b, "signal"));

    assert_true(json_is_false(json_object_get(b, "all")));
    json_decref(b);
    return n;
}

static inline void agent_hear_size(struct rig *r, int rows, int cols)
{
    json_t *b = agent_hear(r, PROTO_PROCESS_RESIZE);

    assert_int_equal(json_integer_value(json_object_get(b, "rows")), rows);
    assert_int_equal(json_integer_value(json_object_get(b, "cols")), cols);
    json_decref(b);
}

static inline void say(int fd, const char *text)
{
    assert_int_equal(io_write_full(fd, text, strlen(text)), 0);
}

static inline void expect(int fd, const char *text)
{
    char buf[4096];
    size_t len = strlen(text);

    assert_true(len < sizeof(buf));
    assert_int_equal(io_read_full(fd, buf, len), len);
    buf[len] = '\0';
    assert_string_equal(buf, text);
}

static inline void expect_end(int fd)
{
    char c;

    assert_int_equal(read(fd, &c, 1), 0);
}

/* All that comes until the end. */
static inline char *read_all(int fd)
{
    static char buf[4096];
    ssize_t n = io_read_full(fd, buf, sizeof(buf) - 1);

    assert_true(n >= 0);
    buf[n] = '\0';
    return buf;
}

static inline void rig_finish(struct rig *r, int status)
{
    agent_close_streams(r);
    agent_exit(r, status, 0);
    assert_int_equal(rig_wait(r), status);
    rig_done(r);
}

static inline int log_of(const char *text)
{
    int fd = memfd_create("log", MFD_CLOEXEC);

    say(fd, text);
    return fd;
}

/* Waits until a file holds just this. */
static inline void expect_file(int fd, const char *text)
{
    char got[256];
    ssize_t n;

    do {
        n = pread(fd, got, sizeof(got) - 1, 0);
        assert_true(n >= 0);
        got[n] = '\0';
    } while (strcmp(got, text) != 0 && (size_t)n < strlen(text) && poll(NULL, 0, 1) == 0);
    assert_string_equal(got, text);
}

/* Fills what lies between the guest and a reader that does not read. */
static inline void stuff(int stream)
{
    static const char junk[4096];

    fcntl(stream, F_SETFL, O_NONBLOCK);
    for (int idle = 0; idle < 20;) {
        if (write(stream, junk, sizeof(junk)) < 0) {
            idle++;
            poll(NULL, 0, 5);
        } else {
            idle = 0;
        }
    }
}

/* --- around all tests of a file --------------------------------------------------------------- */

static inline int make_rootfs(void **state)
{
    char path[128];
    int fd;

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    program = getenv("BULKHEAD_SHIM");
    if (!program)
        program = "build/bulkhead-shim";
    if (access(program, X_OK) < 0) {
        print_error("%s is missing: make %s, or set BULKHEAD_SHIM\n", program, program);
        return -1;
    }
    /* mounts of our own, shared as systemd has them: what a failed test leaves goes with us */
    if (geteuid() == 0 &&
        (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
         mount(NULL, "/", NULL, MS_REC | MS_SHARED, NULL) < 0))
        return -1;
    if (!mkdtemp(rootfs))
        return -1;
    snprintf(path, sizeof(path), "%s/marker", rootfs);
    fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    return fd < 0 ? -1 : close(fd);
}

static inline int remove_rootfs(void **state)
{
    char path[128];

    (void)state;
    snprintf(path, sizeof(path), "%s/marker", rootfs);
    unlink(path);
    snprintf(path, sizeof(path), "%s/proc", rootfs);
    rmdir(path);
    return rmdir(rootfs);
}

#endif
