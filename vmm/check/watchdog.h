/*
 * Ends a KVM_RUN that does not end by itself: after a time, and then again and again, the thread
 * that armed it gets a signal whose handler sets immediate_exit. So no kick can be lost, wherever
 * the thread was. Owned by the check environment; one thread only.
 */
#ifndef BULKHEAD_VMM_CHECK_WATCHDOG_H
#define BULKHEAD_VMM_CHECK_WATCHDOG_H

#include "lib/err.h"

#include <linux/kvm.h>
#include <signal.h>
#include <stdbool.h>
#include <time.h>

#define WATCHDOG_SIGNAL (SIGRTMIN + 1)

struct watchdog {
    timer_t timer, kick_timer;
    bool made;
    struct kvm_run *volatile run; /* of the KVM_RUN under way, NULL = none */
    volatile sig_atomic_t expired;
    unsigned limit_ms;
};

/* At its final address: the timer holds it. */
int watchdog_init(struct watchdog *w, struct err *e) must_check;
void watchdog_done(struct watchdog *w);
/* From now on; limit_ms 0 = off. */
int watchdog_arm(struct watchdog *w, unsigned limit_ms, struct err *e) must_check;
/* VCPU_SIGNAL to this thread, after interval_ms and again each interval_ms; 0 = off. */
int watchdog_kick(struct watchdog *w, unsigned interval_ms, struct err *e) must_check;

#endif
