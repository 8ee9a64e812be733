/*
 * The vCPU threads: each runs KVM_RUN and hands the rare exits to a bus. They start together, stop
 * together and pause together; all waiting is on a condition variable, nothing polls.
 *
 * A kick sets what is wanted, then immediate_exit, then sends VCPU_SIGNAL. A thread that is about
 * to enter the guest sees immediate_exit, one that is in the guest leaves it for the signal; so no
 * kick is lost. A thread acts on what is wanted only when KVM_RUN returned EINTR, at which point
 * KVM has completed any access that was under way: the vCPU's state is whole.
 */
#ifndef BULKHEAD_VMM_VCPU_H
#define BULKHEAD_VMM_VCPU_H

#include "lib/err.h"
#include "lib/plan.h"
#include "vmm/bus.h"

#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>

#define VCPU_SIGNAL (SIGRTMIN)

enum vcpu_want { VCPU_WAIT, VCPU_RUN, VCPU_PAUSE, VCPU_STOP };
enum vcpu_exit { VCPU_EXIT_IO, VCPU_EXIT_MMIO, VCPU_EXIT_HLT, VCPU_EXIT_OTHER, VCPU_EXITS };

struct vcpu_set;

struct vcpu {
    struct vcpu_set *set;
    unsigned id;
    int fd; /* -1 = none */
    struct kvm_run *run;
    pthread_t thread;
    bool started;
    _Atomic uint64_t exits[VCPU_EXITS];
};

struct vcpu_set {
    struct vcpu vcpu[PLAN_VCPUS_MAX];
    unsigned n;
    size_t run_size;
    struct bus *pio, *mmio;
    int event_fd; /* eventfd, borrowed: written when the last thread has parked, and when all stop
                   */
    /* Run by each thread before its first instruction (its seccomp filter). 0 or -errno. */
    int (*enter)(void *arg, struct err *e);
    void *enter_arg;

    pthread_mutex_t lock; /* for all below */
    pthread_cond_t changed;
    enum vcpu_want want;
    unsigned parked, entered;
    enum vmm_status status; /* why it ended */
    struct err why;         /* code 0 = the guest's or our own wish */
};

int vcpu_set_init(struct vcpu_set *s, unsigned n, struct err *e) must_check;
/* All threads must have been joined, or never started. */
void vcpu_set_done(struct vcpu_set *s);

/* Starts the threads, which run `enter` and then wait. Returns when all have entered. */
int vcpu_set_start(struct vcpu_set *s, struct err *e) must_check;

/* Any thread. VCPU_STOP is for ever. */
void vcpu_set_want(struct vcpu_set *s, enum vcpu_want want);
/* Stops all for a reason; the first reason stays. code 0 in *why = an orderly end. */
void vcpu_set_stop(struct vcpu_set *s, enum vmm_status status, const struct err *why);
/* Whether every thread is out of the guest because a pause is wanted. */
bool vcpu_set_paused(struct vcpu_set *s);
bool vcpu_set_stopping(struct vcpu_set *s);
void vcpu_set_join(struct vcpu_set *s);

/* The sum over all vCPUs. */
void vcpu_set_exits(const struct vcpu_set *s, uint64_t out[VCPU_EXITS]);

#endif
