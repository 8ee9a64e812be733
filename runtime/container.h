/*
 * The life of a container, verb by verb, as the OCI runtime specification ("Operations") has it and
 * runc does it. Every function finds the container by root and id, leaves no process and no lock
 * behind but those of the container, and either does all or nothing.
 *
 * `warning` is for what the user should know although the call succeeded; code 0 = nothing.
 */
#ifndef BULKHEAD_RUNTIME_CONTAINER_H
#define BULKHEAD_RUNTIME_CONTAINER_H

#include "lib/err.h"
#include "runtime/shim.h"
#include "runtime/state.h"

#include <stdbool.h>

/* Where and how, the same for all verbs. */
struct runtime {
    const char *root;
    const char *config; /* bulkhead.json, NULL = the usual places */
    bool systemd_cgroup, no_cgroup;
};

struct create_options {
    const char *bundle;         /* any path to the directory */
    const char *console_socket; /* NULL = none */
    const char *pid_file;       /* NULL = none; written last */
    bool foreground; /* the caller stays and relays the terminal (run without --detach) */
};

/*
 * Makes the container up to, and not including, its process's exec. shim_out: the process that
 * stands for it, a child of ours; the caller releases it. A signal to end (cancel.h) fails it, with
 * all undone; in the foreground that goes on after success, until the caller's cancel_end.
 */
int container_create(const struct runtime *rt, const char *id, const struct create_options *o,
                     struct shim *shim_out, struct err *warning, struct err *e) must_check;
int container_start(const struct runtime *rt, const char *id, struct err *warning,
                    struct err *e) must_check;
/* For `run`: its process ends now. Keeps the moment in the state; logs all phases for --debug. */
int container_note_exit(const struct runtime *rt, const char *id, struct err *e) must_check;
/* `all`: every process of the container; succeeds on a stopped one. */
int container_kill(const struct runtime *rt, const char *id, int sig, bool all,
                   struct err *e) must_check;
/* `force`: whatever its state, and success when there is none. */
int container_delete(const struct runtime *rt, const char *id, bool force, struct err *warning,
                     struct err *e) must_check;
int container_pause(const struct runtime *rt, const char *id, bool pause, struct err *e) must_check;

/*
 * One request about a container that is there (created, running or paused): PROTO_CONTAINER_PS,
 * _STATS. `body_taken` gets "id" added; NULL = {}. reply_out may be NULL.
 */
int container_query(const struct runtime *rt, const char *id, uint16_t type, json_t *body_taken,
                    json_t **reply_out, struct err *e) must_check;
/* New limits (linux.resources), on the host and in the guest. */
int container_update(const struct runtime *rt, const char *id, const json_t *resources,
                     struct err *warning, struct err *e) must_check;
/* A connection on which the guest's PROTO_OOM events of this container arrive. Returns fd. */
int container_watch(const struct runtime *rt, const char *id, struct err *e) must_check;
/* Host pids of the container's processes that clients started (init, execs), for `ps`. *out is
 * owned. */
int container_pids(const struct runtime *rt, const char *id, pid_t **out, size_t *n_out,
                   struct err *e) must_check;

/* The state as it is now; no lock is taken. */
int container_load(const struct runtime *rt, const char *id, struct store *store_out,
                   struct state *out, struct err *e) must_check;

/* For create, run and delete: ends every process, removes cgroup and directory. */
int container_destroy(struct store *store, struct state *state, struct err *e) must_check;

#endif
