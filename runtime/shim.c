/*
 * The spawning side of bulkhead-shim (runtime/shim.h): opens what the child needs while names still
 * mean what the caller meant, clones it into its namespaces and its cgroup, and later hands over
 * the connections. `struct shim` holds all state; the child's own steps are in shim_child.c, the
 * program's in runtime/shim/.
 */
#include "runtime/shim.h"

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/path.h"
#include "runtime/console.h"
#include "runtime/process.h"
#include "runtime/shim/handover.h"
#include "runtime/shim_child.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#define SIGSET_BYTES 8 /* the kernel's, with the signals that libc hides */
#define PTMX_MAJOR   5
#define PTMX_MINOR   2

/* Does opening it anew give the same thing? Not with the ptmx, which makes a new pty. */
static bool reopenable(int fd, const struct stat *st)
{
    if (S_ISFIFO(st->st_mode))
        return true;
    return S_ISCHR(st->st_mode) && isatty(fd) && st->st_rdev != makedev(PTMX_MAJOR, PTMX_MINOR);
}

/*
 * A copy of one stdio descriptor for the shim. O_NONBLOCK belongs to the open file description,
 * which pipes and terminals share with other processes, so these are opened anew, by way of /proc;
 * where that is not possible, and for all else, it is a duplicate (runtime/shim/pump.c knows how to
 * live with one).
 */
static int own_stdio(int fd, struct err *e)
{
    char path[PATH_FD_LEN];
    struct stat st;
    int flags, own = -1;

    if (fd < 0) {
        own = open("/dev/null", O_RDWR | O_CLOEXEC);
        return own < 0 ? err_errno(e, "open /dev/null") : own;
    }
    flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fstat(fd, &st) < 0)
        return err_errno(e, "standard descriptor %d", fd);
    if (reopenable(fd, &st))
        own = open(path_of_fd(path, fd), (flags & O_ACCMODE) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (own < 0)
        own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    return own < 0 ? err_errno(e, "duplicate standard descriptor %d", fd) : own;
}

/* All that the child borrows; closed by the parent when the clone is made. */
struct prepared {
    struct shim_child child;
    int slave;
};

static void prepared_done(struct prepared *p)
{
    close_fd(&p->child.program);
    close_fd(&p->child.netns);
    close_fd(&p->child.channel);
    for (int i = 0; i < 3; i++) {
        if (p->child.stdio[i] != p->slave)
            close_fd(&p->child.stdio[i]);
    }
    close_fd(&p->slave);
}

static int prepare_stdio(const struct shim_params *p, struct prepared *out, int *master,
                         struct err *e)
{
    int r;

    if (p->terminal) {
        r = console_open(p->rows, p->cols, master, &out->slave, e);
        if (r < 0)
            return r;
        for (int i = 0; i < 3; i++)
            out->child.stdio[i] = out->slave;
        return 0;
    }
    for (int i = 0; i < 3; i++) {
        r = own_stdio(p->stdio[i], e);
        if (r < 0)
            return r;
        out->child.stdio[i] = r;
    }
    return 0;
}

static int prepare(const struct shim_params *p, struct prepared *out, struct shim *s, struct err *e)
{
    struct stat st;
    int pair[2];

    out->child.program = open(p->program, O_RDONLY | O_CLOEXEC);
    if (out->child.program < 0)
        return err_errno(e, "open %s", p->program);
    if (stat(p->rootfs, &st) < 0)
        return err_errno(e, "rootfs %s", p->rootfs);
    if (!S_ISDIR(st.st_mode))
        return err_set(e, ENOTDIR, "rootfs %s is not a directory", p->rootfs);
    if (p->netns) {
        out->child.netns = open(p->netns, O_RDONLY | O_CLOEXEC);
        if (out->child.netns < 0)
            return err_errno(e, "network namespace %s", p->netns);
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_errno(e, "socketpair");
    s->channel = pair[0];
    out->child.channel = pair[1];
    return prepare_stdio(p, out, &s->master, e);
}

/* Fork-like clone; in the child it does not return. Signals are blocked around it, so that the
 * child hears none before it has its signalfd. */
static int clone_child(const struct shim_params *p, struct prepared *pre, struct shim *s,
                       struct err *e)
{
    uint64_t all = ~0ull, before;
    int pidfd = -1;
    struct clone_args a = {
        .flags = CLONE_PIDFD | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS,
        .pidfd = (uint64_t)(uintptr_t)&pidfd,
        .exit_signal = SIGCHLD,
    };
    long pid;

    if (p->new_netns && !p->netns)
        a.flags |= CLONE_NEWNET;
    if (p->cgroup_fd >= 0) {
        a.flags |= CLONE_INTO_CGROUP;
        a.cgroup = (unsigned)p->cgroup_fd;
    }
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, SIGSET_BYTES);
    pid = syscall(SYS_clone3, &a, sizeof(a));
    if (pid == 0)
        shim_child_run(&pre->child);
    if (pid < 0)
        err_errno(e, "clone bulkhead-shim into its namespaces%s",
                  p->cgroup_fd >= 0 ? " and cgroup" : "");
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, SIGSET_BYTES);
    if (pid < 0)
        return -e->code;
    s->pid = (pid_t)pid;
    s->pidfd = pidfd;
    process_spare(s->pid); /* it has a status to return, see shim/oom.c */
    return 0;
}

/* Waits for the next report. A shim that dies without one is reaped here, for its reason. */
static int hear(struct shim *s, struct shim_report *out, struct err *e)
{
    ssize_t n;
    int status;

    do
        n = recv(s->channel, out, sizeof(*out), 0);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return err_errno(e, "hear from bulkhead-shim");
    if (n == (ssize_t)sizeof(*out)) {
        out->message[sizeof(out->message) - 1] = '\0';
        return out->code ? err_set(e, out->code > 0 ? out->code : EIO, "%s", out->message) : 0;
    }
    while (waitpid(s->pid, &status, 0) < 0) {
        if (errno != EINTR)
            return err_set(e, ECHILD, "bulkhead-shim ended without a word");
    }
    s->pid = 0;
    if (WIFSIGNALED(status))
        return err_set(e, ECHILD, "bulkhead-shim was killed by signal %d", WTERMSIG(status));
    return err_set(e, ECHILD, "bulkhead-shim ended with status %d", WEXITSTATUS(status));
}

int shim_spawn(const struct shim_params *p, struct shim *out, struct err *e)
{
    struct prepared pre = {
        .child = {.params = p, .program = -1, .netns = -1, .channel = -1, .stdio = {-1, -1, -1}},
        .slave = -1};
    struct shim s = SHIM_INIT;
    struct shim_report report;
    int r = prepare(p, &pre, &s, e);

    if (r == 0)
        r = clone_child(p, &pre, &s, e);
    prepared_done(&pre);
    if (r == 0)
        r = hear(&s, &report, e);
    if (r == 0 && p->terminal && p->console_socket) {
        r = console_send(p->console_socket, s.master, e);
        close_fd(&s.master);
    }
    if (r < 0) {
        shim_abort(&s);
        return r;
    }
    s.terminal = p->terminal;
    if (p->terminal) {
        s.rows = p->rows;
        s.cols = p->cols;
    }
    *out = s;
    return 0;
}

/* `"id":"...","process":"..."`, escaped. */
static int identify(const struct shim_guest *g, char ident[SHIM_IDENT_MAX], struct err *e)
{
    json_t *j = json_pack("{s:s, s:s}", "id", g->container, "process", g->process);
    char body[SHIM_IDENT_MAX];
    size_t len = j ? json_dumpb(j, body, sizeof(body), JSON_COMPACT) : 0;

    json_decref(j);
    if (len < 2 || len > sizeof(body))
        return err_set(e, EINVAL, "container \"%s\", process \"%s\": not valid names", g->container,
                       g->process);
    memcpy(ident, body + 1, len - 2);
    ident[len - 2] = '\0';
    return 0;
}

int shim_go(struct shim *s, const struct shim_guest *g, struct err *e)
{
    int all[SHIM_FDS] = {g->control, g->streams[0], g->streams[1], g->streams[2], g->console_log};
    struct shim_handover h = {.version = SHIM_HANDOVER_VERSION, .terminal = s->terminal};
    struct shim_report report;
    int fds[SHIM_FDS];
    unsigned n = 0;
    ssize_t sent;
    int r = identify(g, h.ident, e);

    if (r < 0)
        return r;
    memcpy(&all[SHIM_OOM], g->oom, sizeof(g->oom));
    for (unsigned i = 0; i < SHIM_FDS; i++) {
        if (all[i] < 0)
            continue;
        h.present |= 1u << i;
        fds[n++] = all[i];
        if (i < SHIM_CONSOLE_LOG && io_set_nonblock(all[i], 1) < 0)
            return err_set(e, EBADF, "hand over to bulkhead-shim: bad connection");
    }
    sent = io_send_fds(s->channel, &h, sizeof(h), fds, n);
    if (sent < 0)
        return err_set(e, (int)-sent, "hand over to bulkhead-shim: %s", strerror((int)-sent));
    r = hear(s, &report, e);
    if (r < 0)
        return err_wrap(e, "hand over to bulkhead-shim");
    if (report.rows && report.cols) {
        s->rows = report.rows;
        s->cols = report.cols;
    }
    close_fd(&s->channel);
    return 0;
}

int shim_write_pid(const struct shim *s, const char *file, struct err *e)
{
    char text[16];

    if (!file)
        return 0;
    int n = snprintf(text, sizeof(text), "%d", s->pid);
    return io_publish_file(AT_FDCWD, file, 0644, text, (size_t)n, e);
}

void shim_abort(struct shim *s)
{
    if (s->pid > 0) {
        if (s->pidfd >= 0)
            syscall(SYS_pidfd_send_signal, s->pidfd, SIGKILL, NULL, 0);
        while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    shim_release(s);
}

void shim_release(struct shim *s)
{
    close_fd(&s->pidfd);
    close_fd(&s->channel);
    close_fd(&s->master);
    s->pid = 0;
    s->terminal = false;
    s->rows = s->cols = 0;
}
