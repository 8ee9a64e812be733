/*
 * The verbs after create: start, kill, pause, delete. Each finds the container anew; the state
 * directory is the only memory.
 */
#include "lib/cleanup.h"
#include "lib/json.h"
#include "lib/log.h"
#include "runtime/cgroup/hostgroup.h"
#include "runtime/client.h"
#include "runtime/container.h"
#include "runtime/hooks.h"
#include "runtime/sandbox.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A guest that cannot take a SIGKILL within this loses its VM. Clients wait 5 s in all. */
#define KILL_TIMEOUT_MS 3000
/* How long a VM without containers may take to end by itself. */
#define OFF_GRACE_MS 1500
/* How long a create may take to undo itself: once without, once with its poststop hooks killed. */
#define CALL_OFF_MS 1000

static void close_both(struct store *store, struct state *state)
{
    state_done(state);
    store_close(store);
}

static int open_locked(const struct runtime *rt, const char *id, struct store *store,
                       struct state *state, struct err *e)
{
    int r = store_open(rt->root, id, true, store, e);

    if (r < 0)
        return r;
    r = store_load(store, state, e);
    if (r < 0)
        store_close(store);
    return r;
}

int container_load(const struct runtime *rt, const char *id, struct store *store_out,
                   struct state *out, struct err *e)
{
    struct store store = STORE_INIT;
    int r = store_open(rt->root, id, false, &store, e);

    if (r == 0)
        r = store_load(&store, out, e);
    if (r < 0)
        store_close(&store);
    else
        *store_out = store;
    return r;
}

/* --- start ------------------------------------------------------------------------------------ */

static int check_startable(const struct state *state, struct err *e)
{
    switch (state_status(state)) {
    case STATUS_CREATED:
        return 0;
    case STATUS_RUNNING:
        return err_set(e, EINVAL, "cannot start an already running container: %s", state->id);
    case STATUS_PAUSED:
        return err_set(e, EINVAL, "cannot start a paused container: %s (`bulkhead resume` it)",
                       state->id);
    case STATUS_CREATING:
        return err_set(e, EINVAL, "cannot start a container that is still being created: %s",
                       state->id);
    case STATUS_STOPPED:
        break;
    }
    return err_set(e, EINVAL,
                   "cannot start a container that has stopped: %s (delete it, and create it anew)",
                   state->id);
}

static int start(const struct store *store, struct state *state, struct err *e)
{
    int r = check_startable(state, e);

    if (r < 0)
        return r;
    r = client_call(store->path, PROTO_PROCESS_START, client_target(state->id, ""),
                    CLIENT_TIMEOUT_MS, NULL, e);
    /* the agent's own "no" is the reason; else the VM may be gone */
    if (r < 0)
        return sandbox_explain(store, &state->vmm, e);
    state->phase[PHASE_STARTED] = monotonic_ns();
    state->started = true;
    return store_save(store, state, e);
}

int container_start(const struct runtime *rt, const char *id, struct err *warning, struct err *e)
{
    struct store store = STORE_INIT;
    struct state state = STATE_INIT;
    struct spec *spec = NULL;
    int r = open_locked(rt, id, &store, &state, e);

    if (r < 0)
        return r;
    r = start(&store, &state, e);
    store_unlock(&store); /* a poststart hook may call us */
    if (r == 0)
        r = spec_load(store.path, &spec, e);
    /* the specification: a failing poststart hook is a warning */
    if (r == 0)
        (void)!hooks_run_for(&spec->hooks, HOOK_POSTSTART, &state, STATUS_RUNNING, warning);
    spec_free(spec);
    close_both(&store, &state);
    return r;
}

/* --- the end, for run ------------------------------------------------------------------------- */

int container_note_exit(const struct runtime *rt, const char *id, struct err *e)
{
    struct store store = STORE_INIT;
    struct state state = STATE_INIT;
    int r = open_locked(rt, id, &store, &state, e);

    if (r < 0)
        return r;
    state.phase[PHASE_EXITED] = monotonic_ns();
    for (unsigned i = 1; i < PHASE_COUNT; i++)
        if (state.phase[i])
            log_debug("phase %s: %.3f ms", phase_names[i],
                      (double)(state.phase[i] - state.phase[PHASE_BEGIN]) / 1e6);
    r = store_save(&store, &state, e);
    close_both(&store, &state);
    return r;
}

/* --- kill, pause ------------------------------------------------------------------------------ */

/* The guest does not even take a SIGKILL: its process on the host goes, and its VM. */
static int kill_hard(const struct state *state, struct err *e)
{
    (void)process_signal(&state->shim, SIGKILL);
    return sandbox_stop(state, 0, e);
}

static int send_signal(const struct store *store, const struct state *state, int sig, bool all,
                       struct err *e)
{
    json_t *body = json_pack("{s:s, s:s, s:i, s:b}", "id", state->id, "process", "", "signal", sig,
                             "all", all);
    int r = client_call(store->path, PROTO_PROCESS_SIGNAL, body,
                        sig == SIGKILL ? KILL_TIMEOUT_MS : CLIENT_TIMEOUT_MS, NULL, e);

    if (r == 0)
        return 0;
    if (r == -ESRCH || !process_alive(&state->shim)) /* it ended in between */
        return all ? 0 : err_set(e, ESRCH, "container not running: %s has ended", state->id);
    if (sig == SIGKILL)
        return kill_hard(state, e);
    r = sandbox_explain(store, &state->vmm, e);
    if (process_alive(&state->vmm))
        return r;
    /* the shim still says its last words; clients look for these */
    return all ? 0 : err_wrap(e, "container not running: %s", state->id);
}

int container_kill(const struct runtime *rt, const char *id, int sig, bool all, struct err *e)
{
    struct store store = STORE_INIT;
    struct state state = STATE_INIT;
    int r = container_load(rt, id, &store, &state, e);

    if (r < 0)
        return r;
    switch (state_status(&state)) {
    case STATUS_STOPPED:
        r = all ? 0 : err_set(e, ESRCH, "container not running: %s has ended", id);
        break;
    case STATUS_CREATING:
        r = err_set(e, EAGAIN, "container not running: %s is still being created", id);
        break;
    default:
        r = send_signal(&store, &state, sig, all, e);
    }
    close_both(&store, &state);
    return r;
}

int container_pause(const struct runtime *rt, const char *id, bool pause, struct err *e)
{
    struct store store = STORE_INIT;
    struct state state = STATE_INIT;
    enum status status;
    int r = open_locked(rt, id, &store, &state, e);

    if (r < 0)
        return r;
    status = state_status(&state);
    if (pause && status != STATUS_RUNNING && status != STATUS_CREATED)
        r = err_set(e, EINVAL, "container not running: %s is %s", id, status_name(status));
    else if (!pause && status != STATUS_PAUSED)
        r = err_set(e, EINVAL, "container not paused: %s is %s", id, status_name(status));
    if (r == 0)
        r = client_call(store.path, pause ? PROTO_CONTAINER_PAUSE : PROTO_CONTAINER_RESUME,
                        json_pack("{s:s}", "id", id), CLIENT_TIMEOUT_MS, NULL, e);
    if (r == 0) {
        state.paused = pause;
        r = store_save(&store, &state, e);
    }
    close_both(&store, &state);
    return r;
}

/* --- delete ----------------------------------------------------------------------------------- */

int container_destroy(struct store *store, struct state *state, struct err *e)
{
    /* a create that never had a running guest has nothing to wait for */
    int grace = state->complete ? OFF_GRACE_MS : 0;

    if (process_kill(&state->shim, "the shim", e) < 0)
        return -e->code;
    for (size_t i = 0; i < state->nexecs; i++)
        if (process_kill(&state->execs[i].shim, "an exec's shim", e) < 0)
            return -e->code;
    if (sandbox_stop(state, grace, e) < 0)
        return -e->code;
    if (hostgroup_remove(state, e) < 0)
        return -e->code;
    return store_remove(store, e);
}

static int check_deletable(const struct state *state, const char *id, struct err *e)
{
    enum status status = state_status(state);

    if (status == STATUS_STOPPED || status == STATUS_CREATED)
        return 0;
    return err_set(e, EBUSY,
                   "cannot delete container %s that is not stopped: %s (delete --force kills it)",
                   id, status_name(status));
}

/* A create undoes itself when told to end (cancel.h); one that does not is killed. */
static void call_off(const struct process *creator)
{
    struct err ignored = ERR_INIT;

    for (int i = 0; i < 2; i++) {
        cleanup_fd int fd = process_open(creator);

        if (fd < 0 || process_signal(creator, SIGTERM) < 0 ||
            process_wait(fd, CALL_OFF_MS, NULL) == 0)
            return;
    }
    (void)!process_kill(creator, "create", &ignored);
}

/* A call at work gives up: create by a signal, start of a guest that hangs when its VM is gone. */
static void interrupt(const struct store *store)
{
    struct state state = STATE_INIT;
    struct err damage = ERR_INIT, ignored = ERR_INIT;

    if (store_load_forced(store, &state, &damage, &ignored) < 0)
        return;
    if (!state.complete)
        call_off(&state.creator);
    else
        (void)!sandbox_stop(&state, 0, &ignored);
    state_done(&state);
}

/* The state does not say all: a VM that it does not name is asked to end by its own socket. */
static int load_forced(const struct store *store, struct state *state, struct err *warning,
                       struct err *e)
{
    struct err damage = ERR_INIT, ignored = ERR_INIT;
    int r = store_load_forced(store, state, &damage, e);

    if (r < 0 || damage.code == 0)
        return r;
    if (!process_alive(&state->vmm))
        (void)!client_control(store->path, CONTROL_STOP, NULL, &ignored);
    err_set(warning, damage.code,
            "deleted without a whole state, its cgroup on the host may be left: %s", damage.msg);
    return 0;
}

static int delete_locked(struct store *store, const char *id, bool force, struct err *warning,
                         struct err *e)
{
    struct state state = STATE_INIT;
    struct err no_spec = ERR_INIT, hook = ERR_INIT;
    struct spec *spec = NULL;
    int r = force ? load_forced(store, &state, warning, e) : store_load(store, &state, e);

    if (r < 0)
        return r;
    if (!force)
        r = check_deletable(&state, id, e);
    if (r == 0) {
        bool hooks = spec_load(store->path, &spec, &no_spec) == 0;
        r = container_destroy(store, &state, e);
        if (r == 0 && hooks &&
            hooks_run_for(&spec->hooks, HOOK_POSTSTOP, &state, STATUS_STOPPED, &hook) < 0)
            err_add(warning, hook.code, "%s", hook.msg);
    }
    spec_free(spec);
    state_done(&state);
    return r;
}

int container_delete(const struct runtime *rt, const char *id, bool force, struct err *warning,
                     struct err *e)
{
    struct store store = STORE_INIT;
    int r = store_open(rt->root, id, false, &store, e);

    if (r == 0) {
        if (force && store_busy(&store))
            interrupt(&store);
        r = store_lock(&store, e);
    }
    if (r == -ENOENT && force) /* there is none, or no more */
        r = 0;
    else if (r == 0)
        r = delete_locked(&store, id, force, warning, e);
    store_close(&store);
    return r;
}
