/*
 * The loop of the shim: up to three pumps (stdin in, stdout and stderr out; with a terminal one
 * each way), the control connection, and signals. One thread that waits in ppoll alone, so that an
 * output nobody reads holds up neither the other output nor a signal.
 *
 * The end. After PROTO_EXIT the outputs are flushed: until the guest's ends are closed and all is
 * written. Three things cut that short:
 *  - a stream that is still open but silent for FLUSH_IDLE_MS: a process that the guest process
 *    left behind holds it;
 *  - a process that a signal killed (or a virtual machine that is gone) whose reader takes nothing
 *    for FLUSH_STALL_MS: killing must work though the reader hangs. After an ordinary exit we wait
 *    for the reader as the process itself would have;
 *  - a signal to us that would have ended the process.
 *
 * stdout is closed when the guest closes it, stdin when the guest does not read it any more;
 * stderr stays, it may be needed for last words.
 */
#include "runtime/shim/relay.h"

#include "lib/clock.h"
#include "runtime/shim.h"
#include "runtime/shim/lastwords.h"
#include "runtime/shim/link.h"
#include "runtime/shim/pump.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#define OWN_PID        1 /* the first of its pid namespace */
#define FLUSH_IDLE_MS  1000
#define FLUSH_STALL_MS 2000
#define WORDS_WAIT_MS  1000

enum { IN, OUT, ERR, PUMPS };
enum { POLL_SIGNALS, POLL_LINK, POLL_PUMPS, POLLS = POLL_PUMPS + 2 * PUMPS };

struct relay {
    const struct relay_fds *fds;
    struct link link;
    struct pump pumps[PUMPS];
    struct pollfd polls[POLLS];
    int64_t progress; /* when something last moved after the end of the link */
    bool cut;         /* a signal ended the flushing */
};

/* Untouched pages of these cost nothing. */
static char buffers[PUMPS][PUMP_BUFFER] __attribute__((aligned(4096)));

static void tell_size(struct relay *r)
{
    struct winsize w;

    if (r->fds->terminal && ioctl(r->fds->stdio[0], TIOCGWINSZ, &w) == 0 && w.ws_row && w.ws_col)
        link_resize(&r->link, w.ws_row, w.ws_col);
}

/*
 * Every signal that someone sent goes to the guest process. What the kernel tells us about
 * ourselves does not: the end of a child, a write to a closed pipe, a new window size.
 */
static void take_signal(struct relay *r)
{
    struct signalfd_siginfo si;
    int sig;

    if (read(r->fds->signals, &si, sizeof(si)) != (ssize_t)sizeof(si))
        return;
    sig = (int)si.ssi_signo;
    if (sig == SIGCHLD && si.ssi_code > 0)
        return;
    if (sig == SIGPIPE && si.ssi_pid == OWN_PID)
        return;
    if (sig == SIGWINCH && si.ssi_code > 0) {
        tell_size(r);
        return;
    }
    if (r->link.state != LINK_UP)
        r->cut |= sig == SIGTERM || sig == SIGINT || sig == SIGHUP || sig == SIGQUIT;
    link_signal(&r->link, sig);
}

static void watch(struct pollfd *p, int fd, short events)
{
    p->fd = events ? fd : -1; /* else POLLHUP would be reported for ever */
    p->events = events;
    p->revents = 0;
}

static void prepare(struct relay *r)
{
    struct pollfd *p = r->polls;
    bool up = r->link.state == LINK_UP;

    watch(&p[POLL_SIGNALS], r->fds->signals, !up || link_idle(&r->link) ? POLLIN : 0);
    watch(&p[POLL_LINK], r->link.fd,
          (short)((up ? POLLIN : 0) | (up && !link_idle(&r->link) ? POLLOUT : 0)));
    for (int i = 0; i < PUMPS; i++) {
        watch(&p[POLL_PUMPS + 2 * i], r->pumps[i].src.fd, pump_src_events(&r->pumps[i]));
        watch(&p[POLL_PUMPS + 2 * i + 1], r->pumps[i].dst.fd, pump_dst_events(&r->pumps[i]));
    }
    /* the guest may stop reading stdin while there is none: then our writer should know */
    if (!r->pumps[IN].done && !r->fds->terminal && !pump_pending(&r->pumps[IN])) {
        p[POLL_PUMPS + 1].fd = r->pumps[IN].dst.fd;
        p[POLL_PUMPS + 1].events = 0;
    }
}

static bool run_pumps(struct relay *r)
{
    bool moved = false;

    for (int i = 0; i < PUMPS; i++) {
        struct pump *pump = &r->pumps[i];
        const struct pollfd *src = &r->polls[POLL_PUMPS + 2 * i], *dst = src + 1;

        if (pump->done)
            continue;
        if (dst->revents && !dst->events)
            pump_dst_gone(pump);
        else if (src->revents || dst->revents)
            moved |= pump_run(pump);
        if (!pump->done)
            continue;
        moved = true;
        if (!r->fds->terminal && i == IN)
            close(r->fds->stdio[0]);
        if (!r->fds->terminal && i == OUT)
            close(r->fds->stdio[1]);
    }
    return moved;
}

/* Is there nothing left to wait for? Else *timeout is how long to wait for it, -1 = for ever. */
static bool finished(const struct relay *r, int64_t now, int *timeout)
{
    bool pending = pump_pending(&r->pumps[OUT]) || pump_pending(&r->pumps[ERR]);
    bool patient = pending && r->link.state == LINK_EXITED && !r->link.exit.signal;
    int64_t left;

    *timeout = -1;
    if (r->link.state == LINK_UP)
        return false;
    if (r->cut || (r->pumps[OUT].done && r->pumps[ERR].done))
        return true;
    if (patient)
        return false;
    left = r->progress + (pending ? FLUSH_STALL_MS : FLUSH_IDLE_MS) - now;
    *timeout = left > 0 ? (int)left : 0;
    return left <= 0;
}

static void turn(struct relay *r, int timeout)
{
    struct timespec t = {timeout / 1000, timeout % 1000 * 1000000L};
    bool was_up = r->link.state == LINK_UP;
    const struct pollfd *p = r->polls;

    prepare(r);
    if (ppoll(r->polls, POLLS, timeout < 0 ? NULL : &t, NULL) <= 0)
        return;
    if (p[POLL_LINK].revents & POLLOUT)
        link_flush(&r->link);
    if (p[POLL_LINK].revents & (POLLIN | POLLHUP | POLLERR))
        link_read(&r->link);
    if (p[POLL_SIGNALS].revents)
        take_signal(r);
    if (run_pumps(r) || (was_up && r->link.state != LINK_UP))
        r->progress = monotonic_ms();
}

/* The container's stderr may be full and its reader asleep: last words wait a moment, not for ever.
 */
static void last_message(const struct relay *r)
{
    int fd = r->fds->stdio[r->fds->terminal ? 0 : 2];
    const char *end = r->fds->terminal ? "\r\n" : "\n";
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    struct timespec t = {WORDS_WAIT_MS / 1000, WORDS_WAIT_MS % 1000 * 1000000L};
    char words[LASTWORDS_MAX], text[LASTWORDS_MAX + 128];
    int len;

    if (r->link.state == LINK_BROKEN) {
        len =
            snprintf(text, sizeof(text), "bulkhead: the virtual machine broke the protocol%s", end);
    } else {
        lastwords(r->fds->console_log, words);
        len = snprintf(text, sizeof(text),
                       "bulkhead: the virtual machine ended before the process "
                       "did%s%s%s",
                       words[0] ? ": " : "", words, end);
    }
    if (ppoll(&p, 1, &t, NULL) == 1 && !(p.revents & POLLNVAL) && write(fd, text, (size_t)len) < 0)
        return; /* nobody is left to tell */
}

int relay_run(const struct relay_fds *f, const char *ident)
{
    static struct relay relay; /* large, and there is one */
    struct relay *r = &relay;
    int timeout;

    r->fds = f;
    link_init(&r->link, f->control, ident);
    pump_init(&r->pumps[IN], f->stdio[0], f->streams[0], buffers[IN]);
    if (f->terminal) {
        pump_init(&r->pumps[OUT], f->streams[0], f->stdio[0], buffers[OUT]);
        pump_init(&r->pumps[ERR], -1, -1, buffers[ERR]);
    } else {
        pump_init(&r->pumps[OUT], f->streams[1], f->stdio[1], buffers[OUT]);
        pump_init(&r->pumps[ERR], f->streams[2], f->stdio[2], buffers[ERR]);
    }
    tell_size(r);
    while (!finished(r, monotonic_ms(), &timeout))
        turn(r, timeout);
    if (r->link.state == LINK_EXITED) {
        if (r->link.exit.oom)
            oom_report(f->oom);
        return r->link.exit.status;
    }
    last_message(r);
    return SHIM_STATUS_VM_LOST;
}
