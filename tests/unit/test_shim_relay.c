/*
 * How the shim ends: with the status of its process, and all output written before; or, when the VM
 * is lost, with a word on that.
 */
#include "runtime/shim/lastwords.h"
#include "tests/unit/shim_rig.h"

static void test_exit_status(void **state)
{
    static const int values[] = {0, 1, 42, 126, 127, 255};

    WANT_ROOT(state);
    for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
        struct rig r;

        rig_start(&r);
        rig_finish(&r, values[i]);
    }
}

/* What the guest wrote before its end is written before ours, also when it comes after the EXIT. */
static void test_flush_before_exit(void **state)
{
    struct rig r;

    WANT_ROOT(state);
    rig_start(&r);
    agent_exit(&r, 7, 0);
    say(r.s[1], "late words");
    say(r.s[2], "late error");
    agent_close_streams(&r);
    assert_int_equal(rig_wait(&r), 7);
    assert_string_equal(read_all(r.out), "late words");
    assert_string_equal(read_all(r.err), "late error");
    rig_done(&r);
}

static void test_killed_shim_closes(void **state)
{
    struct rig r;

    WANT_ROOT(state);
    rig_start(&r);
    kill(r.shim.pid, SIGKILL);
    expect_end(r.control);
    for (int i = 0; i < 3; i++)
        expect_end(r.s[i]);
    assert_int_equal(rig_wait(&r), 1000 + SIGKILL);
    rig_done(&r);
}

static void test_lost_vm(void **state)
{
    struct shim_params p = defaults();
    struct rig r;

    WANT_ROOT(state);
    rig_spawn(&r, &p);
    r.log = log_of("[1] booting\n[2] Kernel panic - not \x1b[31msyncing: Oops\n[3] more\n");
    rig_go(&r);
    say(r.s[1], "hello\n");
    say(r.s[2], "dear\n");
    agent_close_streams(&r);
    close_fd(&r.control);
    assert_int_equal(rig_wait(&r), SHIM_STATUS_VM_LOST);
    assert_string_equal(read_all(r.out), "hello\n");
    assert_string_equal(read_all(r.err),
                        "dear\nbulkhead: the virtual machine ended before the process did: "
                        "[2] Kernel panic - not ?[31msyncing: Oops\n");
    rig_done(&r);
}

/* The connection goes, the streams do not: nothing waits for them for ever. */
static void test_lost_link_alone(void **state)
{
    struct rig r;

    WANT_ROOT(state);
    rig_start(&r);
    close_fd(&r.control);
    assert_int_equal(rig_wait(&r), SHIM_STATUS_VM_LOST);
    assert_string_equal(read_all(r.err),
                        "bulkhead: the virtual machine ended before the process did\n");
    rig_done(&r);
}

static void test_leftover_holds_stream(void **state)
{
    struct rig r;

    WANT_ROOT(state);
    rig_start(&r);
    say(r.s[1], "out");
    agent_exit(&r, 3, 0); /* and the streams stay open */
    assert_int_equal(rig_wait(&r), 3);
    assert_string_equal(read_all(r.out), "out");
    rig_done(&r);
}

static void test_killed_with_stuck_reader(void **state)
{
    struct rig r;

    WANT_ROOT(state);
    rig_start(&r);
    stuff(r.s[1]);
    agent_close_streams(&r);
    agent_exit(&r, 137, SIGKILL);
    assert_int_equal(rig_wait(&r), 137);
    rig_done(&r);
}

/* An ordinary exit waits for its reader; a signal ends that, as it would have ended the process. */
static void test_signal_ends_flush(void **state)
{
    struct pollfd p = {.events = POLLIN};
    struct rig r;

    WANT_ROOT(state);
    rig_start(&r);
    stuff(r.s[1]);
    agent_close_streams(&r);
    agent_exit(&r, 5, 0);
    p.fd = r.shim.pidfd;
    assert_int_equal(poll(&p, 1, 3000), 0); /* longer than the limits for a killed one */
    kill(r.shim.pid, SIGTERM);
    assert_int_equal(rig_wait(&r), 5);
    rig_done(&r);
}

static void test_terminal_lost_vm(void **state)
{
    struct shim_params p = defaults();
    char text[256];
    struct rig r;
    ssize_t n;

    WANT_ROOT(state);
    p.terminal = true;
    rig_begin(&r, &p);
    agent_close_streams(&r);
    close_fd(&r.control);
    assert_int_equal(rig_wait(&r), SHIM_STATUS_VM_LOST);
    n = read(r.shim.master, text, sizeof(text) - 1);
    assert_true(n > 0);
    text[n] = '\0';
    assert_string_equal(text, "bulkhead: the virtual machine ended before the process did\r\n");
    rig_done(&r);
}

static void test_lastwords(void **state)
{
    static const struct {
        const char *log, *words;
    } t[] = {
        {"", ""},
        {"\n\n \r\n", ""},
        {"one", "one"},
        {"one\ntwo\r\n\n", "two"},
        {"x\nKernel panic - not syncing: why\nCPU: 0\n---[ end Kernel panic ]---\n",
         "Kernel panic - not syncing: why"},
        {"\x01\x02z\x7f", "??z?"},
    };
    char out[LASTWORDS_MAX], *big = malloc(20001);
    int fd;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
        fd = log_of(t[i].log);
        lastwords(fd, out);
        assert_string_equal(out, t[i].words);
        close(fd);
    }
    memset(big, 'a', 20000);
    big[20000] = '\0';
    fd = log_of(big);
    lastwords(fd, out);
    assert_int_equal(strlen(out), LASTWORDS_MAX - 1);
    close(fd);
    free(big);
    lastwords(-1, out);
    assert_string_equal(out, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exit_status),
        cmocka_unit_test(test_flush_before_exit),
        cmocka_unit_test(test_killed_shim_closes),
        cmocka_unit_test(test_lost_vm),
        cmocka_unit_test(test_lost_link_alone),
        cmocka_unit_test(test_leftover_holds_stream),
        cmocka_unit_test(test_killed_with_stuck_reader),
        cmocka_unit_test(test_signal_ends_flush),
        cmocka_unit_test(test_terminal_lost_vm),
        cmocka_unit_test(test_lastwords),
    };

    return cmocka_run_group_tests(tests, make_rootfs, remove_rootfs);
}
