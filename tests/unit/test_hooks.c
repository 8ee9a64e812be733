/* runtime/hooks: real programs, what they get, and every way in which they can fail. */
#include "tests/unit/cmocka_all.h"

#include "lib/cleanup.h"
#include "lib/io.h"
#include "runtime/cancel.h"
#include "runtime/hooks.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char dir[] = "/tmp/test_hooks.XXXXXX";

/* Runs hooks given as sh scripts. Ends of the list: NULL. */
static int run_scripts(enum spec_hook_kind kind, const char *const *scripts, int timeout,
                       struct err *e)
{
    struct spec_hooks h = {0};
    struct spec_hook list[4] = {0};
    char *args[4][4];
    size_t n = 0;

    for (; scripts[n]; n++) {
        args[n][0] = (char *)(uintptr_t) "the-hook";
        args[n][1] = (char *)(uintptr_t) "-c";
        args[n][2] = (char *)(uintptr_t)scripts[n];
        args[n][3] = NULL;
        list[n] = (struct spec_hook){
            .path = (char *)(uintptr_t) "/bin/sh", .args = args[n], .timeout = timeout};
    }
    h.list[kind] = list;
    h.count[kind] = n;
    return hooks_run(&h, kind, 0, dir, "{\"id\":\"c1\"}", e);
}

static int run(const char *script, int timeout, struct err *e)
{
    return run_scripts(HOOK_PRESTART, (const char *const[]){script, NULL}, timeout, e);
}

static void expect_file(const char *name, const char *want)
{
    char path[128], *text;
    struct err e = ERR_INIT;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (io_read_file(AT_FDCWD, path, 4096, &text, NULL, &e) < 0)
        fail_msg("%s", e.msg);
    assert_string_equal(text, want);
    free(text);
    unlink(path);
}

static void test_what_they_get(void **state)
{
    struct err e = ERR_INIT;
    char want[64];

    (void)state;
    setenv("LEAKED", "yes", 1);
    if (run("cat > state; echo $0 > name; pwd > cwd; echo ${LEAKED-none} > env", 0, &e) < 0)
        fail_msg("%s", e.msg);
    expect_file("state", "{\"id\":\"c1\"}");
    expect_file("name", "the-hook\n");
    expect_file("env", "none\n");
    snprintf(want, sizeof(want), "%s\n", dir);
    expect_file("cwd", want);
}

static void test_own_env(void **state)
{
    char *args[] = {(char[]){"sh"}, (char[]){"-c"}, (char[]){"test $A = 1 -a ${B-x} = 2"}, NULL};
    char *env[] = {(char[]){"A=1"}, (char[]){"B=2"}, NULL};
    struct spec_hook one = {.path = (char[]){"/bin/sh"}, .args = args, .env = env};
    struct spec_hooks h = {.list[HOOK_POSTSTOP] = &one, .count[HOOK_POSTSTOP] = 1};
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(hooks_run(&h, HOOK_POSTSTOP, 0, "/", "{}", &e), 0);
    assert_int_equal(hooks_run(&h, HOOK_POSTSTART, 0, "/", "{}", &e), 0); /* none of that kind */
    env[1][2] = '3';
    assert_int_equal(hooks_run(&h, HOOK_POSTSTOP, 0, "/", "{}", &e), -ECANCELED);
}

/* No descriptor of ours but the three, even one without CLOEXEC; signals as at boot. */
static void test_nothing_inherited(void **state)
{
    struct err e = ERR_INIT;
    int fd = open("/dev/null", O_RDONLY); /* NOLINT: on purpose not CLOEXEC */
    int high = dup2(fd, 200);
    sigset_t blocked, before;

    (void)state;
    assert_true(fd >= 0 && high == 200);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigprocmask(SIG_BLOCK, &blocked, &before);
    if (run("grep -E 'SigBlk|SigIgn' /proc/$$/status | tr -d '\\n\\t' > signals; "
            "exec ls /proc/self/fd > fds",
            0, &e) < 0)
        fail_msg("%s", e.msg);
    sigprocmask(SIG_SETMASK, &before, NULL);
    signal(SIGPIPE, SIG_DFL);
    close(fd);
    close(high);
    expect_file("fds", "0\n1\n2\n3\n"); /* 3 is the directory that ls reads */
    expect_file("signals", "SigBlk:0000000000000000SigIgn:0000000000000000");
}

/* createContainer: the network namespace is that of a process, mounts are the hook's alone. */
static void test_inside(void **state)
{
    char *args[] = {(char[]){"sh"}, (char[]){"-c"},
                    (char[]){"pwd; readlink /proc/self/ns/net; cat; mount -t tmpfs none . && "
                             "echo mounted; readlink /proc/self/ns/mnt"},
                    NULL};
    char *env[] = {(char[]){"PATH=/bin:/sbin:/usr/bin:/usr/sbin"}, NULL};
    struct spec_hook one = {.path = (char[]){"/bin/sh"}, .args = args, .env = env};
    struct spec_hooks h = {.list[HOOK_CREATE_CONTAINER] = &one, .count[HOOK_CREATE_CONTAINER] = 1};
    char script[160], path[64], want[320], net[64] = "", mine[64] = "", *mounts;
    struct err e = ERR_INIT;
    int ready[2];
    pid_t pid;

    (void)state;
    if (geteuid() != 0)
        skip_because("needs root");
    assert_int_equal(pipe(ready), 0);
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (unshare(CLONE_NEWNET) < 0 || write(ready[1], "", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    assert_int_equal(read(ready[0], script, 1), 1);
    close(ready[0]);
    close(ready[1]);
    snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
    assert_true(readlink(path, net, sizeof(net) - 1) > 0);
    assert_true(readlink("/proc/self/ns/mnt", mine, sizeof(mine) - 1) > 0);
    /* its output is only seen when it fails, so it goes to a file */
    snprintf(script, sizeof(script), "exec >%s/said; %s", dir, args[2]);
    args[2] = script;
    if (hooks_run(&h, HOOK_CREATE_CONTAINER, pid, dir, "{}", &e) < 0)
        fail_msg("%s", e.msg);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    snprintf(path, sizeof(path), "%s/said", dir);
    assert_int_equal(io_read_file(AT_FDCWD, path, 4096, &mounts, NULL, &e), 0);
    snprintf(want, sizeof(want), "%s\n%s\n{}mounted\n", dir, net);
    assert_memory_equal(mounts, want, strlen(want));
    assert_null(strstr(mounts, mine));
    free(mounts);
    unlink(path);
    assert_int_equal(hooks_run(&h, HOOK_CREATE_CONTAINER, pid, dir, "{}", &e), -ENOENT);
    assert_non_null(strstr(e.msg, "cannot enter the container's namespaces"));
}

static void test_large_state(void **state)
{
    struct spec_hook one = {.path = (char[]){"/bin/true"}};
    struct spec_hooks h = {.list[HOOK_PRESTART] = &one, .count[HOOK_PRESTART] = 1};
    struct err e = ERR_INIT;
    size_t len = 2 << 20;
    char *text = malloc(len + 1);

    (void)state;
    memset(text, 'x', len);
    text[len] = 0;
    /* larger than a pipe and never read: neither blocks nor raises SIGPIPE */
    assert_int_equal(hooks_run(&h, HOOK_PRESTART, 0, "/", text, &e), 0);
    free(text);
}

static void test_order(void **state)
{
    static const enum spec_hook_kind stopped_by_one[] = {HOOK_PRESTART, HOOK_CREATE_RUNTIME,
                                                         HOOK_CREATE_CONTAINER};
    static const char *const ok[] = {"echo 1 >> order", "echo 2 >> order", "echo 3 >> order", NULL};
    static const char *const broken[] = {"echo 1 >> order", "exit 3", "echo 3 >> order", NULL};
    struct err e = ERR_INIT;
    char want[128];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(stopped_by_one); i++) {
        enum spec_hook_kind kind = stopped_by_one[i];

        assert_int_equal(run_scripts(kind, ok, 0, &e), 0);
        expect_file("order", "1\n2\n3\n");
        assert_int_equal(run_scripts(kind, broken, 0, &e), -ECANCELED);
        snprintf(want, sizeof(want), "%s hook /bin/sh: ended with status 3", spec_hook_names[kind]);
        assert_string_equal(e.msg, want);
        expect_file("order", "1\n");
    }
}

/* The specification: the remaining hooks go on as if one that failed had succeeded. Whoever runs
 * them learns of each failure. */
static void test_after_the_fact(void **state)
{
    static const enum spec_hook_kind kinds[] = {HOOK_POSTSTART, HOOK_POSTSTOP};
    static const char *const broken[] = {"echo 1 >> order; echo no luck; exit 3", "echo 2 >> order",
                                         "kill -9 $$", "echo 4 >> order"};
    const char *const scripts[][4] = {{broken[0], broken[1], broken[2], NULL},
                                      {broken[1], broken[2], broken[3], NULL}};
    struct err e = ERR_INIT;
    char want[256];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        const char *name = spec_hook_names[kinds[i]];

        assert_int_equal(run_scripts(kinds[i], scripts[0], 0, &e), -ECANCELED);
        snprintf(want, sizeof(want),
                 "%s hook /bin/sh: ended with status 3: no luck; %s hook /bin/sh: was killed by "
                 "signal 9",
                 name, name);
        assert_string_equal(e.msg, want);
        expect_file("order", "1\n2\n");
        assert_int_equal(run_scripts(kinds[i], scripts[1], 0, &e), -EINTR);
        snprintf(want, sizeof(want), "%s hook /bin/sh: was killed by signal 9", name);
        assert_string_equal(e.msg, want);
        expect_file("order", "2\n4\n");
    }
}

static void test_failures(void **state)
{
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(run("echo hello; echo 'no such thing' >&2; exit 1", 0, &e), -ECANCELED);
    assert_string_equal(e.msg, "prestart hook /bin/sh: ended with status 1: hello|no such thing");
    assert_int_equal(run("kill -9 $$", 0, &e), -EINTR);
    assert_string_equal(e.msg, "prestart hook /bin/sh: was killed by signal 9");
    assert_int_equal(run("printf '\\033[31mred\\n'; exit 2", 0, &e), -ECANCELED);
    assert_string_equal(e.msg, "prestart hook /bin/sh: ended with status 2: ?[31mred");
}

/* Only the tail of a long output is told, and a hook that floods is not waited for in vain. */
static void test_much_output(void **state)
{
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(
        run("i=0; while [ $i -lt 400 ]; do echo line $i; i=$((i+1)); done; exit 1", 0, &e),
        -ECANCELED);
    assert_non_null(strstr(e.msg, "|line 399"));
    assert_null(strstr(e.msg, "|line 300|"));
    assert_int_equal(run("head -c 8000000 /dev/zero", 0, &e), 0);
    assert_int_equal(run("exec yes", 1, &e), -ETIMEDOUT);
}

static void test_not_startable(void **state)
{
    struct spec_hook one = {.path = (char[]){"/nonexistent/hook"}};
    struct spec_hooks h = {.list[HOOK_CREATE_RUNTIME] = &one, .count[HOOK_CREATE_RUNTIME] = 1};
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(hooks_run(&h, HOOK_CREATE_RUNTIME, 0, "/", "{}", &e), -ENOENT);
    assert_string_equal(e.msg, "createRuntime hook /nonexistent/hook: cannot be run: No such file "
                               "or directory");
    one.path = (char[]){"/etc/passwd"};
    assert_int_equal(hooks_run(&h, HOOK_CREATE_RUNTIME, 0, "/", "{}", &e), -EACCES);
    one.path = (char[]){"/bin/true"};
    assert_int_equal(hooks_run(&h, HOOK_CREATE_RUNTIME, 0, "/nonexistent", "{}", &e), -ENOENT);
    assert_string_equal(e.msg, "createRuntime hook /bin/true: cannot enter /nonexistent: No such "
                               "file or directory");
}

/* The whole group dies: a child that would outlive the shell is gone as well. */
static void test_timeout(void **state)
{
    struct err e = ERR_INIT;
    char path[128], *text;
    struct timespec before, after;
    pid_t child;

    (void)state;
    clock_gettime(CLOCK_MONOTONIC, &before);
    assert_int_equal(run("sleep 1000 & echo $! > child; echo waiting; wait", 1, &e), -ETIMEDOUT);
    clock_gettime(CLOCK_MONOTONIC, &after);
    assert_string_equal(e.msg, "prestart hook /bin/sh: did not end within 1 s and was killed: "
                               "waiting");
    assert_true(after.tv_sec - before.tv_sec < 900);
    snprintf(path, sizeof(path), "%s/child", dir);
    assert_int_equal(io_read_file(AT_FDCWD, path, 64, &text, NULL, &e), 0);
    child = (pid_t)strtol(text, NULL, 10);
    free(text);
    unlink(path);
    assert_true(child > 1);
    snprintf(path, sizeof(path), "/proc/%d/cmdline", child);
    for (int i = 0; i < 100 && access(path, F_OK) == 0; i++) {
        if (io_read_file(AT_FDCWD, path, 64, &text, NULL, &e) < 0)
            return; /* reaped meanwhile */
        bool zombie = *text == 0;

        free(text);
        if (zombie)
            return;
        usleep(10000);
    }
    assert_int_not_equal(access(path, F_OK), 0);
}

/* A daemon that a hook leaves behind keeps the pipe open; nobody waits for it. */
static void test_left_behind(void **state)
{
    struct err e = ERR_INIT;
    char path[128], *text;

    (void)state;
    assert_int_equal(run("sleep 1000 & echo $! > child; exit 0", 0, &e), 0);
    snprintf(path, sizeof(path), "%s/child", dir);
    assert_int_equal(io_read_file(AT_FDCWD, path, 64, &text, NULL, &e), 0);
    assert_int_equal(kill((pid_t)strtol(text, NULL, 10), SIGKILL),
                     0); /* it lived on, as daemons of hooks may */
    free(text);
    unlink(path);
}

/* Waits for a whole line with a pid in the file that a hook writes. */
static pid_t pid_in(const char *name)
{
    const struct timespec pause = {.tv_nsec = 10000000};
    struct err e = ERR_INIT;
    char path[128], *text;
    long pid = 0;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    for (; pid == 0; nanosleep(&pause, NULL)) {
        if (io_read_file(AT_FDCWD, path, 64, &text, NULL, &e) < 0)
            continue;
        if (strchr(text, '\n'))
            pid = strtol(text, NULL, 10);
        free(text);
    }
    unlink(path);
    return (pid_t)pid;
}

/* A call as create is one, in a process of its own; what its hook leaves behind becomes ours. */
static pid_t call_in_child(const char *script)
{
    struct err e = ERR_INIT, none = ERR_INIT;
    pid_t pid;

    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    cancel_begin();
    if (run(script, 0, &e) != -EINTR || cancel_check(&e) != -EINTR ||
        !strstr(e.msg, "called off by SIGTERM: prestart hook"))
        _exit(1);
    /* it is said once: the hooks of the undoing run */
    if (cancel_check(&none) != 0 || run("exit 0", 0, &none) != 0)
        _exit(2);
    cancel_end();
    _exit(0);
}

static void test_called_off(void **state)
{
    pid_t caller = call_in_child("sleep 1000 & echo $! > child; wait"), left = pid_in("child");
    int status = -1;

    (void)state;
    assert_int_equal(kill(caller, SIGTERM), 0);
    assert_int_equal(waitpid(caller, &status, 0), caller);
    assert_int_equal(status, 0);
    assert_int_equal(waitpid(left, &status, 0), left); /* the whole group */
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void test_dies_with_its_caller(void **state)
{
    pid_t caller = call_in_child("echo $$ > child; exec sleep 1000"), left = pid_in("child");
    int status = -1;

    (void)state;
    assert_int_equal(kill(caller, SIGKILL), 0);
    assert_int_equal(waitpid(caller, &status, 0), caller);
    assert_int_equal(waitpid(left, &status, 0), left);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static size_t open_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    size_t n = 0;

    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void test_no_leaks(void **state)
{
    struct err e = ERR_INIT;
    size_t before = open_fds();

    (void)state;
    assert_int_equal(run("exit 0", 0, &e), 0);
    assert_int_equal(run("exit 1", 0, &e), -ECANCELED);
    assert_int_equal(run("sleep 1000", 1, &e), -ETIMEDOUT);
    assert_int_equal(open_fds(), before);
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_they_get),     cmocka_unit_test(test_own_env),
        cmocka_unit_test(test_nothing_inherited), cmocka_unit_test(test_inside),
        cmocka_unit_test(test_large_state),       cmocka_unit_test(test_order),
        cmocka_unit_test(test_after_the_fact),    cmocka_unit_test(test_failures),
        cmocka_unit_test(test_much_output),       cmocka_unit_test(test_not_startable),
        cmocka_unit_test(test_timeout),           cmocka_unit_test(test_left_behind),
        cmocka_unit_test(test_called_off),        cmocka_unit_test(test_dies_with_its_caller),
        cmocka_unit_test(test_no_leaks),
    };

    return cmocka_run_group_tests_name("hooks", tests, set_up, tear_down);
}
