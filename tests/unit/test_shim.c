/*
 * The shim, for real: spawned as root into its namespaces by runtime/shim.c, while the test plays
 * its client (stdio, signals, wait) and, over socket pairs, the agent in the guest.
 */
#include "lib/cleanup.h"
#include "lib/frame.h"
#include "lib/io.h"
#include "lib/proto.h"
#include "runtime/cgroup.h"
#include "runtime/shim.h"
#include "runtime/shim/lastwords.h"
#include "runtime/shim/link.h"
#include "runtime/shim_view.h"
#include "tests/unit/cmocka_all.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>

#define MIB  (1024u * 1024)
#define BULK (100u * MIB)

static char rootfs[] = "/tmp/bulkhead-test-shim-XXXXXX";
static const char *program;

#define WANT_ROOT()                                                                                \
    do {                                                                                           \
        if (geteuid() != 0) {                                                                      \
            skip_because("it wants root: it makes namespaces");                                    \
        }                                                                                          \
    } while (0)

/* --- a client and a guest --------------------------------------------------------------------- */

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

static void pair(int *ours, int *theirs)
{
    int p[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p), 0);
    *ours = p[0];
    *theirs = p[1];
}

static struct shim_params defaults(void)
{
    return (struct shim_params){.program = program,
                                .title = "box",
                                .rootfs = rootfs,
                                .cgroup_fd = -1,
                                .stdio = {-1, -1, -1}};
}

/* Spawns with pipes for stdio (unless p says otherwise) and connections ready. */
static void rig_spawn(struct rig *r, struct shim_params *p)
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

static void rig_go(struct rig *r)
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

static void rig_start(struct rig *r)
{
    struct shim_params p = defaults();

    rig_spawn(r, &p);
    rig_go(r);
}

/* Waits for the end as a client does. Returns the exit status, or 1000 + signal. */
static int rig_wait(struct rig *r)
{
    int status;

    assert_int_equal(waitpid(r->shim.pid, &status, 0), r->shim.pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void rig_done(struct rig *r)
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

static void agent_exit(struct rig *r, int status, int signal)
{
    json_t *b = json_pack("{s:i, s:i, s:b, s:I}", "status", status, "signal", signal, "oom",
                          r->killed, "ns", (json_int_t)123456789012);
    struct err e = ERR_INIT;

    assert_int_equal(proto_send(r->control, PROTO_EXIT, 0, b, &e), 0);
    json_decref(b);
}

static void agent_close_streams(struct rig *r)
{
    for (int i = 0; i < 3; i++)
        close_fd(&r->s[i]);
}

/* The next frame from the shim; its id and process are checked. Returns the body. */
static json_t *agent_hear(struct rig *r, uint16_t type)
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

static int agent_hear_signal(struct rig *r)
{
    json_t *b = agent_hear(r, PROTO_PROCESS_SIGNAL);
    int n = (int)json_integer_value(json_object_get(b, "signal"));

    assert_true(json_is_false(json_object_get(b, "all")));
    json_decref(b);
    return n;
}

static void agent_hear_size(struct rig *r, int rows, int cols)
{
    json_t *b = agent_hear(r, PROTO_PROCESS_RESIZE);

    assert_int_equal(json_integer_value(json_object_get(b, "rows")), rows);
    assert_int_equal(json_integer_value(json_object_get(b, "cols")), cols);
    json_decref(b);
}

static void say(int fd, const char *text)
{
    assert_int_equal(io_write_full(fd, text, strlen(text)), 0);
}

static void expect(int fd, const char *text)
{
    char buf[4096];
    size_t len = strlen(text);

    assert_true(len < sizeof(buf));
    assert_int_equal(io_read_full(fd, buf, len), len);
    buf[len] = '\0';
    assert_string_equal(buf, text);
}

static void expect_end(int fd)
{
    char c;

    assert_int_equal(read(fd, &c, 1), 0);
}

/* All that comes until the end. */
static char *read_all(int fd)
{
    static char buf[4096];
    ssize_t n = io_read_full(fd, buf, sizeof(buf) - 1);

    assert_true(n >= 0);
    buf[n] = '\0';
    return buf;
}

static void rig_finish(struct rig *r, int status)
{
    agent_close_streams(r);
    agent_exit(r, status, 0);
    assert_int_equal(rig_wait(r), status);
    rig_done(r);
}

/* --- where it lives --------------------------------------------------------------------------- */

static char *proc_link(pid_t pid, const char *what)
{
    static char target[2][512];
    static unsigned turn;
    char *out = target[turn++ % 2], path[64];
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, what);
    n = readlink(path, out, sizeof(target[0]) - 1);
    assert_true(n > 0);
    out[n] = '\0';
    return out;
}

static bool same_namespace(pid_t pid, const char *ns)
{
    return strcmp(proc_link(pid, ns), proc_link(getpid(), ns)) == 0;
}

static char *proc_text(pid_t pid, const char *file)
{
    char path[64], *text;
    struct err e = ERR_INIT;

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
    assert_int_equal(io_read_file(AT_FDCWD, path, MIB, &text, NULL, &e), 0);
    return text;
}

static void assert_status_line(const char *status, const char *line)
{
    if (!strstr(status, line))
        fail_msg("no \"%s\" in:\n%s", line, status);
}

static void test_namespaces(void **state)
{
    struct shim_params p = defaults();
    char path[128], *mounts, *before, *after;
    struct rig r;
    struct stat st;

    (void)state;
    WANT_ROOT();
    p.new_netns = true;
    before = proc_text(getpid(), "mountinfo");
    rig_spawn(&r, &p);
    after = proc_text(getpid(), "mountinfo");
    assert_string_equal(before, after); /* nothing of it shows on the host */
    free(before);
    free(after);
    assert_false(same_namespace(r.shim.pid, "ns/pid"));
    assert_false(same_namespace(r.shim.pid, "ns/mnt"));
    assert_false(same_namespace(r.shim.pid, "ns/ipc"));
    assert_false(same_namespace(r.shim.pid, "ns/uts"));
    assert_false(same_namespace(r.shim.pid, "ns/net"));
    /* its root is the container's tree, and nothing else is mounted there than /proc */
    snprintf(path, sizeof(path), "/proc/%d/root/marker", (int)r.shim.pid);
    assert_int_equal(stat(path, &st), 0);
    snprintf(path, sizeof(path), "/proc/%d/root/proc/1/status", (int)r.shim.pid);
    assert_int_equal(stat(path, &st), 0);
    snprintf(path, sizeof(path), "/proc/%d/root/usr", (int)r.shim.pid);
    assert_int_equal(stat(path, &st), -1);
    mounts = proc_text(r.shim.pid, "mountinfo");
    assert_non_null(strchr(mounts, '\n'));
    assert_non_null(strstr(mounts, " /proc "));
    assert_ptr_equal(strchr(strchr(mounts, '\n') + 1, '\n'), mounts + strlen(mounts) - 1);
    free(mounts);
    shim_abort(&r.shim);
    rig_done(&r);
}

static int in_view(pid_t pid, const char *name, int flags)
{
    char path[128];

    snprintf(path, sizeof(path), "/proc/%d/root/%s", (int)pid, name);
    return open(path, flags | O_CLOEXEC, 0644);
}

/* Its mounts are the container's: what a client copies there gets where the container sees it, or
 * nowhere. */
static void test_view(void **state)
{
    char host[] = "/tmp/bulkhead-test-view-XXXXXX", file[64], byte[8];
    struct share_view views[] = {
        {.destination = (char[]){"/dev"}},
        {.destination = (char[]){"/dev/deep/dir"}, .tree = host + 1},
        {.destination = (char[]){"/link/file"},
         .tree = file + 1}, /* as the container resolves it */
    };
    struct shim_params p = defaults();
    struct err e = ERR_INIT;
    struct rig r;
    int root = open(rootfs, O_PATH | O_CLOEXEC), fd;
    int server = (int)syscall(SYS_pidfd_open, getpid(), 0);

    (void)state;
    WANT_ROOT();
    assert_non_null(mkdtemp(host));
    snprintf(file, sizeof(file), "%s/file", host);
    assert_int_equal(close(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0644)), 0);
    assert_int_equal(mkdirat(root, "real", 0755), 0);
    assert_int_equal(symlinkat("/real", root, "link"), 0);
    rig_spawn(&r, &p);
    if (shim_view_mount(&r.shim, server, views, 3, &e) < 0)
        fail_msg("%s", e.msg);
    views[1].tree = (char[]){"no/such"};
    assert_int_equal(shim_view_mount(&r.shim, server, views, 2, &e), -ENOENT);
    assert_non_null(strstr(e.msg, "clone no/such"));
    close(server);

    fd = in_view(r.shim.pid, "dev/deep/dir/file", O_WRONLY);
    assert_int_equal(write(fd, "seen", 4), 4);
    close(fd);
    fd = in_view(r.shim.pid, "real/file", O_RDONLY);
    assert_int_equal(read(fd, byte, sizeof(byte)), 4);
    close(fd);
    /* the guest's own */
    assert_int_equal(in_view(r.shim.pid, "dev/new", O_CREAT | O_WRONLY), -1);
    assert_int_equal(errno, EROFS);
    shim_abort(&r.shim);
    rig_done(&r);

    unlinkat(root, "link", 0);
    unlinkat(root, "real/file", 0);
    unlinkat(root, "real", AT_REMOVEDIR);
    unlinkat(root, "dev", AT_REMOVEDIR);
    close(root);
    unlink(file);
    rmdir(host);
}

static void test_jail(void **state)
{
    struct shim_params p = defaults();
    char *status, *comm;
    struct rig r;

    (void)state;
    WANT_ROOT();
    rig_spawn(&r, &p);
    assert_true(same_namespace(r.shim.pid, "ns/net"));
    status = proc_text(r.shim.pid, "status");
    assert_status_line(status, "CapInh:\t0000000000000000");
    assert_status_line(status, "CapPrm:\t0000000000000000");
    assert_status_line(status, "CapEff:\t0000000000000000");
    assert_status_line(status, "CapBnd:\t0000000000000000");
    assert_status_line(status, "CapAmb:\t0000000000000000");
    assert_status_line(status, "NoNewPrivs:\t1");
    assert_status_line(status, "Seccomp:\t2");
    assert_status_line(status, "SigBlk:\tfffffffffffbfeff");
    assert_status_line(status, "Threads:\t1");
    free(status);
    comm = proc_text(r.shim.pid, "comm");
    assert_string_equal(comm, "bulkhead-shim\n");
    free(comm);
    status = proc_text(r.shim.pid, "cmdline");
    assert_memory_equal(status, "bulkhead-shim\0box", 18);
    free(status);
    shim_abort(&r.shim);
    rig_done(&r);
}

/* Leaked descriptors of the caller do not reach it, whatever their numbers. */
static void test_descriptors(void **state)
{
    struct shim_params p = defaults();
    int leaks[20], count = 0;
    const struct dirent *entry;
    char path[64], c = 'x';
    struct rig r;
    DIR *d;

    (void)state;
    WANT_ROOT();
    for (int i = 0; i < 20; i++)
        leaks[i] = open("/etc/hostname", O_RDONLY);
    rig_spawn(&r, &p);
    rig_go(&r);
    /* it relays: it has let go of the channel */
    assert_int_equal(write(r.in, &c, 1), 1);
    assert_int_equal(read(r.s[0], &c, 1), 1);
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)r.shim.pid);
    d = opendir(path);
    assert_non_null(d);
    while ((entry = readdir(d)))
        count += entry->d_name[0] != '.';
    closedir(d);
    assert_int_equal(count, 3 + 1 + 4); /* stdio, signals, control and streams */
    for (int i = 0; i < 20; i++)
        close(leaks[i]);
    rig_finish(&r, 0);
}

static void test_joins_netns(void **state)
{
    struct shim_params p = defaults();
    char path[64];
    struct rig r;
    int ready[2];
    pid_t other;

    (void)state;
    WANT_ROOT();
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    other = fork();
    if (other == 0) {
        if (unshare(CLONE_NEWNET) == 0)
            say(ready[1], "x");
        pause();
        _exit(0);
    }
    expect(ready[0], "x");
    snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)other);
    p.netns = path;
    rig_spawn(&r, &p);
    assert_string_equal(proc_link(r.shim.pid, "ns/net"), proc_link(other, "ns/net"));
    assert_false(same_namespace(r.shim.pid, "ns/net"));
    shim_abort(&r.shim);
    rig_done(&r);
    kill(other, SIGKILL);
    waitpid(other, NULL, 0);
    close(ready[0]);
    close(ready[1]);
}

static void test_born_in_cgroup(void **state)
{
    struct shim_params p = defaults();
    struct err e = ERR_INIT;
    char *text;
    struct rig r;

    (void)state;
    WANT_ROOT();
    if (cgroup_create("/bulkhead-test-shim/box", &p.cgroup_fd, &e) < 0) {
        skip_because("no cgroup here: %s", e.msg);
    }
    rig_spawn(&r, &p);
    text = proc_text(r.shim.pid, "cgroup");
    assert_non_null(strstr(text, "0::/bulkhead-test-shim/box\n"));
    free(text);
    shim_abort(&r.shim);
    rig_done(&r);
    close(p.cgroup_fd);
    assert_int_equal(cgroup_destroy("/bulkhead-test-shim", &e), 0);
}

/* After its death the tree can be unmounted: nothing holds it. */
static void test_rootfs_not_pinned(void **state)
{
    char mounted[] = "/tmp/bulkhead-test-shim-XXXXXX";
    struct shim_params p = defaults();
    struct rig r;

    (void)state;
    WANT_ROOT();
    assert_non_null(mkdtemp(mounted));
    assert_int_equal(mount("none", mounted, "tmpfs", 0, NULL), 0);
    p.rootfs = mounted;
    rig_spawn(&r, &p);
    rig_go(&r);
    rig_finish(&r, 0);
    assert_int_equal(umount(mounted), 0);
    assert_int_equal(rmdir(mounted), 0);
}

/* --- the end ---------------------------------------------------------------------------------- */

static void test_exit_status(void **state)
{
    static const int values[] = {0, 1, 42, 126, 127, 255};

    (void)state;
    WANT_ROOT();
    for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
        struct rig r;

        rig_start(&r);
        rig_finish(&r, values[i]);
    }
}

/* What the guest wrote before its end is written before ours, also when it comes after the EXIT. */
static void test_flush_before_exit(void **state)
{
    struct rig r;

    (void)state;
    WANT_ROOT();
    rig_start(&r);
    agent_exit(&r, 7, 0);
    say(r.s[1], "late words");
    say(r.s[2], "late error");
    agent_close_streams(&r);
    assert_int_equal(rig_wait(&r), 7);
    assert_string_equal(read_all(r.out), "late words");
    assert_string_equal(read_all(r.err), "late error");
    rig_done(&r);
}

static void test_killed_shim_closes(void **state)
{
    struct rig r;

    (void)state;
    WANT_ROOT();
    rig_start(&r);
    kill(r.shim.pid, SIGKILL);
    expect_end(r.control);
    for (int i = 0; i < 3; i++)
        expect_end(r.s[i]);
    assert_int_equal(rig_wait(&r), 1000 + SIGKILL);
    rig_done(&r);
}

static int log_of(const char *text)
{
    int fd = memfd_create("log", MFD_CLOEXEC);

    say(fd, text);
    return fd;
}

/* Waits until a file holds just this. */
static void expect_file(int fd, const char *text)
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

/* What is in the host's files after a process ended with this word on the OOM killer. */
static void host_after(bool killed, const char *stat, const char *victim, const char *swap,
                       const char *memory)
{
    struct shim_params p = defaults();
    struct rig r;

    rig_spawn(&r, &p);
    for (int i = 0; i < OOM_FDS; i++)
        r.oom[i] = log_of(i == OOM_STAT ? stat : "");
    r.killed = killed;
    rig_go(&r);
    agent_close_streams(&r);
    agent_exit(&r, 3, 0);
    assert_int_equal(rig_wait(&r), 3);
    expect_file(r.oom[OOM_VICTIM], victim);
    expect_file(r.oom[OOM_SWAP_MAX], swap);
    expect_file(r.oom[OOM_MEMORY_MAX], memory);
    rig_done(&r);
}

/* The limit leaves all that the end of the VMM does not free, and half of what it does. */
static void test_oom(void **state)
{
    static const char stat[] = "anon 100000001\nfile 700000\nkernel 30000\nkernel_stack 5\n"
                               "shmem 2000\nfile_mapped 8\nfile_dirty 400\nfile_writeback 6\n"
                               "swapcached 9\ninactive_anon 77\n";

    (void)state;
    WANT_ROOT();
    host_after(true, stat, "1000", "0", "50032406");
    host_after(false, stat, "", "", "");
    host_after(true, "anon 100000001\nfile_dirty 400\n", "", "", "");
}

static void test_lost_vm(void **state)
{
    struct shim_params p = defaults();
    struct rig r;

    (void)state;
    WANT_ROOT();
    rig_spawn(&r, &p);
    r.log = log_of("[1] booting\n[2] Kernel panic - not \x1b[31msyncing: Oops\n[3] more\n");
    rig_go(&r);
    say(r.s[1], "hello\n");
    say(r.s[2], "dear\n");
    agent_close_streams(&r);
    close_fd(&r.control);
    assert_int_equal(rig_wait(&r), SHIM_STATUS_VM_LOST);
    assert_string_equal(read_all(r.out), "hello\n");
    assert_string_equal(read_all(r.err),
                        "dear\nbulkhead: the virtual machine ended before the process did: "
                        "[2] Kernel panic - not ?[31msyncing: Oops\n");
    rig_done(&r);
}

/* The connection goes, the streams do not: nothing waits for them for ever. */
static void test_lost_link_alone(void **state)
{
    struct rig r;

    (void)state;
    WANT_ROOT();
    rig_start(&r);
    close_fd(&r.control);
    assert_int_equal(rig_wait(&r), SHIM_STATUS_VM_LOST);
    assert_string_equal(read_all(r.err),
                        "bulkhead: the virtual machine ended before the process did\n");
    rig_done(&r);
}

static void test_hostile_frames(void **state)
{
    static const struct {
        uint32_t length;
        uint16_t version, type;
        const char *body;
    } bad[] = {
        {2, 9, PROTO_OK, "{}"},
        {0xffffffff, PROTO_VERSION, PROTO_OK, ""},
        {PROTO_BODY_MAX + 1, PROTO_VERSION, PROTO_OK, ""},
        {LINK_EXIT_BODY_MAX + 1, PROTO_VERSION, PROTO_EXIT, ""},
        {14, PROTO_VERSION, PROTO_EXIT, "{\"status\":256}"},
        {2, PROTO_VERSION, PROTO_EXIT, "{}"},
    };

    (void)state;
    WANT_ROOT();
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        char head[PROTO_HEAD_LEN];
        struct rig r;

        rig_start(&r);
        frame_put(head, bad[i].type, 0, bad[i].length);
        head[4] = (char)bad[i].version;
        assert_int_equal(io_write_full(r.control, head, sizeof(head)), 0);
        say(r.control, bad[i].body);
        agent_close_streams(&r);
        assert_int_equal(rig_wait(&r), SHIM_STATUS_VM_LOST);
        assert_string_equal(read_all(r.err), "bulkhead: the virtual machine broke the protocol\n");
        rig_done(&r);
    }
}

/* Replies of any size are skipped, and what follows is still understood. */
static void test_replies_are_skipped(void **state)
{
    char head[PROTO_HEAD_LEN];
    static char big[300000];
    struct rig r;

    (void)state;
    WANT_ROOT();
    rig_start(&r);
    for (uint32_t len = 0; len < sizeof(big); len = len * 3 + 100) {
        frame_put(head, PROTO_OK, 5, len);
        assert_int_equal(io_write_full(r.control, head, sizeof(head)), 0);
        assert_int_equal(io_write_full(r.control, big, len), 0);
    }
    rig_finish(&r, 9);
}

static void test_leftover_holds_stream(void **state)
{
    struct rig r;

    (void)state;
    WANT_ROOT();
    rig_start(&r);
    say(r.s[1], "out");
    agent_exit(&r, 3, 0); /* and the streams stay open */
    assert_int_equal(rig_wait(&r), 3);
    assert_string_equal(read_all(r.out), "out");
    rig_done(&r);
}

/* Fills what lies between the guest and a reader that does not read. */
static void stuff(int stream)
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

static void test_killed_with_stuck_reader(void **state)
{
    struct rig r;

    (void)state;
    WANT_ROOT();
    rig_start(&r);
    stuff(r.s[1]);
    agent_close_streams(&r);
    agent_exit(&r, 137, SIGKILL);
    assert_int_equal(rig_wait(&r), 137);
    rig_done(&r);
}

/* An ordinary exit waits for its reader; a signal ends that, as it would have ended the process. */
static void test_signal_ends_flush(void **state)
{
    struct pollfd p = {.events = POLLIN};
    struct rig r;

    (void)state;
    WANT_ROOT();
    rig_start(&r);
    stuff(r.s[1]);
    agent_close_streams(&r);
    agent_exit(&r, 5, 0);
    p.fd = r.shim.pidfd;
    assert_int_equal(poll(&p, 1, 3000), 0); /* longer than the limits for a killed one */
    kill(r.shim.pid, SIGTERM);
    assert_int_equal(rig_wait(&r), 5);
    rig_done(&r);
}

/* --- streams ---------------------------------------------------------------------------------- */

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

    (void)state;
    WANT_ROOT();
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

    (void)state;
    WANT_ROOT();
    for (int i = 0; i < 3; i++) {
        pair(&ours[i], &theirs[i]);
        p.stdio[i] = theirs[i];
    }
    rig_spawn(&r, &p);
    rig_go(&r);
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

    (void)state;
    WANT_ROOT();
    for (int i = 0; i < 10000; i++)
        say(in, "line...");
    lseek(in, 0, SEEK_SET);
    say(out, "before ");
    p.stdio[0] = in;
    p.stdio[1] = p.stdio[2] = out;
    rig_spawn(&r, &p);
    rig_go(&r);
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

    (void)state;
    WANT_ROOT();
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

    (void)state;
    WANT_ROOT();
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

    (void)state;
    WANT_ROOT();
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

    (void)state;
    WANT_ROOT();
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

    (void)state;
    WANT_ROOT();
    rig_start(&r);
    stuff(r.s[1]);
    say(r.s[2], "error");
    expect(r.err, "error");
    say(r.in, "input");
    expect(r.s[0], "input");
    kill(r.shim.pid, SIGTERM);
    assert_int_equal(agent_hear_signal(&r), SIGTERM);
    kill(r.shim.pid, SIGKILL);
    rig_wait(&r);
    rig_done(&r);
}

/* The flags of descriptions that others share are as they were. */
static void test_flags_of_pipes(void **state)
{
    struct shim_params p = defaults();
    struct rig r;
    int out[2];

    (void)state;
    WANT_ROOT();
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    p.stdio[1] = out[1];
    rig_spawn(&r, &p);
    rig_go(&r);
    stuff(r.s[1]);
    assert_int_equal(fcntl(out[1], F_GETFL) & O_NONBLOCK, 0);
    kill(r.shim.pid, SIGKILL);
    rig_wait(&r);
    rig_done(&r);
    close(out[0]);
    close(out[1]);
}

/* --- signals ---------------------------------------------------------------------------------- */

static void test_signals(void **state)
{
    struct rig r;

    (void)state;
    WANT_ROOT();
    rig_start(&r);
    for (int sig = 1; sig <= 64; sig++) {
        if (sig == SIGKILL || sig == SIGSTOP)
            continue;
        assert_int_equal(kill(r.shim.pid, sig), 0);
        assert_int_equal(agent_hear_signal(&r), sig);
    }
    rig_finish(&r, 0);
}

/* Signals that come before the hand-over wait for it; real-time ones are counted. */
static void test_early_signals(void **state)
{
    struct shim_params p = defaults();
    struct rig r;

    (void)state;
    WANT_ROOT();
    rig_spawn(&r, &p);
    kill(r.shim.pid, SIGTERM);
    for (int i = 0; i < 3; i++)
        kill(r.shim.pid, SIGRTMIN + 3);
    rig_go(&r);
    assert_int_equal(agent_hear_signal(&r), SIGTERM);
    for (int i = 0; i < 3; i++)
        assert_int_equal(agent_hear_signal(&r), SIGRTMIN + 3);
    rig_finish(&r, 0);
}

/* An agent that does not read its connection does not lose signals. */
static void test_signal_backlog(void **state)
{
    struct rig r;

    (void)state;
    WANT_ROOT();
    rig_start(&r);
    for (int i = 0; i < 2000; i++)
        kill(r.shim.pid, SIGRTMAX);
    say(r.s[1], "and output flows");
    expect(r.out, "and output flows");
    for (int i = 0; i < 2000; i++)
        assert_int_equal(agent_hear_signal(&r), SIGRTMAX);
    rig_finish(&r, 0);
}

/* --- terminals -------------------------------------------------------------------------------- */

static void test_terminal(void **state)
{
    struct shim_params p = defaults();
    struct winsize w = {.ws_row = 50, .ws_col = 132};
    struct termios t;
    struct rig r;

    (void)state;
    WANT_ROOT();
    p.terminal = true;
    p.rows = 24;
    p.cols = 80;
    rig_spawn(&r, &p);
    assert_true(r.shim.master >= 0);
    fcntl(r.shim.master, F_SETFL, 0);
    rig_go(&r);
    assert_int_equal(r.shim.rows, 24);
    assert_int_equal(r.shim.cols, 80);
    agent_hear_size(&r, 24, 80);
    /* raw: no echo, no translation, no special characters, either way */
    assert_int_equal(tcgetattr(r.shim.master, &t), 0);
    assert_int_equal(t.c_lflag & (ECHO | ICANON | ISIG), 0);
    say(r.shim.master, "ls\r\x03\x04");
    expect(r.s[0], "ls\r\x03\x04");
    say(r.s[0], "a\nb\r\n\x1b[0m");
    expect(r.shim.master, "a\nb\r\n\x1b[0m");
    assert_int_equal(ioctl(r.shim.master, TIOCSWINSZ, &w), 0);
    agent_hear_size(&r, 50, 132);
    kill(r.shim.pid, SIGWINCH);
    assert_int_equal(agent_hear_signal(&r), SIGWINCH);
    say(r.s[0], "logout\n");
    agent_exit(&r, 4, 0);
    agent_close_streams(&r);
    expect(r.shim.master, "logout\n");
    assert_int_equal(rig_wait(&r), 4);
    rig_done(&r);
}

/* The master is closed: the guest process hears SIGHUP, and its terminal ends. */
static void test_hangup(void **state)
{
    struct shim_params p = defaults();
    struct rig r;
    int first;

    (void)state;
    WANT_ROOT();
    p.terminal = true;
    rig_spawn(&r, &p);
    rig_go(&r);
    close_fd(&r.shim.master);
    first = agent_hear_signal(&r);
    assert_true(first == SIGHUP || first == SIGCONT);
    assert_int_equal(agent_hear_signal(&r), SIGHUP + SIGCONT - first);
    expect_end(r.s[0]);
    rig_finish(&r, 129);
}

static void test_terminal_lost_vm(void **state)
{
    struct shim_params p = defaults();
    char text[256];
    struct rig r;
    ssize_t n;

    (void)state;
    WANT_ROOT();
    p.terminal = true;
    rig_spawn(&r, &p);
    rig_go(&r);
    agent_close_streams(&r);
    close_fd(&r.control);
    assert_int_equal(rig_wait(&r), SHIM_STATUS_VM_LOST);
    n = read(r.shim.master, text, sizeof(text) - 1);
    assert_true(n > 0);
    text[n] = '\0';
    assert_string_equal(text, "bulkhead: the virtual machine ended before the process did\r\n");
    rig_done(&r);
}

static void test_console_socket(void **state)
{
    struct shim_params p = defaults();
    struct winsize w = {.ws_row = 30, .ws_col = 90};
    char path[64], name[64];
    struct err e = ERR_INIT;
    unsigned nfds = 0;
    int listener, conn, master = -1;
    struct rig r;

    (void)state;
    WANT_ROOT();
    snprintf(path, sizeof(path), "/tmp/bulkhead-test-console-%d", getpid());
    listener = io_unix_listen(path, SOCK_STREAM, &e);
    assert_true(listener >= 0);
    p.terminal = true;
    p.console_socket = path;
    rig_spawn(&r, &p); /* and nobody has accepted yet */
    assert_int_equal(r.shim.master, -1);
    rig_go(&r);
    conn = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(conn >= 0);
    assert_true(io_recv_fds(conn, name, sizeof(name), &master, 1, &nfds) > 0);
    assert_int_equal(nfds, 1);
    expect_end(conn);
    assert_int_equal(ioctl(master, TIOCSWINSZ, &w), 0);
    agent_hear_size(&r, 30, 90);
    fcntl(master, F_SETFL, 0);
    say(master, "x");
    expect(r.s[0], "x");
    rig_finish(&r, 0);
    close(master);
    close(conn);
    close(listener);
    unlink(path);
}

/* --- what goes wrong -------------------------------------------------------------------------- */

static void refused(struct shim_params *p, const char *text)
{
    struct shim s = SHIM_INIT;
    struct err e = ERR_INIT;
    int before = open("/dev/null", O_RDONLY | O_CLOEXEC), after;

    close(before);
    assert_true(shim_spawn(p, &s, &e) < 0);
    if (!strstr(e.msg, text))
        fail_msg("\"%s\" is not in \"%s\"", text, e.msg);
    assert_int_equal(s.pid, 0);
    after = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(after, before); /* no descriptor is left */
    close(after);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* and no child */
    assert_int_equal(errno, ECHILD);
}

static void test_refusals(void **state)
{
    struct shim_params p;

    (void)state;
    WANT_ROOT();
    p = defaults();
    p.rootfs = "/tmp/bulkhead-no-such-rootfs";
    refused(&p, "rootfs /tmp/bulkhead-no-such-rootfs: No such file");
    p.rootfs = "/etc/passwd";
    refused(&p, "rootfs /etc/passwd is not a directory");
    p = defaults();
    p.program = "/usr/libexec/bulkhead/nothing";
    refused(&p, "/usr/libexec/bulkhead/nothing: No such file");
    p.program = "/etc/passwd";
    refused(&p, "execute /etc/passwd: Permission denied");
    p = defaults();
    p.netns = "/run/netns/bulkhead-none";
    refused(&p, "network namespace /run/netns/bulkhead-none: No such file");
    p.netns = "/proc/self/ns/mnt";
    refused(&p, "join network namespace /proc/self/ns/mnt: Invalid argument");
    p = defaults();
    p.cgroup_fd = open("/tmp", O_PATH | O_CLOEXEC);
    refused(&p, "and cgroup");
    close(p.cgroup_fd);
    p = defaults();
    p.terminal = true;
    p.console_socket = "/tmp/bulkhead-no-such-socket";
    refused(&p, "console socket: connect to /tmp/bulkhead-no-such-socket: No such file");
    p = defaults();
    p.stdio[1] = 999;
    refused(&p, "standard descriptor 999: Bad file descriptor");
}

/* The caller dies, or gives up, before the hand-over. */
static void test_abandoned(void **state)
{
    struct shim_params p = defaults();
    struct rig r;

    (void)state;
    WANT_ROOT();
    rig_spawn(&r, &p);
    close_fd(&r.shim.channel);
    assert_int_equal(rig_wait(&r), SHIM_STATUS_VM_LOST);
    r.shim.pid = 0;
    rig_done(&r);

    rig_spawn(&r, &p);
    shim_abort(&r.shim);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    shim_abort(&r.shim);
    rig_done(&r);
}

static void test_killed_before_go(void **state)
{
    struct shim_params p = defaults();
    struct shim_guest g = {
        .streams = {-1, -1, -1}, .console_log = -1, .oom = OOM_NONE, .container = "box"};
    struct err e = ERR_INIT;
    struct rig r;

    (void)state;
    WANT_ROOT();
    rig_spawn(&r, &p);
    g.control = r.far[0];
    g.process = "";
    kill(r.shim.pid, SIGKILL);
    assert_true(shim_go(&r.shim, &g, &e) < 0);
    shim_abort(&r.shim);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    rig_done(&r);
}

/* --- the parts that need no process ----------------------------------------------------------- */

static void test_parse_exit(void **state)
{
    static const char *const good[] = {
        "{\"status\":137,\"signal\":9,\"oom\":true,\"ns\":123456789}",
        " { \"ns\" : -1 , \"signal\" : 9 , \"status\" : 137 } \n",
        "{\"status\":137,\"later\":null,\"signal\":9}",
        "{\"status\":137,\"signal\":9,\"oom\":true}",
    };
    static const char *const bad[] = {
        "",
        "{",
        "{}",
        "[]",
        "137",
        "{\"status\"}",
        "{\"status\":}",
        "{\"status\":-1}",
        "{\"status\":256}",
        "{\"status\":true}",
        "{\"status\":1.5}",
        "{\"status\":1e2}",
        "{\"status\":\"1\"}",
        "{\"status\":1,}",
        "{\"status\":1}x",
        "{\"status\":1,\"status\":1}",
        "{\"status\":1,\"signal\":65}",
        "{\"status\":1,\"oom\":1}",
        "{\"status\":1,\"oom\":false,\"oom\":true}",
        "{\"signal\":9}",
        "{\"sta\\u0074us\":1}",
        "{\"status\":1,\"x\":{}}",
        "{\"status\":9999999999999999999999}",
        "{\"status\":1 \"signal\":1}",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        struct link_exit exit = {-1, -1, true};

        assert_int_equal(link_parse_exit(good[i], strlen(good[i]), &exit), 0);
        assert_int_equal(exit.status, 137);
        assert_int_equal(exit.signal, 9);
        assert_int_equal(exit.oom, strstr(good[i], "\"oom\":true") != NULL);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        size_t len = strlen(bad[i]);
        char *exact = malloc(len ? len : 1); /* a byte past the end is seen by the sanitizer */
        struct link_exit exit = {-7, -7, true};

        memcpy(exact, bad[i], len);
        if (link_parse_exit(exact, len, &exit) != -EPROTO)
            fail_msg("taken: %s", bad[i]);
        assert_int_equal(exit.status, -7);
        free(exact);
    }
}

static void test_lastwords(void **state)
{
    static const struct {
        const char *log, *words;
    } t[] = {
        {"", ""},
        {"\n\n \r\n", ""},
        {"one", "one"},
        {"one\ntwo\r\n\n", "two"},
        {"x\nKernel panic - not syncing: why\nCPU: 0\n---[ end Kernel panic ]---\n",
         "Kernel panic - not syncing: why"},
        {"\x01\x02z\x7f", "??z?"},
    };
    char out[LASTWORDS_MAX], *big = malloc(20001);
    int fd;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
        fd = log_of(t[i].log);
        lastwords(fd, out);
        assert_string_equal(out, t[i].words);
        close(fd);
    }
    memset(big, 'a', 20000);
    big[20000] = '\0';
    fd = log_of(big);
    lastwords(fd, out);
    assert_int_equal(strlen(out), LASTWORDS_MAX - 1);
    close(fd);
    free(big);
    lastwords(-1, out);
    assert_string_equal(out, "");
}

/* --- frame ------------------------------------------------------------------------------------ */

static int make_rootfs(void **state)
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

static int remove_rootfs(void **state)
{
    char path[128];

    (void)state;
    snprintf(path, sizeof(path), "%s/marker", rootfs);
    unlink(path);
    snprintf(path, sizeof(path), "%s/proc", rootfs);
    rmdir(path);
    return rmdir(rootfs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_exit),
        cmocka_unit_test(test_lastwords),
        cmocka_unit_test(test_namespaces),
        cmocka_unit_test(test_view),
        cmocka_unit_test(test_jail),
        cmocka_unit_test(test_descriptors),
        cmocka_unit_test(test_joins_netns),
        cmocka_unit_test(test_born_in_cgroup),
        cmocka_unit_test(test_rootfs_not_pinned),
        cmocka_unit_test(test_exit_status),
        cmocka_unit_test(test_flush_before_exit),
        cmocka_unit_test(test_killed_shim_closes),
        cmocka_unit_test(test_oom),
        cmocka_unit_test(test_lost_vm),
        cmocka_unit_test(test_lost_link_alone),
        cmocka_unit_test(test_hostile_frames),
        cmocka_unit_test(test_replies_are_skipped),
        cmocka_unit_test(test_leftover_holds_stream),
        cmocka_unit_test(test_killed_with_stuck_reader),
        cmocka_unit_test(test_signal_ends_flush),
        cmocka_unit_test(test_bulk_pipes),
        cmocka_unit_test(test_bulk_sockets),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_stdin_end),
        cmocka_unit_test(test_guest_closes_stdin),
        cmocka_unit_test(test_guest_closes_stdout),
        cmocka_unit_test(test_reader_gone),
        cmocka_unit_test(test_full_stdout_blocks_nothing),
        cmocka_unit_test(test_flags_of_pipes),
        cmocka_unit_test(test_signals),
        cmocka_unit_test(test_early_signals),
        cmocka_unit_test(test_signal_backlog),
        cmocka_unit_test(test_terminal),
        cmocka_unit_test(test_hangup),
        cmocka_unit_test(test_terminal_lost_vm),
        cmocka_unit_test(test_console_socket),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_abandoned),
        cmocka_unit_test(test_killed_before_go),
    };

    return cmocka_run_group_tests(tests, make_rootfs, remove_rootfs);
}
