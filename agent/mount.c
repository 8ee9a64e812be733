/*
 * The `mounts` of config.json (config.md "Mounts", config-linux.md). Every mount is first made
 * detached (a clone of its source, or a new file system), given its attributes and perhaps content,
 * and only then moved to its destination, which was resolved inside the root.
 *
 * Which option means what is lib/spec's table; paths of the host never come here, only paths below
 * the share that the host put in their place.
 */
#include "agent/child.h"
#include "lib/cleanup.h"
#include "lib/path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000
#endif
#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256
#endif

int mount_clone(int dirfd, const char *path, bool recursive, struct err *e)
{
    unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_NO_AUTOMOUNT;
    int fd = open_tree(dirfd, path, flags | (recursive ? AT_RECURSIVE : 0));

    if (fd < 0)
        return err_errno(e, "clone the mount %s", path);
    return fd;
}

int mount_attach(int mnt, int target, const char *what, struct err *e)
{
    if (move_mount(mnt, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
        return err_errno(e, "mount on %s", what);
    return 0;
}

/* Attributes of mount(2)'s flags. Those that belong to a file system as a whole are not here. */
static uint64_t attr_of(unsigned long ms)
{
    static const struct {
        unsigned long ms;
        uint64_t attr;
    } map[] = {
        {MS_RDONLY, MOUNT_ATTR_RDONLY},         {MS_NOSUID, MOUNT_ATTR_NOSUID},
        {MS_NODEV, MOUNT_ATTR_NODEV},           {MS_NOEXEC, MOUNT_ATTR_NOEXEC},
        {MS_NODIRATIME, MOUNT_ATTR_NODIRATIME}, {MS_NOSYMFOLLOW, MOUNT_ATTR_NOSYMFOLLOW},
    };
    uint64_t attr = 0;

    for (size_t i = 0; i < ARRAY_SIZE(map); i++) {
        if (ms & map[i].ms)
            attr |= map[i].attr;
    }
    return attr;
}

/* The three ways of keeping access times are one field: setting any means clearing all first. */
static void add_atime(const struct spec_mount_flags *f, struct mount_attr *a)
{
    unsigned long both = f->set | f->clear;

    if (!(both & (MS_NOATIME | MS_RELATIME | MS_STRICTATIME)))
        return;
    a->attr_clr |= MOUNT_ATTR__ATIME;
    if (f->set & MS_NOATIME)
        a->attr_set |= MOUNT_ATTR_NOATIME;
    else if (f->set & MS_STRICTATIME)
        a->attr_set |= MOUNT_ATTR_STRICTATIME;
}

static int apply(int mnt, unsigned flags, struct mount_attr *a, struct err *e)
{
    if (!a->attr_set && !a->attr_clr && !a->propagation)
        return 0;
    if (a->attr_set & MOUNT_ATTR__ATIME)
        a->attr_clr |= MOUNT_ATTR__ATIME;
    if (mount_setattr(mnt, "", AT_EMPTY_PATH | flags, a, sizeof(*a)) < 0)
        return err_errno(e, "set mount attributes");
    return 0;
}

/* Everything but "ro" of a mount that is still to be filled. */
static int apply_flags(int mnt, const struct spec_mount_flags *f, struct err *e)
{
    struct mount_attr own = {.attr_set = attr_of(f->set), .attr_clr = attr_of(f->clear)};
    struct mount_attr all = {.attr_set = f->rec_set, .attr_clr = f->rec_clear};
    struct mount_attr spread = {.propagation = f->propagation & ~(unsigned long)MS_REC};
    int r;

    add_atime(f, &own);
    r = apply(mnt, 0, &own, e);
    if (r == 0)
        r = apply(mnt, AT_RECURSIVE, &all, e);
    if (r == 0)
        r = apply(mnt, f->propagation & MS_REC ? AT_RECURSIVE : 0, &spread, e);
    return r;
}

/* What the file system itself had to say about a refused configuration, else strerror. */
static int fs_error(int fs, const char *what, struct err *e)
{
    int code = errno;
    char said[256];
    ssize_t n = fs < 0 ? -1 : read(fs, said, sizeof(said) - 1);

    if (n > 2 && said[1] == ' ') {
        while (n > 0 && said[n - 1] == '\n')
            n--;
        said[n] = '\0';
        return err_set(e, code, "%s: %s", what, said + 2);
    }
    return err_set(e, code, "%s: %s", what,
                   code == ENODEV ? "the guest kernel has no such file system" : strerror(code));
}

/* Hands one comma-separated list of options to the file system. */
static int configure(int fs, char *data, struct err *e)
{
    char *save = NULL;

    for (char *o = data ? strtok_r(data, ",", &save) : NULL; o; o = strtok_r(NULL, ",", &save)) {
        char *value = strchr(o, '=');
        int r;

        if (value) {
            *value++ = '\0';
            r = fsconfig(fs, FSCONFIG_SET_STRING, o, value, 0);
        } else {
            r = fsconfig(fs, FSCONFIG_SET_FLAG, o, NULL, 0);
        }
        if (r < 0)
            return fs_error(fs, o, e);
    }
    return 0;
}

/* Flags that the super block keeps. */
static int configure_super(int fs, unsigned long set, bool filled_later, struct err *e)
{
    static const struct {
        unsigned long ms;
        const char *name;
    } map[] = {{MS_RDONLY, "ro"},
               {MS_SYNCHRONOUS, "sync"},
               {MS_DIRSYNC, "dirsync"},
               {MS_LAZYTIME, "lazytime"},
               {MS_MANDLOCK, "mand"}};

    for (size_t i = 0; i < ARRAY_SIZE(map); i++) {
        if (!(set & map[i].ms) || (map[i].ms == MS_RDONLY && filled_later))
            continue;
        if (fsconfig(fs, FSCONFIG_SET_FLAG, map[i].name, NULL, 0) < 0)
            return fs_error(fs, map[i].name, e);
    }
    return 0;
}

/* A new file system, detached. */
static int new_fs(const struct spec_mount *m, const char *type, struct spec_mount_flags *f,
                  bool filled_later, struct err *e)
{
    cleanup_fd int fs = fsopen(type, FSOPEN_CLOEXEC);
    int mnt, r;

    if (fs < 0)
        return fs_error(-1, type, e);
    if (m->source && *m->source && fsconfig(fs, FSCONFIG_SET_STRING, "source", m->source, 0) < 0)
        return fs_error(fs, "source", e);
    r = configure_super(fs, f->set, filled_later, e);
    if (r == 0)
        r = configure(fs, f->data, e);
    if (r < 0)
        return r;
    if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return fs_error(fs, type, e);
    mnt = fsmount(fs, FSMOUNT_CLOEXEC, 0);
    return mnt < 0 ? fs_error(fs, type, e) : mnt;
}

/* The destination inside the root: made as what will be mounted there. */
static int open_target(int rootfd, const struct spec_mount *m, bool dir, struct err *e)
{
    return dir ? path_mkdirs_in(rootfd, m->destination, 0755, e)
               : path_touch_in(rootfd, m->destination, 0644, e);
}

static int mount_bind(int rootfd, const struct spec_mount *m, const char *source,
                      struct spec_mount_flags *f, struct err *e)
{
    cleanup_fd int mnt = -1, target = -1;
    struct stat st;
    int r;

    if (!source || source[0] != '/')
        return err_set(e, EINVAL, "a bind mount needs an absolute source");
    mnt = mount_clone(AT_FDCWD, source, f->recursive_bind, e);
    if (mnt < 0)
        return mnt;
    if (fstat(mnt, &st) < 0)
        return err_errno(e, "%s", source);
    target = open_target(rootfd, m, S_ISDIR(st.st_mode), e);
    if (target < 0)
        return target;
    r = apply_flags(mnt, f, e);
    return r < 0 ? r : mount_attach(mnt, target, m->destination, e);
}

/* What the destination held before is the tmpfs's first content. */
static int copy_up(int rootfd, int mnt, const struct spec_mount *m, struct err *e)
{
    cleanup_fd int from = path_open_in(rootfd, m->destination, O_RDONLY | O_DIRECTORY, 0);
    cleanup_fd int to = -1;
    struct stat st;

    if (from < 0)
        return err_set(e, -from, "tmpcopyup: %s", strerror(-from));
    to = openat(mnt, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (to < 0 || fstat(to, &st) < 0)
        return err_errno(e, "tmpcopyup");
    if (copy_tree(from, to, e) < 0)
        return err_wrap(e, "tmpcopyup");
    /* tmpfs_mode has decided */
    return fchmod(to, st.st_mode & 07777) < 0 ? err_errno(e, "tmpcopyup") : 0;
}

/*
 * The mode of a tmpfs's root, as runc and crun have it: the option `mode`; else that of the
 * directory below it; else, when there is none yet, what tmpfs itself gives, 01777.
 */
static int tmpfs_mode(int rootfd, const struct spec_mount *m, struct spec_mount_flags *f,
                      struct err *e)
{
    cleanup_fd int below = path_open_in(rootfd, m->destination, O_PATH | O_DIRECTORY, 0);
    const char *data = f->data ? f->data : "";
    struct stat st;
    char *more;

    if (below < 0 || !strncmp(data, "mode=", 5) || strstr(data, ",mode="))
        return 0;
    if (fstat(below, &st) < 0)
        return err_errno(e, "stat");
    if (asprintf(&more, "mode=%o%s%s", st.st_mode & 07777, *data ? "," : "", data) < 0)
        return err_set(e, ENOMEM, "out of memory");
    free(f->data);
    f->data = more;
    return 0;
}

static int mount_new(int rootfd, const struct spec_mount *m, const char *type,
                     struct spec_mount_flags *f, struct err *e)
{
    bool dev = !strcmp(m->destination, "/dev"); /* made read-only when its nodes are there */
    bool later = dev || f->tmpcopyup;
    cleanup_fd int mnt = -1, target = -1;
    int r;

    if (f->tmpcopyup && strcmp(type, "tmpfs") != 0)
        return err_set(e, EINVAL, "tmpcopyup is for tmpfs");
    if (!strcmp(type, "tmpfs") && tmpfs_mode(rootfd, m, f, e) < 0)
        return -e->code;
    target = open_target(rootfd, m, true, e);
    if (target < 0)
        return target;
    mnt = new_fs(m, type, f, later, e);
    if (mnt < 0)
        return mnt;
    r = f->tmpcopyup ? copy_up(rootfd, mnt, m, e) : 0;
    if (dev)
        f->set &= ~(unsigned long)MS_RDONLY;
    if (r == 0)
        r = apply_flags(mnt, f, e);
    return r < 0 ? r : mount_attach(mnt, target, m->destination, e);
}

static int mount_remount(int rootfd, const struct spec_mount *m, struct spec_mount_flags *f,
                         struct err *e)
{
    cleanup_fd int fd = path_open_in(rootfd, m->destination, O_PATH, 0);
    char path[PATH_FD_LEN];

    if (fd < 0)
        return err_set(e, -fd, "open: %s", strerror(-fd));
    if (f->bind)
        return apply_flags(fd, f, e);
    if (mount(NULL, path_of_fd(path, fd), NULL, f->set, f->data) < 0)
        return err_errno(e, "remount");
    return 0;
}

/*
 * In a cgroup namespace of its own the container sees its cgroup as the root of a new mount;
 * without one, a bind of its directory shows the same.
 */
static int mount_cgroup(int rootfd, const struct child *c, const struct spec_mount *m,
                        struct spec_mount_flags *f, struct err *e)
{
    if (!c->spec->linux_.ns[NS_CGROUP].present)
        return mount_bind(rootfd, m, c->cgroup, f, e);
    free(f->data); /* options of cgroup v1, which there is none of */
    f->data = NULL;
    return mount_new(rootfd, m, "cgroup2", f, e);
}

static int mount_one(int rootfd, const struct child *c, const struct spec_mount *m, struct err *e)
{
    struct spec_mount_flags f;
    int r;

    memset(&f, 0, sizeof(f));
    r = spec_mount_flags(m, &f, e);
    if (r < 0)
        return r;
    if (f.idmap || m->nuid_maps || m->ngid_maps)
        r = err_set(e, ENOTSUP, "id-mapped mounts are not supported");
    else if (f.set & MS_REMOUNT)
        r = mount_remount(rootfd, m, &f, e);
    else if (f.bind)
        r = mount_bind(rootfd, m, m->source, &f, e);
    else if (!strcmp(m->type, "cgroup") || !strcmp(m->type, "cgroup2"))
        r = mount_cgroup(rootfd, c, m, &f, e);
    else
        r = mount_new(rootfd, m, m->type, &f, e);
    spec_mount_flags_done(&f);
    return r;
}

int mount_all(int rootfd, const struct child *c, struct err *e)
{
    for (size_t i = 0; i < c->spec->nmounts; i++) {
        const struct spec_mount *m = &c->spec->mounts[i];

        if (mount_one(rootfd, c, m, e) < 0)
            return err_wrap(e, "mounts[%zu] (%s on %s)", i, m->type, m->destination);
    }
    return 0;
}
