/*
 * The talk with the child of a process until its execve, and its reaping. A container whose init
 * never came to be is given up here; it is answered for when it is gone, so that its name is free.
 *
 * The order on the agent's side:
 *   1. the child is made (clone.c), then ORDER_GO
 *   2. CHILD_LIMITS: rlimits and scheduling, then ORDER_ON
 *   3. CHILD_READY: the answer to CREATE
 *   4. ORDER_START; the socket's end means that execve has happened: the answer to START
 */
#include "agent/spawn.h"
#include "agent/child.h"
#include "agent/container.h"
#include "lib/cleanup.h"
#include "lib/io.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

static int give_order(const struct process *p, enum child_order order, struct err *e)
{
    struct child_command cmd = {.order = order};

    if (send(p->sync, &cmd, sizeof(cmd), MSG_NOSIGNAL) != sizeof(cmd))
        return err_errno(e, "speak to the new process");
    return 0;
}

/* It will never be what it was to be. */
static void fail(struct process *p, const struct err *e)
{
    p->failed = true;
    if (!p->pid)
        p->state = PROCESS_EXITED;
    if (p->is_init && !p->container->created) {
        container_fail(p->container, e);
    } else {
        reply_error(&p->reply, e);
        process_kill(p);
    }
}

static void on_limits(struct process *p)
{
    struct err e = ERR_INIT;

    if (!p->pid)
        return; /* it has died meanwhile: 0 would mean ourselves */
    if (limits_apply(p, &e) < 0 || give_order(p, ORDER_ON, &e) < 0)
        fail(p, &e);
}

static void on_ready(struct process *p, int *master)
{
    struct container *c = p->container;
    struct err e = ERR_INIT;

    if (p->state != PROCESS_CREATING || (p->spec->terminal && *master < 0)) {
        err_set(&e, EPROTO, "the new process broke its protocol");
        fail(p, &e);
        return;
    }
    if (p->spec->terminal) {
        p->stdio[0] = take_fd(master);
        (void)io_set_nonblock(p->stdio[0], 1);
    }
    p->oom_before = container_oom_kills(c);
    p->state = PROCESS_CREATED;
    if (p->is_init) {
        c->created = true;
        c->agent->had_container = true;
    }
    reply_ok(&p->reply, json_pack("{s:i}", "pid", (int)p->pid));
}

static void on_sync_end(struct process *p)
{
    loop_del(&p->container->agent->loop, &p->sync_src);
    close_fd(&p->sync);
    if (p->state != PROCESS_STARTING)
        return; /* it died: SIGCHLD will say how */
    p->state = PROCESS_RUNNING;
    reply_ok(&p->reply, json_pack("{s:I}", "ns", (json_int_t)monotonic_ns()));
}

static void read_sync(struct process *p)
{
    while (p->sync >= 0) {
        cleanup_fd int fd = -1;
        struct child_message m;
        unsigned nfds = 0;
        ssize_t n = io_recv_fds(p->sync, &m, sizeof(m), &fd, 1, &nfds);

        if (n == -EAGAIN || n == -EINTR)
            return;
        if (n != sizeof(m)) {
            on_sync_end(p);
            return;
        }
        m.err.msg[sizeof(m.err.msg) - 1] = '\0';
        if (m.event == CHILD_LIMITS)
            on_limits(p);
        else if (m.event == CHILD_READY)
            on_ready(p, &fd);
        else
            fail(p, &m.err);
    }
}

static void on_sync(struct loop_source *s, uint32_t events)
{
    (void)events;
    read_sync(s->arg);
}

static int hear(struct process *p, struct err *e)
{
    int r = loop_add(&p->agent->loop, &p->sync_src, p->sync, EPOLLIN, on_sync, p);

    return r < 0 ? err_set(e, -r, "watch the new process: %s", strerror(-r)) : 0;
}

void spawn_process(struct process *p, struct reply_to to)
{
    struct err e = ERR_INIT;

    p->reply = to;
    p->creator = to.conn;
    if (clone_process(p, &e) < 0 || hear(p, &e) < 0 || give_order(p, ORDER_GO, &e) < 0)
        fail(p, &e);
}

int spawn_start(struct process *p, struct reply_to to, struct err *e)
{
    struct child_command cmd = {.order = ORDER_START};

    if (p->state == PROCESS_EXITED)
        return err_set(e, ESRCH, p->is_init ? "container not running" : "no such process");
    if (p->state != PROCESS_CREATED)
        return err_set(e, EINVAL, "cannot start an already running %s",
                       p->is_init ? "container" : "process");
    for (int i = 0; i < 3 && !p->spec->terminal; i++) {
        if (p->relays[i])
            continue;
        cmd.null_streams |= 1u << i;
        close_fd(&p->stdio[i]);
    }
    if (send(p->sync, &cmd, sizeof(cmd), MSG_NOSIGNAL) != sizeof(cmd))
        return err_errno(e, "start process \"%s\"", p->id);
    p->reply = to;
    p->state = PROCESS_STARTING;
    return 0;
}

static struct process *find_pid(struct agent *a, pid_t pid)
{
    for (struct container *c = a->containers; c; c = c->next) {
        for (struct process *p = c->processes; p; p = p->next) {
            if (p->pid == pid)
                return p;
        }
    }
    return NULL;
}

static void reaped(struct process *p, const siginfo_t *info)
{
    struct container *c = p->container;
    struct err e = ERR_INIT;

    p->pid = 0;
    read_sync(p); /* its last words, if it failed before execve */
    process_exited(p, info, container_oom_kills(c) > p->oom_before);
    if (p->reply.conn && !p->failed) {
        err_set(&e, ESRCH, "%s was killed before it could start",
                p->is_init ? "the container's process" : "the process");
        fail(p, &e);
    }
    if (p->is_init)
        container_stopped(c);
}

void spawn_reap(struct agent *a)
{
    for (;;) {
        siginfo_t info = {0};
        struct process *p;

        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0)
            return;
        p = find_pid(a, info.si_pid);
        if (p)
            reaped(p, &info);
    }
}
