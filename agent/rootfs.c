/*
 * The container's root, wholly made before it is entered. The order:
 *
 *    1. the mounts of our new mount namespace stop propagating anywhere
 *    2. the rootfs becomes a mount of its own
 *    3. mounts in the order of the configuration, devices, /dev/console, the working directory
 *    4. masked paths, read-only paths, read-only /dev, read-only root
 *    5. pivot_root; the guest's own tree is gone; root propagation
 *
 * Everything is reached through a descriptor of the root and openat2 inside it, and mounted by
 * descriptor (open_tree, fsmount, move_mount): no symlink of the image can lead out, and no path is
 * resolved twice.
 */
#include "agent/child.h"
#include "lib/cleanup.h"
#include "lib/path.h"
#include "lib/str.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int set_attrs(int mnt, unsigned flags, struct mount_attr attr, const char *what,
                     struct err *e)
{
    if (mount_setattr(mnt, "", AT_EMPTY_PATH | flags, &attr, sizeof(attr)) < 0)
        return err_errno(e, "%s", what);
    return 0;
}

static int read_only_again(int rootfd, const char *path, unsigned flags, struct err *e)
{
    cleanup_fd int fd = path_open_in(rootfd, path, O_PATH, 0);

    if (fd < 0)
        return err_set(e, -fd, "open %s: %s", path, strerror(-fd));
    return set_attrs(fd, flags, (struct mount_attr){.attr_set = MOUNT_ATTR_RDONLY}, path, e);
}

/* A file is covered by /dev/null, a directory by an empty read-only tmpfs; what is not there needs
 * no cover. */
static int mask(int rootfd, const char *path, struct err *e)
{
    cleanup_fd int target = path_open_in(rootfd, path, O_PATH, 0), mnt = -1, fs = -1;
    struct stat st;

    if (target == -ENOENT || target == -ENOTDIR)
        return 0;
    if (target < 0)
        return err_set(e, -target, "linux.maskedPaths: %s: %s", path, strerror(-target));
    if (fstat(target, &st) < 0)
        return err_errno(e, "linux.maskedPaths: %s", path);
    if (!S_ISDIR(st.st_mode)) {
        mnt = mount_clone(AT_FDCWD, "/dev/null", false, e);
    } else {
        fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
        if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "nr_inodes", "1", 0) < 0 ||
            fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
            return err_errno(e, "linux.maskedPaths: %s: tmpfs", path);
        mnt = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY);
        if (mnt < 0)
            return err_errno(e, "linux.maskedPaths: %s: tmpfs", path);
    }
    return mnt < 0 ? mnt : mount_attach(mnt, target, path, e);
}

static int make_read_only(int rootfd, const char *path, struct err *e)
{
    cleanup_fd int target = path_open_in(rootfd, path, O_PATH, 0), mnt = -1;
    int r;

    if (target == -ENOENT || target == -ENOTDIR)
        return 0;
    if (target < 0)
        return err_set(e, -target, "linux.readonlyPaths: %s: %s", path, strerror(-target));
    mnt = mount_clone(target, "", true, e);
    if (mnt < 0)
        return err_wrap(e, "linux.readonlyPaths: %s", path);
    r = set_attrs(mnt, 0, (struct mount_attr){.attr_set = MOUNT_ATTR_RDONLY}, path, e);
    return r < 0 ? r : mount_attach(mnt, target, path, e);
}

/* A tmpfs on /dev with "ro" is filled first. */
static int finish_dev(int rootfd, const struct spec *s, struct err *e)
{
    for (size_t i = 0; i < s->nmounts; i++) {
        const struct spec_mount *m = &s->mounts[i];

        if (!strcmp(m->destination, "/dev") && strcmp(m->type, "bind") != 0 &&
            spec_mount_has_option(m, "ro"))
            return read_only_again(rootfd, "/dev", 0, e);
    }
    return 0;
}

/* Step 4. */
static int protect(int rootfd, const struct spec *s, struct err *e)
{
    const struct spec_linux *l = &s->linux_;
    int r = 0;

    for (char **p = l->readonly_paths; r == 0 && p && *p; p++)
        r = make_read_only(rootfd, *p, e);
    for (char **p = l->masked_paths; r == 0 && p && *p; p++)
        r = mask(rootfd, *p, e);
    if (r == 0)
        r = finish_dev(rootfd, s, e);
    if (r == 0 && s->root_readonly)
        r = set_attrs(rootfd, 0, (struct mount_attr){.attr_set = MOUNT_ATTR_RDONLY},
                      "root.readonly", e);
    return r;
}

/* Step 5. */
static int pivot(int rootfd, const struct spec_linux *l, struct err *e)
{
    if (fchdir(rootfd) < 0)
        return err_errno(e, "chdir to the container's root");
    if (syscall(SYS_pivot_root, ".", ".") < 0)
        return err_errno(e, "pivot_root");
    /* the old root now lies on top of the new one */
    if (umount2(".", MNT_DETACH) < 0)
        return err_errno(e, "detach the guest's root");
    if (chdir("/") < 0)
        return err_errno(e, "chdir /");
    if (l->rootfs_propagation && mount(NULL, "/", NULL, l->rootfs_propagation, NULL) < 0)
        return err_errno(e, "linux.rootfsPropagation");
    return 0;
}

static int make_console(struct child *c, int rootfd, struct err *e)
{
    cleanup_fd int slave = -1;
    int r;

    if (!c->proc->terminal)
        return 0;
    slave = terminal_open(rootfd, c->proc, &c->master, e);
    if (slave < 0)
        return slave;
    r = terminal_console(rootfd, slave, e);
    for (int i = 0; r == 0 && i < 3; i++) {
        c->stdio[i] = fcntl(slave, F_DUPFD_CLOEXEC, 3);
        if (c->stdio[i] < 0)
            r = err_errno(e, "terminal");
    }
    return r;
}

static int make_cwd(int rootfd, const char *cwd, struct err *e)
{
    cleanup_fd int fd = path_open_in(rootfd, cwd, O_PATH, 0);

    if (fd >= 0)
        return 0; /* whatever it is: chdir will say */
    fd = path_mkdirs_in(rootfd, cwd, 0755, e);
    return fd < 0 ? err_wrap(e, "make process.cwd %s", cwd) : 0;
}

int rootfs_enter(struct child *c, struct err *e)
{
    const char *path = c->rootfs;
    cleanup_fd int root = -1, at = -1;
    int r;

    umask(0); /* modes are meant as written, until the process's own umask */
    if (mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0)
        return err_errno(e, "make the guest's mounts private");
    at = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (at < 0)
        return err_errno(e, "open the rootfs %s", path);
    root = mount_clone(at, "", true, e);
    if (root < 0)
        return err_wrap(e, "rootfs");
    r = mount_attach(root, at, "rootfs", e);
    if (r == 0)
        r = mount_all(root, c, e);
    if (r == 0)
        r = devices_make(root, c->spec, e);
    if (r == 0)
        r = make_console(c, root, e);
    if (r == 0)
        r = make_cwd(root, c->proc->cwd, e);
    if (r == 0)
        r = protect(root, c->spec, e);
    return r == 0 ? pivot(root, &c->spec->linux_, e) : r;
}
