/*
 * The children behind the processes: made, told what to do until their execve, reaped. They report
 * through a seqpacket socket that execve closes; see agent/child.h for what is said on it.
 */
#ifndef BULKHEAD_AGENT_SPAWN_H
#define BULKHEAD_AGENT_SPAWN_H

#include "agent/process.h"

/* CREATE: makes the child. `to` is answered when it is ready or has failed. */
void spawn_process(struct process *p, struct reply_to to);
/* START. Answers `to` later when it returns 0. */
int spawn_start(struct process *p, struct reply_to to, struct err *e) must_check;
/* SIGCHLD: reaps all there is. */
void spawn_reap(struct agent *a);

/* clone.c: the child itself, which waits for ORDER_GO. Whatever there is of it is p's, even on
 * failure. */
int clone_process(struct process *p, struct err *e) must_check;
/* limits.c: what the agent sets on the child from outside, where it has the right to. */
int limits_apply(const struct process *p, struct err *e) must_check;

#endif
