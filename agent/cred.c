/*
 * Credentials: groups, user, and the five capability sets, in the only order that works: the
 * bounding set while CAP_SETPCAP is there, ids with PR_SET_KEEPCAPS, then the other sets, ambient
 * last since it needs permitted and inheritable.
 *
 * Raw capset: libcap-ng keeps its state in thread-local globals that a fork of the agent would
 * share, and here every set is known as a mask already.
 */
#include "agent/child.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CAP_BIT(n) (1ull << (n))

uint64_t cred_last_cap(void)
{
    uint64_t n = 0;

    while (n < 63 && prctl(PR_CAPBSET_READ, n + 1, 0, 0, 0) >= 0)
        n++;
    return n;
}

static int drop_bounding(uint64_t keep, struct err *e)
{
    uint64_t last = cred_last_cap();

    for (uint64_t n = 0; n <= last; n++) {
        if (!(keep & CAP_BIT(n)) && prctl(PR_CAPBSET_READ, n, 0, 0, 0) == 1 &&
            prctl(PR_CAPBSET_DROP, n, 0, 0, 0) < 0)
            return err_errno(e, "process.capabilities.bounding: drop %s",
                             spec_cap_name((int)n) ? spec_cap_name((int)n) : "a capability");
    }
    return 0;
}

int cred_set_caps(const struct spec_process *p, bool keep_sysadmin, struct err *e)
{
    const struct spec_caps *c = &p->caps;
    uint64_t extra = keep_sysadmin ? CAP_BIT(CAP_SYS_ADMIN) : 0;
    uint64_t effective = c->effective | extra, permitted = c->permitted | extra;
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {
        {(uint32_t)effective, (uint32_t)permitted, (uint32_t)c->inheritable},
        {(uint32_t)(effective >> 32), (uint32_t)(permitted >> 32),
         (uint32_t)(c->inheritable >> 32)},
    };

    if (syscall(SYS_capset, &head, data) < 0)
        return err_errno(e, "process.capabilities");
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return err_errno(e, "process.capabilities.ambient");
    for (int n = 0; n < 64; n++) {
        /* one that is not permitted and inheritable as well cannot be ambient: skipped, as runc */
        if ((c->ambient & CAP_BIT(n)) && (c->permitted & c->inheritable & CAP_BIT(n)) &&
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, n, 0, 0) < 0)
            return err_errno(e, "process.capabilities.ambient: %s", spec_cap_name(n));
    }
    return 0;
}

static int set_groups(const struct spec_process *p, struct err *e)
{
    if (setgroups(p->nadditional_gids, p->additional_gids) < 0)
        return err_errno(e, "process.user.additionalGids");
    return 0;
}

int cred_set_user(const struct spec_process *p, bool keep_sysadmin, struct err *e)
{
    int r = drop_bounding(p->caps.bounding, e);

    if (r == 0 && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
        r = err_errno(e, "PR_SET_KEEPCAPS");
    if (r == 0)
        r = set_groups(p, e);
    if (r == 0 && setresgid(p->gid, p->gid, p->gid) < 0)
        r = err_errno(e, "process.user.gid %u", p->gid);
    if (r == 0 && setresuid(p->uid, p->uid, p->uid) < 0)
        r = err_errno(e, "process.user.uid %u", p->uid);
    if (r == 0 && prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0)
        r = err_errno(e, "PR_SET_KEEPCAPS");
    if (r == 0)
        r = cred_set_caps(p, keep_sysadmin, e);
    /* a change of user makes a process dumpable as the kernel's default says; not until execve */
    if (r == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        r = err_errno(e, "PR_SET_DUMPABLE");
    return r;
}
