/*
 * What the VMM gives up before the first guest instruction. After jail_enter the process has an
 * empty root, network, IPC and UTS namespaces of its own, no capability, an unprivileged uid when
 * the plan names one, and cannot get anything back. Each thread then loads a list of the system
 * calls it may make; any other ends the process.
 */
#ifndef BULKHEAD_VMM_JAIL_H
#define BULKHEAD_VMM_JAIL_H

#include "lib/err.h"
#include "lib/plan.h"

#include <linux/filter.h>

/* Which list. A device's worker inherits JAIL_DEVICE from the loop thread that starts it and loads
 * JAIL_WORKER before it does anything else. */
enum jail_thread { JAIL_VCPU, JAIL_DEVICE, JAIL_LOOP, JAIL_WORKER, JAIL_THREADS };

struct jail {
    struct sock_fprog filter[JAIL_THREADS];
};

/* Closes every descriptor that is neither 0, 1, 2 nor in the plan. */
int jail_close_others(const struct plan *p, struct err *e) must_check;

/* Compiles the filters. */
int jail_init(struct jail *j, struct err *e) must_check;
void jail_done(struct jail *j);

/* Single-threaded. uid 0 keeps the caller's ids (and still drops everything else). */
int jail_enter(uint32_t uid, uint32_t gid, struct err *e) must_check;

/* Loads a filter for the calling thread. */
int jail_filter(const struct jail *j, enum jail_thread t, struct err *e) must_check;

/* No process or thread can be made any more. */
int jail_no_threads(struct err *e) must_check;

#endif
