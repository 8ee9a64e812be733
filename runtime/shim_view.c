/*
 * The mounts of the shim's own namespace (shim_view.h). The shim is in its jail by now; so a child
 * of ours makes them: it takes clones of the trees in the file server's namespace, goes on to the
 * shim's and attaches them there. All mount points are found inside the root.
 */
#include "runtime/shim_view.h"

#include "lib/cleanup.h"
#include "lib/path.h"
#include "runtime/aside.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* An empty tmpfs that is not attached yet; -errno. */
static int empty_tree(struct err *e)
{
    cleanup_fd int fs = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);

    if (fs < 0 || syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "mode", "0755", 0) < 0 ||
        syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return err_errno(e, "make a tmpfs");
    int fd = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC,
                          MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
    return fd < 0 ? err_errno(e, "make a tmpfs") : fd;
}

/* A clone of the file server's tree, seen from its namespace; -errno. */
static int clone_tree(int root, const char *name, struct err *e)
{
    int fd =
        (int)syscall(SYS_open_tree, root, name, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);

    return fd < 0 ? err_errno(e, "clone %s of the file server", name) : fd;
}

static int attach(int root, int tree, const char *destination, struct err *e)
{
    struct stat st;

    if (fstat(tree, &st) < 0)
        return err_errno(e, "stat");
    cleanup_fd int at = S_ISDIR(st.st_mode) ? path_mkdirs_in(root, destination, 0755, e)
                                            : path_touch_in(root, destination, 0644, e);
    if (at < 0)
        return at;
    if (syscall(SYS_move_mount, tree, "", at, "",
                MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
        return err_errno(e, "move_mount");
    return 0;
}

static int enter(int pidfd, const char *whose, struct err *e)
{
    if (setns(pidfd, CLONE_NEWNS) < 0)
        return err_errno(e, "enter the mount namespace of %s", whose);
    int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return root < 0 ? err_errno(e, "open the root of %s", whose) : root;
}

struct view {
    const struct shim *shim;
    int server_pidfd;
    const struct share_view *parts;
    size_t n;
};

/* In the child, which leaves freeing and closing to its end. */
static int mount_all(const void *arg, int *none, struct err *e)
{
    struct mount_attr readonly = {.attr_set = MOUNT_ATTR_RDONLY};
    const struct view *v = arg;
    int *trees = calloc(v->n, sizeof *trees);
    int root = enter(v->server_pidfd, "bulkhead-fs", e);

    (void)none;
    if (!trees)
        return err_set(e, ENOMEM, "out of memory");
    if (root < 0)
        return root;
    for (size_t i = 0; i < v->n; i++) {
        trees[i] = v->parts[i].tree ? clone_tree(root, v->parts[i].tree, e) : empty_tree(e);
        if (trees[i] < 0)
            return trees[i];
    }
    root = enter(v->shim->pidfd, "bulkhead-shim", e);
    if (root < 0)
        return root;
    for (size_t i = 0; i < v->n; i++)
        if (attach(root, trees[i], v->parts[i].destination, e) < 0)
            return err_wrap(e, "mount on %s", v->parts[i].destination);
    /* now the mount points inside of the empty ones are made */
    for (size_t i = 0; i < v->n; i++)
        if (!v->parts[i].tree &&
            syscall(SYS_mount_setattr, trees[i], "", AT_EMPTY_PATH, &readonly, sizeof readonly) < 0)
            return err_errno(e, "make %s read-only", v->parts[i].destination);
    return 0;
}

int shim_view_mount(const struct shim *s, int server_pidfd, const struct share_view *views,
                    size_t n, struct err *e)
{
    const struct view v = {s, server_pidfd, views, n};

    if (n == 0 || aside(mount_all, &v, "the child that mounts", NULL, e) == 0)
        return 0;
    return err_wrap(e, "the shim's view");
}
