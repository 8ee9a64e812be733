/* Timers that interrupt this thread. The handlers touch the struct that the signal carries and its
 * kvm_run page, nothing else. */
#include "vmm/check/watchdog.h"

#include "vmm/vcpu.h"

#include <unistd.h>

#define AGAIN_MS 50

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

static void on_expiry(int sig, siginfo_t *info, void *context)
{
    struct watchdog *w = info->si_value.sival_ptr;

    (void)sig;
    (void)context;
    if (info->si_code != SI_TIMER)
        return;
    w->expired = 1;
    if (w->run)
        __atomic_store_n(&w->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
}

static void on_kick(int sig)
{
    (void)sig; /* its only work is to interrupt KVM_RUN */
}

static int make_timer(struct watchdog *w, int sig, timer_t *out, struct err *e)
{
    struct sigevent ev = {
        .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = sig, .sigev_value.sival_ptr = w};

    ev.sigev_notify_thread_id = gettid();
    return timer_create(CLOCK_MONOTONIC, &ev, out) < 0 ? err_errno(e, "timer_create") : 0;
}

int watchdog_init(struct watchdog *w, struct err *e)
{
    struct sigaction expiry = {.sa_sigaction = on_expiry, .sa_flags = SA_SIGINFO};
    struct sigaction kick = {.sa_handler = on_kick}; /* no SA_RESTART, both */

    *w = (struct watchdog){.made = false};
    if (sigaction(WATCHDOG_SIGNAL, &expiry, NULL) < 0 || sigaction(VCPU_SIGNAL, &kick, NULL) < 0)
        return err_errno(e, "sigaction");
    int r = make_timer(w, WATCHDOG_SIGNAL, &w->timer, e);
    if (r < 0)
        return r;
    r = make_timer(w, VCPU_SIGNAL, &w->kick_timer, e);
    if (r < 0) {
        timer_delete(w->timer);
        return r;
    }
    w->made = true;
    return 0;
}

void watchdog_done(struct watchdog *w)
{
    if (!w->made)
        return;
    timer_delete(w->timer);
    timer_delete(w->kick_timer);
    w->made = false;
}

static int set(timer_t timer, unsigned first_ms, unsigned again_ms, struct err *e)
{
    struct itimerspec t = {
        .it_value = {.tv_sec = first_ms / 1000, .tv_nsec = first_ms % 1000 * 1000000l},
        .it_interval = {.tv_sec = again_ms / 1000, .tv_nsec = again_ms % 1000 * 1000000l}};

    return timer_settime(timer, 0, &t, NULL) < 0 ? err_errno(e, "timer_settime") : 0;
}

int watchdog_arm(struct watchdog *w, unsigned limit_ms, struct err *e)
{
    int r = set(w->timer, limit_ms, limit_ms ? AGAIN_MS : 0, e);

    w->limit_ms = limit_ms;
    w->expired = 0;
    return r;
}

int watchdog_kick(struct watchdog *w, unsigned interval_ms, struct err *e)
{
    return set(w->kick_timer, interval_ms, interval_ms, e);
}
