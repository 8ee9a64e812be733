/* The connection to the agent: signals out, the exit in, and what no agent of ours sends. */
#include "lib/frame.h"
#include "runtime/shim/link.h"
#include "tests/unit/shim_rig.h"

static void test_hostile_frames(void **state)
{
    static const struct {
        uint32_t length;
        uint16_t version, type;
        const char *body;
    } bad[] = {
        {2, 9, PROTO_OK, "{}"},
        {0xffffffff, PROTO_VERSION, PROTO_OK, ""},
        {PROTO_BODY_MAX + 1, PROTO_VERSION, PROTO_OK, ""},
        {LINK_EXIT_BODY_MAX + 1, PROTO_VERSION, PROTO_EXIT, ""},
        {14, PROTO_VERSION, PROTO_EXIT, "{\"status\":256}"},
        {2, PROTO_VERSION, PROTO_EXIT, "{}"},
    };

    WANT_ROOT(state);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        char head[PROTO_HEAD_LEN];
        struct rig r;

        rig_start(&r);
        frame_put(head, bad[i].type, 0, bad[i].length);
        head[4] = (char)bad[i].version;
        assert_int_equal(io_write_full(r.control, head, sizeof(head)), 0);
        say(r.control, bad[i].body);
        agent_close_streams(&r);
        assert_int_equal(rig_wait(&r), SHIM_STATUS_VM_LOST);
        assert_string_equal(read_all(r.err), "bulkhead: the virtual machine broke the protocol\n");
        rig_done(&r);
    }
}

/* Replies of any size are skipped, and what follows is still understood. */
static void test_replies_are_skipped(void **state)
{
    char head[PROTO_HEAD_LEN];
    static char big[300000];
    struct rig r;

    WANT_ROOT(state);
    rig_start(&r);
    for (uint32_t len = 0; len < sizeof(big); len = len * 3 + 100) {
        frame_put(head, PROTO_OK, 5, len);
        assert_int_equal(io_write_full(r.control, head, sizeof(head)), 0);
        assert_int_equal(io_write_full(r.control, big, len), 0);
    }
    rig_finish(&r, 9);
}

static void test_signals(void **state)
{
    struct rig r;

    WANT_ROOT(state);
    rig_start(&r);
    for (int sig = 1; sig <= 64; sig++) {
        if (sig == SIGKILL || sig == SIGSTOP)
            continue;
        assert_int_equal(kill(r.shim.pid, sig), 0);
        assert_int_equal(agent_hear_signal(&r), sig);
    }
    rig_finish(&r, 0);
}

/* Signals that come before the hand-over wait for it; real-time ones are counted. */
static void test_early_signals(void **state)
{
    struct shim_params p = defaults();
    struct rig r;

    WANT_ROOT(state);
    rig_spawn(&r, &p);
    kill(r.shim.pid, SIGTERM);
    for (int i = 0; i < 3; i++)
        kill(r.shim.pid, SIGRTMIN + 3);
    rig_go(&r);
    assert_int_equal(agent_hear_signal(&r), SIGTERM);
    for (int i = 0; i < 3; i++)
        assert_int_equal(agent_hear_signal(&r), SIGRTMIN + 3);
    rig_finish(&r, 0);
}

/* An agent that does not read its connection does not lose signals. */
static void test_signal_backlog(void **state)
{
    struct rig r;

    WANT_ROOT(state);
    rig_start(&r);
    for (int i = 0; i < 2000; i++)
        kill(r.shim.pid, SIGRTMAX);
    say(r.s[1], "and output flows");
    expect(r.out, "and output flows");
    for (int i = 0; i < 2000; i++)
        assert_int_equal(agent_hear_signal(&r), SIGRTMAX);
    rig_finish(&r, 0);
}

static void test_parse_exit(void **state)
{
    static const char *const good[] = {
        "{\"status\":137,\"signal\":9,\"oom\":true,\"ns\":123456789}",
        " { \"ns\" : -1 , \"signal\" : 9 , \"status\" : 137 } \n",
        "{\"status\":137,\"later\":null,\"signal\":9}",
        "{\"status\":137,\"signal\":9,\"oom\":true}",
    };
    static const char *const bad[] = {
        "",
        "{",
        "{}",
        "[]",
        "137",
        "{\"status\"}",
        "{\"status\":}",
        "{\"status\":-1}",
        "{\"status\":256}",
        "{\"status\":true}",
        "{\"status\":1.5}",
        "{\"status\":1e2}",
        "{\"status\":\"1\"}",
        "{\"status\":1,}",
        "{\"status\":1}x",
        "{\"status\":1,\"status\":1}",
        "{\"status\":1,\"signal\":65}",
        "{\"status\":1,\"oom\":1}",
        "{\"status\":1,\"oom\":false,\"oom\":true}",
        "{\"signal\":9}",
        "{\"sta\\u0074us\":1}",
        "{\"status\":1,\"x\":{}}",
        "{\"status\":9999999999999999999999}",
        "{\"status\":1 \"signal\":1}",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        struct link_exit exit = {-1, -1, true};

        assert_int_equal(link_parse_exit(good[i], strlen(good[i]), &exit), 0);
        assert_int_equal(exit.status, 137);
        assert_int_equal(exit.signal, 9);
        assert_int_equal(exit.oom, strstr(good[i], "\"oom\":true") != NULL);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        size_t len = strlen(bad[i]);
        char *exact = malloc(len ? len : 1); /* a byte past the end is seen by the sanitizer */
        struct link_exit exit = {-7, -7, true};

        memcpy(exact, bad[i], len);
        if (link_parse_exit(exact, len, &exit) != -EPROTO)
            fail_msg("taken: %s", bad[i]);
        assert_int_equal(exit.status, -7);
        free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hostile_frames), cmocka_unit_test(test_replies_are_skipped),
        cmocka_unit_test(test_signals),        cmocka_unit_test(test_early_signals),
        cmocka_unit_test(test_signal_backlog), cmocka_unit_test(test_parse_exit),
    };

    return cmocka_run_group_tests(tests, make_rootfs, remove_rootfs);
}
