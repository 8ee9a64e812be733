/* The vsock device between a guest in plain memory and real Unix sockets. */
#include "tests/unit/vsock_guest.h"

#include "vmm/virtio/vsock/connection.h"
#include "vmm/virtio/vsock/table.h"

#include <stdio.h>
#include <stdlib.h>

#define OP(name) VIRTIO_VSOCK_OP_##name

static void test_config(void **state)
{
    (void)state;
    struct guest g;
    guest_open(&g, 0);
    uint64_t cid;
    assert_int_equal(g.d.dev->config_len, 8);
    memcpy(&cid, g.d.dev->config, 8);
    assert_true(cid == GUEST_CID);
    assert_int_equal(g.d.dev->ops->id, 19);
    assert_int_equal(g.d.dev->offered, 0); /* no SEQPACKET */
    guest_close(&g);

    struct loop loop;
    struct err e = ERR_INIT;
    struct vsock_listener l[5] = {{1, -1}};
    assert_int_equal(loop_init(&loop, &e), 0);
    assert_null(virtio_vsock_new(&loop, 2, 0, NULL, 0, &e));
    assert_non_null(strstr(e.msg, "CID 2"));
    assert_null(virtio_vsock_new(&loop, UINT32_MAX, 0, NULL, 0, &e));
    assert_null(virtio_vsock_new(&loop, 3, 0, l, 5, &e));
    assert_non_null(strstr(e.msg, "5 listeners"));
    assert_null(virtio_vsock_new(&loop, 3, -1, NULL, 0, &e));
    assert_int_equal(e.code, EBADF);
    loop_done(&loop);
}

static void test_host_connects(void **state)
{
    (void)state;
    struct guest g;
    uint32_t port;
    uint8_t *data;
    char buf[8] = "";
    guest_open(&g, GUEST_RX_BUFS);
    int fd = host_open(&g, &port);
    assert_true(port >= 0x40000000);

    host_say(fd, "ping");
    struct vsock_packet p = guest_expect(&g, OP(RW), &data);
    assert_int_equal(p.len, 4);
    assert_int_equal(p.src_port, port);
    assert_int_equal(p.dst_port, 1024);
    assert_int_equal(p.buf_alloc, VSOCK_BUF_ALLOC);
    assert_memory_equal(data, "ping", 4);
    guest_send(&g, OP(RW), 1024, port, "pong", 4, 0);
    host_read(&g, fd, buf, 4);
    assert_string_equal(buf, "pong");
    close(fd);
    p = guest_expect(&g, OP(SHUTDOWN), NULL);
    assert_int_equal(p.flags, 3);
    guest_send(&g, OP(RST), 1024, port, NULL, 0, 0);
    guest_expect_silence(&g);
    assert_int_equal(g.d.needs_reset, 0);

    /* The next connection has another port. */
    uint32_t port2;
    close(host_open(&g, &port2));
    assert_int_not_equal(port, port2);
    guest_close(&g);
}

static void test_greetings(void **state)
{
    (void)state;
    struct guest g;
    guest_open(&g, GUEST_RX_BUFS);
    static const char *const bad[] = {
        "HELLO\n",
        "CONNECT\n",
        "CONNECT \n",
        "CONNECT x\n",
        "CONNECT -1\n",
        "CONNECT 1 \n",
        "connect 1\n",
        "CONNECT 4294967295\n",
        "CONNECT 99999999999\n",
        "CONNECT 00000000000000000001\n",
        "\n",
        "CONNECT 1024CONNECT 1024CONNECT 1024",
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        int fd = host_connect(&g);
        host_say(fd, bad[i]);
        int rc = host_read_end(&g, fd);
        assert_true(rc == 0 || rc == -ECONNRESET);
        close(fd);
    }
    int fd = host_connect(&g); /* says nothing and leaves */
    guest_settle(&g);
    close(fd);
    guest_expect_silence(&g);

    /* In pieces, and with data right behind it, which waits for the guest. */
    fd = host_connect(&g);
    host_say(fd, "CONN");
    guest_settle(&g);
    host_say(fd, "ECT 77\nearly");
    struct vsock_packet p = guest_expect(&g, OP(REQUEST), NULL);
    assert_int_equal(p.dst_port, 77);
    guest_expect_silence(&g);
    guest_send(&g, OP(RESPONSE), 77, p.src_port, NULL, 0, 0);
    uint8_t *data;
    p = guest_expect(&g, OP(RW), &data);
    assert_int_equal(p.len, 5);
    assert_memory_equal(data, "early", 5);
    close(fd);
    guest_close(&g);
}

static void test_guest_refuses(void **state)
{
    (void)state;
    struct guest g;
    guest_open(&g, GUEST_RX_BUFS);
    int fd = host_connect(&g);
    host_say(fd, "CONNECT 9\n");
    struct vsock_packet p = guest_expect(&g, OP(REQUEST), NULL);
    guest_send(&g, OP(RST), 9, p.src_port, NULL, 0, 0);
    assert_int_equal(host_read_end(&g, fd), 0);
    guest_expect_silence(&g);
    close(fd);
    guest_close(&g);
}

/* A client that goes away while the guest makes up its mind. */
static void test_client_leaves_early(void **state)
{
    (void)state;
    struct guest g;
    guest_open(&g, GUEST_RX_BUFS);
    int fd = host_connect(&g);
    host_say(fd, "CONNECT 9\n");
    struct vsock_packet p = guest_expect(&g, OP(REQUEST), NULL);
    close(fd);
    struct vsock_packet rst = guest_expect(&g, OP(RST), NULL);
    assert_int_equal(rst.src_port, p.src_port);
    /* The answer comes too late and is refused in its turn. */
    guest_send(&g, OP(RESPONSE), 9, p.src_port, NULL, 0, 0);
    guest_expect(&g, OP(RST), NULL);

    /* And before the guest had a buffer for the question: it never hears of it. */
    while (g.rx_posted > 0) { /* use the buffers up */
        guest_send(&g, OP(RW), 1, 1, "x", 1, 0);
        guest_expect(&g, OP(RST), NULL);
    }
    fd = host_connect(&g);
    host_say(fd, "CONNECT 9\n");
    guest_settle(&g);
    close(fd);
    guest_settle(&g);
    guest_post_all(&g);
    guest_expect_silence(&g);
    guest_close(&g);
}

static void test_guest_connects(void **state)
{
    (void)state;
    struct guest g;
    char buf[8] = "";
    uint8_t *data;
    guest_open(&g, GUEST_RX_BUFS);
    assert_true(g.d.dev->t_connection == 0);
    int fd = guest_dial(&g);
    assert_true(g.d.dev->t_connection != 0);
    guest_send(&g, OP(RW), 5000, LISTEN_PORT, "hello", 5, 0);
    host_read(&g, fd, buf, 5);
    assert_string_equal(buf, "hello");
    host_say(fd, "hi");
    assert_int_equal(guest_expect(&g, OP(RW), &data).len, 2);

    /* The guest closes: confirmed, and the host reads the end. */
    guest_send(&g, OP(RW), 5000, LISTEN_PORT, "bye", 3, 0);
    guest_send(&g, OP(SHUTDOWN), 5000, LISTEN_PORT, NULL, 0, 3);
    guest_expect(&g, OP(RST), NULL);
    host_read(&g, fd, buf, 3);
    assert_int_equal(host_read_end(&g, fd), 0);
    close(fd);

    /* The same ports may be used again. */
    fd = guest_dial(&g);
    close(fd);
    guest_close(&g);
}

static void test_refusals(void **state)
{
    (void)state;
    struct guest g;
    guest_open(&g, GUEST_RX_BUFS);
    guest_send(&g, OP(REQUEST), 5000, 4444, NULL, 0, 0); /* a port that nobody registered */
    struct vsock_packet p = guest_expect(&g, OP(RST), NULL);
    assert_int_equal(p.src_port, 4444);
    assert_int_equal(p.dst_port, 5000);
    assert_true(p.src_cid == VSOCK_CID_HOST);

    p = guest_packet(&g, OP(REQUEST), 5000, LISTEN_PORT, 0, 0);
    p.type = VIRTIO_VSOCK_TYPE_SEQPACKET;
    guest_send_packet(&g, &p, NULL);
    p = guest_expect(&g, OP(RST), NULL);
    assert_int_equal(p.type, VIRTIO_VSOCK_TYPE_SEQPACKET);

    p = guest_packet(&g, OP(REQUEST), 5000, LISTEN_PORT, 0, 0);
    p.dst_cid = 99; /* not the host */
    guest_send_packet(&g, &p, NULL);
    p = guest_expect(&g, OP(RST), NULL);
    assert_true(p.src_cid == 99);

    p = guest_packet(&g, OP(REQUEST), 5000, LISTEN_PORT, 0, 0);
    p.src_cid = GUEST_CID + 1; /* in another's name */
    guest_send_packet(&g, &p, NULL);
    guest_expect_silence(&g);

    guest_send(&g, OP(RST), 5000, 4444, NULL, 0, 0); /* never answered */
    guest_expect_silence(&g);
    guest_send(&g, OP(CREDIT_REQUEST), 5000, 4444, NULL, 0, 0);
    guest_expect(&g, OP(RST), NULL);
    assert_int_equal(host_take(&g), -1);

    close(g.listener); /* nobody there any more */
    guest_send(&g, OP(REQUEST), 5000, LISTEN_PORT, NULL, 0, 0);
    guest_expect(&g, OP(RST), NULL);
    g.listener = -1;
    assert_int_equal(g.d.needs_reset, 0);
    guest_close(&g);
}

static void test_half_close(void **state)
{
    (void)state;
    struct guest g;
    uint32_t port;
    uint8_t *data;
    char buf[8] = "";
    guest_open(&g, GUEST_RX_BUFS);

    /* The host has said all; the guest still answers (stdin's end). */
    int fd = host_open(&g, &port);
    host_say(fd, "all");
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    assert_int_equal(guest_expect(&g, OP(RW), &data).len, 3);
    assert_int_equal(guest_expect(&g, OP(SHUTDOWN), NULL).flags, VIRTIO_VSOCK_SHUTDOWN_SEND);
    guest_send(&g, OP(RW), 1024, port, "more", 4, 0);
    host_read(&g, fd, buf, 4);
    guest_send(&g, OP(RW), 1024, port, "last", 4, 0);
    guest_send(&g, OP(SHUTDOWN), 1024, port, NULL, 0, 3);
    guest_expect(&g, OP(RST), NULL);
    host_read(&g, fd, buf, 4);
    assert_string_equal(buf, "last");
    assert_int_equal(host_read_end(&g, fd), 0);
    close(fd);

    /* The guest has said all; the host still answers. */
    fd = host_open(&g, &port);
    guest_send(&g, OP(RW), 1024, port, "done", 4, 0);
    guest_send(&g, OP(SHUTDOWN), 1024, port, NULL, 0, VIRTIO_VSOCK_SHUTDOWN_SEND);
    host_read(&g, fd, buf, 4);
    assert_int_equal(host_read_end(&g, fd), 0);
    host_say(fd, "thanks");
    assert_int_equal(guest_expect(&g, OP(RW), &data).len, 6);
    close(fd);
    struct vsock_packet p = guest_expect(&g, OP(SHUTDOWN), NULL);
    assert_int_equal(p.flags, 3);
    guest_send(&g, OP(SHUTDOWN), 1024, port, NULL, 0, 3);
    guest_expect(&g, OP(RST), NULL);

    /* The guest does not want to hear more: the host's writes fail. */
    fd = host_open(&g, &port);
    guest_send(&g, OP(SHUTDOWN), 1024, port, NULL, 0, VIRTIO_VSOCK_SHUTDOWN_RCV);
    guest_settle(&g);
    assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), -1);
    assert_int_equal(errno, EPIPE);
    guest_send(&g, OP(RW), 1024, port, "but", 3, 0);
    host_read(&g, fd, buf, 3);
    close(fd);
    assert_int_equal(guest_expect(&g, OP(SHUTDOWN), NULL).flags, 3);
    guest_close(&g);
}

/* The guest closes while the host's client has sent what nobody read: the client still reads all of
 * the guest's output and a clean end. */
static void test_unread_input_at_the_end(void **state)
{
    (void)state;
    struct guest g;
    uint32_t port;
    char buf[8] = "";
    guest_open(&g, GUEST_RX_BUFS);
    g.buf_alloc = 0; /* reads nothing */
    int fd = host_open(&g, &port);
    host_say(fd, "never read");
    guest_settle(&g);
    guest_send(&g, OP(RW), 1024, port, "output", 6, 0);
    guest_send(&g, OP(SHUTDOWN), 1024, port, NULL, 0, 3);
    guest_expect(&g, OP(RST), NULL);
    host_read(&g, fd, buf, 6);
    assert_int_equal(host_read_end(&g, fd), 0);
    close(fd);
    guest_close(&g);
}

/* Every packet that is none breaks the device, closes all connections, and a reset mends it. */
static void test_violations(void **state)
{
    (void)state;
    struct guest g;
    for (unsigned i = 0; i < 7; i++) {
        uint32_t port;
        guest_open(&g, GUEST_RX_BUFS);
        int fd = host_open(&g, &port);
        uint64_t b = driver_alloc(&g.d, 70000, 8);
        struct vsock_packet p = guest_packet(&g, OP(RW), 1024, port, i == 2 ? 70000 : 10, 0);
        if (i == 3)
            p.op = OP(SHUTDOWN); /* with a payload */
        vsock_packet_pack(&p, driver_ptr(&g.d, b, VSOCK_HEADER_LEN));
        struct driver_ring *tx = &g.d.ring[Q_TX], *rx = &g.d.ring[Q_RX];
        switch (i) {
        case 0: /* half a header */
            driver_submit(&g.d, Q_TX, SEGS(SEG_R(b, VSOCK_HEADER_LEN - 1)));
            break;
        case 1: /* less payload than it says */
            driver_submit(&g.d, Q_TX, SEGS(SEG_R(b, VSOCK_HEADER_LEN + 9)));
            break;
        case 2: /* too large */
        case 3:
            driver_submit(&g.d, Q_TX, SEGS(SEG_R(b, 70000)));
            break;
        case 4: /* writable */
            driver_submit(&g.d, Q_TX, SEGS(SEG_R(b, VSOCK_HEADER_LEN + 10), SEG_W(b + 100, 1)));
            break;
        case 5: /* a bad ring */
            (void)driver_avail_put(&g.d, tx, 4000);
            driver_kick(&g.d, Q_TX);
            break;
        default:                      /* rx buffers without room */
            while (rx->nfree < 128) { /* use up the good ones */
                guest_send(&g, OP(RW), 1, 1, "x", 1, 0);
                guest_expect(&g, OP(RST), NULL);
            }
            driver_submit(&g.d, Q_RX, SEGS(SEG_W(b, VSOCK_HEADER_LEN)));
            host_say(fd, "x");
            break;
        }
        guest_settle(&g);
        assert_int_equal(g.d.needs_reset, 1);
        int rc = host_read_end(&g, fd);
        assert_true(rc == 0 || rc == -ECONNRESET);
        close(fd);
        fd = host_connect(&g); /* refused at once while it is broken */
        assert_int_equal(host_read_end(&g, fd), 0);
        close(fd);

        driver_reset(&g.d);
        g.rx_posted = 0;
        memset(g.rx_buf, 0, sizeof(g.rx_buf));
        memset(g.tx_buf, 0, sizeof(g.tx_buf));
        driver_activate(&g.d, 3, 64, 1ull << VIRTIO_RING_F_EVENT_IDX);
        guest_post(&g);
        guest_post(&g);
        close(host_open(&g, &port));
        assert_int_equal(g.d.needs_reset, 1);
        guest_close(&g);
    }
}

static void test_reset_closes(void **state)
{
    (void)state;
    struct guest g;
    uint32_t port;
    guest_open(&g, GUEST_RX_BUFS);
    int a = host_open(&g, &port), b = guest_dial(&g), c = host_connect(&g);
    guest_settle(&g);
    driver_reset(&g.d);
    assert_int_equal(host_read_end(&g, a), 0);
    assert_int_equal(host_read_end(&g, b), 0);
    assert_int_equal(host_read_end(&g, c), 0);
    close(a);
    close(b);
    close(c);
    /* A client that comes between two drivers waits for the second. */
    a = host_connect(&g);
    host_say(a, "CONNECT 5\n");
    guest_settle(&g);
    g.rx_posted = 0;
    driver_activate(&g.d, 3, 128, 0);
    guest_post(&g);
    assert_int_equal(guest_expect(&g, OP(REQUEST), NULL).dst_port, 5);
    close(a);
    guest_close(&g);
}

static void test_save_load(void **state)
{
    (void)state;
    struct guest g;
    uint32_t port;
    uint8_t saved[64];
    struct driver_used used;
    guest_open(&g, GUEST_RX_BUFS);
    const struct virtio_ops *ops = g.d.dev->ops;
    int fd = host_open(&g, &port);
    int len = ops->save(g.d.dev, saved, sizeof(saved));
    assert_true(len > 0);
    assert_int_equal(ops->save(g.d.dev, saved, 1), -ENOSPC);
    assert_int_equal(ops->load(g.d.dev, saved, 1), -EINVAL);
    assert_int_equal(ops->load(g.d.dev, saved, (size_t)len), 0);
    assert_int_equal(host_read_end(&g, fd), 0);
    close(fd);
    guest_expect_silence(&g);
    uint64_t b = driver_alloc(&g.d, 4, 4);
    memset(driver_ptr(&g.d, b, 4), 0xff, 4);
    driver_submit(&g.d, Q_EVENT, SEGS(SEG_W(b, 4)));
    driver_wait(&g.d, Q_EVENT, &used);
    assert_int_equal(used.len, 4);
    assert_memory_equal(driver_ptr(&g.d, b, 4), "\0\0\0\0", 4);
    close(host_open(&g, &port));
    guest_close(&g);
}

/* The guest may take its share of the table, not all; the host's clients queue for the rest. */
static void test_full_table(void **state)
{
    (void)state;
    struct guest g;
    static int fds[VSOCK_CONNS_MAX + 8];
    unsigned n = 0;
    guest_open(&g, GUEST_RX_BUFS);
    for (unsigned i = 0; i <= VSOCK_GUEST_CONNS_MAX; i++) {
        guest_send(&g, OP(REQUEST), 6000 + i, LISTEN_PORT, NULL, 0, 0);
        guest_expect(&g, i < VSOCK_GUEST_CONNS_MAX ? OP(RESPONSE) : OP(RST), NULL);
        guest_post_all(&g);
        if (i < VSOCK_GUEST_CONNS_MAX)
            fds[n++] = host_take(&g);
    }
    uint32_t port;
    while (n < VSOCK_CONNS_MAX) {
        fds[n++] = host_open(&g, &port);
        guest_post_all(&g);
    }
    int late = host_connect(&g);
    host_say(late, "CONNECT 1024\n");
    guest_expect_silence(&g);
    close(fds[0]); /* told, but not confirmed by the guest: its slot may be had */
    assert_int_equal(guest_expect(&g, OP(SHUTDOWN), NULL).flags, 3);
    assert_int_equal(guest_expect(&g, OP(REQUEST), NULL).dst_port, 1024);
    guest_send(&g, OP(RW), 6000, LISTEN_PORT, "x", 1, 0);
    guest_expect(&g, OP(RST), NULL);
    close(late);
    for (unsigned i = 1; i < n; i++)
        close(fds[i]);
    guest_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config),
        cmocka_unit_test(test_host_connects),
        cmocka_unit_test(test_greetings),
        cmocka_unit_test(test_guest_refuses),
        cmocka_unit_test(test_client_leaves_early),
        cmocka_unit_test(test_guest_connects),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_half_close),
        cmocka_unit_test(test_unread_input_at_the_end),
        cmocka_unit_test(test_violations),
        cmocka_unit_test(test_reset_closes),
        cmocka_unit_test(test_save_load),
        cmocka_unit_test(test_full_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
