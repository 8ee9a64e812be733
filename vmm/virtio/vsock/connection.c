/*
 * The state machine and the credit of a vsock connection. All counters of bytes are free running
 * modulo 2^32, as on the wire; only differences are looked at. The guest's numbers can do no more
 * than stop its own connection: a nonsensical credit counts as none.
 */
#include "vmm/virtio/vsock/connection.h"

#include <linux/virtio_vsock.h>
#include <string.h>

/* Progress that is worth a CREDIT_UPDATE of its own. */
#define CREDIT_STEP (VSOCK_BUF_ALLOC / 8)

static void take_credit(struct conn *c, const struct vsock_packet *p)
{
    c->guest_buf = p->buf_alloc;
    c->guest_consumed = p->fwd_cnt;
}

void conn_request(struct conn *c, uint32_t host_port, uint32_t guest_port)
{
    *c = (struct conn){.state = CONN_REQUESTING,
                       .host_port = host_port,
                       .guest_port = guest_port,
                       .owes = CONN_OWES_REQUEST};
}

void conn_accept(struct conn *c, const struct vsock_packet *request)
{
    *c = (struct conn){.state = CONN_OPEN,
                       .host_port = request->dst_port,
                       .guest_port = request->src_port,
                       .owes = CONN_OWES_RESPONSE};
    take_credit(c, request);
}

void conn_reset(struct conn *c)
{
    /* A guest that never heard of the connection need not hear of its end. */
    bool unknown = c->state == CONN_NONE || (c->owes & CONN_OWES_REQUEST);
    c->state = unknown ? CONN_NONE : CONN_RESET;
    c->owes = unknown ? 0 : CONN_OWES_RST;
}

static enum conn_event receive_data(struct conn *c, const struct vsock_packet *p)
{
    uint32_t held = c->received - c->forwarded;
    if (c->guest_shut & CONN_NO_SEND || held > VSOCK_BUF_ALLOC || p->len > VSOCK_BUF_ALLOC - held)
        return CONN_BAD;
    if (p->len == 0)
        return CONN_NOTHING;
    c->received += p->len;
    return CONN_DATA;
}

static enum conn_event receive_shutdown(struct conn *c, const struct vsock_packet *p)
{
    c->guest_shut |= p->flags & CONN_NEITHER; /* permanent: later packets take nothing back */
    if (c->guest_shut != CONN_NEITHER)
        return CONN_SHUT;
    conn_reset(c); /* 5.10.6.5: the RST confirms that the guest may forget the connection */
    return CONN_CLOSED;
}

enum conn_event conn_receive(struct conn *c, const struct vsock_packet *p)
{
    if (c->state == CONN_NONE || c->state == CONN_RESET) {
        if (p->op == VIRTIO_VSOCK_OP_RST) /* it need not be told any more */
            *c = (struct conn){.state = CONN_NONE};
        return CONN_NOTHING;
    }
    if (p->op == VIRTIO_VSOCK_OP_RST) {
        *c = (struct conn){.state = CONN_NONE};
        return CONN_CLOSED;
    }
    take_credit(c, p);
    if (c->state == CONN_REQUESTING) {
        if (p->op != VIRTIO_VSOCK_OP_RESPONSE || (c->owes & CONN_OWES_REQUEST))
            return CONN_BAD;
        c->state = CONN_OPEN;
        return CONN_ESTABLISHED;
    }
    switch (p->op) {
    case VIRTIO_VSOCK_OP_RW:
        return receive_data(c, p);
    case VIRTIO_VSOCK_OP_SHUTDOWN:
        return receive_shutdown(c, p);
    case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
        return CONN_NOTHING;
    case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
        c->owes |= CONN_OWES_CREDIT;
        return CONN_NOTHING;
    default: /* a second REQUEST or RESPONSE, or nothing we know */
        return CONN_BAD;
    }
}

uint32_t conn_credit(const struct conn *c)
{
    uint32_t in_flight = c->sent - c->guest_consumed;
    if (c->state != CONN_OPEN || (c->guest_shut & CONN_NO_RECEIVE) || in_flight > c->guest_buf)
        return 0;
    return c->guest_buf - in_flight;
}

void conn_sent(struct conn *c, uint32_t len)
{
    c->sent += len;
}

/*
 * The guest learns of freed space from every packet to it. One is sent for that alone when the
 * guest may think a quarter of the buffer taken and there is a step to tell, or all to tell: so a
 * guest that waits for space is always woken, and one that sends a little now and then is left
 * alone.
 */
void conn_forwarded(struct conn *c, uint32_t len)
{
    c->forwarded += len;
    if (c->state != CONN_OPEN)
        return;
    uint32_t seen = c->received - c->told, news = c->forwarded - c->told;
    if (seen > VSOCK_BUF_ALLOC / 4 && (news >= CREDIT_STEP || c->forwarded == c->received))
        c->owes |= CONN_OWES_CREDIT;
}

void conn_shutdown(struct conn *c, uint32_t directions)
{
    if (c->state != CONN_OPEN || (c->host_shut & directions) == directions)
        return;
    c->host_shut |= directions;
    c->owes |= CONN_OWES_SHUTDOWN;
}

/* What is the same in every packet; it tells the guest our credit. */
static void fill(struct conn *c, uint16_t op, struct vsock_packet *out)
{
    *out = (struct vsock_packet){
        .src_port = c->host_port,
        .dst_port = c->guest_port,
        .type = VIRTIO_VSOCK_TYPE_STREAM,
        .op = op,
        .buf_alloc = VSOCK_BUF_ALLOC,
        .fwd_cnt = c->forwarded,
    };
    c->told = c->forwarded;
    c->owes &= ~CONN_OWES_CREDIT;
}

bool conn_next(struct conn *c, struct vsock_packet *out)
{
    if (c->owes & CONN_OWES_RST) {
        fill(c, VIRTIO_VSOCK_OP_RST, out);
        *c = (struct conn){.state = CONN_NONE};
    } else if (c->owes & CONN_OWES_REQUEST) {
        c->owes &= ~CONN_OWES_REQUEST;
        fill(c, VIRTIO_VSOCK_OP_REQUEST, out);
    } else if (c->owes & CONN_OWES_RESPONSE) {
        c->owes &= ~CONN_OWES_RESPONSE;
        fill(c, VIRTIO_VSOCK_OP_RESPONSE, out);
    } else if (c->owes & CONN_OWES_SHUTDOWN) {
        c->owes &= ~CONN_OWES_SHUTDOWN;
        fill(c, VIRTIO_VSOCK_OP_SHUTDOWN, out);
        out->flags = c->host_shut;
    } else if (c->owes & CONN_OWES_CREDIT) {
        fill(c, VIRTIO_VSOCK_OP_CREDIT_UPDATE, out);
    } else {
        return false;
    }
    return true;
}

void conn_data(struct conn *c, uint32_t len, struct vsock_packet *out)
{
    fill(c, VIRTIO_VSOCK_OP_RW, out);
    out->len = len;
    conn_sent(c, len);
}
