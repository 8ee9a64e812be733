/*
 * vsock packets and the connection's state machine, without virtio: any packets and any events of
 * the host. The credit is never overdrawn, our buffer never overrun, and what is owed comes to an
 * end.
 */
#include "tests/fuzz/fuzz.h"

#include "vmm/virtio/vsock/connection.h"

#include <linux/virtio_vsock.h>

enum step { RAW, PACKET, SEND, FORWARD, SHUTDOWN, RESET, NEXT, REQUEST, STEPS };

struct target {
    struct conn c;
    uint32_t held; /* bytes that came and were not passed on */
};

/* The packet survives being packed and parsed. */
static void there_and_back(const struct vsock_packet *p)
{
    uint8_t raw[VSOCK_HEADER_LEN], again[VSOCK_HEADER_LEN];
    struct vsock_packet q;

    vsock_packet_pack(p, raw);
    assert_int_equal(vsock_packet_parse(raw, &q), 0);
    vsock_packet_pack(&q, again);
    assert_memory_equal(raw, again, sizeof(raw));
}

static void receive(struct target *t, const struct vsock_packet *p)
{
    enum conn_event event;

    there_and_back(p);
    if (t->c.state == CONN_NONE) {
        if (p->op == VIRTIO_VSOCK_OP_REQUEST)
            conn_accept(&t->c, p);
        t->held = 0;
        return;
    }
    event = conn_receive(&t->c, p);
    if (event == CONN_DATA)
        t->held += p->len;
    if (event == CONN_BAD)
        conn_reset(&t->c);
    assert_true(t->held <= VSOCK_BUF_ALLOC);
}

static void raw(struct target *t, struct fuzz *f)
{
    uint8_t bytes[VSOCK_HEADER_LEN];
    struct vsock_packet p;

    fuzz_take(f, bytes, sizeof(bytes));
    if (vsock_packet_parse(bytes, &p) == 0)
        receive(t, &p);
}

static void packet(struct target *t, struct fuzz *f)
{
    struct vsock_packet p = {.src_cid = 7,
                             .dst_cid = VSOCK_CID_HOST,
                             .src_port = 1,
                             .dst_port = 2,
                             .type = VIRTIO_VSOCK_TYPE_STREAM,
                             .op = fuzz_u8(f) % 9,
                             .flags = fuzz_u8(f) & 7,
                             .buf_alloc = fuzz_u32(f),
                             .fwd_cnt = fuzz_u32(f)};

    if (p.op == VIRTIO_VSOCK_OP_RW)
        p.len = fuzz_u32(f) % (VSOCK_PAYLOAD_MAX + 1);
    receive(t, &p);
}

/* The device sends no more than the credit. */
static void send_some(struct target *t, uint32_t want)
{
    uint32_t credit = conn_credit(&t->c), len = want < credit ? want : credit;
    struct vsock_packet p;

    if (len == 0)
        return;
    conn_data(&t->c, len, &p);
    assert_int_equal(p.len, len);
    assert_int_equal(conn_credit(&t->c), credit - len);
}

static void next_owed(struct target *t)
{
    struct vsock_packet p;
    unsigned n = 0;

    while (conn_next(&t->c, &p)) {
        there_and_back(&p);
        assert_true(++n < 16);
    }
}

static void take_step(struct target *t, enum step step, struct fuzz *f)
{
    bool is = t->c.state != CONN_NONE;
    uint32_t n;

    switch (step) {
    case RAW:
        raw(t, f);
        break;
    case PACKET:
        packet(t, f);
        break;
    case SEND:
        n = fuzz_u32(f);
        if (t->c.state == CONN_OPEN)
            send_some(t, n % (VSOCK_PAYLOAD_MAX + 1));
        break;
    case FORWARD:
        n = fuzz_u32(f) % (t->held + 1);
        if (is)
            conn_forwarded(&t->c, n);
        t->held -= n;
        break;
    case SHUTDOWN:
        n = fuzz_u8(f) & CONN_NEITHER;
        if (is)
            conn_shutdown(&t->c, n);
        break;
    case RESET:
        if (is)
            conn_reset(&t->c);
        break;
    case NEXT:
        next_owed(t);
        break;
    default:
        if (!is)
            conn_request(&t->c, 2, 1);
        if (!is)
            t->held = 0;
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};
    struct target t = {.held = 0};

    while (f.left > 0)
        take_step(&t, fuzz_u8(&f) % STEPS, &f);
    next_owed(&t);
    return 0;
}
