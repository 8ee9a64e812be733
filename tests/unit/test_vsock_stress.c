/* The vsock device under random loads: megabytes echoed over many connections, and nonsense. */
#include "tests/unit/vsock_guest.h"

#include "vmm/virtio/vsock/connection.h"
#include "vmm/virtio/vsock/table.h"

#include <stdio.h>
#include <stdlib.h>

#define OP(name) VIRTIO_VSOCK_OP_##name

struct echo {
    uint32_t port;
    uint32_t sent, host_fwd; /* guest to host: its credit */
    uint32_t received, told; /* host to guest */
    uint8_t held[GUEST_BUF]; /* what the guest has read and not sent back yet */
    uint32_t head, count;
    bool host_shut, done;
};

struct stream {
    int fd;
    uint64_t written, read, total;
    struct echo *echo;
};

static unsigned rnd(unsigned *seed, unsigned below)
{
    *seed = *seed * 1103515245u + 12345u;
    return (*seed >> 8) % below;
}

/* The guest's application: sends back all it hears, in packets of random size. */
static void echo_hear(struct echo *e, const struct vsock_packet *p, const uint8_t *data)
{
    e->host_fwd = p->fwd_cnt;
    if (p->op == OP(RW)) {
        assert_true(p->len <= GUEST_BUF - e->count); /* our credit is kept */
        for (uint32_t i = 0; i < p->len; i++)
            e->held[(e->head + e->count + i) % GUEST_BUF] = data[i];
        e->count += p->len;
    } else if (p->op == OP(SHUTDOWN)) {
        e->host_shut = true;
    } else {
        assert_int_equal(p->op, OP(CREDIT_UPDATE));
    }
}

static void echo_step(struct guest *g, struct echo *e, unsigned *seed)
{
    static uint8_t out[VSOCK_PAYLOAD_MAX];
    uint32_t space = VSOCK_BUF_ALLOC - (e->sent - e->host_fwd);
    uint32_t len = 1 + rnd(seed, rnd(seed, 3) ? VSOCK_PAYLOAD_MAX : 100);
    len = len < space ? len : space;
    len = len < e->count ? len : e->count;
    assert_true(space <= VSOCK_BUF_ALLOC);
    g->fwd_cnt = e->received; /* this connection's books */
    if (len > 0) {
        for (uint32_t i = 0; i < len; i++)
            out[i] = e->held[(e->head + i) % GUEST_BUF];
        e->head = (e->head + len) % GUEST_BUF;
        e->count -= len;
        e->received += len;
        g->fwd_cnt = e->received;
        guest_send(g, OP(RW), 1024, e->port, out, len, 0);
        e->sent += len;
        e->told = e->received;
    } else if (e->told != e->received && rnd(seed, 4) == 0) {
        guest_send(g, OP(CREDIT_UPDATE), 1024, e->port, NULL, 0, 0);
        e->told = e->received;
    }
    if (e->host_shut && e->count == 0 && !e->done) {
        guest_send(g, OP(SHUTDOWN), 1024, e->port, NULL, 0, 3);
        e->done = true;
    }
}

static void host_step(struct stream *s, unsigned *seed)
{
    static uint8_t buf[100000];
    size_t len = 1 + rnd(seed, rnd(seed, 3) ? sizeof(buf) : 50);
    len = len < s->total - s->written ? len : (size_t)(s->total - s->written);
    if (len > 0) {
        for (size_t i = 0; i < len; i++)
            buf[i] = pattern(s->written + i);
        ssize_t put = send(s->fd, buf, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        assert_true(put > 0 || errno == EAGAIN);
        if (put > 0 && (s->written += (uint64_t)put) == s->total)
            assert_int_equal(shutdown(s->fd, SHUT_WR), 0);
    }
    if (rnd(seed, 3) == 0)
        return;
    ssize_t got = recv(s->fd, buf, 1 + rnd(seed, sizeof(buf)), MSG_DONTWAIT);
    assert_true(got >= 0 || errno == EAGAIN);
    for (ssize_t i = 0; i < got; i++)
        assert_int_equal(buf[i], pattern(s->read + (uint64_t)i));
    if (got > 0)
        s->read += (uint64_t)got;
    if (got == 0) {
        assert_true(s->read == s->total);
        close(s->fd);
        s->fd = -1;
    }
}

/* Several connections echo megabytes at once, in random pieces and a random order of turns. */
static void test_echo_stress(void **state)
{
    (void)state;
    enum { STREAMS = 5 };
    struct guest g;
    static struct stream s[STREAMS];
    unsigned seed = 42, open = STREAMS;
    guest_open(&g, GUEST_RX_BUFS);
    for (unsigned i = 0; i < STREAMS; i++) {
        s[i] = (struct stream){.total = (1u << 20) * (i + 1) + i * 777,
                               .echo = calloc(1, sizeof(struct echo))};
        s[i].fd = host_open(&g, &s[i].echo->port);
    }
    while (open > 0) {
        struct vsock_packet p;
        uint8_t *data;
        for (unsigned n = rnd(&seed, 30); n > 0 && guest_hear(&g, &p, &data); n--) {
            for (unsigned i = 0; i < STREAMS; i++)
                if (s[i].echo->port == p.src_port && p.op != OP(RST))
                    echo_hear(s[i].echo, &p, data);
        }
        if (rnd(&seed, 3))
            guest_post_all(&g);
        unsigned k = rnd(&seed, STREAMS);
        if (guest_can_send(&g) && !s[k].echo->done)
            echo_step(&g, s[k].echo, &seed);
        k = rnd(&seed, STREAMS);
        if (s[k].fd >= 0) {
            host_step(&s[k], &seed);
            open -= s[k].fd < 0;
        }
        if (rnd(&seed, 2))
            guest_turn(&g);
    }
    assert_int_equal(g.d.needs_reset, 0);
    for (unsigned i = 0; i < STREAMS; i++) {
        assert_true(s[i].read == s[i].total);
        free(s[i].echo);
    }
    guest_close(&g);
}

/* A guest that sends well-formed nonsense about a handful of ports, while clients of the host come,
 * write, read and go. Whatever happens, the device still serves the next honest connection. */
static void test_nonsense(void **state)
{
    (void)state;
    static uint8_t data[VSOCK_PAYLOAD_MAX];
    struct guest g;
    struct vsock_packet p;
    int fds[12];
    unsigned seed = 99;
    guest_open(&g, GUEST_RX_BUFS);
    memset(fds, -1, sizeof(fds));
    for (unsigned i = 0; i < 30000; i++) {
        if (guest_can_send(&g)) {
            p = guest_packet(&g, (uint16_t)rnd(&seed, 9), 1024 + rnd(&seed, 4), 0, 0,
                             rnd(&seed, 5));
            p.dst_port = rnd(&seed, 2) ? LISTEN_PORT : 0x40000000 + rnd(&seed, 40);
            p.buf_alloc = rnd(&seed, 3) ? GUEST_BUF : seed;
            p.fwd_cnt = rnd(&seed, 3) ? 0 : seed;
            p.type = (uint16_t)(rnd(&seed, 30) ? VIRTIO_VSOCK_TYPE_STREAM : seed);
            p.len = p.op == OP(RW) ? rnd(&seed, sizeof(data) + 1) : 0;
            guest_send_packet(&g, &p, data);
        }
        while (rnd(&seed, 4) && guest_hear(&g, &p, NULL))
            continue;
        if (rnd(&seed, 3) == 0)
            guest_post_all(&g);

        int *fd = &fds[rnd(&seed, ARRAY_SIZE(fds))];
        if (*fd < 0 && rnd(&seed, 4) == 0) {
            *fd = host_connect(&g);
            host_say(*fd, rnd(&seed, 2) ? "CONNECT 1024\n" : "CONNECT 1026\nand more");
        } else if (*fd < 0) {
            *fd = host_take(&g);
        } else if (rnd(&seed, 3)) {
            (void)send(*fd, data, rnd(&seed, 20000), MSG_NOSIGNAL | MSG_DONTWAIT);
            (void)recv(*fd, data, rnd(&seed, 60000), MSG_DONTWAIT);
        } else if (rnd(&seed, 8) == 0) {
            (void)shutdown(*fd, (int)rnd(&seed, 3));
        } else if (rnd(&seed, 20) == 0) {
            close_fd(fd);
        }
        guest_turn(&g);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
        close_fd(&fds[i]);
    for (int fd; (fd = host_take(&g)) >= 0;)
        close(fd);
    do {
        guest_post_all(&g);
        guest_settle(&g);
        if (!guest_hear(&g, &p, NULL))
            break;
        if (p.op == OP(SHUTDOWN) || p.op == OP(REQUEST))
            guest_send(&g, OP(RST), p.dst_port, p.src_port, NULL, 0, 0);
    } while (true);
    assert_int_equal(g.d.needs_reset, 0);
    uint32_t port;
    close(host_open(&g, &port));
    guest_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo_stress),
        cmocka_unit_test(test_nonsense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
