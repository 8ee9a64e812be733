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
#include "vmm/virtio/vsock/device.h"

#include "lib/cleanup.h"
#include "lib/io.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_vsock.h>
#include <stdlib.h>
#include <string.h>

#define VSOCK_QUEUE_SIZE 128 /* Linux fills rx with as many pages */
#define VSOCK_ACCEPTS    16u /* clients taken in one callback */
#define CID_FIRST        3u  /* 0 to 2 have meanings of their own */

/* A saved device: connections are not part of it. */
struct vsock_state {
    uint32_t version, cid;
};
#define VSOCK_STATE_VERSION 1

static struct vsock *to_vsock(struct virtio_device *dev)
{
    return (struct vsock *)dev;
}

/* --- events ----------------------------------------------------------------------------------- */

/* 5.10.6.7: tells the guest that all connections are gone. 0 or -EPROTO. */
static int serve_event(struct vsock *v)
{
    struct virtio_vsock_event event = {.id = htole32(VIRTIO_VSOCK_EVENT_TRANSPORT_RESET)};
    struct queue_chain *c = &v->tx;
    int rc = v->event_due ? queue_pop(&v->dev.queues[VSOCK_EVENT], c) : 0;
    if (rc != 1)
        return rc;
    if (c->nread > 0 || chain_write(c, 0, &event, sizeof(event)) < sizeof(event))
        return -EPROTO;
    queue_push(&v->dev.queues[VSOCK_EVENT], c->head, sizeof(event));
    virtio_notify(&v->dev, VSOCK_EVENT);
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
    int tx = vsock_serve_tx(v);
    int rx = tx < 0 ? tx : vsock_serve_rx(v);
    if (tx < 0 || rx < 0 || serve_event(v) < 0) {
        forget_all(v);
        virtio_broken(&v->dev);
        watch_accept(v);
        return;
    }
    virtio_notify(&v->dev, VSOCK_TX);
    virtio_notify(&v->dev, VSOCK_RX);
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

/* --- the device ------------------------------------------------------------------------------- */

static void vsock_kick(struct virtio_device *dev, unsigned n)
{
    struct vsock *v = to_vsock(dev);
    if (n == VSOCK_RX)
        v->rx_empty = false;
    else if (n == VSOCK_TX)
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
    .nqueues = VSOCK_QUEUES,
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
