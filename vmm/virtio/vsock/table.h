/*
 * The connections of a vsock device: a fixed table of slots, each joining a vsock connection (the
 * guest's side) to a Unix socket (the host's side). Knows no virtqueues. Sockets' events are passed
 * to the owner's callback; whoever changes a slot calls table_settle on it afterwards.
 */
#ifndef BULKHEAD_VMM_VSOCK_TABLE_H
#define BULKHEAD_VMM_VSOCK_TABLE_H

#include "vmm/virtio/vsock/connection.h"
#include "vmm/virtio/vsock/uds.h"

#define VSOCK_CONNS_MAX       256u
#define VSOCK_GUEST_CONNS_MAX 192u /* of these, made by the guest: it cannot lock the host out */

/*
 * A slot lives through some of: greeting (a socket whose client has not said CONNECT yet), joined,
 * socket only (the guest is done, its last bytes are on their way), connection only (the host's
 * client is gone, the guest has not confirmed it).
 */
struct slot {
    struct conn conn;
    struct uds_stream stream;
    bool used, greeting, by_guest;
    bool readable; /* the socket may have bytes: it is not watched for them */
    uint8_t burst; /* rx buffers to fill in one read */
};

struct table {
    struct loop *loop;
    loop_fn *on_stream;
    void *arg;      /* for on_stream: loop_source.arg; the slot is slot_of(source) */
    uint8_t *rings; /* VSOCK_CONNS_MAX * VSOCK_BUF_ALLOC, touched only where in use */
    unsigned nused, nby_guest;
    unsigned last;                      /* served last, for turns */
    uint64_t due[VSOCK_CONNS_MAX / 64]; /* slots with something for the guest */
    uint64_t keys[VSOCK_CONNS_MAX];     /* both ports of each connection */
    uint32_t next_port;                 /* for connections made by the host */
    struct slot slot[VSOCK_CONNS_MAX];
};

struct slot *slot_of(struct loop_source *s);

int table_init(struct table *t, struct loop *loop, loop_fn *on_stream, void *arg);
void table_done(struct table *t);
/* Closes everything at once, without a word to the guest. */
void table_clear(struct table *t);

bool table_full(const struct table *t);
struct slot *table_find(struct table *t, uint32_t host_port, uint32_t guest_port);
/* A fresh slot that owns and watches fd (closed on failure), or NULL. */
struct slot *table_add(struct table *t, int fd, bool by_guest);
/* Starts a connection to guest_port from a port not in use: ports are taken in turn, so that what
 * is late for an old connection meets no new one. */
void table_request(struct table *t, struct slot *s, uint32_t guest_port);
void table_accept(struct table *t, struct slot *s, const struct vsock_packet *request);

/* Is there something to read for the guest, and may it get it? */
bool slot_can_pull(const struct slot *s);
/* Nobody will read what the guest sends any more. */
void slot_discard(struct slot *s);
/* The host's side is gone altogether. */
void slot_host_gone(struct table *t, struct slot *s);
/* Ends both sides at once. */
void slot_abort(struct table *t, struct slot *s);

/* Brings in line with the slot's state what is watched, what is due to the guest, and what is kept;
 * the slot may be free afterwards. */
void table_settle(struct table *t, struct slot *s);
/* The next slot in turn that is due, or NULL. */
struct slot *table_next_due(struct table *t);

#endif
