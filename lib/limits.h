/*
 * linux.resources as the files of a cgroup v2: which file, and what goes into it. The agent writes
 * them in the guest, the runtime in the container's cgroup on the host (with room for the VM). This
 * only says what; who calls knows which directory, and what to do about a file that is not there.
 */
#ifndef BULKHEAD_LIMITS_H
#define BULKHEAD_LIMITS_H

#include "lib/spec.h"

#define LIMITS_CPU_PERIOD_US 100000 /* the kernel's, for a quota without a period */

/* key: of config.json, below linux.resources, for errors ("memory.limit", "unified"). */
typedef int limits_fn(void *arg, const char *key, const char *file, const char *text,
                      struct err *e);

/*
 * Calls fn for each file, in the order in which they are to be written, until one fails. A number
 * that is not given is not written; one that is 0 where that means "as it is" neither (runc). Both
 * weights of blockIO come twice, once for each of the kernel's two files: io.bfq.weight and
 * io.weight. -EINVAL when the numbers contradict each other.
 */
int limits_each(const struct spec_resources *r, limits_fn *fn, void *arg, struct err *e) must_check;

/* What cpu.max says: "50000 100000", "max 100000" (quota -1). False when the text is no such thing.
 */
struct limits_quota {
    int64_t quota;
    uint64_t period;
};
bool limits_quota_now(const char *text, struct limits_quota *out) must_check;
/* A quota given alone keeps the period that is, a period alone the quota (runc): puts it into r. */
void limits_keep_quota(struct spec_resources *r, const struct limits_quota *now);

/* Conversions from the numbers of cgroup v1, which the OCI speaks. */
uint64_t limits_cpu_weight(uint64_t shares);
uint64_t limits_io_weight(uint64_t blkio);
/* memory.swap.max of "memory and swap together": -1 = no limit, -2 = not given. Memory without a
 * limit is swap without one, unless that is given. */
int limits_swap(const struct spec_resources *r, int64_t *out, struct err *e) must_check;

#endif
