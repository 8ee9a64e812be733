/* The vsock connection alone: states, credit with counters that wrap, and packets at wrong times.
 */
#include "vmm/virtio/vsock/connection.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <linux/virtio_vsock.h>
#include <string.h>

#define OP(name) VIRTIO_VSOCK_OP_##name

static enum conn_event get(struct conn *c, uint16_t op, uint32_t len, uint32_t flags)
{
    struct vsock_packet p = {.src_port = 5000,
                             .dst_port = 1024,
                             .type = VIRTIO_VSOCK_TYPE_STREAM,
                             .op = op,
                             .len = len,
                             .flags = flags,
                             .buf_alloc = c->guest_buf,
                             .fwd_cnt = c->guest_consumed};
    return conn_receive(c, &p);
}

static void credit(struct conn *c, uint32_t buf, uint32_t consumed)
{
    struct vsock_packet p = {.op = OP(CREDIT_UPDATE), .buf_alloc = buf, .fwd_cnt = consumed};
    assert_int_equal(conn_receive(c, &p), CONN_NOTHING);
}

static uint16_t next_op(struct conn *c, struct vsock_packet *p)
{
    memset(p, 0, sizeof(*p));
    return conn_next(c, p) ? p->op : 0;
}

static void open_by_guest(struct conn *c)
{
    struct vsock_packet p = {
        .src_port = 5000, .dst_port = 1024, .op = OP(REQUEST), .buf_alloc = 1000, .fwd_cnt = 0};
    conn_accept(c, &p);
    assert_int_equal(next_op(c, &p), OP(RESPONSE));
    assert_int_equal(p.src_port, 1024);
    assert_int_equal(p.dst_port, 5000);
    assert_int_equal(p.buf_alloc, VSOCK_BUF_ALLOC);
    assert_int_equal(p.type, VIRTIO_VSOCK_TYPE_STREAM);
    assert_int_equal(next_op(c, &p), 0);
}

static void test_by_host(void **state)
{
    (void)state;
    struct conn c;
    struct vsock_packet p;
    conn_request(&c, 0x40000000, 1024);
    assert_int_equal(conn_credit(&c), 0);
    assert_int_equal(next_op(&c, &p), OP(REQUEST));
    assert_int_equal(p.dst_port, 1024);
    assert_int_equal(next_op(&c, &p), 0);
    c.guest_buf = 64;
    assert_int_equal(get(&c, OP(RESPONSE), 0, 0), CONN_ESTABLISHED);
    assert_int_equal(c.state, CONN_OPEN);
    assert_int_equal(conn_credit(&c), 64);
    assert_int_equal(get(&c, OP(RESPONSE), 0, 0), CONN_BAD);
}

static void test_refused_by_guest(void **state)
{
    (void)state;
    struct conn c;
    struct vsock_packet p;
    conn_request(&c, 1, 1024);
    (void)next_op(&c, &p);
    assert_int_equal(get(&c, OP(RST), 0, 0), CONN_CLOSED);
    assert_int_equal(c.state, CONN_NONE);
    assert_int_equal(next_op(&c, &p), 0);
}

static void test_wrong_answers_to_a_request(void **state)
{
    (void)state;
    struct conn c;
    struct vsock_packet p;
    const uint16_t ops[] = {OP(RW), OP(REQUEST), OP(SHUTDOWN), OP(CREDIT_UPDATE), OP(INVALID), 99};
    for (unsigned i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        conn_request(&c, 1, 1024);
        (void)next_op(&c, &p);
        assert_int_equal(get(&c, ops[i], 0, 3), CONN_BAD);
    }
    /* An answer before the question. */
    conn_request(&c, 1, 1024);
    assert_int_equal(get(&c, OP(RESPONSE), 0, 0), CONN_BAD);
    conn_reset(&c); /* of which the guest never heard */
    assert_int_equal(c.state, CONN_NONE);
    assert_int_equal(next_op(&c, &p), 0);
}

static void test_credit_to_the_guest(void **state)
{
    (void)state;
    struct conn c;
    struct vsock_packet p;
    open_by_guest(&c);
    assert_int_equal(conn_credit(&c), 1000);
    conn_data(&c, 600, &p);
    assert_int_equal(p.op, OP(RW));
    assert_int_equal(p.len, 600);
    assert_int_equal(conn_credit(&c), 400);
    conn_sent(&c, 400);
    assert_int_equal(conn_credit(&c), 0);
    credit(&c, 1000, 600);
    assert_int_equal(conn_credit(&c), 600);
    credit(&c, 300, 600); /* the buffer shrinks below what is in flight */
    assert_int_equal(conn_credit(&c), 0);
    credit(&c, 300, 1000);
    assert_int_equal(conn_credit(&c), 300);
    credit(&c, 300, 1001); /* consumed more than was sent */
    assert_int_equal(conn_credit(&c), 0);
    credit(&c, UINT32_MAX, 1000);
    assert_int_equal(conn_credit(&c), UINT32_MAX);

    /* The counters wrap. */
    c.sent = UINT32_MAX - 10;
    credit(&c, 100, UINT32_MAX - 10);
    conn_sent(&c, 50);
    assert_int_equal(c.sent, 39);
    assert_int_equal(conn_credit(&c), 50);
    credit(&c, 100, 39);
    assert_int_equal(conn_credit(&c), 100);
}

static void test_credit_of_the_guest(void **state)
{
    (void)state;
    struct conn c;
    struct vsock_packet p;
    open_by_guest(&c);
    c.received = c.forwarded = c.told = UINT32_MAX - 1000; /* wraps on the way */
    assert_int_equal(get(&c, OP(RW), 0, 0), CONN_NOTHING);
    assert_int_equal(get(&c, OP(RW), VSOCK_BUF_ALLOC / 4, 0), CONN_DATA);
    conn_forwarded(&c, VSOCK_BUF_ALLOC / 4);
    assert_int_equal(next_op(&c, &p), 0); /* most is still free in its eyes */

    assert_int_equal(get(&c, OP(RW), VSOCK_BUF_ALLOC / 2, 0), CONN_DATA);
    conn_forwarded(&c, 100);
    assert_int_equal(next_op(&c, &p), OP(CREDIT_UPDATE)); /* with what was not told before */
    assert_int_equal(p.fwd_cnt, c.forwarded);
    assert_int_equal(p.buf_alloc, VSOCK_BUF_ALLOC);
    assert_int_equal(next_op(&c, &p), 0);

    /* Fill it to the brim, then one byte too many. */
    uint32_t held = c.received - c.forwarded;
    assert_int_equal(get(&c, OP(RW), VSOCK_BUF_ALLOC - held, 0), CONN_DATA);
    struct conn full = c;
    assert_int_equal(get(&c, OP(RW), 1, 0), CONN_BAD);
    c = full;
    conn_forwarded(&c, 1); /* a single byte is no news */
    assert_int_equal(next_op(&c, &p), 0);
    conn_forwarded(&c, VSOCK_BUF_ALLOC / 8);
    assert_int_equal(next_op(&c, &p), OP(CREDIT_UPDATE));
    conn_forwarded(&c, c.received - c.forwarded); /* all of it always is */
    assert_int_equal(next_op(&c, &p), OP(CREDIT_UPDATE));

    assert_int_equal(get(&c, OP(CREDIT_REQUEST), 0, 0), CONN_NOTHING);
    assert_int_equal(next_op(&c, &p), OP(CREDIT_UPDATE));
}

/* Whatever the host's reader does, a guest that waits for space is told of it. */
static void test_credit_never_deadlocks(void **state)
{
    (void)state;
    struct conn c;
    struct vsock_packet p;
    unsigned seed = 7;
    uint64_t moved = 0;
    open_by_guest(&c);
    uint32_t sent = 0, told = 0; /* the guest's books */
    while (moved < (64ull << 20)) {
        seed = seed * 1103515245u + 12345u;
        uint32_t space = VSOCK_BUF_ALLOC - (sent - told);
        uint32_t len = (seed >> 8) % VSOCK_PAYLOAD_MAX + 1;
        len = len < space ? len : space;
        if (len > 0) {
            assert_int_equal(get(&c, OP(RW), len, 0), CONN_DATA);
            sent += len;
        }
        uint32_t held = c.received - c.forwarded;
        uint32_t read = (seed >> 4) % (held + 1);
        if (space == 0)
            read = held; /* the reader empties it at last */
        conn_forwarded(&c, read);
        moved += read;
        if (next_op(&c, &p) == OP(CREDIT_UPDATE))
            told = p.fwd_cnt;
        if (space == 0)
            assert_int_equal(told, sent);
    }
}

static void test_half_close(void **state)
{
    (void)state;
    struct conn c;
    struct vsock_packet p;
    open_by_guest(&c);
    assert_int_equal(get(&c, OP(SHUTDOWN), 0, VIRTIO_VSOCK_SHUTDOWN_SEND), CONN_SHUT);
    assert_int_equal(c.guest_shut, CONN_NO_SEND);
    assert_int_equal(conn_credit(&c), 1000); /* it still receives */
    struct conn open = c;
    assert_int_equal(get(&c, OP(RW), 1, 0), CONN_BAD);
    c = open;

    conn_shutdown(&c, CONN_NO_SEND);
    conn_shutdown(&c, CONN_NO_SEND);
    assert_int_equal(next_op(&c, &p), OP(SHUTDOWN));
    assert_int_equal(p.flags, VIRTIO_VSOCK_SHUTDOWN_SEND);
    assert_int_equal(next_op(&c, &p), 0);
    conn_shutdown(&c, CONN_NO_RECEIVE);
    assert_int_equal(next_op(&c, &p), OP(SHUTDOWN));
    assert_int_equal(p.flags, 3);

    /* The flags add up over packets; both make the end, which is confirmed. */
    assert_int_equal(get(&c, OP(SHUTDOWN), 0, VIRTIO_VSOCK_SHUTDOWN_RCV), CONN_CLOSED);
    assert_int_equal(c.state, CONN_RESET);
    assert_int_equal(conn_credit(&c), 0);
    assert_int_equal(get(&c, OP(RW), 1, 0), CONN_NOTHING); /* late */
    assert_int_equal(next_op(&c, &p), OP(RST));
    assert_int_equal(p.dst_port, 5000);
    assert_int_equal(c.state, CONN_NONE);
    assert_int_equal(next_op(&c, &p), 0);
}

static void test_guest_stops_reading(void **state)
{
    (void)state;
    struct conn c;
    open_by_guest(&c);
    assert_int_equal(get(&c, OP(SHUTDOWN), 0, VIRTIO_VSOCK_SHUTDOWN_RCV), CONN_SHUT);
    assert_int_equal(conn_credit(&c), 0);
    assert_int_equal(get(&c, OP(RW), 10, 0), CONN_DATA);
    assert_int_equal(get(&c, OP(SHUTDOWN), 0, 0xfffffff0), CONN_SHUT); /* unknown bits */
    assert_int_equal(c.guest_shut, CONN_NO_RECEIVE);
}

static void test_reset(void **state)
{
    (void)state;
    struct conn c;
    struct vsock_packet p;
    open_by_guest(&c);
    conn_shutdown(&c, CONN_NEITHER);
    conn_reset(&c);
    assert_int_equal(next_op(&c, &p), OP(RST)); /* and nothing of the rest */
    assert_int_equal(next_op(&c, &p), 0);

    open_by_guest(&c);
    conn_reset(&c);
    assert_int_equal(get(&c, OP(RST), 0, 0), CONN_NOTHING); /* both at once */
    assert_int_equal(c.state, CONN_NONE);
    assert_int_equal(next_op(&c, &p), 0);

    open_by_guest(&c);
    assert_int_equal(get(&c, OP(REQUEST), 0, 0), CONN_BAD);
    assert_int_equal(get(&c, OP(INVALID), 0, 0), CONN_BAD);
    assert_int_equal(get(&c, 1000, 0, 0), CONN_BAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_host),
        cmocka_unit_test(test_refused_by_guest),
        cmocka_unit_test(test_wrong_answers_to_a_request),
        cmocka_unit_test(test_credit_to_the_guest),
        cmocka_unit_test(test_credit_of_the_guest),
        cmocka_unit_test(test_credit_never_deadlocks),
        cmocka_unit_test(test_half_close),
        cmocka_unit_test(test_guest_stops_reading),
        cmocka_unit_test(test_reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
