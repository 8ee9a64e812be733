/*
 * The file server's jail: namespaces, a root made of the trees and nothing else, limits,
 * capabilities. Owns nothing that outlives a call.
 */
#include "vmm/fs/jail.h"

#include "lib/cleanup.h"
#include "lib/fuse_wire.h"
#include "lib/path.h"
#include "vmm/fs/inode.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define NAMESPACES (CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)

/* Where the new root is put together: a directory that is there on every host we run on. */
#define STAGE "/proc"

/* Descriptors besides those of the tables: sockets, log, and those of a moment. */
#define SPARE_FDS  64u
#define INODES_MIN 1024u

/* Nothing in a tree is ever run or opened as a device by this process. */
#define TREE_ATTRS (MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC)

/*
 * A detached mount of the tree. One that is detached already cannot be cloned by older kernels
 * (EINVAL), and need not be. fd or -errno.
 */
static int detached(const struct jail_tree *t, struct err *e)
{
    struct mount_attr attr = {
        .attr_set = TREE_ATTRS | (t->readonly ? MOUNT_ATTR_RDONLY : 0u),
    };
    cleanup_fd int fd =
        open_tree(t->fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE | AT_EMPTY_PATH);

    if (fd < 0 && errno == EINVAL)
        fd = fcntl(t->fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0 && errno == EPERM)
        return err_set(e, EPERM,
                       "tree %s: no right to clone a mount (run as root, with CAP_SYS_ADMIN)",
                       t->name);
    if (fd < 0)
        return err_errno(e, "tree %s: clone its mount", t->name);
    if (mount_setattr(fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0)
        return err_errno(e, "tree %s: set its mount's attributes", t->name);
    return take_fd(&fd);
}

/* An empty tmpfs on STAGE, in a mount namespace that no other hears of. fd of its root or -errno.
 */
static int make_root(struct err *e)
{
    cleanup_fd int fsfd = -1;
    cleanup_fd int root = -1;

    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return err_errno(e, "make the mount namespace private");
    fsfd = fsopen("tmpfs", FSOPEN_CLOEXEC);
    if (fsfd < 0)
        return err_errno(e, "open a tmpfs");
    if (fsconfig(fsfd, FSCONFIG_SET_STRING, "mode", "0755", 0) < 0 ||
        fsconfig(fsfd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return err_errno(e, "make a tmpfs");
    root = fsmount(fsfd, FSMOUNT_CLOEXEC, TREE_ATTRS);
    if (root < 0)
        return err_errno(e, "mount a tmpfs");
    if (move_mount(root, "", AT_FDCWD, STAGE, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return err_errno(e, "put a tmpfs on %s", STAGE);
    return take_fd(&root);
}

static int place(int root, const struct jail_tree *t, int mnt, struct err *e)
{
    cleanup_fd int at = -1;
    struct stat st;

    if (fstat(mnt, &st) < 0)
        return err_errno(e, "tree %s", t->name);
    at = S_ISDIR(st.st_mode) ? path_mkdirs_in(root, t->name, 0755, e)
                             : path_touch_in(root, t->name, 0644, e);
    if (at < 0)
        return err_wrap(e, "tree %s", t->name);
    if (move_mount(mnt, "", at, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
        return err_errno(e, "tree %s: put it in place", t->name);
    return 0;
}

/* Makes root, which is complete, the only thing there is. */
static int enter_root(int root, struct err *e)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};

    if (mount_setattr(root, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
        return err_errno(e, "make the root read-only");
    if (fchdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0)
        return err_errno(e, "enter the root of the share");
    if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return err_errno(e, "leave the host's root");
    return 0;
}

/*
 * /proc/self/fd as a mount of its own: from a plain descriptor of the directory ".." would lead to
 * the host's /proc, whose sysctls root may write without any capability. fd or -errno.
 */
static int open_own_fds(struct err *e)
{
    int fd = open_tree(AT_FDCWD, "/proc/self/fd", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

    return fd < 0 ? err_errno(e, "clone the mount of /proc/self/fd") : fd;
}

static int build_root(const struct jail_tree *trees, const int *mounts, unsigned n, int *proc_out,
                      struct err *e)
{
    cleanup_fd int proc_fd = -1;
    cleanup_fd int root = -1;
    int rc;

    umask(0); /* a container in a user namespace is nobody here, and must find its tree */
    if (unshare(NAMESPACES) < 0)
        return err_errno(e, "leave the host's namespaces");
    proc_fd = open_own_fds(e);
    if (proc_fd < 0)
        return proc_fd;
    root = make_root(e);
    if (root < 0)
        return root;
    for (unsigned i = 0; i < n; i++) {
        rc = place(root, &trees[i], mounts[i], e);
        if (rc < 0)
            return rc;
    }
    rc = enter_root(root, e);
    if (rc < 0)
        return rc;
    *proc_out = take_fd(&proc_fd);
    return 0;
}

int jail_trees(const struct jail_tree *trees, unsigned n, int *root_fd_out, int *proc_fd_out,
               struct err *e)
{
    int mounts[JAIL_TREES_MAX], rc = 0;
    unsigned have = 0;
    cleanup_fd int proc_fd = -1;
    int root_fd;

    if (n > JAIL_TREES_MAX)
        return err_set(e, E2BIG, "more than %u trees", JAIL_TREES_MAX);
    for (; rc >= 0 && have < n; have++)
        rc = mounts[have] = detached(&trees[have], e);
    if (rc >= 0)
        rc = build_root(trees, mounts, n, &proc_fd, e);
    for (unsigned i = 0; i < have; i++)
        close_fd(&mounts[i]);
    if (rc < 0)
        return rc;
    root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root_fd < 0)
        return err_errno(e, "open the root of the share");
    *root_fd_out = root_fd;
    *proc_fd_out = take_fd(&proc_fd);
    return 0;
}

int jail_limits(uint32_t *max_inodes_out, struct err *e)
{
    const rlim_t want = INODES_MAX + FUSE_WIRE_HANDLES_MAX + SPARE_FDS;
    struct rlimit r, full = {.rlim_cur = want, .rlim_max = want};

    if (setrlimit(RLIMIT_NOFILE, &full) < 0) {
        /* Not allowed that much (fs.nr_open, or no CAP_SYS_RESOURCE): all that we have. */
        if (getrlimit(RLIMIT_NOFILE, &r) < 0)
            return err_errno(e, "RLIMIT_NOFILE");
        full.rlim_cur = full.rlim_max = r.rlim_max < want ? r.rlim_max : want;
        if (setrlimit(RLIMIT_NOFILE, &full) < 0)
            return err_errno(e, "RLIMIT_NOFILE");
    }
    if (full.rlim_cur < FUSE_WIRE_HANDLES_MAX + SPARE_FDS + INODES_MIN)
        return err_set(e, EMFILE, "RLIMIT_NOFILE allows %llu descriptors, at least %u are needed",
                       (unsigned long long)full.rlim_cur,
                       FUSE_WIRE_HANDLES_MAX + SPARE_FDS + INODES_MIN);
    *max_inodes_out = (uint32_t)full.rlim_cur - FUSE_WIRE_HANDLES_MAX - SPARE_FDS;
    return 0;
}

int jail_close(struct err *e)
{
    capng_clear(CAPNG_SELECT_BOTH);
    if (capng_updatev(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_CHOWN, CAP_DAC_OVERRIDE,
                      CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID, CAP_SETUID, CAP_SETGID,
                      CAP_MKNOD, CAP_SETFCAP, -1) < 0)
        return err_set(e, EINVAL, "choose capabilities");
    if (capng_apply(CAPNG_SELECT_BOTH) < 0)
        return err_set(e, EPERM, "drop capabilities");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return err_errno(e, "give up privileges");
    return jail_seccomp(e);
}
