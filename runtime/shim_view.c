/*
 * The mounts of the shim's own namespace (shim_view.h). The shim is in its jail by now; so a child
 * of ours makes them: it takes clones of the trees in the file server's namespace, goes on to the
 * shim's and attaches them there. All mount points are found inside the root.
 */
#include "runtime/shim_view.h"

#include "lib/cleanup.h"
#include "lib/path.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
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

/* In the child, which leaves freeing and closing to its end. */
static int mount_all(const struct shim *s, int server_pidfd, const struct share_view *views,
                     size_t n, struct err *e)
{
    struct mount_attr readonly = {.attr_set = MOUNT_ATTR_RDONLY};
    int *trees = calloc(n, sizeof *trees);
    int root = enter(server_pidfd, "bulkhead-fs", e);

    if (!trees)
        return err_set(e, ENOMEM, "out of memory");
    if (root < 0)
        return root;
    for (size_t i = 0; i < n; i++) {
        trees[i] = views[i].tree ? clone_tree(root, views[i].tree, e) : empty_tree(e);
        if (trees[i] < 0)
            return trees[i];
    }
    root = enter(s->pidfd, "bulkhead-shim", e);
    if (root < 0)
        return root;
    for (size_t i = 0; i < n; i++)
        if (attach(root, trees[i], views[i].destination, e) < 0)
            return err_wrap(e, "mount on %s", views[i].destination);
    /* now the mount points inside of the empty ones are made */
    for (size_t i = 0; i < n; i++)
        if (!views[i].tree &&
            syscall(SYS_mount_setattr, trees[i], "", AT_EMPTY_PATH, &readonly, sizeof readonly) < 0)
            return err_errno(e, "make %s read-only", views[i].destination);
    return 0;
}

int shim_view_mount(const struct shim *s, int server_pidfd, const struct share_view *views,
                    size_t n, struct err *e)
{
    int pair[2], status;

    if (n == 0)
        return 0;
    if (pipe2(pair, O_CLOEXEC) < 0)
        return err_errno(e, "pipe");
    cleanup_fd int in = pair[0], out = pair[1];
    pid_t pid = fork();
    if (pid < 0)
        return err_errno(e, "fork");
    if (pid == 0) {
        struct err reason = ERR_INIT;
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* it holds the lock of a create that may be killed */
        int r = mount_all(s, server_pidfd, views, n, &reason);
        _exit(r == 0 ? 0 : write(out, &reason, sizeof reason) == sizeof reason ? 1 : 2);
    }
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return err_errno(e, "wait for the child that mounts");
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    close_fd(&out);
    if (read(in, e, sizeof *e) != sizeof *e)
        return err_set(e, EIO, "the child that makes the shim's view ended early");
    return err_wrap(e, "the shim's view");
}
