/*
 * <root>/<id>/: everything that is kept about a container between two calls.
 *
 *   state.json    struct state, replaced atomically
 *   config.json   the bundle's, as it was at create
 *   vmm.sock      control socket of the VMM      vsock.sock   way to the agent
 *   vmm.log       what VMM and bulkhead-fs said  console.log  what the guest's kernel said
 *
 * Calls that change anything hold flock on the directory; calls that only look read state.json
 * without it. A directory without state.json is a create that was killed at once: it counts as a
 * stopped container without processes, so that delete can remove it.
 */
#ifndef BULKHEAD_RUNTIME_STORE_H
#define BULKHEAD_RUNTIME_STORE_H

#include "lib/err.h"
#include "runtime/process.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define STORE_EXECS_MAX 4096

/* Moments of the host's CLOCK_MONOTONIC in ns; 0 = not reached (yet). */
enum phase {
    PHASE_BEGIN,   /* create was called */
    PHASE_VMM,     /* VMM and file server run */
    PHASE_READY,   /* the agent said HELLO */
    PHASE_CREATED, /* the agent made the container */
    PHASE_STARTED, /* its process was exec'ed */
    PHASE_EXITED,  /* it ended (known to `run` only) */
    PHASE_COUNT
};
extern const char *const phase_names[PHASE_COUNT];

struct exec_record {
    char id[65]; /* PROTO_PROCESS_ID_MAX */
    struct process shim;
};

struct state {
    char *id, *bundle, *rootfs, *cgroup; /* cgroup: path below the hierarchy's root, NULL = none */
    bool cgroup_made;                    /* it exists and holds only our processes */
    bool cgroup_scope;                   /* a scope that a running systemd made */
    uint64_t memory_mib;                 /* the VM's */
    uint32_t vcpus;
    int64_t created_s; /* CLOCK_REALTIME */
    uint32_t created_ns;
    uid_t owner;
    bool complete; /* create has succeeded */
    bool started, paused;
    struct process creator; /* the create that is, or was, at work */
    struct process shim, vmm, fs;
    struct exec_record *execs;
    size_t nexecs;
    json_t *annotations; /* object of strings, never NULL after load */
    uint64_t phase[PHASE_COUNT];
    uint64_t guest_boot_ns; /* the guest's own clock when the agent was ready */
};
#define STATE_INIT                                                                                 \
    {                                                                                              \
        .id = NULL                                                                                 \
    }
void state_done(struct state *s);

struct store {
    int dir;                /* the container's directory; the lock belongs to it */
    char *root, *path, *id; /* root and "<root>/<id>" */
};
#define STORE_INIT                                                                                 \
    {                                                                                              \
        .dir = -1                                                                                  \
    }

/* Refuses an id that cannot be a directory's name: each reason has its message. */
int store_check_id(const char *id, struct err *e) must_check;
/* Makes the directory and locks it. EEXIST: "container with given ID already exists: <id> ...". */
int store_create(const char *root, const char *id, struct store *out, struct err *e) must_check;
/*
 * Opens it, locked or not. -ENOENT of these two is that there is no such container, and nothing
 * else: "container does not exist: <id> ...". Clients look for both of these texts.
 */
int store_open(const char *root, const char *id, bool lock, struct store *out,
               struct err *e) must_check;
int store_lock(struct store *s, struct err *e) must_check;
/* Whether another call holds the lock just now. */
bool store_busy(const struct store *s);
void store_unlock(struct store *s);
void store_close(struct store *s); /* and unlocks */

int store_load(const struct store *store, struct state *out, struct err *e) must_check;
/*
 * For delete --force: takes what can be read of a state.json that is damaged or of another version,
 * identities of processes and the cgroup above all. damage: what store_load would have said, code 0
 * = nothing.
 */
int store_load_forced(const struct store *store, struct state *out, struct err *damage,
                      struct err *e) must_check;
int store_save(const struct store *store, const struct state *s, struct err *e) must_check;
/* Removes directory and all, state.json last. */
int store_remove(struct store *s, struct err *e) must_check;
/* Names below root, sorted, NULL-terminated (strv_free). A missing root has none. */
int store_list(const char *root, char ***out, struct err *e) must_check;

#endif
