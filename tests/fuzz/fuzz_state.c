/*
 * state.json, damaged in any way: what `state`, `list` and `delete --force` read of it. What could
 * be read can be written, and read again.
 */
#include "tests/fuzz/scratch.h"

#include "lib/io.h"
#include "runtime/state.h"

static struct store store = STORE_INIT;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct err e = ERR_INIT;

    (void)argc;
    (void)argv;
    scratch_open();
    assert_int_equal(store_create(scratch_dir, "id", &store, &e), 0);
    return 0;
}

static void show(const struct state *s)
{
    static const struct control_reply vm = {.version = PLAN_VERSION};
    char created[STATE_TIME_MAX];

    json_decref(state_json(s, STATUS_STOPPED, "root"));
    json_decref(state_json(s, state_status(s), NULL));
    json_decref(state_timing(s, &vm));
    assert_non_null(state_created(s, created));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct state s = STATE_INIT, forced = STATE_INIT, again = STATE_INIT;
    struct err e = ERR_INIT, damage = ERR_INIT;
    int r;

    assert_int_equal(io_replace_file(store.dir, "state.json", 0600, data, size, &e), 0);
    r = store_load(&store, &s, &e);
    if (r < 0)
        assert_true(e.code == -r && e.msg[0]);
    if (store_load_forced(&store, &forced, &damage, &e) == 0) {
        assert_int_equal(damage.code, r < 0 ? -r : 0);
        show(&forced);
        state_done(&forced);
    }
    if (r < 0)
        return 0;
    show(&s);
    assert_int_equal(store_save(&store, &s, &e), 0);
    assert_int_equal(store_load(&store, &again, &e), 0);
    assert_int_equal(again.nexecs, s.nexecs);
    assert_int_equal(again.shim.start, s.shim.start);
    state_done(&again);
    state_done(&s);
    return 0;
}
