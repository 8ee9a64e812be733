/*
 * Entering the jail. Order matters: namespaces while there is the right to make them, then the
 * empty root, then ids, then capabilities, then the switches that make it final. The lists of
 * system calls are in jail_calls.c.
 *
 * There is no pid namespace: it would need a process more to be its init, and the filters leave no
 * system call that takes a pid but tgkill on our own threads. RLIMIT_FSIZE stays as it was, because
 * the guest's disks and shared files are as large as they are; console.c bounds the console.
 */
#include "vmm/jail.h"

#include "lib/cleanup.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Open files of a guest that uses virtio-fs are descriptors of this process. */
#define JAIL_NOFILE 65536u

#define KEEP_MAX (6 + PLAN_DEVICES_MAX * (2 + PLAN_LISTENERS_MAX))

static int by_number(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static unsigned keep_list(const struct plan *p, int keep[KEEP_MAX])
{
    unsigned n = 0;

    keep[n++] = p->kvm_fd;
    keep[n++] = p->kernel_fd;
    keep[n++] = p->initrd_fd;
    keep[n++] = p->control_fd;
    keep[n++] = p->console_fd;
    keep[n++] = p->console_in_fd;
    for (unsigned i = 0; i < p->ndevices; i++) {
        const struct plan_device *d = &p->devices[i];
        keep[n++] = d->fd[0];
        keep[n++] = d->fd[1];
        for (unsigned k = 0; k < d->nlisteners; k++)
            keep[n++] = d->listeners[k].fd;
    }
    qsort(keep, n, sizeof(keep[0]), by_number);
    return n;
}

int jail_close_others(const struct plan *p, struct err *e)
{
    int keep[KEEP_MAX];
    unsigned n = keep_list(p, keep);
    unsigned from = STDERR_FILENO + 1;

    for (unsigned i = 0; i < n; i++) {
        if (keep[i] < (int)from)
            continue;
        unsigned fd = (unsigned)keep[i];
        if (fd > from && close_range(from, fd - 1, 0) < 0)
            return err_errno(e, "close_range");
        from = fd + 1;
    }
    return close_range(from, ~0u, 0) < 0 ? err_errno(e, "close_range") : 0;
}

static int set_limit(int resource, const char *name, rlim_t value, struct err *e)
{
    struct rlimit now;

    if (getrlimit(resource, &now) < 0)
        return err_errno(e, "getrlimit %s", name);
    if (now.rlim_max != RLIM_INFINITY && now.rlim_max < value)
        value = now.rlim_max;
    struct rlimit l = {.rlim_cur = value, .rlim_max = value};
    return setrlimit(resource, &l) < 0 ? err_errno(e, "setrlimit %s", name) : 0;
}

static int new_namespaces(bool root, struct err *e)
{
    int flags = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;

    if (unshare(root ? flags : flags | CLONE_NEWUSER) == 0)
        return 0;
    if (root)
        return err_errno(e, "jail: unshare");
    return err_errno(e, "jail: unshare without being root (does the host allow user namespaces? "
                        "--no-jail runs without)");
}

/* A detached, read-only, empty tmpfs becomes the root; the old root goes. */
static int empty_root(struct err *e)
{
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return err_errno(e, "jail: make / private");
    cleanup_fd int fs = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);
    if (fs < 0)
        return err_errno(e, "jail: fsopen tmpfs");
    if (syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "nr_inodes", "2", 0) < 0 ||
        syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "size", "4096", 0) < 0 ||
        syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return err_errno(e, "jail: create tmpfs");
    cleanup_fd int root =
        (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC,
                     MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    if (root < 0)
        return err_errno(e, "jail: fsmount tmpfs");
    if (syscall(SYS_move_mount, root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return err_errno(e, "jail: move_mount");
    /* "." twice: the old root ends up on top of the new one, from where it is unmounted. */
    if (fchdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0)
        return err_errno(e, "jail: pivot_root");
    if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return err_errno(e, "jail: unmount the old root");
    return 0;
}

static int drop_ids(uint32_t uid, uint32_t gid, struct err *e)
{
    if (uid == 0 && gid == 0)
        return 0;
    if (setgroups(0, NULL) < 0)
        return err_errno(e, "jail: setgroups");
    if (gid != 0 && setresgid(gid, gid, gid) < 0)
        return err_errno(e, "jail: setresgid %u", gid);
    if (uid != 0 && setresuid(uid, uid, uid) < 0)
        return err_errno(e, "jail: setresuid %u", uid);
    return 0;
}

/* Bounding set first, while CAP_SETPCAP is there: keeping it over the change of uid is what
 * PR_SET_KEEPCAPS is for. */
static int drop_caps(struct err *e)
{
    capng_clear(CAPNG_SELECT_ALL);
    int r = capng_apply(CAPNG_SELECT_ALL);
    if (r != 0)
        return err_set(e, EPERM, "jail: cannot drop capabilities (libcap-ng says %d)", r);
    if (capng_get_caps_process() < 0 || capng_have_capabilities(CAPNG_SELECT_CAPS) != CAPNG_NONE)
        return err_set(e, EPERM, "jail: capabilities are left over");
    return 0;
}

static int make_final(struct err *e)
{
    if (prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0)
        return err_errno(e, "jail: PR_SET_KEEPCAPS");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return err_errno(e, "jail: no_new_privs");
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return err_errno(e, "jail: PR_SET_DUMPABLE");
    return 0;
}

int jail_enter(uint32_t uid, uint32_t gid, struct err *e)
{
    bool root = geteuid() == 0;

    if (!root && (uid != 0 || gid != 0))
        return err_set(e, EPERM, "jail: changing to uid %u needs root", uid);
    /* The C library reads the time zone's file once, even for UTC: now, for the log's sake. */
    tzset();
    int r = set_limit(RLIMIT_CORE, "RLIMIT_CORE", 0, e);
    if (r == 0)
        r = set_limit(RLIMIT_NOFILE, "RLIMIT_NOFILE", JAIL_NOFILE, e);
    if (r == 0)
        r = new_namespaces(root, e);
    if (r == 0)
        r = empty_root(e);
    if (r < 0)
        return r;
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
        return err_errno(e, "jail: PR_SET_KEEPCAPS");
    r = drop_ids(uid, gid, e);
    if (r < 0)
        return r;
    if (uid != 0) {
        /* The effective set went with the uid; the permitted one is still there to raise it. */
        capng_get_caps_process();
        capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_SETPCAP);
        if (capng_apply(CAPNG_SELECT_CAPS) != 0)
            return err_set(e, EPERM, "jail: cannot raise CAP_SETPCAP to drop the bounding set");
    }
    r = drop_caps(e);
    return r < 0 ? r : make_final(e);
}

int jail_no_threads(struct err *e)
{
    return set_limit(RLIMIT_NPROC, "RLIMIT_NPROC", 0, e);
}
