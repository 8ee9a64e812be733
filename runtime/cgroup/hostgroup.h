/*
 * The container's cgroup on the host, over its life: made (by us, or by a running systemd as a
 * scope), limited, and removed. Where it is and how it came about stands in the container's state.
 */
#ifndef BULKHEAD_RUNTIME_HOSTGROUP_H
#define BULKHEAD_RUNTIME_HOSTGROUP_H

#include "lib/spec.h"
#include "runtime/container.h"
#include "runtime/spawn.h"

struct hostgroup {
    int fd; /* its directory, for CLONE_INTO_CGROUP; -1 = the container has none */
    /* a process of ours that waits in it: a scope without processes would end */
    struct spawned anchor;
};
#define HOSTGROUP_INIT                                                                             \
    {                                                                                              \
        .fd = -1, .anchor = SPAWNED_INIT                                                           \
    }

/*
 * Makes the cgroup that `linux_` asks for, with its limits except those that would slow the boot
 * down. The state is on disk before anything exists. Where the caller may not make one, or nobody
 * asked for it, the container has none, and *warning says so; limits that only the host can keep
 * are then an error.
 */
int hostgroup_make(const struct runtime *rt, const struct spec_linux *linux_, struct store *store,
                   struct state *state, struct hostgroup *out, struct err *warning,
                   struct err *e) must_check;
/* The guest is up: the other limits as well. */
int hostgroup_booted(const struct spec_linux *linux_, const struct state *state,
                     struct err *warning, struct err *e) must_check;
/* `update`: whatever is in r. */
int hostgroup_update(const struct spec_resources *r, const struct state *state, struct err *warning,
                     struct err *e) must_check;
/* Ends what is in it and removes it. Missing = success. */
int hostgroup_remove(const struct state *state, struct err *e) must_check;
/* The anchor ends: the cgroup has processes of its own by now, or goes. */
void hostgroup_done(struct hostgroup *g);

#endif
