/* Pty pairs and their hand-over; and a whole foreground session: a user at a terminal, the command
 * in front of it, a real shim behind it, and the test as the guest. */
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/proto.h"
#include "runtime/console.h"
#include "tests/unit/cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void say(int fd, const char *text)
{
    assert_int_equal(io_write_full(fd, text, strlen(text)), 0);
}

static void expect(int fd, const char *text)
{
    char buf[256];
    size_t len = strlen(text), got = 0;

    while (got < len) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t n;

        poll(&p, 1, -1);
        n = read(fd, buf + got, len - got);
        assert_true(n > 0);
        got += (size_t)n;
    }
    buf[len] = '\0';
    assert_string_equal(buf, text);
}

static void test_open(void **state)
{
    struct err e = ERR_INIT;
    int master = -1, slave = -1;
    uint16_t rows = 0, cols = 0;
    struct termios t;

    (void)state;
    assert_int_equal(console_open(24, 80, &master, &slave, &e), 0);
    assert_true(fcntl(master, F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(slave, F_GETFD) & FD_CLOEXEC);
    assert_true(console_size(slave, &rows, &cols));
    assert_int_equal(rows, 24);
    assert_int_equal(cols, 80);
    assert_int_equal(tcgetattr(slave, &t), 0);
    assert_int_equal(t.c_lflag & (ICANON | ECHO | ISIG | IEXTEN), 0);
    assert_int_equal(t.c_iflag & (ICRNL | IXON | ISTRIP | BRKINT), 0);
    assert_int_equal(t.c_oflag & OPOST, 0);
    say(master, "in\r\x03");
    expect(slave, "in\r\x03");
    say(slave, "out\n");
    expect(master, "out\n");
    close(master);
    close(slave);
    rows = 7;
    assert_int_equal(console_open(0, 0, &master, &slave, &e), 0);
    assert_false(console_size(slave, &rows, &cols));
    assert_int_equal(rows, 7);
    close(master);
    close(slave);
}

static void test_send(void **state)
{
    struct err e = ERR_INIT;
    int master, slave, listener, conn, got[2], fds[2];
    char path[64], text[64];
    unsigned n = 0;

    (void)state;
    snprintf(path, sizeof(path), "/tmp/bulkhead-test-console-%d", getpid());
    unlink(path);
    assert_int_equal(console_open(0, 0, &master, &slave, &e), 0);
    assert_int_equal(console_send(path, master, &e), -ENOENT);
    assert_non_null(strstr(e.msg, path));
    listener = io_unix_listen(path, SOCK_STREAM, &e);
    assert_true(listener >= 0);
    assert_int_equal(console_send(path, master, &e), 0); /* nobody accepts meanwhile */
    conn = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(io_recv_fds(conn, text, sizeof(text), got, 2, &n) > 0);
    assert_int_equal(n, 1);
    assert_false(fcntl(got[0], F_GETFL) & O_NONBLOCK); /* as clients know it from others */
    say(slave, "hello");
    expect(got[0], "hello");
    assert_int_equal(io_recv_fds(conn, text, sizeof(text), fds, 2, &n), 0); /* one message */
    close(got[0]);
    close(conn);
    close(listener);
    close(master);
    close(slave);
    unlink(path);
}

static void test_raw(void **state)
{
    struct console_raw r = CONSOLE_RAW_INIT;
    struct err e = ERR_INIT;
    struct termios before, during, after;
    int master, slave, null = open("/dev/null", O_RDWR | O_CLOEXEC);

    (void)state;
    console_raw_leave(&r); /* never entered */
    assert_true(console_raw_enter(&r, null, &e) < 0);
    assert_int_equal(r.fd, -1);
    assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
    assert_int_equal(tcgetattr(slave, &before), 0);
    assert_int_equal(console_raw_enter(&r, slave, &e), 0);
    assert_int_equal(tcgetattr(slave, &during), 0);
    assert_true(before.c_lflag & ICANON);
    assert_false(during.c_lflag & (ICANON | ECHO | ISIG));
    console_raw_leave(&r);
    assert_int_equal(tcgetattr(slave, &after), 0);
    assert_int_equal(after.c_lflag, before.c_lflag);
    assert_int_equal(after.c_iflag, before.c_iflag);
    assert_int_equal(after.c_oflag, before.c_oflag);
    console_raw_leave(&r);
    close(master);
    close(slave);
    close(null);
}

/* --- foreground ------------------------------------------------------------------------------- */

struct session {
    int user;            /* the user's side of the terminal, or -1 */
    int control, stream; /* the guest's ends */
    int far[2];
    pid_t command;
};

/* What `run` does, in a process of its own; its exit status is the container's. */
static void command(const struct session *s, bool terminal)
{
    const char *program = getenv("BULKHEAD_SHIM");
    struct shim_params p = {.program = program ? program : "build/bulkhead-shim",
                            .rootfs = "/tmp",
                            .cgroup_fd = -1,
                            .stdio = {0, 1, 2},
                            .terminal = terminal,
                            .rows = terminal ? 1 : 0,
                            .cols = terminal ? 1 : 0};
    struct shim_guest g = {.control = s->far[0],
                           .streams = {s->far[1], -1, -1},
                           .console_log = -1,
                           .oom = OOM_NONE,
                           .container = "box",
                           .process = ""};
    struct shim shim = SHIM_INIT;
    struct err e = ERR_INIT;
    int status = 0;

    if (shim_spawn(&p, &shim, &e) < 0 || shim_go(&shim, &g, &e) < 0)
        _exit(250);
    close(s->far[0]);
    close(s->far[1]);
    if (console_foreground(&shim, &status, &e) < 0)
        _exit(251);
    shim_release(&shim);
    _exit(status);
}

enum { PLAIN, TERMINAL, FOREIGN_TERMINAL /* not the command's controlling one */ };

/* forkpty without a session: the terminal outlives its user, as it does below a shell. */
static pid_t fork_at(int *master, struct winsize *w)
{
    int slave;
    pid_t pid;

    assert_int_equal(openpty(master, &slave, NULL, NULL, w), 0);
    pid = fork();
    for (int fd = 0; pid == 0 && fd < 3; fd++)
        dup2(slave, fd);
    close(slave);
    return pid;
}

static void start(struct session *s, int kind)
{
    int control[2], stream[2];
    struct winsize w = {.ws_row = 33, .ws_col = 99};

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, control), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream), 0);
    *s = (struct session){
        .user = -1, .control = control[0], .stream = stream[0], .far = {control[1], stream[1]}};
    if (kind == TERMINAL)
        s->command = forkpty(&s->user, NULL, NULL, &w);
    else
        s->command = kind == PLAIN ? fork() : fork_at(&s->user, &w);
    assert_true(s->command >= 0);
    if (s->command == 0) {
        close(s->control);
        close(s->stream);
        command(s, kind != PLAIN);
    }
    close(control[1]);
    close(stream[1]);
}

static json_t *hear(struct session *s, uint16_t type)
{
    struct proto_frame f;
    struct err e = ERR_INIT;

    if (proto_recv(s->control, -1, &f, &e) < 0)
        fail_msg("agent: %s", e.msg);
    assert_int_equal(f.type, type);
    return f.body;
}

static void hear_number(struct session *s, uint16_t type, const char *key, int value)
{
    json_t *b = hear(s, type);

    assert_int_equal(json_integer_value(json_object_get(b, key)), value);
    json_decref(b);
}

/* Reads sizes until one has come through: what lies before may have been skipped. */
static void hear_rows(struct session *s, int rows)
{
    json_int_t got;

    do {
        json_t *b = hear(s, PROTO_PROCESS_RESIZE);

        got = json_integer_value(json_object_get(b, "rows"));
        json_decref(b);
    } while (got != rows);
}

/* Waits until the command has blocked its signals, and so stands in console_foreground. */
static void settle(const struct session *s)
{
    char path[64], *text, *line;
    struct err e = ERR_INIT;
    unsigned long long mask;
    bool blocked = false;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)s->command);
    while (!blocked) {
        assert_int_equal(io_read_file(AT_FDCWD, path, 65536, &text, NULL, &e), 0);
        assert_null(strstr(text, "State:\tZ")); /* it must not have ended */
        line = strstr(text, "SigBlk:\t");
        assert_non_null(line);
        mask = strtoull(line + strlen("SigBlk:\t"), NULL, 16);
        blocked = (mask & 1ull << (SIGTERM - 1)) && !(mask & 1ull << (SIGTSTP - 1));
        free(text);
        poll(NULL, 0, 1);
    }
}

static void finish(struct session *s, int status)
{
    json_t *b = json_pack("{s:i, s:i}", "status", status, "signal", 0);
    struct err e = ERR_INIT;
    int got;

    assert_int_equal(proto_send(s->control, PROTO_EXIT, 0, b, &e), 0);
    json_decref(b);
    close(s->stream);
    assert_int_equal(waitpid(s->command, &got, 0), s->command);
    assert_true(WIFEXITED(got));
    assert_int_equal(WEXITSTATUS(got), status);
    close(s->control);
}

static bool ready(void)
{
    const char *program = getenv("BULKHEAD_SHIM");
    struct stat st;

    if (geteuid() != 0) {
        print_message("needs root: it makes namespaces\n");
        return false;
    }
    if (stat(program ? program : "build/bulkhead-shim", &st) < 0)
        fail_msg("build/bulkhead-shim is missing: make it, or set BULKHEAD_SHIM");
    return true;
}

static void test_foreground_terminal(void **state)
{
    struct winsize w = {.ws_row = 44, .ws_col = 111};
    struct termios t;
    struct session s;

    (void)state;
    if (!ready())
        skip_because("it wants root, and the shim's program");
    start(&s, TERMINAL);
    /* the size of the user's terminal comes through, at the start and when it changes */
    hear_rows(&s, 33);
    say(s.user, "ls\r\x03\x1a"); /* ^C and ^Z are the guest's */
    expect(s.stream, "ls\r\x03\x1a");
    assert_int_equal(tcgetattr(s.user, &t), 0);
    assert_false(t.c_lflag & (ICANON | ECHO | ISIG));
    assert_int_equal(ioctl(s.user, TIOCSWINSZ, &w), 0);
    hear_rows(&s, 44);
    say(s.stream, "a\nb\r\n");
    expect(s.user, "a\nb\r\n");
    /* signals to the command are for the container */
    kill(s.command, SIGTERM);
    hear_number(&s, PROTO_PROCESS_SIGNAL, "signal", SIGTERM);
    kill(s.command, SIGUSR1);
    hear_number(&s, PROTO_PROCESS_SIGNAL, "signal", SIGUSR1);
    finish(&s, 21);
    close(s.user);
}

/* Afterwards the user's terminal is as it was. */
static void test_foreground_restores(void **state)
{
    struct termios during, after;
    struct session s;
    int slave;

    (void)state;
    if (!ready())
        skip_because("it wants root, and the shim's program");
    start(&s, FOREIGN_TERMINAL);
    slave = ioctl(s.user, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(slave >= 0);
    hear_rows(&s, 33);
    do
        assert_int_equal(tcgetattr(slave, &during), 0);
    while (during.c_lflag & ICANON);
    say(s.stream, "words");
    expect(s.user, "words");
    finish(&s, 0);
    assert_int_equal(tcgetattr(slave, &after), 0);
    assert_true(after.c_lflag & ICANON);
    assert_true(after.c_lflag & ECHO);
    assert_true(after.c_oflag & OPOST);
    close(slave);
    close(s.user);
}

static void test_foreground_plain(void **state)
{
    struct session s;

    (void)state;
    if (!ready())
        skip_because("it wants root, and the shim's program");
    start(&s, PLAIN);
    settle(&s);
    for (int fd = 0; fd < 2; fd++) { /* the shim's alone now */
        char path[64], target[64] = "";

        snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)s.command, fd);
        do
            assert_true(readlink(path, target, sizeof(target) - 1) > 0);
        while (strcmp(target, "/dev/null") != 0 && poll(NULL, 0, 1) == 0);
    }
    kill(s.command, SIGHUP);
    hear_number(&s, PROTO_PROCESS_SIGNAL, "signal", SIGHUP);
    finish(&s, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_send),
        cmocka_unit_test(test_raw),
        cmocka_unit_test(test_foreground_terminal),
        cmocka_unit_test(test_foreground_restores),
        cmocka_unit_test(test_foreground_plain),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
