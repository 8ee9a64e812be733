/*
 * Packets to the guest: answers to packets of no connection, then connections in turn, first what
 * each owes, then what its Unix socket has to read, as far as the guest's credit and buffers go.
 * Bytes are read from the socket into the guest's buffers, several with one call.
 */
#include "vmm/virtio/vsock/device.h"

#include <errno.h>

#define VSOCK_BATCH_IOV 128u
#define VSOCK_SHARE     32u /* rx buffers for one connection in its turn */

_Static_assert(VSOCK_BATCH_IOV <= QUEUE_SEGMENTS_MAX, "v->iov serves both directions");

/* Takes a buffer for a packet: 1, 0 when the guest has given none, or -EPROTO. */
static int rx_pop(struct vsock *v, struct queue_chain *c)
{
    int rc = v->rx_empty ? 0 : queue_pop(&v->dev.queues[VSOCK_RX], c);
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
    queue_push(&v->dev.queues[VSOCK_RX], c->head, VSOCK_HEADER_LEN + p->len);
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
    size_t room[VSOCK_BATCH] = {0}, total = 0;
    unsigned niov = 0, used = 0;
    int n = collect(v, s->burst < max ? s->burst : max, conn_credit(&s->conn), room, &niov);
    if (n <= 0)
        return n;

    ssize_t got = uds_read(&s->stream, v->iov, niov);
    size_t left = got > 0 ? (size_t)got : 0;
    for (; left > 0 && used < (unsigned)n; used++) {
        size_t len = left < room[used] ? left : room[used];
        struct vsock_packet p;
        conn_data(&s->conn, (uint32_t)len, &p);
        rx_push(v, &v->rx[used], &p);
        left -= len;
    }
    for (unsigned i = 0; i < (unsigned)n; i++) {
        total += room[i];
        if (i >= used) {
            queue_undo_pop(&v->dev.queues[VSOCK_RX]);
            v->rx_empty = false;
        }
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

int vsock_serve_rx(struct vsock *v)
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
