/*
 * Stdio streams. One read into the agent's scratch buffer, one write to the other side; only what
 * the other side did not take is kept (at most RELAY_BUF bytes a direction), and as long as it is
 * kept nothing more is read. So an idle stream costs no buffer.
 *
 * A pipe or pty ends by 0, EIO or an error; it is then closed and the connection is shut down for
 * writing. The host ends the input by SHUT_WR: a pipe is closed, a terminal stays open (programs
 * end a terminal's input by a character). A connection that breaks closes the process side.
 */
#include "agent/relay.h"
#include "lib/cleanup.h"
#include "lib/io.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SETTLE_MAX (1 << 20) /* the most a pipe holds (fs.pipe-max-size) */

static void on_event(struct loop_source *s, uint32_t events);

struct relay *relay_new(struct agent *a, int proc_fd, int conn_fd, unsigned directions,
                        bool shared_fd)
{
    struct relay *r = calloc(1, sizeof(*r));

    if (!r) {
        close(conn_fd);
        if (!shared_fd)
            close(proc_fd);
        return NULL;
    }
    r->agent = a;
    r->proc_fd = proc_fd;
    r->conn_fd = conn_fd;
    r->shared_fd = shared_fd;
    r->proc_src.fd = r->conn_src.fd = -1;
    r->to_conn.open = directions & RELAY_OUTPUT;
    r->to_proc.open = directions & RELAY_INPUT;
    if (io_set_nonblock(proc_fd, 1) < 0 || io_set_nonblock(conn_fd, 1) < 0 ||
        loop_add(&a->loop, &r->proc_src, proc_fd, r->to_conn.open ? EPOLLIN : EPOLLPRI, on_event,
                 r) < 0 ||
        loop_add(&a->loop, &r->conn_src, conn_fd, r->to_proc.open ? EPOLLIN : EPOLLPRI, on_event,
                 r) < 0) {
        relay_free(r);
        return NULL;
    }
    return r;
}

static void close_proc(struct relay *r)
{
    loop_del(&r->agent->loop, &r->proc_src);
    if (!r->shared_fd)
        close_fd(&r->proc_fd);
    r->proc_fd = -1;
    r->to_conn.open = false;
    r->to_proc.open = false;
    free(take_ptr(r->to_proc.buf));
    r->to_proc.len = r->to_proc.off = 0;
}

static void close_conn(struct relay *r)
{
    loop_del(&r->agent->loop, &r->conn_src);
    close_fd(&r->conn_fd);
    r->to_conn.open = false;
    free(take_ptr(r->to_conn.buf));
    r->to_conn.len = r->to_conn.off = 0;
    r->idle = true;
}

void relay_free(struct relay *r)
{
    if (!r)
        return;
    close_proc(r);
    close_conn(r);
    free(r);
}

bool relay_done(const struct relay *r)
{
    return r->proc_fd < 0 && r->conn_fd < 0;
}

/* Keeps bytes that the other side did not take. */
static int keep(struct relay_half *h, const char *p, size_t len)
{
    h->buf = malloc(len);
    if (!h->buf)
        return -ENOMEM;
    memcpy(h->buf, p, len);
    h->off = 0;
    h->len = len;
    return 0;
}

/* Writes and returns what was taken (0 when none now), or -errno. */
static ssize_t put(int fd, const char *p, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = write(fd, p + done, len - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0)
            return -errno;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

/* Writes what is kept: 1 when nothing is left, 0 when something is, -errno. */
static int drain_kept(struct relay_half *h, int fd)
{
    ssize_t n;

    if (!h->buf)
        return 1;
    n = put(fd, h->buf + h->off, h->len - h->off);
    if (n < 0)
        return (int)n;
    h->off += (size_t)n;
    if (h->off < h->len)
        return 0;
    free(take_ptr(h->buf));
    h->off = h->len = 0;
    return 1;
}

enum moved { MOVED_SOME, MOVED_NONE, MOVED_END, MOVED_BROKEN };

/* One read and one write of a direction whose kept bytes are gone. */
static enum moved move_once(struct relay *r, struct relay_half *h, int from, int to)
{
    ssize_t n, w;

    do
        n = read(from, r->agent->scratch, sizeof(r->agent->scratch));
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return MOVED_NONE;
    if (n <= 0)
        return MOVED_END;
    if (h == &r->to_conn && r->settling)
        r->settle_budget -= n;
    w = put(to, r->agent->scratch, (size_t)n);
    if (w < 0)
        return MOVED_BROKEN;
    if (w < n && keep(h, r->agent->scratch + w, (size_t)(n - w)) < 0)
        return MOVED_BROKEN;
    return MOVED_SOME;
}

/* Process to host. */
static void move_output(struct relay *r)
{
    int k;

    if (r->conn_fd < 0)
        return;
    k = drain_kept(&r->to_conn, r->conn_fd);
    if (k < 0) {
        close_conn(r);
        close_proc(r); /* the writer gets EPIPE, as from any pipe without a reader */
        return;
    }
    if (k == 0)
        return;
    if (r->settling && r->settle_budget <= 0)
        r->idle = true;
    if (r->to_conn.open) {
        switch (move_once(r, &r->to_conn, r->proc_fd, r->conn_fd)) {
        case MOVED_SOME:
            return;
        case MOVED_NONE:
            r->idle = r->settling;
            return;
        case MOVED_END:
            close_proc(r);
            break;
        case MOVED_BROKEN:
            close_conn(r);
            close_proc(r);
            return;
        }
    }
    if (r->proc_fd < 0 && !r->to_conn.buf) { /* all is out: the stream's end */
        shutdown(r->conn_fd, SHUT_WR);
        close_conn(r);
    }
}

/* The host's bytes are over. */
static void end_input(struct relay *r)
{
    r->to_proc.open = false;
    free(take_ptr(r->to_proc.buf));
    if (r->to_conn.open)
        return; /* a terminal: its output goes on */
    close_proc(r);
    close_conn(r);
}

/* Host to process. */
static void move_input(struct relay *r)
{
    int k;

    if (r->proc_fd < 0 || r->conn_fd < 0)
        return;
    k = drain_kept(&r->to_proc, r->proc_fd);
    if (k == 0)
        return;
    if (k < 0) {
        end_input(r);
        return;
    }
    if (!r->to_proc.open) { /* the kept bytes were the last ones */
        end_input(r);
        return;
    }
    switch (move_once(r, &r->to_proc, r->conn_fd, r->proc_fd)) {
    case MOVED_SOME:
    case MOVED_NONE:
        return;
    case MOVED_END:
    case MOVED_BROKEN:
        end_input(r);
        return;
    }
}

/*
 * What each side is watched for. A connection is always watched for its end (EPOLLPRI never
 * happens on it, EPOLLHUP and EPOLLERR are reported all the same); the process side only while
 * there is something to do, since a pty without a slave reports EPOLLHUP for ever.
 */
static void rewatch(struct relay *r)
{
    uint32_t proc = 0, conn = EPOLLPRI;

    if (r->to_conn.open && !r->to_conn.buf)
        proc |= EPOLLIN;
    if (r->to_conn.buf)
        conn |= EPOLLOUT;
    if (r->to_proc.open && !r->to_proc.buf)
        conn |= EPOLLIN;
    if (r->to_proc.buf)
        proc |= EPOLLOUT;
    if (!r->to_conn.open && r->proc_fd >= 0 && !proc)
        proc = EPOLLPRI; /* stdin's pipe: EPOLLERR when its reader is gone */
    if (r->proc_fd >= 0)
        loop_watch(&r->agent->loop, &r->proc_src, proc);
    if (r->conn_fd >= 0 && !r->conn_hup)
        loop_watch(&r->agent->loop, &r->conn_src, conn);
}

/*
 * The host closed its whole end. What it sent before is still read; the source leaves the loop,
 * which would report the hang-up for ever.
 */
static void on_hangup(struct relay *r)
{
    r->conn_hup = true;
    loop_del(&r->agent->loop, &r->conn_src);
    if (!r->to_proc.open && !r->to_proc.buf) {
        close_conn(r);
        close_proc(r);
    }
}

static void on_event(struct loop_source *s, uint32_t events)
{
    struct relay *r = s->arg;

    if (s == &r->conn_src && (events & (EPOLLHUP | EPOLLERR)))
        on_hangup(r);
    if (s == &r->proc_src && !r->to_conn.open && !r->to_conn.buf && (events & EPOLLERR))
        end_input(r); /* nobody will read stdin any more */
    do {
        if (r->to_proc.open || r->to_proc.buf)
            move_input(r);
    } while (r->conn_hup && r->to_proc.open && !r->to_proc.buf);
    if (r->conn_hup && !r->to_proc.open && !r->to_proc.buf) {
        close_conn(r);
        close_proc(r);
    }
    if (r->to_conn.open || r->to_conn.buf)
        move_output(r);
    rewatch(r);
}

int relay_feed(struct relay *r, const char *first, size_t len)
{
    if (!len || !r->to_proc.open)
        return 0;
    if (keep(&r->to_proc, first, len) < 0)
        return -ENOMEM;
    rewatch(r);
    return 0;
}

/*
 * Reads on until there is nothing more, bounded by what a pipe can hold: a background child that
 * never stops writing must not hold up the exit for ever.
 */
void relay_settle(struct relay *r)
{
    if (!r->settling)
        r->settle_budget = SETTLE_MAX;
    r->settling = true;
    while (!r->idle && r->to_conn.open && !r->to_conn.buf && r->conn_fd >= 0)
        move_output(r);
    if (!r->to_conn.open && !r->to_conn.buf)
        r->idle = true;
    rewatch(r);
}
