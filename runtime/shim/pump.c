/*
 * One direction of a relay. Descriptors may share their open file description with other processes
 * (an inherited pipe or terminal), so O_NONBLOCK is never set here: the spawning side reopens pipes
 * and terminals for us where it can, sockets are used with MSG_DONTWAIT, and regular files do not
 * block. What is left (a pipe that could not be reopened) is read once for each POLLIN and written
 * in pieces of PIPE_BUF for each POLLOUT, which a pipe that polls writable always takes. The
 * guest's sockets are ours alone and come with O_NONBLOCK set: splice(2) into a socket heeds
 * nothing else.
 *
 * Where one end is a pipe the bytes go by splice(2) and never enter this process; the buffer, whose
 * pages are private memory of every shim, then stays untouched.
 */
#include "runtime/shim/pump.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define ROUNDS    16 /* at most, before the other directions get their turn */
#define MEM_MAJOR 1  /* /dev/null and its kin never block */

static struct pump_end end_of(int fd)
{
    struct pump_end e = {.fd = fd};
    struct stat st;
    int flags;

    if (fd < 0 || fstat(fd, &st) < 0)
        return e;
    flags = fcntl(fd, F_GETFL);
    e.socket = S_ISSOCK(st.st_mode);
    e.fifo = S_ISFIFO(st.st_mode);
    e.may_block = (e.fifo || (S_ISCHR(st.st_mode) && major(st.st_rdev) != MEM_MAJOR)) &&
                  !(flags & O_NONBLOCK);
    return e;
}

void pump_init(struct pump *p, int src, int dst, char *buf)
{
    *p = (struct pump){.src = end_of(src), .dst = end_of(dst), .buf = buf};
    /* between a pipe and a socket only: other files may refuse, or wait whatever the flag says */
    p->splice = (p->src.socket && p->dst.fifo) || (p->src.fifo && p->dst.socket);
    p->done = src < 0 || dst < 0;
}

short pump_src_events(const struct pump *p)
{
    return !p->done && !p->src_ended && p->len == p->off && !p->dst_first ? POLLIN : 0;
}

short pump_dst_events(const struct pump *p)
{
    return pump_pending(p) ? POLLOUT : 0;
}

static void finish(struct pump *p, bool dst_gone)
{
    if (!dst_gone && p->dst.socket)
        shutdown(p->dst.fd, SHUT_WR);
    if (dst_gone && p->src.socket)
        shutdown(p->src.fd, SHUT_RD);
    p->len = p->off = 0;
    p->dst_first = false;
    p->src_ended = p->done = true;
}

void pump_dst_gone(struct pump *p)
{
    if (!p->done)
        finish(p, true);
}

static bool would_block(ssize_t n)
{
    return n < 0 && (errno == EAGAIN || errno == EINTR);
}

/* Returns true when something happened; errors of a source are its end. */
static bool fill(struct pump *p)
{
    ssize_t n = p->src.socket ? recv(p->src.fd, p->buf, PUMP_BUFFER, MSG_DONTWAIT)
                              : read(p->src.fd, p->buf, PUMP_BUFFER);

    if (would_block(n))
        return false;
    p->off = 0;
    p->len = n > 0 ? (size_t)n : 0;
    if (n <= 0)
        finish(p, false);
    return true;
}

static bool drain(struct pump *p)
{
    size_t len = p->len - p->off;
    ssize_t n;

    if (p->dst.may_block && len > PIPE_BUF)
        len = PIPE_BUF;
    n = p->dst.socket ? send(p->dst.fd, p->buf + p->off, len, MSG_DONTWAIT | MSG_NOSIGNAL)
                      : write(p->dst.fd, p->buf + p->off, len);
    if (would_block(n))
        return false;
    if (n < 0)
        finish(p, true);
    else
        p->off += (size_t)n;
    return true;
}

/* EAGAIN does not say which end was not ready: the caller's poll is asked for the other one. */
static bool run_splice(struct pump *p)
{
    ssize_t n = splice(p->src.fd, NULL, p->dst.fd, NULL, PUMP_BUFFER, SPLICE_F_NONBLOCK);

    if (would_block(n)) {
        p->dst_first = !p->dst_first;
        return false;
    }
    p->dst_first = false;
    if (n < 0 && (errno == EINVAL || errno == ENOSYS)) {
        p->splice = false;
        return true;
    }
    if (n == 0)
        finish(p, false);
    else if (n < 0)
        finish(p, errno == EPIPE);
    return true;
}

bool pump_run(struct pump *p)
{
    bool moved = false;

    for (int i = 0; i < ROUNDS && !p->done; i++) {
        bool step;

        if (p->splice)
            step = run_splice(p);
        else if (p->len > p->off)
            step = drain(p);
        else if (i > 0 && p->src.may_block)
            break; /* poll first */
        else
            step = fill(p);
        if (!step)
            break;
        moved = true;
        if (p->dst.may_block && !p->splice)
            break; /* one piece for each POLLOUT */
    }
    return moved;
}
