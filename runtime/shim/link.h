/* The shim's end of its control connection to the agent: signals and sizes out, the exit in. */
#ifndef BULKHEAD_RUNTIME_SHIM_LINK_H
#define BULKHEAD_RUNTIME_SHIM_LINK_H

#include "lib/frame.h"
#include "runtime/shim/handover.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINK_EXIT_BODY_MAX 512

enum link_state {
    LINK_UP,
    LINK_EXITED, /* PROTO_EXIT has come: `exit` is valid */
    LINK_LOST,   /* the connection ended without it */
    LINK_BROKEN, /* the agent sent what no agent of ours sends */
};

struct link_exit {
    int status; /* 0..255 */
    int signal; /* that ended the process, 0 = none */
    bool oom;   /* the guest's OOM killer had been at work */
};

struct link {
    int fd;            /* borrowed */
    const char *ident; /* borrowed; see shim_handover */
    enum link_state state;
    struct link_exit exit;

    char out[PROTO_HEAD_LEN + SHIM_IDENT_MAX + 64];
    size_t out_len, out_off;
    uint32_t next_id;

    char in[PROTO_HEAD_LEN + LINK_EXIT_BODY_MAX];
    size_t in_len, skip; /* bytes in `in`; bytes of a body that nobody wants still to come */
};

void link_init(struct link *l, int fd, const char *ident);

/*
 * One message at a time: link_idle says whether there is room for it. While there is none, signals
 * are left where they queue best, in the kernel. Once the link is not up any more they are dropped.
 */
static inline bool link_idle(const struct link *l)
{
    return l->out_len == l->out_off;
}
void link_signal(struct link *l, int signal);
void link_resize(struct link *l, unsigned rows, unsigned cols);

void link_flush(struct link *l); /* after POLLOUT */
void link_read(struct link *l);  /* after POLLIN, POLLHUP or POLLERR */

/*
 * Reads the body of PROTO_EXIT: one flat object of numbers and booleans, whose "status" is there.
 * The bytes come from the guest. Returns 0 or -EPROTO, *out untouched.
 */
int link_parse_exit(const char *body, size_t len, struct link_exit *out);

#endif
