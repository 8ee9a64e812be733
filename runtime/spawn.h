/*
 * Starting the programs of a sandbox (bulkhead-vmm, bulkhead-fs) so that they keep nothing of the
 * caller: own session, default signals, cwd /, no environment, no descriptor but those named, born
 * in the container's cgroup.
 *
 * The child is first held at a gate, before exec: the caller writes down who it is, then releases
 * it. A caller that dies before leaves nothing, since the gate's closing ends the child.
 */
#ifndef BULKHEAD_RUNTIME_SPAWN_H
#define BULKHEAD_RUNTIME_SPAWN_H

#include "lib/err.h"
#include "runtime/process.h"

struct spawn {
    const char *program;
    const char *const *argv;
    int stdio[3];    /* -1 = /dev/null */
    int cgroup_fd;   /* directory of the cgroup v2 to be born in; -1 = ours */
    const int *keep; /* descriptors that stay open, at their numbers (each > 2) */
    unsigned nkeep;
};

struct spawned {
    struct process process;
    int pidfd, gate;
};
#define SPAWNED_INIT                                                                               \
    {                                                                                              \
        .pidfd = -1, .gate = -1                                                                    \
    }

/* Default action for every signal, none blocked: for a child between fork and exec. */
void spawn_reset_signals(void);

int spawn_held(const struct spawn *s, struct spawned *out, struct err *e) must_check;
/* Lets it exec; fails with the reason when exec does. */
int spawn_release(const char *program, struct spawned *p, struct err *e) must_check;
/* Closes our descriptors. A child that is still held ends. */
void spawned_done(struct spawned *p);

#endif
