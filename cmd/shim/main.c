/*
 * bulkhead-shim: stands on the host for one process in a virtual machine (runtime/shim.h). It is
 * started by bulkhead alone, with its namespaces made, all signals blocked, the container's stdio
 * at 0, 1 and 2 and the channel to the spawner at SHIM_CHANNEL_FD; nothing else is open.
 *
 * There is one for each container and each exec, so it is built small: static, against musl where
 * that is installed, no heap, no stdio.
 */
#include "runtime/shim.h"
#include "runtime/shim/confine.h"
#include "runtime/shim/handover.h"
#include "runtime/shim/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SIGSET_BYTES 8 /* the kernel's, with the signals that C libraries hide */

/* Tells the spawner how it goes; code is a positive errno, 0 = well. */
static int report(int code, const char *what, const struct winsize *w)
{
    struct shim_report r = {.code = code};

    if (w) {
        r.rows = w->ws_row;
        r.cols = w->ws_col;
    }
    if (code)
        snprintf(r.message, sizeof(r.message), "bulkhead-shim: %s: %s", what, strerror(code));
    return send(SHIM_CHANNEL_FD, &r, sizeof(r), MSG_NOSIGNAL) == (ssize_t)sizeof(r) ? 0 : -1;
}

/* A signalfd that hears everything. SIGCHLD is ignored so that orphans of this pid namespace, which
 * only a visitor can leave here, are reaped. */
static int hear_signals(void)
{
    uint64_t all = ~0ull;

    signal(SIGCHLD, SIG_IGN);
    if (syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, SIGSET_BYTES) < 0)
        return -1;
    return (int)syscall(SYS_signalfd4, -1, &all, SIGSET_BYTES, O_NONBLOCK | O_CLOEXEC);
}

/* Receives the hand-over; descriptors that did not come are -1. Returns 0 or -1. */
static int receive(struct shim_handover *h, int fds[SHIM_FDS])
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * SHIM_FDS)];
    } control;
    struct iovec iov = {h, sizeof(*h)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control.bytes)};
    struct cmsghdr *c;
    unsigned n = 0, at = 0;

    if (recvmsg(SHIM_CHANNEL_FD, &msg, MSG_CMSG_CLOEXEC) != (ssize_t)sizeof(*h) ||
        h->version != SHIM_HANDOVER_VERSION)
        return -1;
    c = CMSG_FIRSTHDR(&msg);
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
        n = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    for (int i = 0; i < SHIM_FDS; i++) {
        fds[i] = -1;
        if (!(h->present & 1u << i))
            continue;
        if (at == n)
            return -1;
        memcpy(&fds[i], CMSG_DATA(c) + at++ * sizeof(int), sizeof(int));
    }
    h->ident[sizeof(h->ident) - 1] = '\0';
    return at == n && fds[SHIM_CONTROL] >= 0 ? 0 : -1;
}

int main(void)
{
    static struct shim_handover h;
    struct relay_fds f = {.stdio = {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}};
    struct winsize size = {0, 0, 0, 0};
    const char *what = "signals";
    int fds[SHIM_FDS], r;

    if (getpid() != 1 || fcntl(SHIM_CHANNEL_FD, F_GETFD) < 0) {
        dprintf(STDERR_FILENO, "bulkhead-shim is started by bulkhead, not by hand\n");
        return 2;
    }
    prctl(PR_SET_NAME, "bulkhead-shim", 0, 0, 0);
    f.signals = hear_signals();
    r = f.signals < 0 ? -errno : confine_enter(&what);
    if (r < 0) {
        report(-r, what, NULL);
        return SHIM_STATUS_VM_LOST;
    }
    if (report(0, NULL, NULL) < 0 || receive(&h, fds) < 0)
        return SHIM_STATUS_VM_LOST; /* the spawner has given up, and reports it itself */
    if (h.terminal)
        ioctl(STDIN_FILENO, TIOCGWINSZ, &size);
    report(0, NULL, &size);
    close(SHIM_CHANNEL_FD);
    f.terminal = h.terminal != 0;
    f.control = fds[SHIM_CONTROL];
    memcpy(f.streams, &fds[SHIM_STREAM0], sizeof(f.streams));
    f.console_log = fds[SHIM_CONSOLE_LOG];
    memcpy(f.oom, &fds[SHIM_OOM], sizeof(f.oom));
    return relay_run(&f, h.ident);
}
