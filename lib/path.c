/* Path resolution confined to a root, and trees made and removed without following symlinks. */
#include "lib/path.h"

#include "lib/cleanup.h"
#include "lib/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define TREE_DEPTH_MAX 64 /* of trees that we remove: our own state, never a container's */
#define OPEN_RETRIES   32 /* openat2 gives EAGAIN when a rename races with ".." */

static int open_resolved(int at, const char *path, int flags, mode_t mode, uint64_t resolve)
{
    struct open_how how = {
        .flags = (uint32_t)(flags | O_CLOEXEC),
        .mode = mode,
        .resolve = resolve,
    };
    long fd;
    int tries = 0;

    do
        fd = syscall(SYS_openat2, at, path, &how, sizeof(how));
    while (fd < 0 && (errno == EINTR || (errno == EAGAIN && tries++ < OPEN_RETRIES)));
    return fd < 0 ? -errno : (int)fd;
}

int path_open_in(int rootfd, const char *path, int flags, mode_t mode)
{
    return open_resolved(rootfd, path, flags, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

/* The directory of `prefix` (resolved inside the root), which must exist by now. */
static int open_dir(int rootfd, const char *prefix)
{
    return path_open_in(rootfd, *prefix ? prefix : "/", O_PATH | O_DIRECTORY, 0);
}

/*
 * Makes sure that every leading part of `path` is a directory; stops before the last component when
 * `leave_last`. The prefix is resolved anew from the root for each component, so that symlinks on
 * the way (also "../x" ones) mean what they mean inside.
 */
static int make_parents(int rootfd, const char *path, mode_t mode, bool leave_last, char *done,
                        size_t size, const char **last_out, struct err *e)
{
    const char *p = path;
    size_t len = 0;

    done[0] = '\0';
    for (;;) {
        cleanup_fd int parent = -1, dir = -1;
        const char *name, *after;
        char component[NAME_MAX + 1];

        while (*p == '/')
            p++;
        if (!*p)
            return 0;
        name = p;
        while (*p && *p != '/')
            p++;
        for (after = p; *after == '/'; after++)
            ;
        if (leave_last && !*after) {
            *last_out = name;
            return 0;
        }
        if ((size_t)(p - name) >= sizeof(component) || len + (size_t)(p - name) + 2 > size)
            return err_set(e, ENAMETOOLONG, "%s: name too long", path);
        memcpy(component, name, (size_t)(p - name));
        component[p - name] = '\0';

        parent = open_dir(rootfd, done);
        if (parent < 0)
            return err_set(e, -parent, "%s below the root: %s", *done ? done : "/",
                           strerror(-parent));
        len += (size_t)snprintf(done + len, size - len, "/%s", component);
        dir = open_dir(rootfd, done);
        if (dir == -ENOENT && mkdirat(parent, component, mode) < 0 && errno != EEXIST)
            return err_errno(e, "mkdir %s below the root", done);
        if (dir < 0 && dir != -ENOENT)
            return err_set(e, -dir, "%s below the root: %s", done, strerror(-dir));
    }
}

int path_mkdirs_in(int rootfd, const char *path, mode_t mode, struct err *e)
{
    char done[PATH_MAX];
    int fd, r = make_parents(rootfd, path, mode, false, done, sizeof(done), NULL, e);

    if (r < 0)
        return r;
    fd = open_dir(rootfd, done);
    if (fd < 0)
        return err_set(e, -fd, "%s below the root: %s", path, strerror(-fd));
    return fd;
}

int path_touch_in(int rootfd, const char *path, mode_t mode, struct err *e)
{
    cleanup_fd int made = -1;
    const char *last = NULL;
    char done[PATH_MAX];
    int fd, r;

    fd = path_open_in(rootfd, path, O_PATH, 0);
    if (fd >= 0)
        return fd;
    r = make_parents(rootfd, path, 0755, true, done, sizeof(done), &last, e);
    if (r < 0)
        return r;
    if (!last)
        return err_set(e, EISDIR, "%s is a directory", path);
    made = path_open_in(rootfd, path, O_WRONLY | O_CREAT | O_NOCTTY | O_NONBLOCK, mode);
    if (made < 0)
        return err_set(e, -made, "create %s below the root: %s", path, strerror(-made));
    fd = path_open_in(rootfd, path, O_PATH, 0);
    if (fd < 0)
        return err_set(e, -fd, "open %s below the root: %s", path, strerror(-fd));
    return fd;
}

int path_mkdirs(const char *path, mode_t mode, struct err *e)
{
    char part[PATH_MAX];

    if (str_printf(part, sizeof(part), "%s", path) < 0)
        return err_set(e, ENAMETOOLONG, "%s: name too long", path);
    for (char *p = part + 1;; p++) {
        char was = *p;

        if (was && was != '/')
            continue;
        *p = '\0';
        if (mkdir(part, mode) < 0 && errno != EEXIST)
            return err_errno(e, "mkdir %s", part);
        if (!was)
            return 0;
        *p = was;
    }
}

static int remove_at(int at, const char *name, unsigned depth, struct err *e)
{
    int fd, r = 0;
    DIR *d;

    if (unlinkat(at, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return err_errno(e, "remove %s", name);
    if (depth == 0)
        return err_set(e, ELOOP, "remove %s: nested too deeply", name);
    fd = open_resolved(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0,
                       RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS);
    if (fd == -ENOENT)
        return 0;
    if (fd < 0)
        return err_set(e, -fd, "open %s: %s", name,
                       fd == -EXDEV ? "something is mounted there" : strerror(-fd));
    d = fdopendir(fd);
    if (!d) {
        r = err_errno(e, "read %s", name);
        close(fd);
        return r;
    }
    for (struct dirent *entry; r == 0 && (entry = readdir(d));) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            r = remove_at(fd, entry->d_name, depth - 1, e);
    }
    closedir(d);
    if (r == 0 && unlinkat(at, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        r = err_errno(e, "remove %s", name);
    return r;
}

/* The path itself may lead through symlinks of the (trusted) host; what lies below it may not. */
int path_remove_tree(int dirfd, const char *path, struct err *e)
{
    cleanup_fd int parent = -1;
    const char *slash = strrchr(path, '/');
    char dir[PATH_MAX];

    if (!slash)
        return remove_at(dirfd, path, TREE_DEPTH_MAX, e);
    if (str_printf(dir, sizeof(dir), "%.*s/", (int)(slash - path), path) < 0)
        return err_set(e, ENAMETOOLONG, "%s: name too long", path);
    parent = openat(dirfd, dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0)
        return errno == ENOENT ? 0 : err_errno(e, "open %s", dir);
    return remove_at(parent, slash + 1, TREE_DEPTH_MAX, e);
}

char *path_of_fd(char buf[PATH_FD_LEN], int fd)
{
    snprintf(buf, PATH_FD_LEN, "/proc/self/fd/%d", fd);
    return buf;
}

bool path_is_clean_name(const char *name)
{
    return *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}
