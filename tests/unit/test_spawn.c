/* runtime/spawn, runtime/process, runtime/signals: clean children behind a gate, and finding them.
 */
#include "runtime/process.h"
#include "runtime/signals.h"
#include "runtime/spawn.h"
#include "tests/unit/cmocka_all.h"

#include "lib/cleanup.h"
#include "lib/io.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs `sh -c script` behind the gate, released; returns its stdout. */
static char *output_of(const char *script, const int *keep, unsigned nkeep)
{
    const char *argv[] = {"sh", "-c", script, NULL};
    struct spawned p = SPAWNED_INIT;
    struct err e = ERR_INIT;
    char *text = calloc(1, 4096);
    int out[2], status;

    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    struct spawn s = {
        .program = "/bin/sh",
        .argv = argv,
        .stdio = {-1, out[1], out[1]},
        .cgroup_fd = -1,
        .keep = keep,
        .nkeep = nkeep,
    };
    if (spawn_held(&s, &p, &e) < 0 || spawn_release("/bin/sh", &p, &e) < 0)
        fail_msg("%s", e.msg);
    close(out[1]);
    assert_true(io_read_full(out[0], text, 4095) >= 0);
    close(out[0]);
    assert_int_equal(process_wait(p.pidfd, -1, &status), 0);
    assert_int_equal(status, 0);
    spawned_done(&p);
    return text;
}

static void a_child_gets_what_is_named_and_no_more(void **state)
{
    int fd = fcntl(0, F_DUPFD, 20), other = fcntl(0, F_DUPFD, 30); /* neither CLOEXEC */
    char *text;

    (void)state;
    setenv("LEAK", "leak", 1);
    signal(SIGPIPE, SIG_IGN);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    /* sh has no `ls`: globbing opens one descriptor itself, so the names are tested one by one */
    text =
        output_of("for f in 3 4 5 6 7 8 9 20 30 31; do [ -e /proc/$$/fd/$f ] && echo fd $f; done;"
                  "echo env $LEAK; echo cwd $(pwd); while read k v; do case $k in SigIgn:|SigBlk:)"
                  " echo $k $v;; esac; done </proc/$$/status;"

                  "exit 0",
                  &fd, 1);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    signal(SIGPIPE, SIG_DFL);
    close(fd);
    close(other);
    assert_non_null(strstr(text, "fd 20\n"));
    assert_null(strstr(text, "fd 30"));
    assert_null(strstr(text, "leak"));
    assert_non_null(strstr(text, "cwd /\n"));
    assert_non_null(strstr(text, "SigBlk: 0000000000000000"));
    assert_non_null(strstr(text, "SigIgn: 0000000000000000"));
    free(text);
}

static void without_release_nothing_runs(void **state)
{
    const char *argv[] = {"sh", "-c", "echo ran", NULL};
    struct spawned p = SPAWNED_INIT;
    struct err e = ERR_INIT;
    int out[2];
    char byte;

    (void)state;
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    struct spawn s = {
        .program = "/bin/sh", .argv = argv, .stdio = {-1, out[1], out[1]}, .cgroup_fd = -1};
    assert_int_equal(spawn_held(&s, &p, &e), 0);
    assert_true(process_alive(&p.process));
    struct process who = p.process;
    spawned_done(&p); /* as when the caller dies: the gate closes */
    assert_false(process_alive(&who));
    close(out[1]);
    assert_int_equal(io_read_full(out[0], &byte, 1), 0);
    close(out[0]);
}

static void a_program_that_is_not_there_is_named(void **state)
{
    const char *argv[] = {"x", NULL};
    struct spawned p = SPAWNED_INIT;
    struct err e = ERR_INIT;
    struct spawn s = {
        .program = "/no/such/program", .argv = argv, .stdio = {-1, -1, -1}, .cgroup_fd = -1};

    (void)state;
    assert_int_equal(spawn_held(&s, &p, &e), 0);
    assert_int_equal(spawn_release(s.program, &p, &e), -ENOENT);
    assert_string_equal(e.msg, "start /no/such/program: No such file or directory");
    assert_int_equal(process_wait(p.pidfd, -1, NULL), 0);
    spawned_done(&p);
}

static void a_process_is_its_pid_and_its_start(void **state)
{
    struct err e = ERR_INIT;
    struct process p, other;
    pid_t child = fork();

    (void)state;
    if (child == 0) {
        pause();
        _exit(0);
    }
    assert_int_equal(process_identify(child, &p), 0);
    other = p;
    other.start--;
    assert_int_equal(process_open(&other), -ESRCH);
    assert_int_equal(process_signal(&other, SIGKILL), -ESRCH);
    assert_int_equal(process_kill(&other, "other", &e), 0); /* gone is success, and nobody's hurt */
    assert_true(process_alive(&p));
    assert_int_equal(process_kill(&p, "child", &e), 0);
    assert_false(process_alive(&p));
    assert_int_equal(waitpid(child, NULL, 0), -1); /* reaped already */
    assert_int_equal(process_identify(child, &p), -ESRCH);
    assert_false(process_alive(&(struct process){0}));
}

/* The same process whatever it becomes: its program, its name, the memory that it maps. */
static void a_process_stays_itself(void **state)
{
    const char *argv[] = {"sh", "-c", "echo up; read x", NULL};
    struct spawned p = SPAWNED_INIT;
    struct err e = ERR_INIT;
    int in[2], out[2];
    char up[4], path[64], *text;
    unsigned long long start;

    (void)state;
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    struct spawn s = {
        .program = "/bin/sh", .argv = argv, .stdio = {in[0], out[1], -1}, .cgroup_fd = -1};
    assert_int_equal(spawn_held(&s, &p, &e), 0);
    assert_true(process_alive(&p.process));
    assert_int_equal(spawn_release(s.program, &p, &e), 0);
    assert_int_equal(io_read_full(out[0], up, 3), 3); /* it is a shell by now */
    assert_true(process_alive(&p.process));

    snprintf(path, sizeof path, "/proc/%d/stat", p.process.pid);
    assert_int_equal(io_read_file(AT_FDCWD, path, 4096, &text, NULL, &e), 0);
    assert_int_equal(sscanf(text,
                            "%*d (sh) %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
                            "%*s %*s %*s %*s %llu",
                            &start),
                     1);
    assert_int_equal(p.process.start, start); /* proc(5): field 22, starttime */
    free(text);
    assert_int_equal(process_kill(&p.process, "sh", &e), 0);
    assert_false(process_alive(&p.process));
    spawned_done(&p);
    for (int i = 0; i < 2; i++) {
        close(in[i]);
        close(out[i]);
    }
}

static void signals_have_names_and_numbers(void **state)
{
    static const struct {
        const char *text;
        int number;
    } cases[] = {
        {"9", 9},        {"KILL", 9},     {"SIGKILL", 9}, {"sigkill", 9},        {"28", 28},
        {"WINCH", 28},   {"0", 0},        {"64", 64},     {"RTMIN+3", 37},       {"SIGRTMAX-1", 63},
        {"65", -EINVAL}, {"-1", -EINVAL}, {"", -EINVAL},  {"SIG", -EINVAL},      {"NOPE", -EINVAL},
        {"9x", -EINVAL}, {"TERM", 15},    {"USR1", 10},   {"RTMIN+99", -EINVAL},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        if (signal_parse(cases[i].text) != cases[i].number)
            fail_msg("%s: %d", cases[i].text, signal_parse(cases[i].text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_child_gets_what_is_named_and_no_more),
        cmocka_unit_test(without_release_nothing_runs),
        cmocka_unit_test(a_program_that_is_not_there_is_named),
        cmocka_unit_test(a_process_is_its_pid_and_its_start),
        cmocka_unit_test(a_process_stays_itself),
        cmocka_unit_test(signals_have_names_and_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
