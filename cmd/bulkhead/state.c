/* `bulkhead state`: the state as JSON, in runc's shape; with --timing, how long each phase took. */
#include "cmd/bulkhead/command.h"
#include "runtime/client.h"

static int print_timing(const struct store *store, const struct state *state, struct err *e)
{
    struct control_reply vm;
    struct err gone = ERR_INIT;
    bool there = client_control(store->path, CONTROL_STATS, &vm, &gone) == 0;

    return command_print(state_timing(state, there ? &vm : NULL), JSON_INDENT(2), e);
}

int cmd_state(int argc, char **argv, const struct globals *g, struct err *e)
{
    bool timing = false;
    const struct option options[] = {
        {"timing", 0, OPTION_FLAG, &timing,
         "print when each phase was reached, in ns since create"},
        OPTIONS_END,
    };
    struct store store = STORE_INIT;
    struct state state = STATE_INIT;
    int first = command_parse(g, argc, argv, options, e);

    if (first < 0)
        return first;
    if (container_load(&g->rt, argv[first], &store, &state, e) < 0)
        return -e->code;
    int r = timing ? print_timing(&store, &state, e)
                   : command_print(state_json(&state, state_status(&state), ""), JSON_INDENT(2), e);
    state_done(&state);
    store_close(&store);
    return r;
}
