/* Verbs of a container that is there and stays as it is: ps, events, update. */
#include "lib/cleanup.h"
#include "runtime/cgroup/hostgroup.h"
#include "runtime/client.h"
#include "runtime/container.h"
#include "runtime/guest.h"
#include "runtime/sandbox.h"
#include "runtime/support.h"

#include <errno.h>
#include <stdlib.h>

static int load_live(const struct runtime *rt, const char *id, struct store *store,
                     struct state *state, struct err *e)
{
    int r = container_load(rt, id, store, state, e);

    if (r < 0)
        return r;
    enum status s = state_status(state);
    if (s != STATUS_STOPPED && s != STATUS_CREATING)
        return 0;
    state_done(state);
    store_close(store);
    return err_set(e, ESRCH, "container not running: %s is %s", id, status_name(s));
}

int container_query(const struct runtime *rt, const char *id, uint16_t type, json_t *body_taken,
                    json_t **reply_out, struct err *e)
{
    struct store store = STORE_INIT;
    struct state state = STATE_INIT;
    int r = load_live(rt, id, &store, &state, e);

    if (r < 0) {
        json_decref(body_taken);
        return r;
    }
    if (!body_taken)
        body_taken = json_object();
    json_object_set_new(body_taken, "id", json_string(id));
    r = client_call(store.path, type, body_taken, CLIENT_TIMEOUT_MS, reply_out, e);
    if (r < 0)
        r = sandbox_explain(&store, &state.vmm, e);
    state_done(&state);
    store_close(&store);
    return r;
}

/* The host first: what it cannot keep fails before anything has changed in the guest. */
static int update(const struct store *store, const struct state *state, const json_t *resources,
                  const struct spec_resources *parsed, struct err *warning, struct err *e)
{
    int r = hostgroup_update(parsed, state, warning, e);

    if (r < 0)
        return r;
    r = client_call(
        store->path, PROTO_CONTAINER_UPDATE,
        json_pack("{s:s, s:o}", "id", state->id, "resources", guest_resources(resources)),
        CLIENT_TIMEOUT_MS, NULL, e);
    return r < 0 ? sandbox_explain(store, &state->vmm, e) : 0;
}

int container_update(const struct runtime *rt, const char *id, const json_t *resources,
                     struct err *warning, struct err *e)
{
    struct spec_resources parsed = {0};
    struct store store = STORE_INIT;
    struct state state = STATE_INIT;
    int r = spec_parse_resources(resources, "resources", &parsed, e);

    if (r < 0)
        return r;
    r = support_check_resources(&parsed, "resources", e);
    if (r == 0)
        r = load_live(rt, id, &store, &state, e);
    if (r == 0) {
        r = update(&store, &state, resources, &parsed, warning, e);
        state_done(&state);
        store_close(&store);
    }
    spec_resources_done(&parsed);
    return r;
}

int container_watch(const struct runtime *rt, const char *id, struct err *e)
{
    struct store store = STORE_INIT;
    struct state state = STATE_INIT;
    int r = load_live(rt, id, &store, &state, e);

    if (r < 0)
        return r;
    cleanup_fd int fd = client_connect(store.path, CLIENT_TIMEOUT_MS, e);
    r = fd;
    if (fd >= 0)
        r = proto_call(fd, PROTO_CONTAINER_EVENTS, json_pack("{s:s}", "id", id), CLIENT_TIMEOUT_MS,
                       NULL, e);
    if (r < 0)
        r = sandbox_explain(&store, &state.vmm, e);
    state_done(&state);
    store_close(&store);
    return r < 0 ? r : take_fd(&fd);
}

int container_pids(const struct runtime *rt, const char *id, pid_t **out, size_t *n_out,
                   struct err *e)
{
    struct store store = STORE_INIT;
    struct state state = STATE_INIT;
    size_t n = 0;
    int r = load_live(rt, id, &store, &state, e);

    if (r < 0)
        return r;
    pid_t *pids = calloc(state.nexecs + 1, sizeof *pids);
    if (pids) {
        pids[n++] = state.shim.pid;
        for (size_t i = 0; i < state.nexecs; i++)
            if (process_alive(&state.execs[i].shim))
                pids[n++] = state.execs[i].shim.pid;
        *out = pids;
        *n_out = n;
    } else {
        r = err_set(e, ENOMEM, "ps: out of memory");
    }
    state_done(&state);
    store_close(&store);
    return r;
}
