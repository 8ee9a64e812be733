/*
 * Unix sockets for vsock: accept, the two lines of greeting, handing connections over, and vectored
 * reads and writes that never block. A stream's descriptor and the content of its ring are its
 * own; the ring's memory and the loop belong to the device. For the loop thread.
 */
#include "vmm/virtio/vsock/uds.h"

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/str.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

void uds_open(struct uds_stream *s)
{
    s->source = (struct loop_source)LOOP_SOURCE_INIT;
    s->head = s->held = 0;
    s->ring_used = s->no_read = s->no_write = false;
    s->hello_len = 0;
}

void uds_close(struct loop *loop, struct uds_stream *s)
{
    int fd = s->source.fd;
    loop_del(loop, &s->source);
    close_fd(&fd);
    if (s->ring_used)
        madvise(s->ring, s->ring_size, MADV_DONTNEED);
    uds_open(s);
}

void uds_finish(struct loop *loop, struct uds_stream *s)
{
    char scrap[8192];
    int fd = s->source.fd;
    /* After this nothing can arrive, so what is read away here is the last of it. */
    if (fd >= 0 && shutdown(fd, SHUT_RDWR) == 0) {
        while (recv(fd, scrap, sizeof(scrap), MSG_DONTWAIT) > 0)
            continue;
    }
    uds_close(loop, s);
}

int uds_accept(int listen_fd)
{
    int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

int uds_hand_over(int fd)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    cleanup_fd int ours = pair[0], theirs = pair[1];
    char byte = 0;
    ssize_t sent = io_send_fds(fd, &byte, 1, &theirs, 1);
    return sent < 0 ? (int)sent : take_fd(&ours);
}

/* Parses "CONNECT <port>", without its newline. */
static int parse_hello(const char *line, uint32_t *out)
{
    static const char word[] = "CONNECT ";
    uint64_t port;
    if (!str_starts(line, word) || str_to_u64(line + sizeof(word) - 1, &port) < 0 ||
        port >= UINT32_MAX)
        return -EPROTO;
    *out = (uint32_t)port;
    return 0;
}

int uds_hello(struct uds_stream *s, uint32_t *port_out)
{
    char *at = s->hello + s->hello_len;
    size_t room = sizeof(s->hello) - s->hello_len;
    ssize_t seen = recv(s->source.fd, at, room, MSG_DONTWAIT | MSG_PEEK);
    if (seen < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    if (seen == 0)
        return -ECONNRESET;

    char *end = memchr(at, '\n', (size_t)seen);
    size_t take = end ? (size_t)(end - at) + 1 : (size_t)seen;
    if (recv(s->source.fd, at, take, MSG_DONTWAIT) != (ssize_t)take)
        return -EIO;
    s->hello_len += (unsigned)take;
    if (!end)
        return s->hello_len < sizeof(s->hello) ? 0 : -EPROTO;
    *end = '\0';
    if (strlen(s->hello) + 1 != s->hello_len)
        return -EPROTO;
    int rc = parse_hello(s->hello, port_out);
    return rc < 0 ? rc : 1;
}

int uds_welcome(struct uds_stream *s, uint32_t port)
{
    char line[UDS_HELLO_MAX];
    int len = snprintf(line, sizeof(line), "OK %u\n", port);
    ssize_t sent = send(s->source.fd, line, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent == len ? 0 : sent < 0 ? -errno : -EIO;
}

/* sendmsg without blocking or signals: bytes taken, 0 for none now, or -errno. */
static ssize_t send_some(int fd, struct iovec *iov, unsigned n)
{
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = n};
    ssize_t sent;
    do
        sent = sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent < 0)
        return errno == EAGAIN || errno == ENOBUFS ? 0 : -errno;
    return sent;
}

/* Appends to the ring, which has room. */
static void hold(struct uds_stream *s, const uint8_t *p, size_t len)
{
    uint32_t tail = (s->head + s->held) % s->ring_size;
    size_t first = s->ring_size - tail < len ? s->ring_size - tail : len;
    memcpy(s->ring + tail, p, first);
    memcpy(s->ring, p + first, len - first);
    s->held += (uint32_t)len;
    s->ring_used = true;
}

ssize_t uds_write(struct uds_stream *s, struct iovec *iov, unsigned n)
{
    ssize_t sent = 0;
    if (s->no_write)
        return -EPIPE;
    if (s->held == 0)
        sent = send_some(s->source.fd, iov, n);
    if (sent < 0)
        return sent;

    size_t skip = (size_t)sent;
    for (unsigned i = 0; i < n; i++) {
        size_t done = skip < iov[i].iov_len ? skip : iov[i].iov_len;
        skip -= done;
        size_t rest = iov[i].iov_len - done;
        if (rest > s->ring_size - s->held)
            return -ENOBUFS;
        if (rest > 0)
            hold(s, (const uint8_t *)iov[i].iov_base + done, rest);
    }
    return sent;
}

ssize_t uds_flush(struct uds_stream *s)
{
    ssize_t total = 0;
    while (s->held > 0) {
        uint32_t first = s->ring_size - s->head < s->held ? s->ring_size - s->head : s->held;
        struct iovec iov[2] = {{s->ring + s->head, first}, {s->ring, s->held - first}};
        ssize_t sent = send_some(s->source.fd, iov, first < s->held ? 2 : 1);
        if (sent < 0)
            return sent;
        if (sent == 0)
            break;
        s->head = (s->head + (uint32_t)sent) % s->ring_size;
        s->held -= (uint32_t)sent;
        total += sent;
    }
    return total;
}

ssize_t uds_read(struct uds_stream *s, struct iovec *iov, unsigned n)
{
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = n};
    ssize_t got;
    do
        got = recvmsg(s->source.fd, &msg, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

bool uds_hung_up(const struct uds_stream *s)
{
    struct pollfd p = {.fd = s->source.fd};
    return poll(&p, 1, 0) == 1 && (p.revents & (POLLHUP | POLLERR));
}

void uds_shutdown(struct uds_stream *s, bool read, bool write)
{
    if (read && !s->no_read) {
        s->no_read = true;
        shutdown(s->source.fd, SHUT_RD);
    }
    if (write && !s->no_write) {
        s->no_write = true;
        shutdown(s->source.fd, SHUT_WR);
    }
}
