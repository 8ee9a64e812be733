/*
 * The vsock device (virtio 1.2, 5.10): three queues (rx to the guest, tx from it, events) over the
 * table of connections. Stream sockets only.
 *
 * Payload is never copied in between: what the guest sends goes from its memory into the Unix
 * socket, and only what that does not take is held in the connection's ring; what the host sends is
 * read from the Unix socket into the guest's buffers, several at a time. No step blocks, each round
 * of work is bounded, and nothing is allocated after creation.
 *
 * `run` is the heart: everything that happens (a kick, a socket's event) notes itself and runs it.
 * Connections live as long as the driver: a reset, a broken queue and a restored snapshot close
 * them all. All state is the device's own and the loop thread's.
 */
#include "lib/cleanup.h"
#include "lib/io.h"
#include "vmm/virtio/again.h"
#include "vmm/virtio/virtio.h"
#include "vmm/virtio/vsock/table.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_vsock.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { RX, TX, EVENT, NQUEUES };

#define VSOCK_QUEUE_SIZE    256
#define VSOCK_LISTENERS_MAX 4
#define VSOCK_BATCH         16u /* rx buffers filled by one read */
#define VSOCK_BATCH_IOV     128u
#define VSOCK_SHARE         32u  /* rx buffers for one connection in its turn */
#define VSOCK_ROUND         256u /* packets each way before the loop's other sources */
#define VSOCK_REPLIES_MAX   64u  /* RSTs to packets of no connection */
#define VSOCK_ACCEPTS       16u  /* clients taken in one callback */
#define CID_FIRST           3u   /* 0 to 2 have meanings of their own */

struct vsock {
    struct virtio_device dev;
    uint32_t cid;
    struct vsock_listener listener[VSOCK_LISTENERS_MAX];
    unsigned nlisteners;
    struct loop_source accept; /* the host's listening socket */
    bool accept_paused;        /* out of slots or descriptors */
    struct again again;
    bool rx_empty;   /* the guest has given no buffer; its next will come with a kick */
    bool tx_pending; /* the tx queue was not seen empty */
    bool event_due;  /* TRANSPORT_RESET */
    unsigned nreplies;
    struct vsock_packet reply[VSOCK_REPLIES_MAX];
    struct queue_chain tx;
    struct queue_chain rx[VSOCK_BATCH];
    struct iovec iov[QUEUE_SEGMENTS_MAX];
    struct table table;
};

/* A checkpoint: connections are not part of it. */
struct vsock_state {
    uint32_t version, cid;
};
#define VSOCK_STATE_VERSION 1

_Static_assert(VSOCK_BATCH_IOV <= QUEUE_SEGMENTS_MAX, "v->iov serves both directions");

static struct vsock *to_vsock(struct virtio_device *dev)
{
    return (struct vsock *)dev;
}

static void run(void *arg);

/* --- to the guest ------------------------------------------------------------------------------
 */

/* Takes a buffer for a packet: 1, 0 when the guest has given none, or -EPROTO. */
static int rx_pop(struct vsock *v, struct queue_chain *c)
{
    int rc = v->rx_empty ? 0 : queue_pop(&v->dev.queues[RX], c);
    if (rc == 0)
        v->rx_empty = true;
    if (rc == 1 && (c->nread > 0 || c->write_len <= VSOCK_HEADER_LEN))
        return -EPROTO;
    return rc;
}

/* Completes a packet whose payload, if any, is in place. */
static void rx_push(struct vsock *v, struct queue_chain *c, struct vsock_packet *p)
{
    uint8_t raw[VSOCK_HEADER_LEN];
    if (p->src_cid == 0)
        p->src_cid = VSOCK_CID_HOST;
    p->dst_cid = v->cid;
    vsock_packet_pack(p, raw);
    (void)chain_write(c, 0, raw, sizeof(raw));
    queue_push(&v->dev.queues[RX], c->head, VSOCK_HEADER_LEN + p->len);
}

/* The socket has no more bytes for the guest; or it is gone. */
static void end_of_stream(struct vsock *v, struct slot *s)
{
    s->stream.no_read = true;
    if (uds_hung_up(&s->stream))
        slot_host_gone(&v->table, s);
    else
        conn_shutdown(&s->conn, CONN_NO_SEND);
}

/*
 * Pops up to `max` buffers and lays out v->iov over their payload parts, no longer than `credit`.
 * Returns the number of buffers, 0 when there is none, or -EPROTO. room[i] = bytes in buffer i.
 */
static int collect(struct vsock *v, unsigned max, uint32_t credit, size_t room[VSOCK_BATCH],
                   unsigned *niov_out)
{
    unsigned n = 0, niov = 0;
    for (; n < max && credit > 0 && niov < VSOCK_BATCH_IOV; n++) {
        int rc = rx_pop(v, &v->rx[n]);
        if (rc < 0)
            return rc;
        if (rc == 0)
            break;
        size_t len = credit < VSOCK_PAYLOAD_MAX ? credit : VSOCK_PAYLOAD_MAX;
        unsigned parts = chain_slice(&v->rx[n], true, VSOCK_HEADER_LEN, len, v->iov + niov,
                                     VSOCK_BATCH_IOV - niov);
        room[n] = 0;
        for (unsigned i = 0; i < parts; i++)
            room[n] += v->iov[niov + i].iov_len;
        niov += parts;
        credit -= (uint32_t)room[n];
    }
    *niov_out = niov;
    return (int)n;
}

/* One read from the socket into as many buffers. Returns packets made, or -EPROTO. */
static int pull(struct vsock *v, struct slot *s, unsigned max)
{
    size_t room[VSOCK_BATCH], total = 0;
    unsigned niov = 0, used = 0;
    int n = collect(v, s->burst < max ? s->burst : max, conn_credit(&s->conn), room, &niov);
    if (n <= 0)
        return n;

    ssize_t got = uds_read(&s->stream, v->iov, niov);
    size_t left = got > 0 ? (size_t)got : 0;
    for (; left > 0; used++) {
        size_t len = left < room[used] ? left : room[used];
        struct vsock_packet p;
        conn_data(&s->conn, (uint32_t)len, &p);
        rx_push(v, &v->rx[used], &p);
        left -= len;
    }
    for (unsigned i = 0; i < (unsigned)n; i++) {
        total += room[i];
        if (i >= used)
            queue_undo_pop(&v->dev.queues[RX]);
    }
    bool all = got > 0 && (size_t)got == total;
    s->readable = all; /* a short read has emptied the socket; if not, epoll will say so */
    s->burst = (uint8_t)(!all ? 1 : s->burst * 2 < VSOCK_BATCH ? s->burst * 2 : VSOCK_BATCH);
    if (got == 0 || (got < 0 && got != -EAGAIN))
        end_of_stream(v, s);
    return (int)used;
}

/* A connection's turn: first what is owed, then data. Returns packets made, or -EPROTO. */
static int serve_slot(struct vsock *v, struct slot *s)
{
    unsigned made = 0;
    while (made < VSOCK_SHARE) {
        int rc;
        if (s->conn.owes) {
            struct vsock_packet p;
            rc = rx_pop(v, &v->rx[0]);
            if (rc == 1 && conn_next(&s->conn, &p))
                rx_push(v, &v->rx[0], &p);
        } else if (s->readable && slot_can_pull(s)) {
            rc = pull(v, s, VSOCK_SHARE - made);
        } else {
            break;
        }
        if (rc < 0)
            return rc;
        if (rc == 0 && v->rx_empty)
            break;
        made += (unsigned)rc;
    }
    table_settle(&v->table, s);
    return (int)made;
}

/* 1 when there is more to do at once, 0, or -EPROTO. */
static int serve_rx(struct vsock *v)
{
    for (unsigned made = 0; made < VSOCK_ROUND;) {
        struct slot *s = NULL;
        int rc;
        if (v->nreplies > 0) {
            rc = rx_pop(v, &v->rx[0]);
            if (rc == 1)
                rx_push(v, &v->rx[0], &v->reply[--v->nreplies]);
        } else if ((s = table_next_due(&v->table))) {
            rc = serve_slot(v, s);
        } else {
            return 0;
        }
        if (rc < 0)
            return rc;
        if (v->rx_empty)
            return 0;
        made += (unsigned)rc;
    }
    return 1;
}

/* --- from the guest ----------------------------------------------------------------------------
 */

/* Answers a packet that belongs to no connection. serve_tx has seen to it that there is room. */
static void refuse(struct vsock *v, const struct vsock_packet *p)
{
    if (p->op == VIRTIO_VSOCK_OP_RST || v->nreplies >= VSOCK_REPLIES_MAX)
        return;
    v->reply[v->nreplies++] = (struct vsock_packet){
        .src_cid = p->dst_cid,
        .src_port = p->dst_port,
        .dst_port = p->src_port,
        .type = p->type,
        .op = VIRTIO_VSOCK_OP_RST,
    };
}

static void note_connection(struct vsock *v)
{
    struct timespec t;
    if (v->dev.t_connection != 0 || clock_gettime(CLOCK_MONOTONIC, &t) < 0)
        return;
    v->dev.t_connection = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The guest asks for a connection to one of the registered ports, or it is refused. */
static void open_from_guest(struct vsock *v, const struct vsock_packet *p)
{
    int fd = -1;
    for (unsigned i = 0; i < v->nlisteners && fd < 0; i++) {
        if (v->listener[i].port == p->dst_port && v->table.nby_guest < VSOCK_GUEST_CONNS_MAX &&
            !table_full(&v->table))
            fd = uds_hand_over(v->listener[i].fd);
    }
    struct slot *s = fd < 0 ? NULL : table_add(&v->table, fd, true);
    if (!s) {
        refuse(v, p);
        return;
    }
    table_accept(&v->table, s, p);
    table_settle(&v->table, s);
    note_connection(v);
}

/* The payload of v->tx goes to the socket. */
static void forward(struct vsock *v, struct slot *s, uint32_t len)
{
    if (s->stream.source.fd < 0 || s->stream.no_write) {
        conn_forwarded(&s->conn, len); /* the guest has been told that nobody reads */
        return;
    }
    unsigned n = chain_slice(&v->tx, false, VSOCK_HEADER_LEN, len, v->iov, QUEUE_SEGMENTS_MAX);
    ssize_t sent = uds_write(&s->stream, v->iov, n);
    if (sent >= 0) {
        conn_forwarded(&s->conn, (uint32_t)sent);
    } else {
        conn_forwarded(&s->conn, len);
        slot_discard(s);
    }
}

static void dispatch(struct vsock *v, struct slot *s, const struct vsock_packet *p)
{
    switch (conn_receive(&s->conn, p)) {
    case CONN_ESTABLISHED:
        if (uds_welcome(&s->stream, s->conn.host_port) < 0)
            slot_abort(&v->table, s);
        break;
    case CONN_DATA:
        forward(v, s, p->len);
        break;
    case CONN_BAD:
        slot_abort(&v->table, s);
        break;
    case CONN_NOTHING:
    case CONN_SHUT:
    case CONN_CLOSED: /* what the guest sent before still goes out */
        break;
    }
    table_settle(&v->table, s);
}

/* One packet in v->tx. -EPROTO when it is none. */
static int receive(struct vsock *v)
{
    uint8_t raw[VSOCK_HEADER_LEN];
    struct vsock_packet p;
    if (v->tx.nwrite > 0 || chain_read(&v->tx, 0, raw, sizeof(raw)) < sizeof(raw) ||
        vsock_packet_parse(raw, &p) < 0 || p.len > v->tx.read_len - sizeof(raw))
        return -EPROTO;

    struct slot *s;
    if (p.src_cid != v->cid)
        return 0; /* in another's name: there is nobody to answer */
    if (p.dst_cid != VSOCK_CID_HOST || p.type != VIRTIO_VSOCK_TYPE_STREAM)
        refuse(v, &p);
    else if ((s = table_find(&v->table, p.dst_port, p.src_port)))
        dispatch(v, s, &p);
    else if (p.op == VIRTIO_VSOCK_OP_REQUEST)
        open_from_guest(v, &p);
    else
        refuse(v, &p);
    return 0;
}

/* 1 when there is more to do at once, 0, or -EPROTO. While answers cannot be stored, the guest's
 * packets wait in its queue. */
static int serve_tx(struct vsock *v)
{
    for (unsigned i = 0; v->tx_pending && v->nreplies < VSOCK_REPLIES_MAX; i++) {
        if (i == VSOCK_ROUND)
            return 1;
        int rc = queue_pop(&v->dev.queues[TX], &v->tx);
        if (rc == 0)
            v->tx_pending = false;
        if (rc == 1) {
            rc = receive(v);
            queue_push(&v->dev.queues[TX], v->tx.head, 0);
        }
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* --- events ------------------------------------------------------------------------------------
 */

/* 5.10.6.7: tells the guest that all connections are gone. 0 or -EPROTO. */
static int serve_event(struct vsock *v)
{
    struct virtio_vsock_event event = {.id = htole32(VIRTIO_VSOCK_EVENT_TRANSPORT_RESET)};
    struct queue_chain *c = &v->tx;
    int rc = v->event_due ? queue_pop(&v->dev.queues[EVENT], c) : 0;
    if (rc != 1)
        return rc;
    if (c->nread > 0 || chain_write(c, 0, &event, sizeof(event)) < sizeof(event))
        return -EPROTO;
    queue_push(&v->dev.queues[EVENT], c->head, sizeof(event));
    virtio_notify(&v->dev, EVENT);
    v->event_due = false;
    return 0;
}

static void watch_accept(struct vsock *v)
{
    bool wanted = v->dev.active && (v->dev.broken || !v->accept_paused);
    loop_watch(v->dev.loop, &v->accept, wanted ? EPOLLIN : 0);
}

static void forget_all(struct vsock *v)
{
    table_clear(&v->table);
    v->nreplies = 0;
    v->accept_paused = false;
}

static void run(void *arg)
{
    struct vsock *v = arg;
    if (!v->dev.active || v->dev.broken)
        return;
    int tx = serve_tx(v);
    int rx = tx < 0 ? tx : serve_rx(v);
    if (tx < 0 || rx < 0 || serve_event(v) < 0) {
        forget_all(v);
        virtio_broken(&v->dev);
        watch_accept(v);
        return;
    }
    virtio_notify(&v->dev, TX);
    virtio_notify(&v->dev, RX);
    if (tx == 1 || rx == 1 || (v->tx_pending && v->nreplies < VSOCK_REPLIES_MAX))
        again_ask(&v->again);
    if (v->accept_paused && !table_full(&v->table)) {
        v->accept_paused = false;
        watch_accept(v);
    }
}

static void on_greeting(struct vsock *v, struct slot *s)
{
    uint32_t port;
    int rc = uds_hello(&s->stream, &port);
    if (rc < 0) {
        slot_abort(&v->table, s);
    } else if (rc == 1) {
        s->greeting = false;
        table_request(&v->table, s, port);
    }
}

/* A connection's Unix socket can be read, written, or was closed. */
static void on_stream(struct loop_source *source, uint32_t events)
{
    struct vsock *v = source->arg;
    struct slot *s = slot_of(source);
    if (s->greeting) {
        on_greeting(v, s);
    } else if (s->conn.state == CONN_REQUESTING ||
               (s->stream.no_read && (events & (EPOLLHUP | EPOLLERR)) && s->stream.held == 0)) {
        slot_host_gone(&v->table, s);
    } else {
        if (s->stream.held > 0) {
            ssize_t sent = uds_flush(&s->stream);
            if (sent < 0)
                slot_discard(s);
            else
                conn_forwarded(&s->conn, (uint32_t)sent);
        }
        s->readable = (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 || s->readable;
    }
    table_settle(&v->table, s);
    run(v);
}

static void on_accept(struct loop_source *source, uint32_t events)
{
    struct vsock *v = source->arg;
    (void)events;
    for (unsigned i = 0; i < VSOCK_ACCEPTS && !v->accept_paused; i++) {
        if (!v->dev.broken && table_full(&v->table)) {
            v->accept_paused = true;
            break;
        }
        int fd = uds_accept(source->fd);
        if (fd == -EAGAIN)
            break;
        if (fd < 0) { /* no descriptors: a connection that ends gives some back */
            v->accept_paused = true;
            break;
        }
        if (v->dev.broken) {
            close_fd(&fd);
            continue;
        }
        struct slot *s = table_add(&v->table, fd, false);
        if (s)
            s->greeting = true;
    }
    watch_accept(v);
}

/* --- the device --------------------------------------------------------------------------------
 */

static void vsock_kick(struct virtio_device *dev, unsigned n)
{
    struct vsock *v = to_vsock(dev);
    if (n == RX)
        v->rx_empty = false;
    else if (n == TX)
        v->tx_pending = true;
    run(v);
}

static int vsock_activate(struct virtio_device *dev)
{
    struct vsock *v = to_vsock(dev);
    v->rx_empty = false;
    v->tx_pending = true;
    watch_accept(v);
    again_ask(&v->again); /* for buffers published before DRIVER_OK */
    return 0;
}

static void vsock_reset(struct virtio_device *dev)
{
    struct vsock *v = to_vsock(dev);
    forget_all(v);
    v->tx_pending = v->event_due = false;
    again_cancel(&v->again);
    loop_watch(dev->loop, &v->accept, 0); /* clients wait for the next driver */
}

static void vsock_free(struct virtio_device *dev)
{
    if (!dev)
        return;
    struct vsock *v = to_vsock(dev);
    int fd = v->accept.fd;
    table_done(&v->table);
    again_done(&v->again);
    loop_del(dev->loop, &v->accept);
    close_fd(&fd);
    for (unsigned i = 0; i < v->nlisteners; i++)
        close_fd(&v->listener[i].fd);
    free(v);
}

static int vsock_save(struct virtio_device *dev, void *buf, size_t size)
{
    struct vsock_state s = {.version = VSOCK_STATE_VERSION, .cid = to_vsock(dev)->cid};
    if (size < sizeof(s))
        return -ENOSPC;
    memcpy(buf, &s, sizeof(s));
    return (int)sizeof(s);
}

/* The guest may have another CID now, and has no connections: 5.10.6.7. */
static int vsock_load(struct virtio_device *dev, const void *buf, size_t len)
{
    struct vsock *v = to_vsock(dev);
    struct vsock_state s;
    if (len != sizeof(s))
        return -EINVAL;
    memcpy(&s, buf, sizeof(s));
    if (s.version != VSOCK_STATE_VERSION)
        return -EINVAL;
    forget_all(v);
    v->rx_empty = false;
    v->tx_pending = v->event_due = dev->active;
    watch_accept(v);
    if (dev->active)
        again_ask(&v->again);
    return 0;
}

static const struct virtio_ops vsock_ops = {
    .name = "vsock",
    .id = VIRTIO_ID_VSOCK,
    .nqueues = NQUEUES,
    .queue_max = VSOCK_QUEUE_SIZE,
    .activate = vsock_activate,
    .kick = vsock_kick,
    .reset = vsock_reset,
    .free = vsock_free,
    .save = vsock_save,
    .load = vsock_load,
};

static int check_arguments(uint32_t cid, const struct vsock_listener *listeners, unsigned n,
                           struct err *e)
{
    if (cid < CID_FIRST || cid == UINT32_MAX)
        return err_set(e, EINVAL, "virtio-vsock: guest CID %u: must be 3 to 4294967294", cid);
    if (n > VSOCK_LISTENERS_MAX)
        return err_set(e, EINVAL, "virtio-vsock: %u listeners: at most %u", n, VSOCK_LISTENERS_MAX);
    for (unsigned i = 0; i < n; i++) {
        if (listeners[i].port == UINT32_MAX)
            return err_set(e, EINVAL, "virtio-vsock: port %u cannot be listened on",
                           listeners[i].port);
    }
    return 0;
}

/* The descriptors of others are only made non-blocking here; they are taken at the very end. */
static int set_up(struct vsock *v, int listen_fd, const struct vsock_listener *listeners,
                  unsigned n)
{
    struct loop *loop = v->dev.loop;
    int rc = table_init(&v->table, loop, on_stream, v);
    if (rc == 0)
        rc = again_init(&v->again, loop, run, v);
    if (rc == 0)
        rc = io_set_nonblock(listen_fd, 1);
    for (unsigned i = 0; i < n && rc == 0; i++)
        rc = io_set_nonblock(listeners[i].fd, 1);
    if (rc == 0)
        rc = loop_add(loop, &v->accept, listen_fd, 0, on_accept, v);
    return rc;
}

struct virtio_device *virtio_vsock_new(struct loop *loop, uint32_t cid, int listen_fd,
                                       const struct vsock_listener *listeners, unsigned n,
                                       struct err *e)
{
    if (check_arguments(cid, listeners, n, e) < 0)
        return NULL;
    struct vsock *v = calloc(1, sizeof(*v));
    if (!v) {
        (void)err_set(e, ENOMEM, "virtio-vsock: out of memory");
        return NULL;
    }
    uint64_t config = htole64(cid);
    v->dev.ops = &vsock_ops;
    v->dev.loop = loop;
    v->dev.config_len = sizeof(config);
    memcpy(v->dev.config, &config, sizeof(config));
    v->cid = cid;
    v->again = (struct again)AGAIN_INIT;
    v->accept = (struct loop_source)LOOP_SOURCE_INIT;

    int rc = set_up(v, listen_fd, listeners, n);
    if (rc < 0) {
        (void)err_set(e, -rc, "virtio-vsock: cannot set its sockets up: %s", strerror(-rc));
        vsock_free(&v->dev);
        return NULL;
    }
    v->nlisteners = n;
    for (unsigned i = 0; i < n; i++)
        v->listener[i] = listeners[i];
    return &v->dev;
}
