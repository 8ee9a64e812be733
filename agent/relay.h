/*
 * A stdio stream: bytes between a pipe or pty of a process and a connection of the host, with a
 * bounded buffer each way. A side that does not take bytes stops the other from being read.
 */
#ifndef BULKHEAD_AGENT_RELAY_H
#define BULKHEAD_AGENT_RELAY_H

#include "agent/agent.h"

struct relay_half {
    bool open; /* the source may still give bytes */
    char *buf; /* what was read and not yet written; NULL = nothing */
    size_t off, len;
};

struct relay {
    struct agent *agent;
    struct loop_source proc_src, conn_src;
    int proc_fd, conn_fd; /* -1 = closed */
    struct relay_half to_conn, to_proc;
    bool idle; /* since `settle`, the process side had nothing more to give, and all was written */
    bool settling;
    long settle_budget; /* bytes that a settling stream may still take before it counts as idle */
    bool conn_hup;      /* the host closed it wholly: it is no longer watched, only read out */
    bool shared_fd;     /* proc_fd (a pty master) belongs to the process object */
};

enum relay_direction { RELAY_OUTPUT = 1, RELAY_INPUT = 2 }; /* as the process sees it */

/* Takes proc_fd (unless shared) and conn_fd, both made non-blocking, even on failure. */
struct relay *relay_new(struct agent *a, int proc_fd, int conn_fd, unsigned directions,
                        bool shared_fd);
/* Bytes of the host that came with the request. Before anything is relayed. */
int relay_feed(struct relay *r, const char *first, size_t len);
/* The process has exited: relay->idle is set once its output so far is written. */
void relay_settle(struct relay *r);
bool relay_done(const struct relay *r); /* both directions over */
void relay_free(struct relay *r);

#endif
