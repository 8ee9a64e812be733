/*
 * The table of vsock connections. It owns the slots, their sockets and the memory of their rings:
 * one mapping made with the device, of which only the pages in use exist. For the loop thread.
 */
#include "vmm/virtio/vsock/table.h"

#include "lib/cleanup.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define RINGS_SIZE ((size_t)VSOCK_CONNS_MAX * VSOCK_BUF_ALLOC)
#define NO_KEY     UINT64_MAX /* a port of all ones is nobody's */

/* Ports of connections that the host makes. */
#define PORT_FIRST 0x40000000u
#define PORT_LAST  0x7fffffffu

struct slot *slot_of(struct loop_source *s)
{
    return (struct slot *)((char *)s - offsetof(struct slot, stream.source));
}

static unsigned index_of(const struct table *t, const struct slot *s)
{
    return (unsigned)(s - t->slot);
}

static uint64_t key_of(uint32_t host_port, uint32_t guest_port)
{
    return host_port * (1ull << 32) + guest_port;
}

int table_init(struct table *t, struct loop *loop, loop_fn *on_stream, void *arg)
{
    memset(t, 0, sizeof(*t));
    void *rings = mmap(NULL, RINGS_SIZE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (rings == MAP_FAILED)
        return -errno;
    t->loop = loop;
    t->on_stream = on_stream;
    t->arg = arg;
    t->rings = rings;
    t->next_port = PORT_FIRST;
    for (unsigned i = 0; i < VSOCK_CONNS_MAX; i++) {
        t->keys[i] = NO_KEY;
        t->slot[i].stream.ring = t->rings + (size_t)i * VSOCK_BUF_ALLOC;
        t->slot[i].stream.ring_size = VSOCK_BUF_ALLOC;
        uds_open(&t->slot[i].stream);
    }
    return 0;
}

static void release(struct table *t, struct slot *s)
{
    unsigned i = index_of(t, s);
    uds_close(t->loop, &s->stream);
    t->keys[i] = NO_KEY;
    t->due[i / 64] &= ~(1ull << (i % 64));
    t->nused--;
    t->nby_guest -= s->by_guest;
    s->conn = (struct conn){.state = CONN_NONE};
    s->used = s->greeting = s->by_guest = s->readable = false;
}

void table_clear(struct table *t)
{
    for (unsigned i = 0; i < VSOCK_CONNS_MAX; i++) {
        if (t->slot[i].used)
            release(t, &t->slot[i]);
    }
}

void table_done(struct table *t)
{
    if (!t->rings)
        return;
    table_clear(t);
    munmap(t->rings, RINGS_SIZE);
    t->rings = NULL;
}

/* The host's client is gone and the guest has been told, but has not confirmed it. */
static bool abandoned(const struct slot *s)
{
    return s->used && s->stream.source.fd < 0 && s->conn.state == CONN_OPEN && !s->conn.owes;
}

bool table_full(const struct table *t)
{
    if (t->nused < VSOCK_CONNS_MAX)
        return false;
    for (unsigned i = 0; i < VSOCK_CONNS_MAX; i++) {
        if (abandoned(&t->slot[i]))
            return false;
    }
    return true;
}

/* An unused slot, else one whose guest keeps us waiting for a confirmation: its next packet will
 * be answered by an RST. */
static struct slot *find_room(struct table *t)
{
    struct slot *spare = NULL;
    for (unsigned i = 0; i < VSOCK_CONNS_MAX; i++) {
        if (!t->slot[i].used)
            return &t->slot[i];
        if (abandoned(&t->slot[i]))
            spare = &t->slot[i];
    }
    if (spare)
        release(t, spare);
    return spare;
}

struct slot *table_find(struct table *t, uint32_t host_port, uint32_t guest_port)
{
    uint64_t key = key_of(host_port, guest_port);
    if (key == NO_KEY)
        return NULL;
    for (unsigned i = 0; i < VSOCK_CONNS_MAX; i++) {
        if (t->keys[i] == key)
            return &t->slot[i];
    }
    return NULL;
}

struct slot *table_add(struct table *t, int fd, bool by_guest)
{
    struct slot *s = by_guest && t->nby_guest >= VSOCK_GUEST_CONNS_MAX ? NULL : find_room(t);
    if (!s || loop_add(t->loop, &s->stream.source, fd, EPOLLIN, t->on_stream, t->arg) < 0) {
        close_fd(&fd);
        return NULL;
    }
    s->used = true;
    s->by_guest = by_guest;
    s->burst = 1;
    t->nused++;
    t->nby_guest += by_guest;
    return s;
}

void table_request(struct table *t, struct slot *s, uint32_t guest_port)
{
    uint32_t port;
    do {
        port = t->next_port;
        t->next_port = port < PORT_LAST ? port + 1 : PORT_FIRST;
    } while (table_find(t, port, guest_port));
    conn_request(&s->conn, port, guest_port);
    t->keys[index_of(t, s)] = key_of(port, guest_port);
}

void table_accept(struct table *t, struct slot *s, const struct vsock_packet *request)
{
    conn_accept(&s->conn, request);
    t->keys[index_of(t, s)] = key_of(request->dst_port, request->src_port);
}

bool slot_can_pull(const struct slot *s)
{
    return s->stream.source.fd >= 0 && !s->stream.no_read && conn_credit(&s->conn) > 0;
}

void slot_discard(struct slot *s)
{
    s->stream.no_write = true;
    conn_forwarded(&s->conn, s->stream.held);
    s->stream.head = s->stream.held = 0;
    conn_shutdown(&s->conn, CONN_NO_RECEIVE);
}

void slot_host_gone(struct table *t, struct slot *s)
{
    slot_discard(s);
    if (s->conn.state == CONN_OPEN)
        conn_shutdown(&s->conn, CONN_NEITHER);
    else
        conn_reset(&s->conn);
    uds_close(t->loop, &s->stream);
    s->greeting = s->readable = false;
}

void slot_abort(struct table *t, struct slot *s)
{
    conn_reset(&s->conn);
    uds_close(t->loop, &s->stream);
    s->greeting = s->readable = false;
}

/* What the socket is to be watched for. EPOLLERR stands for "nothing but its closing". */
static uint32_t wanted_events(const struct slot *s)
{
    uint32_t events = s->stream.held > 0 ? EPOLLOUT : 0;
    if (s->greeting)
        return EPOLLIN;
    if (s->conn.state == CONN_REQUESTING)
        return EPOLLERR;
    if (s->conn.state != CONN_OPEN)
        return events;
    if (s->stream.no_read)
        events |= EPOLLERR;
    else if (!s->readable && slot_can_pull(s))
        events |= EPOLLIN;
    return events;
}

void table_settle(struct table *t, struct slot *s)
{
    unsigned i = index_of(t, s);
    bool over = s->conn.state == CONN_NONE || s->conn.state == CONN_RESET;

    if (!s->used)
        return;
    if (s->conn.state == CONN_NONE)
        t->keys[i] = NO_KEY;
    if (s->conn.state == CONN_OPEN && s->stream.source.fd >= 0) {
        if (s->conn.guest_shut & CONN_NO_RECEIVE)
            uds_shutdown(&s->stream, true, false);
        if ((s->conn.guest_shut & CONN_NO_SEND) && s->stream.held == 0)
            uds_shutdown(&s->stream, false, true);
    }
    if (over && !s->greeting && s->stream.held == 0)
        uds_finish(t->loop, &s->stream);
    if (s->conn.state == CONN_NONE && s->stream.source.fd < 0) {
        release(t, s);
        return;
    }
    if (s->stream.source.fd >= 0)
        loop_watch(t->loop, &s->stream.source, wanted_events(s));
    if (s->conn.owes || (s->readable && slot_can_pull(s)))
        t->due[i / 64] |= 1ull << (i % 64);
    else
        t->due[i / 64] &= ~(1ull << (i % 64));
}

struct slot *table_next_due(struct table *t)
{
    for (unsigned step = 0; step <= VSOCK_CONNS_MAX / 64; step++) {
        /* The words from the one after `last` on; that one first from its bit, at last up to it. */
        unsigned start = (t->last + 1) % VSOCK_CONNS_MAX;
        unsigned w = (start / 64 + step) % (VSOCK_CONNS_MAX / 64);
        uint64_t bits = t->due[w];
        if (step == 0)
            bits &= ~0ull << (start % 64);
        if (!bits)
            continue;
        t->last = w * 64 + (unsigned)__builtin_ctzll(bits);
        return &t->slot[t->last];
    }
    return NULL;
}
