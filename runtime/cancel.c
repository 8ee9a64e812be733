/*
 * Calling off a create. The state is the process's own, as signal handlers are: which signal came,
 * and what goes with it. Whoever registers something after the signal finds it ended at once.
 */
#include "runtime/cancel.h"

#include "lib/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static const int signals[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM};

static struct {
    volatile sig_atomic_t caught; /* 0 = none */
    volatile sig_atomic_t vmm;    /* pidfd + 1, 0 = none */
    volatile sig_atomic_t group;
    struct sigaction before[ARRAY_SIZE(signals)];
    bool begun;
} state;

static void cut(void)
{
    if (state.group > 0)
        kill(-(pid_t)state.group, SIGKILL);
    if (state.vmm > 0)
        syscall(SYS_pidfd_send_signal, (int)state.vmm - 1, SIGKILL, NULL, 0);
}

static void on_signal(int sig)
{
    int saved = errno;

    state.caught = sig;
    cut();
    errno = saved;
}

void cancel_begin(void)
{
    struct sigaction act = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

    if (state.begun)
        return;
    state.begun = true;
    state.caught = 0;
    sigemptyset(&act.sa_mask);
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
        sigaction(signals[i], NULL, &state.before[i]);
        if (state.before[i].sa_handler != SIG_IGN)
            sigaction(signals[i], &act, NULL);
    }
}

void cancel_end(void)
{
    if (!state.begun)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        sigaction(signals[i], &state.before[i], NULL);
    cancel_vmm(-1);
    state.group = 0;
    state.caught = 0;
    state.begun = false;
}

void cancel_vmm(int pidfd)
{
    int old = (int)state.vmm - 1;
    int copy = pidfd < 0 || !state.begun ? -1 : fcntl(pidfd, F_DUPFD_CLOEXEC, 3);

    state.vmm = copy + 1;
    close_fd(&old);
    if (state.caught)
        cut();
}

void cancel_group(pid_t pgid)
{
    state.group = state.begun ? pgid : 0;
    if (state.caught)
        cut();
}

int cancel_check(struct err *e)
{
    int sig = (int)state.caught;
    const char *name = sigabbrev_np(sig);

    if (!sig)
        return 0;
    state.caught = 0;
    if (e->code)
        return err_set(e, EINTR, "called off by SIG%s: %s", name ? name : "?", e->msg);
    return err_set(e, EINTR, "called off by SIG%s", name ? name : "?");
}
