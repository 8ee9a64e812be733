/*
 * runtime/cancel: a signal to end ends the VMM and the hook's processes that are registered, or are
 * registered later, is told once and by name, and leaves alone what was ignored, what is no longer
 * registered, and what comes after the end.
 */
#include "runtime/cancel.h"
#include "tests/unit/cmocka_all.h"

#include "lib/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* A child in a process group of its own that waits to be killed. */
static pid_t sleeper(int *pidfd)
{
    pid_t pid = fork();

    if (pid == 0) {
        for (;;)
            pause();
    }
    assert_int_equal(setpgid(pid, pid), 0);
    *pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    assert_true(*pidfd >= 0);
    return pid;
}

static bool lives(int pidfd)
{
    struct pollfd p = {.fd = pidfd, .events = POLLIN};

    return poll(&p, 1, 0) == 0;
}

static void check_killed(pid_t pid, int pidfd)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    close(pidfd);
}

static void kill_it(pid_t pid, int pidfd)
{
    assert_true(lives(pidfd));
    kill(pid, SIGKILL);
    check_killed(pid, pidfd);
}

static void each_signal_calls_off_once(void **state)
{
    static const struct {
        int sig;
        const char *said;
    } signals[] = {
        {SIGHUP, "called off by SIGHUP"},
        {SIGINT, "called off by SIGINT"},
        {SIGQUIT, "called off by SIGQUIT"},
        {SIGTERM, "called off by SIGTERM"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
        struct err e = ERR_INIT, wrapped = ERR_INIT;
        int vmm, hook;
        pid_t a = sleeper(&vmm), b = sleeper(&hook);

        cancel_begin();
        assert_int_equal(cancel_check(&e), 0);
        cancel_vmm(vmm);
        cancel_group(b);
        raise(signals[i].sig);
        check_killed(a, vmm);
        check_killed(b, hook);
        cancel_group(0);
        assert_int_equal(cancel_check(&e), -EINTR);
        assert_string_equal(e.msg, signals[i].said);
        assert_int_equal(cancel_check(&wrapped), 0); /* what undoes it goes on */
        cancel_end();
    }
}

static void the_reason_keeps_what_failed(void **state)
{
    struct err e = ERR_INIT;

    (void)state;
    cancel_begin();
    raise(SIGTERM);
    (void)err_set(&e, ECONNRESET, "the VM did not start");
    assert_int_equal(cancel_check(&e), -EINTR);
    assert_string_equal(e.msg, "called off by SIGTERM: the VM did not start");
    assert_int_equal(e.code, EINTR);
    cancel_end();
}

static void who_registers_late_ends_at_once(void **state)
{
    struct err e = ERR_INIT;
    int vmm, hook;
    pid_t a = sleeper(&vmm), b = sleeper(&hook);

    (void)state;
    cancel_begin();
    raise(SIGINT);
    cancel_vmm(vmm);
    check_killed(a, vmm);
    cancel_group(b);
    check_killed(b, hook);
    assert_int_equal(cancel_check(&e), -EINTR);
    cancel_end();
}

static void who_has_left_stays(void **state)
{
    struct err e = ERR_INIT;
    int vmm, hook;
    pid_t a = sleeper(&vmm), b = sleeper(&hook);

    (void)state;
    cancel_begin();
    cancel_vmm(vmm);
    cancel_group(b);
    cancel_vmm(-1);
    cancel_group(0);
    raise(SIGTERM);
    assert_int_equal(cancel_check(&e), -EINTR);
    cancel_end();
    /* without a beginning nothing is registered */
    cancel_vmm(vmm);
    cancel_group(b);
    cancel_begin();
    raise(SIGTERM);
    cancel_end();
    assert_int_equal(cancel_check(&e), 0);
    kill_it(a, vmm);
    kill_it(b, hook);
}

/* The VMM is known by a descriptor of our own: the caller's may be another by the time it counts.
 */
static void the_callers_descriptor_may_close(void **state)
{
    int vmm, other;
    pid_t a = sleeper(&vmm), b = sleeper(&other);

    (void)state;
    cancel_begin();
    cancel_vmm(vmm);
    assert_int_equal(dup3(other, vmm, O_CLOEXEC), vmm);
    raise(SIGTERM);
    check_killed(a, vmm);
    kill_it(b, other);
    cancel_end();
}

static int handled;

static void handler(int sig)
{
    handled = sig;
}

static void signals_are_as_they_were(void **state)
{
    struct err e = ERR_INIT;
    int probe = dup(0);

    (void)state;
    close(probe);
    signal(SIGHUP, SIG_IGN);
    signal(SIGTERM, handler);
    cancel_begin();
    cancel_begin(); /* a second one changes nothing */
    raise(SIGHUP);
    assert_int_equal(cancel_check(&e), 0); /* nohup means what it says */
    raise(SIGTERM);
    assert_int_equal(handled, 0);
    cancel_end();
    cancel_end();
    raise(SIGTERM);
    assert_int_equal(handled, SIGTERM);
    assert_ptr_equal(signal(SIGHUP, SIG_DFL), SIG_IGN);
    assert_ptr_equal(signal(SIGTERM, SIG_DFL), handler);
    assert_ptr_equal(signal(SIGINT, SIG_DFL), SIG_DFL);
    int again = dup(0);
    assert_int_equal(again, probe); /* and no descriptor is left */
    close(again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_signal_calls_off_once),
        cmocka_unit_test(the_reason_keeps_what_failed),
        cmocka_unit_test(who_registers_late_ends_at_once),
        cmocka_unit_test(who_has_left_stays),
        cmocka_unit_test(the_callers_descriptor_may_close),
        cmocka_unit_test(signals_are_as_they_were),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
