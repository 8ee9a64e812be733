/*
 * A host connection: frames in, frames out, both bounded; nothing here blocks. Handlers answer at
 * once or keep a `struct reply_to` and answer later.
 */
#ifndef BULKHEAD_AGENT_CONN_H
#define BULKHEAD_AGENT_CONN_H

#include "agent/agent.h"

struct conn {
    struct agent *agent;
    struct conn *next;
    struct loop_source src;
    int fd;
    bool closed;  /* to be freed by the sweep */
    bool deleted; /* a container was deleted by it: the sandbox does not end before it closes */
    char *in;
    size_t in_len, in_cap;
    char *out;
    size_t out_off, out_len, out_cap;
    struct process *stream_of; /* becomes stream stream_index of this process once `out` is empty */
    int stream_index;
    struct container *events_of; /* PROTO_OOM goes here */
};

/* A request that is answered later. conn NULL = nobody waits. */
struct reply_to {
    struct conn *conn;
    uint32_t id;
};

/* What is made of connections, by those who stand above them. */
struct conn_user {
    void (*frame)(struct conn *c, const struct proto_frame *f); /* one decoded frame */
    void (*gone)(struct conn *c); /* it is closed: nothing may point to it any more */
    /* It was answered last (conn_send_last): fd (owned) is now stream `index` of p, whose first
     * bytes these are. */
    void (*stream)(struct process *p, int index, int fd, const char *first, size_t len);
};

/* Takes fd. */
struct conn *conn_new(struct agent *a, int fd, struct err *e);
/* Queues a frame; body (owned, may be NULL) is released. A peer that reads nothing is dropped. */
void conn_send(struct conn *c, uint16_t type, uint32_t id, json_t *body);
/* Answer and forget; harmless when nobody waits. */
void reply_ok(struct reply_to *to, json_t *body);
void reply_error(struct reply_to *to, const struct err *e);
/* Answers OK; the connection then becomes stream `index` of p. */
void conn_send_last(struct reply_to *to, struct process *p, int index);
/* Marks it closed; all that refers to it is told. */
void conn_close(struct conn *c);
void conn_sweep(struct agent *a);

#endif
