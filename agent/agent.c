/*
 * The agent's loop: listening, child signals, sweeps, and the end of the sandbox.
 *
 * It owns the lists of connections and containers; what they do is in their own files. The guest's
 * boot is not here (setup.c), nor is any knowledge of vsock but the check of who called.
 */
#include "agent/agent.h"
#include "agent/container.h"
#include "agent/request.h"
#include "agent/spawn.h"
#include "lib/cleanup.h"
#include "lib/io.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

static json_t *hello(void)
{
    struct utsname u;
    struct sysinfo si;
    cpu_set_t cpus;
    int n = 1;

    if (uname(&u) < 0 || sysinfo(&si) < 0)
        return NULL;
    if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0)
        n = CPU_COUNT(&cpus);
    return json_pack("{s:s, s:s, s:I, s:I, s:i}", "agent", BULKHEAD_VERSION, "kernel", u.release,
                     "boot_ns", (json_int_t)monotonic_ns(), "memory",
                     (json_int_t)si.totalram * (json_int_t)si.mem_unit, "cpus", n);
}

int agent_add_conn(struct agent *a, int fd, bool greet, struct err *e)
{
    struct conn *c = conn_new(a, fd, e);

    if (!c)
        return -e->code;
    if (greet)
        conn_send(c, PROTO_HELLO, 0, hello());
    return 0;
}

/* Only the host may talk to us: a workload's own vsock connections have another CID. */
static bool from_host(const struct sockaddr_storage *from)
{
    struct sockaddr_vm vm;

    if (from->ss_family != AF_VSOCK)
        return true; /* a test's Unix socket: whoever may connect to its path */
    memcpy(&vm, from, sizeof(vm));
    return vm.svm_cid == VMADDR_CID_HOST;
}

/* A caller that cannot be taken would keep the loop awake for ever: it is taken and sent away. */
static void turn_away(struct agent *a, int listen_fd)
{
    close_fd(&a->spare_fd);
    close(accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC));
    a->spare_fd = fcntl(a->null_fd, F_DUPFD_CLOEXEC, 3);
}

static void on_accept(struct loop_source *s, uint32_t events)
{
    struct agent *a = s->arg;
    struct sockaddr_storage from = {0};
    socklen_t len = sizeof(from);
    struct err e = ERR_INIT;
    int fd;

    (void)events;
    fd = accept4(s->fd, (struct sockaddr *)&from, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0 && (errno == EMFILE || errno == ENFILE))
        turn_away(a, s->fd);
    if (fd < 0)
        return;
    if (!from_host(&from) || a->nconns >= AGENT_CONNS_MAX || agent_add_conn(a, fd, false, &e) < 0)
        close(fd);
}

static void on_signal(struct loop_source *s, uint32_t events)
{
    struct signalfd_siginfo info[8];

    (void)events;
    while (read(s->fd, info, sizeof(info)) > 0)
        ;
    spawn_reap(s->arg);
}

static int open_signals(struct agent *a, struct err *e)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return err_errno(e, "block SIGCHLD");
    signal(SIGPIPE, SIG_IGN);
    a->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (a->signal_fd < 0)
        return err_errno(e, "signalfd");
    return 0;
}

static int open_own(const char *path, int flags, int *out, struct err *e)
{
    *out = open(path, flags | O_CLOEXEC);
    return *out < 0 ? err_errno(e, "open %s", path) : 0;
}

int agent_init(struct agent *a, const struct agent_config *cfg, int listen_fd, struct err *e)
{
    int r;

    memset(a, 0, sizeof(*a));
    a->cfg = *cfg;
    a->user = &request_user;
    a->signal_fd = a->pidns_fd = a->timens_fd = a->null_fd = a->spare_fd = -1;
    a->listen_src.fd = a->signal_src.fd = -1;
    /* and so is every child from birth: a process of a container that it joins cannot look into it
     * before it has become what it is to be */
    r = prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? err_errno(e, "PR_SET_DUMPABLE") : 0;
    if (r == 0)
        r = loop_init(&a->loop, e);
    if (r == 0)
        r = open_signals(a, e);
    if (r == 0)
        r = open_own("/proc/self/ns/pid", O_RDONLY, &a->pidns_fd, e);
    if (r == 0)
        r = open_own("/proc/self/ns/time", O_RDONLY, &a->timens_fd, e);
    if (r == 0)
        r = open_own("/dev/null", O_RDWR, &a->null_fd, e);
    if (r == 0)
        r = open_own("/dev/null", O_RDWR, &a->spare_fd, e);
    if (r < 0)
        return r;
    r = loop_add(&a->loop, &a->signal_src, a->signal_fd, EPOLLIN, on_signal, a);
    if (r == 0 && listen_fd >= 0)
        r = loop_add(&a->loop, &a->listen_src, listen_fd, EPOLLIN, on_accept, a);
    return r < 0 ? err_set(e, -r, "watch the agent's descriptors: %s", strerror(-r)) : 0;
}

/*
 * The sandbox ends when its last container has: none runs, the host has closed every connection
 * that a process was attached to (so it has its EXIT), and those by which it deleted a container.
 */
static bool at_end(const struct agent *a)
{
    if (!a->cfg.ends || !a->had_container)
        return false;
    for (const struct container *c = a->containers; c; c = c->next) {
        if (!c->created || c->deleting || container_running(c))
            return false;
        for (const struct process *p = c->processes; p; p = p->next) {
            if (p->attached || p->state != PROCESS_EXITED)
                return false;
        }
    }
    for (const struct conn *c = a->conns; c; c = c->next) {
        if (c->deleted)
            return false;
    }
    return true;
}

int agent_run(struct agent *a, struct err *e)
{
    while (!a->loop.stopping) {
        int r = loop_once(&a->loop, -1);

        if (r < 0)
            return err_set(e, -r, "event loop: %s", strerror(-r));
        container_sweep(a);
        conn_sweep(a);
        if (at_end(a))
            return 0;
    }
    return 0;
}

void agent_done(struct agent *a)
{
    for (struct conn *c = a->conns; c; c = c->next)
        conn_close(c);
    for (struct container *c = a->containers; c; c = c->next)
        container_delete(c);
    while (a->containers && a->loop.epfd >= 0 && loop_once(&a->loop, 100) == 0)
        container_sweep(a);
    conn_sweep(a);
    if (a->listen_src.fd >= 0)
        close(a->listen_src.fd);
    loop_del(&a->loop, &a->signal_src);
    loop_done(&a->loop);
    close_fd(&a->signal_fd);
    close_fd(&a->pidns_fd);
    close_fd(&a->timens_fd);
    close_fd(&a->null_fd);
    close_fd(&a->spare_fd);
}
