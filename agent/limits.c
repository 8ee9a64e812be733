/*
 * What the agent sets on a child from outside: raising a hard limit or a priority needs rights in
 * the guest's first user namespace, which the child may have left. It happens when the child has
 * built its root, so that a tight limit does not get in its way, and before it changes its user.
 */
#include "agent/spawn.h"

#include <errno.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define IOPRIO_WHO_PROCESS 1
#define IOPRIO_CLASS_SHIFT 13

#define FILES_SOFT_DEFAULT 1024 /* what a login has, and select() can bear */

/* struct sched_attr of the kernel, whose header clashes with glibc's <sched.h> */
struct scheduling {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

static rlim_t limit(uint64_t v)
{
    return v == UINT64_MAX ? RLIM_INFINITY : v;
}

/* The agent's own soft limit is high; a process without a limit of its own gets the usual one. */
static int default_files(pid_t pid, struct err *e)
{
    struct rlimit now;

    if (prlimit(pid, RLIMIT_NOFILE, NULL, &now) < 0)
        return err_errno(e, "read the process's RLIMIT_NOFILE");
    if (now.rlim_cur > FILES_SOFT_DEFAULT)
        now.rlim_cur = FILES_SOFT_DEFAULT;
    if (prlimit(pid, RLIMIT_NOFILE, &now, NULL) < 0)
        return err_errno(e, "set the process's RLIMIT_NOFILE");
    return 0;
}

static int apply_rlimits(const struct process *p, struct err *e)
{
    bool files = false;

    for (size_t i = 0; i < p->spec->nrlimits; i++) {
        const struct spec_rlimit *l = &p->spec->rlimits[i];
        struct rlimit to = {.rlim_cur = limit(l->soft), .rlim_max = limit(l->hard)};

        files |= l->resource == RLIMIT_NOFILE;
        if (prlimit(p->pid, (enum __rlimit_resource)l->resource, &to, NULL) < 0)
            return err_errno(e, "process.rlimits[%zu]", i);
    }
    return files ? 0 : default_files(p->pid, e);
}

static int apply_scheduler(const struct process *p, struct err *e)
{
    const struct spec_scheduler *s = &p->spec->scheduler;
    struct scheduling attr = {
        .size = sizeof(attr),
        .policy = (uint32_t)s->policy,
        .flags = s->flags,
        .nice = s->nice,
        .priority = (uint32_t)s->priority,
        .runtime = s->runtime,
        .deadline = s->deadline,
        .period = s->period,
    };

    if (!s->set)
        return 0;
    if (syscall(SYS_sched_setattr, p->pid, &attr, 0) < 0)
        return err_errno(e, "process.scheduler");
    return 0;
}

int limits_apply(const struct process *p, struct err *e)
{
    int r = apply_scheduler(p, e);

    if (r < 0)
        return r;
    if (p->spec->io_priority_set &&
        syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, p->pid,
                p->spec->io_class << IOPRIO_CLASS_SHIFT | p->spec->io_priority) < 0)
        return err_errno(e, "process.ioPriority");
    return apply_rlimits(p, e);
}
