/* One direction of a relay: bytes from one descriptor to another, without ever waiting. */
#ifndef BULKHEAD_RUNTIME_SHIM_PUMP_H
#define BULKHEAD_RUNTIME_SHIM_PUMP_H

#include <stdbool.h>
#include <stddef.h>

#define PUMP_BUFFER 65536

struct pump_end {
    int fd; /* borrowed; -1 = there is none */
    bool socket;
    bool may_block; /* a pipe or terminal that could not be had without O_NONBLOCK unset */
    bool fifo;
};

struct pump {
    struct pump_end src, dst;
    char *buf; /* PUMP_BUFFER bytes, borrowed, used by this pump alone */
    size_t len, off;
    bool splice;    /* one end is a pipe, and splice(2) has not refused yet */
    bool dst_first; /* splice found src readable and dst full: wait for dst */
    bool src_ended;
    bool done; /* nothing will move any more: src has ended and all is written, or dst is gone */
};

/* A pump with src or dst -1 is done from the start. */
void pump_init(struct pump *p, int src, int dst, char *buf);

/* What to poll for on either end: POLLIN, POLLOUT or 0. */
short pump_src_events(const struct pump *p);
short pump_dst_events(const struct pump *p);

/* Bytes that were read and wait for dst. */
static inline bool pump_pending(const struct pump *p)
{
    return !p->done && (p->len > p->off || p->dst_first);
}

/*
 * Moves what can be moved now. Call it when poll reported something for an end that was asked for.
 * At the end of src a dst that is a socket is shut down for writing; when dst is gone, a src that
 * is a socket is shut down for reading, so that the other side learns of it. Returns whether
 * anything moved or ended.
 */
bool pump_run(struct pump *p);

/* Takes note that dst is gone (poll said so while nothing was pending). */
void pump_dst_gone(struct pump *p);

#endif
