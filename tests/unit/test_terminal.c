/*
 * vmm/terminal on a pseudo-terminal: what is typed reaches the child, Ctrl-A is the keeper's,
 * signals are passed on, the child's end is the keeper's status, and the terminal is afterwards as
 * it was. The keeper runs in a child of the test, whose standard input the terminal is.
 */
#include "tests/unit/cmocka_all.h"
#include "vmm/terminal.h"

#include "lib/cleanup.h"
#include "lib/io.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define NOT_KEPT 99 /* the keeper's status when terminal_fork fails */

struct keeper {
    int master, slave, heard; /* heard: what the VM was typed */
    pid_t pid;
    struct termios before;
};

/* The played VM: passes on what it is typed; 'q' makes it leave with 7, 'd' die. */
static _Noreturn void play_vm(int input, int out)
{
    struct pollfd p = {.fd = input, .events = POLLIN};
    char c;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_DUMPABLE, 0); /* SIGQUIT leaves no core file */
    while (poll(&p, 1, -1) > 0 && read(input, &c, 1) == 1) {
        if (c == 'q')
            _exit(7);
        if (c == 'd')
            kill(getpid(), SIGKILL);
        (void)!write(out, &c, 1);
    }
    for (;;)
        pause();
}

static void keep(int in, int out)
{
    struct err e = ERR_INIT;
    int input = -1, status = NOT_KEPT;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(in, STDIN_FILENO);
    pid_t pid = terminal_fork(&input, &status, &e);
    if (pid == 0)
        play_vm(input, out);
    _exit(pid < 0 ? NOT_KEPT : status);
}

static bool is_raw(const struct keeper *k)
{
    struct termios now;

    assert_int_equal(tcgetattr(k->slave, &now), 0);
    return !(now.c_lflag & (ICANON | ECHO | ISIG));
}

static struct keeper begin(void)
{
    struct keeper k = {.master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)};
    int out[2];

    assert_true(k.master >= 0 && grantpt(k.master) == 0 && unlockpt(k.master) == 0);
    k.slave = open(ptsname(k.master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(k.slave >= 0);
    assert_int_equal(tcgetattr(k.slave, &k.before), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    k.heard = out[0];
    k.pid = fork();
    if (k.pid == 0)
        keep(k.slave, out[1]);
    close(out[1]);
    while (!is_raw(&k))
        poll(NULL, 0, 1);
    return k;
}

static void type(const struct keeper *k, const char *keys)
{
    assert_int_equal(io_write_full(k->master, keys, strlen(keys)), 0);
}

static void check_heard(const struct keeper *k, const char *want)
{
    char got[64];
    size_t n = strlen(want);

    assert_int_equal(io_read_full(k->heard, got, n), n);
    assert_memory_equal(got, want, n);
}

/* The keeper's status; the VM has ended before, and wrote no more. */
static int end(struct keeper *k)
{
    struct termios now;
    int status;
    char c;

    assert_int_equal(waitpid(k->pid, &status, 0), k->pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(read(k->heard, &c, 1), 0);
    assert_int_equal(tcgetattr(k->slave, &now), 0);
    assert_int_equal(now.c_lflag, k->before.c_lflag);
    assert_int_equal(now.c_iflag, k->before.c_iflag);
    assert_int_equal(now.c_oflag, k->before.c_oflag);
    close(k->heard);
    close(k->slave);
    close(k->master);
    return WEXITSTATUS(status);
}

static void typing_reaches_the_vm(void **state)
{
    struct keeper k = begin();

    (void)state;
    type(&k, "ab\r\x03\x04"); /* nothing is the terminal's: no signal, no end of file */
    check_heard(&k, "ab\r\x03\x04");
    type(&k, "q");
    assert_int_equal(end(&k), 7);
}

static void ctrl_a_is_the_keepers(void **state)
{
    struct keeper k = begin();

    (void)state;
    type(&k, "x\x01\x01x\x01y");
    check_heard(&k, "x\x01xy");
    type(&k, "\x01"); /* the two keys may come apart */
    type(&k, "x");
    assert_int_equal(end(&k), 128 + SIGTERM);
}

static void a_vm_that_dies_gives_the_terminal_back(void **state)
{
    struct keeper k = begin();

    (void)state;
    type(&k, "d");
    assert_int_equal(end(&k), 128 + SIGKILL);
}

static void signals_are_passed_on(void **state)
{
    static const int signals[][2] = {
        {SIGTERM, SIGTERM}, {SIGINT, SIGINT}, {SIGQUIT, SIGQUIT}, {SIGHUP, SIGTERM}};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
        struct keeper k = begin();

        type(&k, "a");
        check_heard(&k, "a");
        assert_int_equal(kill(k.pid, signals[i][0]), 0);
        assert_int_equal(end(&k), 128 + signals[i][1]);
    }
}

static void without_a_terminal_there_is_no_vm(void **state)
{
    int out[2], null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC), status;
    char c;

    (void)state;
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0)
        keep(null_fd, out[1]);
    close(out[1]);
    close(null_fd);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WEXITSTATUS(status), NOT_KEPT);
    assert_int_equal(read(out[0], &c, 1), 0); /* the child that was made has ended, too */
    close(out[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(typing_reaches_the_vm),
        cmocka_unit_test(ctrl_a_is_the_keepers),
        cmocka_unit_test(a_vm_that_dies_gives_the_terminal_back),
        cmocka_unit_test(signals_are_passed_on),
        cmocka_unit_test(without_a_terminal_there_is_no_vm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
