/*
 * Packets from the guest: to their connection's state machine, their payload straight from the
 * guest's memory to the Unix socket. The guest may ask for connections to registered ports; all
 * else that belongs to no connection is answered by an RST.
 */
#include "vmm/virtio/vsock/device.h"

#include "lib/clock.h"

#include <errno.h>
#include <linux/virtio_vsock.h>

/* Answers a packet that belongs to no connection. vsock_serve_tx sees to it that there is room. */
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
    if (v->dev.t_connection == 0)
        v->dev.t_connection = monotonic_ns();
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

/* While answers cannot be stored, the guest's packets wait in its queue. */
int vsock_serve_tx(struct vsock *v)
{
    for (unsigned i = 0; v->tx_pending && v->nreplies < VSOCK_REPLIES_MAX; i++) {
        if (i == VSOCK_ROUND)
            return 1;
        int rc = queue_pop(&v->dev.queues[VSOCK_TX], &v->tx);
        if (rc == 0)
            v->tx_pending = false;
        if (rc == 1) {
            rc = receive(v);
            queue_push(&v->dev.queues[VSOCK_TX], v->tx.head, 0);
        }
        if (rc < 0)
            return rc;
    }
    return 0;
}
