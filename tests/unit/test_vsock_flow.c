/* Who may send how much: hosts and guests that read slowly, too fast, or not at all, and a guest
 * that gives no buffers. Nothing spins, nothing is lost, nobody else waits. */
#include "tests/unit/vsock_guest.h"

#include "vmm/virtio/vsock/connection.h"
#include "vmm/virtio/vsock/table.h"

#define OP(name) VIRTIO_VSOCK_OP_##name

/* A host that does not read: the guest may fill the ring and no more; then all of it arrives. */
static void test_slow_host(void **state)
{
    (void)state;
    struct guest g;
    uint32_t port, fwd = 0;
    static uint8_t chunk[VSOCK_PAYLOAD_MAX], back[VSOCK_PAYLOAD_MAX];
    uint64_t sent = 0;
    struct vsock_packet p;
    guest_open(&g, GUEST_RX_BUFS);
    int fd = host_open(&g, &port);
    for (;;) {
        while (guest_hear(&g, &p, NULL)) {
            assert_int_equal(p.op, OP(CREDIT_UPDATE));
            fwd = p.fwd_cnt;
            guest_post_all(&g);
        }
        uint32_t space = VSOCK_BUF_ALLOC - ((uint32_t)sent - fwd);
        if (space == 0)
            break;
        uint32_t len = space < 50000 ? space : 50000;
        for (uint32_t i = 0; i < len; i++)
            chunk[i] = pattern(sent + i);
        guest_send(&g, OP(RW), 1024, port, chunk, len, 0);
        sent += len;
        guest_settle(&g);
    }
    assert_true(sent >=
                VSOCK_BUF_ALLOC + VSOCK_PAYLOAD_MAX); /* the socket took some, the ring the rest */
    guest_expect_silence(&g);

    /* It ends here for the guest, but not for the host. */
    guest_send(&g, OP(SHUTDOWN), 1024, port, NULL, 0, 3);
    guest_expect(&g, OP(RST), NULL);
    for (uint64_t at = 0; at < sent;) {
        uint32_t len = sent - at < 30000 ? (uint32_t)(sent - at) : 30000;
        host_read(&g, fd, back, len);
        for (uint32_t i = 0; i < len; i++)
            assert_int_equal(back[i], pattern(at + i));
        at += len;
    }
    assert_int_equal(host_read_end(&g, fd), 0);
    close(fd);
    guest_close(&g);
}

/* A guest that sends more than it may: that connection ends, the others do not. */
static void test_too_much(void **state)
{
    (void)state;
    struct guest g;
    uint32_t port, other;
    static uint8_t chunk[VSOCK_PAYLOAD_MAX];
    char buf[4];
    guest_open(&g, GUEST_RX_BUFS);
    int fd = host_open(&g, &port), fd2 = host_open(&g, &other);
    struct vsock_packet p;
    for (unsigned i = 0; i < 40; i++)
        guest_send(&g, OP(RW), 1024, port, chunk, sizeof(chunk), 0);
    do
        guest_settle(&g);
    while (guest_hear(&g, &p, NULL) && p.op == OP(CREDIT_UPDATE));
    assert_int_equal(p.op, OP(RST));
    assert_int_equal(p.src_port, port);
    guest_send(&g, OP(RW), 1024, other, "ok", 2, 0);
    host_read(&g, fd2, buf, 2);
    assert_int_equal(g.d.needs_reset, 0);
    close(fd);
    close(fd2);
    guest_close(&g);
}

/* A guest that never reads: its credit ends it; nothing spins, and other connections go on. */
static void test_slow_guest(void **state)
{
    (void)state;
    struct guest g;
    uint32_t port, other;
    uint8_t *data, chunk[5000];
    struct vsock_packet p;
    guest_open(&g, GUEST_RX_BUFS);
    g.buf_alloc = 10000;
    int fd = host_open(&g, &port), fd2 = host_open(&g, &other);
    for (unsigned i = 0; i < sizeof(chunk); i++)
        chunk[i] = pattern(i);
    while (send(fd, chunk, sizeof(chunk), MSG_NOSIGNAL) > 0)
        continue;
    uint32_t got = 0;
    guest_settle(&g);
    while (guest_hear(&g, &p, &data)) {
        assert_int_equal(p.op, OP(RW));
        assert_int_equal(data[0], pattern(got % 5000));
        got += p.len;
        guest_post_all(&g);
        guest_settle(&g);
    }
    assert_int_equal(got, 10000);
    host_say(fd2, "other");
    p = guest_expect(&g, OP(RW), &data);
    assert_int_equal(p.src_port, other);

    g.fwd_cnt = 5000; /* it has read half */
    guest_send(&g, OP(CREDIT_UPDATE), 1024, port, NULL, 0, 0);
    p = guest_expect(&g, OP(RW), &data);
    assert_int_equal(p.len, 4096);
    assert_int_equal(data[0], pattern(0));
    assert_int_equal(guest_expect(&g, OP(RW), &data).len, 904);
    guest_expect_silence(&g);
    close(fd);
    close(fd2);
    guest_close(&g);
}

/* No rx buffers: everything waits, nothing is lost, and the order holds. */
static void test_no_rx_buffers(void **state)
{
    (void)state;
    struct guest g;
    uint32_t port;
    uint8_t *data;
    guest_open(&g, 1);
    int fd = host_connect(&g);
    host_say(fd, "CONNECT 1024\n");
    port = guest_expect(&g, OP(REQUEST), NULL).src_port;
    guest_send(&g, OP(RESPONSE), 1024, port, NULL, 0, 0);
    char ok[3];
    host_read(&g, fd, ok, 3);
    host_say(fd, "abc");
    guest_settle(&g);
    for (unsigned i = 0; i < 200; i++) /* each deserves an RST: they wait in the tx queue */
        if (guest_can_send(&g))
            guest_send(&g, OP(RW), i, 4444, "x", 1, 0);
    guest_expect_silence(&g);
    shutdown(fd, SHUT_WR);
    unsigned rsts = 0, bytes = 0;
    bool end = false;
    while (!end || rsts < 64) {
        struct vsock_packet p;
        guest_post(&g);
        guest_settle(&g);
        guest_reclaim(&g);
        assert_true(guest_hear(&g, &p, &data));
        rsts += p.op == OP(RST);
        if (p.op == OP(RW)) {
            assert_false(end);
            assert_memory_equal(data, "abc", 3);
            bytes += p.len;
        }
        end |= p.op == OP(SHUTDOWN);
    }
    assert_int_equal(bytes, 3);
    close(fd);
    guest_close(&g);
}

/* A read that took all buffers and filled few: the rest still serve, without another kick. */
static void test_buffers_given_back(void **state)
{
    (void)state;
    struct guest g;
    uint32_t port;
    uint8_t *data;
    struct vsock_packet p;
    static char many[8 * GUEST_RX_PAGE + 3];
    guest_open(&g, 4);
    int fd = host_open(&g, &port);
    while (g.rx_posted < 11)
        guest_post(&g);
    guest_settle(&g);
    /* Read into 1, 2, 4 buffers and then all that are left, of which two are not needed. */
    assert_int_equal(send(fd, many, sizeof(many), MSG_NOSIGNAL), sizeof(many));
    for (unsigned i = 0; i < 9; i++)
        assert_int_equal(guest_expect(&g, OP(RW), &data).len, i < 8 ? GUEST_RX_PAGE : 3);
    for (unsigned i = 0; i < 2; i++) {
        host_say(fd, "few");
        guest_settle(&g);
        assert_true(guest_hear(&g, &p, &data));
        assert_int_equal(p.len, 3);
    }
    close(fd);
    guest_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slow_host),          cmocka_unit_test(test_too_much),
        cmocka_unit_test(test_slow_guest),         cmocka_unit_test(test_no_rx_buffers),
        cmocka_unit_test(test_buffers_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
