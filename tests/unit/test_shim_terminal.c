/* A terminal of its own, or one that went to a console socket. */
#include "tests/unit/shim_rig.h"

#include <sys/ioctl.h>
#include <termios.h>

static void test_terminal(void **state)
{
    struct shim_params p = defaults();
    struct winsize w = {.ws_row = 50, .ws_col = 132};
    struct termios t;
    struct rig r;

    WANT_ROOT(state);
    p.terminal = true;
    p.rows = 24;
    p.cols = 80;
    rig_spawn(&r, &p);
    assert_true(r.shim.master >= 0);
    fcntl(r.shim.master, F_SETFL, 0);
    rig_go(&r);
    assert_int_equal(r.shim.rows, 24);
    assert_int_equal(r.shim.cols, 80);
    agent_hear_size(&r, 24, 80);
    /* raw: no echo, no translation, no special characters, either way */
    assert_int_equal(tcgetattr(r.shim.master, &t), 0);
    assert_int_equal(t.c_lflag & (ECHO | ICANON | ISIG), 0);
    say(r.shim.master, "ls\r\x03\x04");
    expect(r.s[0], "ls\r\x03\x04");
    say(r.s[0], "a\nb\r\n\x1b[0m");
    expect(r.shim.master, "a\nb\r\n\x1b[0m");
    assert_int_equal(ioctl(r.shim.master, TIOCSWINSZ, &w), 0);
    agent_hear_size(&r, 50, 132);
    kill(r.shim.pid, SIGWINCH);
    assert_int_equal(agent_hear_signal(&r), SIGWINCH);
    say(r.s[0], "logout\n");
    agent_exit(&r, 4, 0);
    agent_close_streams(&r);
    expect(r.shim.master, "logout\n");
    assert_int_equal(rig_wait(&r), 4);
    rig_done(&r);
}

/* The master is closed: the guest process hears SIGHUP, and its terminal ends. */
static void test_hangup(void **state)
{
    struct shim_params p = defaults();
    struct rig r;
    int first;

    WANT_ROOT(state);
    p.terminal = true;
    rig_begin(&r, &p);
    close_fd(&r.shim.master);
    first = agent_hear_signal(&r);
    assert_true(first == SIGHUP || first == SIGCONT);
    assert_int_equal(agent_hear_signal(&r), SIGHUP + SIGCONT - first);
    expect_end(r.s[0]);
    rig_finish(&r, 129);
}

static void test_console_socket(void **state)
{
    struct shim_params p = defaults();
    struct winsize w = {.ws_row = 30, .ws_col = 90};
    char path[64], name[64];
    struct err e = ERR_INIT;
    unsigned nfds = 0;
    int listener, conn, master = -1;
    struct rig r;

    WANT_ROOT(state);
    snprintf(path, sizeof(path), "/tmp/bulkhead-test-console-%d", getpid());
    listener = io_unix_listen(path, SOCK_STREAM, &e);
    assert_true(listener >= 0);
    p.terminal = true;
    p.console_socket = path;
    rig_spawn(&r, &p); /* and nobody has accepted yet */
    assert_int_equal(r.shim.master, -1);
    rig_go(&r);
    conn = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(conn >= 0);
    assert_true(io_recv_fds(conn, name, sizeof(name), &master, 1, &nfds) > 0);
    assert_int_equal(nfds, 1);
    expect_end(conn);
    assert_int_equal(ioctl(master, TIOCSWINSZ, &w), 0);
    agent_hear_size(&r, 30, 90);
    fcntl(master, F_SETFL, 0);
    say(master, "x");
    expect(r.s[0], "x");
    rig_finish(&r, 0);
    close(master);
    close(conn);
    close(listener);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_terminal),
        cmocka_unit_test(test_hangup),
        cmocka_unit_test(test_console_socket),
    };

    return cmocka_run_group_tests(tests, make_rootfs, remove_rootfs);
}
