/*
 * A host process that another call may have to find again: its pid together with its start time,
 * which a process that got the same pid later does not share. Only pidfds are ever signalled.
 */
#ifndef BULKHEAD_RUNTIME_PROCESS_H
#define BULKHEAD_RUNTIME_PROCESS_H

#include "lib/clock.h"
#include "lib/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct process {
    pid_t pid;      /* 0 = none */
    uint64_t start; /* clock ticks after boot, /proc/PID/stat field 22 */
};

/* Fills *out for a process that runs now. 0 or -ESRCH. */
int process_identify(pid_t pid, struct process *out) must_check;
/* A pidfd of exactly that process, or -ESRCH when it is gone or only waits to be reaped. */
int process_open(const struct process *p) must_check;
bool process_alive(const struct process *p);
/* Sends sig; -ESRCH when it is gone. */
int process_signal(const struct process *p, int sig);
/*
 * Waits until the process behind pidfd has ended, and reaps it if it is our child (*status_out, may
 * be NULL: its wait status, or -1 when it was not ours to reap). timeout_ms -1 = for ever.
 * 0 or -ETIMEDOUT.
 */
int process_wait(int pidfd, int timeout_ms, int *status_out);
/* SIGKILL, and waits for the end. A process that is gone is success. */
int process_kill(const struct process *p, const char *what, struct err *e) must_check;

/* The host's OOM killer is to take others: for what a container's end needs and what is small. No
 * more than a wish where we may not. */
void process_spare(pid_t pid);

#endif
