/*
 * Device nodes of the container (config-linux.md "Devices", "Default Devices", "Dev symbolic
 * links"). Nodes are made by mknod; in a user namespace, where that is forbidden, the guest's own
 * nodes are bound in. Whether they may be opened is the cgroup's device program's affair.
 */
#include "agent/child.h"
#include "lib/cleanup.h"
#include "lib/path.h"
#include "lib/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static const struct spec_device defaults[] = {
    {.path = (char[]){"/dev/null"}, .type = 'c', .major = 1, .minor = 3},
    {.path = (char[]){"/dev/zero"}, .type = 'c', .major = 1, .minor = 5},
    {.path = (char[]){"/dev/full"}, .type = 'c', .major = 1, .minor = 7},
    {.path = (char[]){"/dev/random"}, .type = 'c', .major = 1, .minor = 8},
    {.path = (char[]){"/dev/urandom"}, .type = 'c', .major = 1, .minor = 9},
    {.path = (char[]){"/dev/tty"}, .type = 'c', .major = 5, .minor = 0},
};

/* The guest's own node of a device: its name is in sysfs. */
static int find_node(const struct spec_device *d, char *out, size_t size, struct err *e)
{
    char path[96], text[512], *name;
    cleanup_fd int fd = -1;
    ssize_t n;

    snprintf(path, sizeof(path), "/sys/dev/%s/%lld:%lld/uevent", d->type == 'b' ? "block" : "char",
             (long long)d->major, (long long)d->minor);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (n < 0)
        return err_set(e, ENXIO, "the guest has no device %lld:%lld", (long long)d->major,
                       (long long)d->minor);
    text[n] = '\0';
    name = strstr(text, "DEVNAME=");
    if (!name)
        return err_set(e, ENXIO, "device %lld:%lld has no node", (long long)d->major,
                       (long long)d->minor);
    name += strlen("DEVNAME=");
    *strchrnul(name, '\n') = '\0';
    return str_printf(out, size, "/dev/%s", name) < 0 ? err_set(e, ENAMETOOLONG, "%s", name) : 0;
}

static int bind_node(int rootfd, const struct spec_device *d, struct err *e)
{
    cleanup_fd int mnt = -1, target = -1;
    char node[PATH_MAX];
    int r;

    if (d->type == 'p')
        return err_set(e, ENOTSUP, "a FIFO cannot be made in a user namespace");
    r = find_node(d, node, sizeof(node), e);
    if (r < 0)
        return r;
    mnt = mount_clone(AT_FDCWD, node, false, e);
    if (mnt < 0)
        return mnt;
    target = path_touch_in(rootfd, d->path, 0666, e);
    return target < 0 ? target : mount_attach(mnt, target, d->path, e);
}

/* The directory of `path` inside the root, made if missing; *name is the last component. */
static int open_parent(int rootfd, const char *path, const char **name, struct err *e)
{
    const char *slash = strrchr(path, '/');
    char dir[PATH_MAX];

    *name = slash + 1;
    if (str_printf(dir, sizeof(dir), "%.*s/", (int)(slash - path), path) < 0)
        return err_set(e, ENAMETOOLONG, "%s: name too long", path);
    return path_mkdirs_in(rootfd, dir, 0755, e);
}

/* The image may bring the node along. Anything else of that name would be taken for the device. */
static int check_node(int dir, const char *name, mode_t type, const struct spec_device *d,
                      struct err *e)
{
    struct stat st;

    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return err_errno(e, "stat");
    if ((st.st_mode & S_IFMT) != type ||
        (d->type != 'p' && st.st_rdev != makedev((unsigned)d->major, (unsigned)d->minor)))
        return err_set(e, EEXIST,
                       "something else is in its place (remove it from the root file system, or "
                       "mount a tmpfs on the directory)");
    return 0;
}

static int make_node(int rootfd, const struct spec_device *d, struct err *e)
{
    mode_t type = d->type == 'b' ? S_IFBLK : d->type == 'p' ? S_IFIFO : S_IFCHR;
    mode_t mode = d->mode_set ? d->mode & 07777 : 0666;
    const char *name;
    cleanup_fd int dir = open_parent(rootfd, d->path, &name, e);

    if (dir < 0)
        return dir;
    if (!*name)
        return err_set(e, EINVAL, "not a name");
    if (mknodat(dir, name, type | mode, makedev((unsigned)d->major, (unsigned)d->minor)) < 0)
        return errno == EEXIST ? check_node(dir, name, type, d, e) : err_errno(e, "mknod");
    if (fchownat(dir, name, d->uid, d->gid, AT_SYMLINK_NOFOLLOW) < 0)
        return err_errno(e, "chown");
    return 0;
}

static int make_all(int rootfd, const struct spec_device *d, size_t n, bool bind, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        int r = bind ? bind_node(rootfd, &d[i], e) : make_node(rootfd, &d[i], e);

        if (r < 0)
            return err_wrap(e, "device %s", d[i].path);
    }
    return 0;
}

static int make_links(int rootfd, struct err *e)
{
    static const char *const links[][2] = {
        {"/proc/self/fd", "fd"},       {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"},
        {"/proc/self/fd/2", "stderr"}, {"/proc/kcore", "core"},
    };
    cleanup_fd int dev = path_mkdirs_in(rootfd, "/dev", 0755, e);

    if (dev < 0)
        return dev;
    for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
        if (!strcmp(links[i][1], "core") && access("/proc/kcore", F_OK) < 0)
            continue;
        if (symlinkat(links[i][0], dev, links[i][1]) < 0 && errno != EEXIST)
            return err_errno(e, "link /dev/%s", links[i][1]);
    }
    /* the devpts of the container, never another one */
    if (unlinkat(dev, "ptmx", 0) < 0 && errno != ENOENT)
        return err_errno(e, "replace /dev/ptmx");
    if (symlinkat("pts/ptmx", dev, "ptmx") < 0)
        return err_errno(e, "link /dev/ptmx");
    return 0;
}

int devices_make(int rootfd, const struct spec *s, struct err *e)
{
    bool user = s->linux_.ns[NS_USER].present;
    int r;

    for (size_t i = 0; i < s->nmounts; i++) {
        /* a bound /dev is somebody else's: it is left as it is, as runc does */
        if (!strcmp(s->mounts[i].destination, "/dev") && !strcmp(s->mounts[i].type, "bind"))
            return 0;
    }
    r = make_all(rootfd, defaults, ARRAY_SIZE(defaults), user, e);
    if (r == 0)
        r = make_all(rootfd, s->linux_.devices, s->linux_.ndevices, user, e);
    return r == 0 ? make_links(rootfd, e) : r;
}
