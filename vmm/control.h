/*
 * The control socket (lib/plan.h, "control protocol"): stop, pause, resume, statistics, for a few
 * clients at once. A client can be slow, wrong or gone; it is then dropped, and nothing waits for
 * it.
 */
#ifndef BULKHEAD_VMM_CONTROL_H
#define BULKHEAD_VMM_CONTROL_H

#include "lib/err.h"
#include "lib/loop.h"
#include "lib/plan.h"

#include <stdbool.h>

#define CONTROL_CLIENTS_MAX 8

/* What the VM does for it; all called on the loop thread. */
struct control_ops {
    void (*stop)(void *arg);
    void (*pause)(void *arg); /* later: control_paused() */
    void (*resume)(void *arg);
    bool (*paused)(void *arg);
    void (*stats)(void *arg, struct control_reply *out);
};

struct control;
struct control_client {
    struct control *control;
    struct loop_source source; /* fd -1 = free slot */
    bool waiting;              /* for a pause */
};

struct control {
    struct loop *loop;
    const struct control_ops *ops;
    void *arg;
    struct loop_source listener;
    int reserve; /* a descriptor for a client when there is no other; -1 = given */
    struct control_client client[CONTROL_CLIENTS_MAX];
};

/* listen_fd is borrowed; -1 = no control socket. */
int control_init(struct control *c, struct loop *loop, int listen_fd, const struct control_ops *ops,
                 void *arg, struct err *e) must_check;
void control_done(struct control *c);
/* Every vCPU is out of the guest: answers those who asked for it. */
void control_paused(struct control *c);

#endif
