/* A real agent in a private namespace instead of a VM (agent_rig.h). What goes through a process's
 * streams, and what its exit waits for. */
#include "tests/unit/agent_rig.h"

static void test_output_and_status(void **state)
{
    struct run r;

    (void)state;
    NEEDS_RIG();
    rig_run(&rig, rig_config("echo out; echo err >&2; hostname; exit 42"), NULL, &r);
    assert_string_equal(r.out, "out\nbox\n");
    assert_string_equal(r.err, "err\n");
    assert_int_equal(r.status, 42);
    assert_int_equal(r.signal, 0);
    rig_run(&rig, rig_config("sh -c 'kill -9 $$'; exit $?"), NULL, &r);
    assert_int_equal(r.status, 137);
}

static void test_stdin(void **state)
{
    struct run r;

    (void)state;
    NEEDS_RIG();
    rig_run_ok(rig_config("cat; echo end"), "some\ninput\n", &r);
    assert_string_equal(r.out, "some\ninput\nend\n");
    rig_run_ok(rig_config("readlink /proc/self/fd/0; cat"), NULL,
               &r); /* nobody attached to stdin */
    assert_string_equal(r.out, "/dev/null\n");
    rig_run_ok(rig_config("echo again >/dev/stdout; echo x >/proc/self/fd/1"), NULL, &r);
    assert_string_equal(r.out, "again\nx\n");
}

/* Far more than any buffer on the way, both ways at once. */
static void test_bulk(void **state)
{
    enum { BULK = 8 << 20 };
    int control, in, out;
    struct run r;
    char *buf;
    size_t got = 0;

    (void)state;
    NEEDS_RIG();
    control = rig_connect(&rig);
    buf = malloc(BULK);
    assert_non_null(buf);
    for (size_t i = 0; i < BULK; i++)
        buf[i] = (char)(i * 31 + (i >> 12));
    json_decref(
        rig_call(control, PROTO_CONTAINER_CREATE, rig_create_body("bulk", rig_config("cat"))));
    in = rig_stream(&rig, "bulk", "", 0);
    out = rig_stream(&rig, "bulk", "", 1);
    rig_do(control, PROTO_PROCESS_ATTACH, "{s:s,s:s}", "id", "bulk", "process", "");
    rig_do(control, PROTO_PROCESS_START, "{s:s,s:s}", "id", "bulk", "process", "");
    io_set_nonblock(in, 1);
    for (size_t put = 0; got < BULK;) {
        char chunk[65536];
        ssize_t n;

        if (put < BULK && (n = write(in, buf + put, BULK - put)) > 0) {
            put += (size_t)n;
            if (put == BULK)
                shutdown(in, SHUT_WR);
        }
        io_set_nonblock(out, 1);
        n = read(out, chunk, sizeof(chunk));
        if (n > 0) {
            assert_memory_equal(chunk, buf + got, (size_t)n);
            got += (size_t)n;
        }
        assert_int_not_equal(n, 0);
    }
    rig_wait_exit(control, &r);
    assert_int_equal(r.status, 0);
    rig_do(control, PROTO_CONTAINER_DELETE, "{s:s}", "id", "bulk");
    close(control);
    close(in);
    close(out);
    free(buf);
}

/* A background child holds the pipe: the exit is told all the same, its output is still relayed. */
static void test_exec_background(void **state)
{
    int control, out;
    struct run r;
    char buf[64];

    (void)state;
    NEEDS_RIG();
    control = rig_connect(&rig);
    rig_do(control, PROTO_PROCESS_CREATE, "{s:s,s:s,s:o}", "id", "keeper", "process", "bg", "spec",
           rig_exec_spec("echo now; (sleep 1; echo later) & exit 5"));
    out = rig_stream(&rig, "keeper", "bg", 1);
    rig_do(control, PROTO_PROCESS_ATTACH, "{s:s,s:s}", "id", "keeper", "process", "bg");
    rig_do(control, PROTO_PROCESS_START, "{s:s,s:s}", "id", "keeper", "process", "bg");
    rig_wait_exit(control, &r);
    assert_int_equal(r.status, 5);
    rig_drain(out, buf, sizeof(buf));
    assert_string_equal(buf, "now\nlater\n");
    close(out);
    close(control);
}

/* Killing must work though the reader of the output hangs. */
static void test_kill_with_a_stuck_reader(void **state)
{
    int control, out;
    struct run r;
    char buf[2];

    (void)state;
    NEEDS_RIG();
    control = rig_connect(&rig);
    rig_do(control, PROTO_PROCESS_CREATE, "{s:s,s:s,s:o}", "id", "keeper", "process", "k", "spec",
           rig_exec_spec("exec yes"));
    out = rig_stream(&rig, "keeper", "k", 1);
    rig_do(control, PROTO_PROCESS_ATTACH, "{s:s,s:s}", "id", "keeper", "process", "k");
    rig_do(control, PROTO_PROCESS_START, "{s:s,s:s}", "id", "keeper", "process", "k");
    assert_int_equal(io_read_full(out, buf, 2), 2);
    usleep(200 * 1000); /* all buffers on the way fill up */
    rig_do(control, PROTO_PROCESS_SIGNAL, "{s:s,s:s,s:i}", "id", "keeper", "process", "k", "signal",
           SIGKILL);
    rig_wait_exit(control, &r);
    assert_int_equal(r.status, 137);
    close(control);
    close(out);
}

static void test_terminal(void **state)
{
    (void)state;
    NEEDS_RIG();

    json_t *c = rig_config("tty; stty size; [ -c /dev/console ] && echo console; read x; echo got "
                           "$x; stty size; exit 9");
    char buf[512] = "";
    size_t len = 0;
    int control, tty;
    struct run r;
    bool typed = false;

    rig_set(c, "process.terminal", json_true());
    rig_set(c, "process.consoleSize", rig_json("{'height':33,'width':111}"));
    control = rig_connect(&rig);
    json_decref(rig_call(control, PROTO_CONTAINER_CREATE, rig_create_body("t", c)));
    tty = rig_stream(&rig, "t", "", 0);
    rig_do(control, PROTO_PROCESS_ATTACH, "{s:s,s:s}", "id", "t", "process", "");
    rig_do(control, PROTO_PROCESS_START, "{s:s,s:s}", "id", "t", "process", "");
    for (;;) {
        ssize_t n = read(tty, buf + len, sizeof(buf) - 1 - len);

        assert_true(n >= 0);
        if (n == 0)
            break;
        len += (size_t)n;
        buf[len] = '\0';
        if (!typed && strstr(buf, "console\r\n")) {
            typed = true;
            rig_do(control, PROTO_PROCESS_RESIZE, "{s:s,s:s,s:i,s:i}", "id", "t", "process", "",
                   "rows", 44, "cols", 55);
            assert_int_equal(write(tty, "word\n", 5), 5);
        }
    }
    assert_string_equal(buf, "/dev/pts/0\r\n33 111\r\nconsole\r\nword\r\ngot word\r\n44 55\r\n");
    rig_wait_exit(control, &r);
    assert_int_equal(r.status, 9);
    rig_do(control, PROTO_CONTAINER_DELETE, "{s:s}", "id", "t");
    close(control);
    close(tty);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_output_and_status),
        cmocka_unit_test(test_stdin),
        cmocka_unit_test(test_bulk),
        cmocka_unit_test(test_exec_background),
        cmocka_unit_test(test_kill_with_a_stuck_reader),
        cmocka_unit_test(test_terminal),
    };

    return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}
