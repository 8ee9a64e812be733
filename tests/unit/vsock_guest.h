/*
 * A guest's vsock driver in plain memory, for tests: posts rx buffers as Linux does (a header and a
 * page), keeps the books of one connection's credit, and gives what it hears as packets.
 */
#ifndef BULKHEAD_TEST_VSOCK_GUEST_H
#define BULKHEAD_TEST_VSOCK_GUEST_H

#include "tests/unit/driver_ring.h"
#include "vmm/virtio/vsock/packet.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_vsock.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#define GUEST_CID     7
#define GUEST_BUF     (256u * 1024)
#define GUEST_RX_PAGE 4096u
#define GUEST_RX_BUFS 64u
#define GUEST_TX_BUFS 32u
#define LISTEN_PORT   1025

enum { Q_RX, Q_TX, Q_EVENT };

struct guest {
    struct loop loop;
    struct driver d;
    int listen_fd, listener; /* the host's ends */
    struct sockaddr_un addr;
    socklen_t addr_len;
    uint64_t rx_buf[QUEUE_SIZE_MAX], tx_buf[QUEUE_SIZE_MAX]; /* by head */
    unsigned rx_posted;
    uint32_t buf_alloc, fwd_cnt; /* sent along with every packet */
};

static inline void guest_post(struct guest *g)
{
    struct driver_ring *r = &g->d.ring[Q_RX];
    uint16_t head = r->free_head;
    if (!g->rx_buf[head])
        g->rx_buf[head] = driver_alloc(&g->d, VSOCK_HEADER_LEN + GUEST_RX_PAGE, 8);
    uint64_t b = g->rx_buf[head];
    g->rx_posted++;
    driver_submit(&g->d, Q_RX,
                  SEGS(SEG_W(b, VSOCK_HEADER_LEN), SEG_W(b + VSOCK_HEADER_LEN, GUEST_RX_PAGE)));
}

static inline void guest_post_all(struct guest *g)
{
    while (g->rx_posted < GUEST_RX_BUFS)
        guest_post(g);
}

/* The device on `loop`, and the host's ends of it. */
static inline struct virtio_device *guest_device(struct guest *g, struct loop *loop)
{
    struct err e = ERR_INIT;
    int pair[2];
    g->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g->addr.sun_family = AF_UNIX; /* autobind: an abstract address */
    assert_int_equal(bind(g->listen_fd, (void *)&g->addr, sizeof(sa_family_t)), 0);
    g->addr_len = sizeof(g->addr);
    assert_int_equal(getsockname(g->listen_fd, (void *)&g->addr, &g->addr_len), 0);
    assert_int_equal(listen(g->listen_fd, 512), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    g->listener = pair[0];
    struct vsock_listener l = {.port = LISTEN_PORT, .fd = pair[1]};
    struct virtio_device *dev = virtio_vsock_new(loop, GUEST_CID, g->listen_fd, &l, 1, &e);
    assert_non_null(dev);
    return dev;
}

static inline void guest_open(struct guest *g, unsigned rx_bufs)
{
    struct err e = ERR_INIT;
    memset(g, 0, sizeof(*g));
    assert_int_equal(loop_init(&g->loop, &e), 0);
    struct virtio_device *dev = guest_device(g, &g->loop);
    driver_open(&g->d, dev, 3, 128, 1ull << VIRTIO_RING_F_EVENT_IDX);
    g->buf_alloc = GUEST_BUF;
    for (unsigned i = 0; i < rx_bufs; i++)
        guest_post(g);
}

static inline void guest_close(struct guest *g)
{
    driver_close(&g->d);
    loop_done(&g->loop);
    close(g->listener);
}

static inline void guest_turn(struct guest *g)
{
    assert_int_equal(loop_once(&g->loop, 0), 0);
}

/* Runs the device until nothing happens any more. */
static inline void guest_settle(struct guest *g)
{
    for (unsigned i = 0; i < 40; i++)
        guest_turn(g);
}

static inline void guest_reclaim(struct guest *g)
{
    struct driver_used used;
    while (driver_poll(&g->d, Q_TX, &used))
        assert_int_equal(used.len, 0);
}

static inline bool guest_can_send(struct guest *g)
{
    guest_reclaim(g);
    return g->d.ring[Q_TX].nfree >= 2;
}

/* Sends any packet with any payload. */
static inline void guest_send_packet(struct guest *g, const struct vsock_packet *p,
                                     const void *data)
{
    uint8_t raw[VSOCK_HEADER_LEN];
    while (!guest_can_send(g))
        guest_turn(g);
    uint16_t head = g->d.ring[Q_TX].free_head;
    if (!g->tx_buf[head])
        g->tx_buf[head] = driver_alloc(&g->d, VSOCK_HEADER_LEN + VSOCK_PAYLOAD_MAX, 8);
    uint64_t b = g->tx_buf[head];
    vsock_packet_pack(p, raw);
    memcpy(driver_ptr(&g->d, b, sizeof(raw)), raw, sizeof(raw));
    if (p->len > 0) {
        memcpy(driver_ptr(&g->d, b + VSOCK_HEADER_LEN, p->len), data, p->len);
        driver_submit(&g->d, Q_TX,
                      SEGS(SEG_R(b, VSOCK_HEADER_LEN), SEG_R(b + VSOCK_HEADER_LEN, p->len)));
    } else {
        driver_submit(&g->d, Q_TX, SEGS(SEG_R(b, VSOCK_HEADER_LEN)));
    }
}

static inline struct vsock_packet guest_packet(struct guest *g, uint16_t op, uint32_t src_port,
                                               uint32_t dst_port, uint32_t len, uint32_t flags)
{
    return (struct vsock_packet){.src_cid = GUEST_CID,
                                 .dst_cid = VSOCK_CID_HOST,
                                 .src_port = src_port,
                                 .dst_port = dst_port,
                                 .len = len,
                                 .type = VIRTIO_VSOCK_TYPE_STREAM,
                                 .op = op,
                                 .flags = flags,
                                 .buf_alloc = g->buf_alloc,
                                 .fwd_cnt = g->fwd_cnt};
}

static inline void guest_send(struct guest *g, uint16_t op, uint32_t src_port, uint32_t dst_port,
                              const void *data, uint32_t len, uint32_t flags)
{
    struct vsock_packet p = guest_packet(g, op, src_port, dst_port, len, flags);
    guest_send_packet(g, &p, data);
}

/* The next packet for the guest, without waiting: *data points to its payload until the buffer is
 * posted again. */
static inline bool guest_hear(struct guest *g, struct vsock_packet *p, uint8_t **data)
{
    struct driver_used used;
    if (!driver_poll(&g->d, Q_RX, &used))
        return false;
    uint8_t raw[VSOCK_HEADER_LEN];
    uint64_t b = g->rx_buf[used.head];
    memcpy(raw, driver_ptr(&g->d, b, sizeof(raw)), sizeof(raw));
    assert_int_equal(vsock_packet_parse(raw, p), 0);
    assert_int_equal(used.len, VSOCK_HEADER_LEN + p->len);
    assert_true(p->len <= GUEST_RX_PAGE);
    assert_true(p->dst_cid == GUEST_CID);
    g->rx_posted--;
    if (data)
        *data = driver_ptr(&g->d, b + VSOCK_HEADER_LEN, GUEST_RX_PAGE);
    return true;
}

/* The next packet must be this one. */
static inline struct vsock_packet guest_expect(struct guest *g, uint16_t op, uint8_t **data)
{
    struct vsock_packet p;
    while (!guest_hear(g, &p, data))
        guest_turn(g);
    assert_int_equal(p.op, op);
    return p;
}

static inline void guest_expect_silence(struct guest *g)
{
    struct vsock_packet p;
    guest_settle(g);
    assert_false(guest_hear(g, &p, NULL));
}

/* --- the host's side -------------------------------------------------------------------------- */

static inline int host_connect(struct guest *g)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(connect(fd, (void *)&g->addr, g->addr_len), 0);
    return fd;
}

static inline void host_say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Reads exactly len bytes, turning the loop while they come. */
static inline void host_read(struct guest *g, int fd, void *buf, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t got = recv(fd, (uint8_t *)buf + done, len - done, MSG_DONTWAIT);
        if (got < 0 && errno == EAGAIN)
            guest_turn(g);
        else
            assert_true(got > 0);
        if (got > 0)
            done += (size_t)got;
    }
}

/* 0 when the socket has ended in order, -errno else. */
static inline int host_read_end(struct guest *g, int fd)
{
    char c;
    for (;;) {
        ssize_t got = recv(fd, &c, 1, MSG_DONTWAIT);
        if (got >= 0)
            return (int)got;
        if (errno != EAGAIN)
            return -errno;
        guest_turn(g);
    }
}

/* An established connection to guest port 1024; *port_out = the host's port. */
static inline int host_open(struct guest *g, uint32_t *port_out)
{
    char want[32], line[32] = "";
    int fd = host_connect(g);
    host_say(fd, "CONNECT 1024\n");
    struct vsock_packet p = guest_expect(g, VIRTIO_VSOCK_OP_REQUEST, NULL);
    assert_int_equal(p.dst_port, 1024);
    assert_true(p.src_cid == VSOCK_CID_HOST);
    guest_send(g, VIRTIO_VSOCK_OP_RESPONSE, 1024, p.src_port, NULL, 0, 0);
    int len = snprintf(want, sizeof(want), "OK %u\n", p.src_port);
    host_read(g, fd, line, (size_t)len);
    assert_string_equal(line, want);
    *port_out = p.src_port;
    return fd;
}

/* Takes the descriptor that a connection from the guest has brought to the listener; -1 = none. */
static inline int host_take(struct guest *g)
{
    char byte;
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = {&byte, 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control.bytes)};
    if (recvmsg(g->listener, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != 1)
        return -1;
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    if (!c)
        return -1;
    int fd;
    memcpy(&fd, CMSG_DATA(c), sizeof(fd));
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

/* An established connection from guest port 5000 to LISTEN_PORT. */
static inline int guest_dial(struct guest *g)
{
    guest_send(g, VIRTIO_VSOCK_OP_REQUEST, 5000, LISTEN_PORT, NULL, 0, 0);
    struct vsock_packet p = guest_expect(g, VIRTIO_VSOCK_OP_RESPONSE, NULL);
    assert_int_equal(p.src_port, LISTEN_PORT);
    assert_int_equal(p.dst_port, 5000);
    int fd = host_take(g);
    assert_true(fd >= 0);
    return fd;
}

/* Bytes of a stream, recognisable at any offset. */
static inline uint8_t pattern(uint64_t at)
{
    return (uint8_t)(at * 167 + (at >> 8) * 13 + (at >> 16));
}

#endif
