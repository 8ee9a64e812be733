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
#define DANGLING_MAX   40 /* symlinks that lead nowhere yet, as many as the kernel follows */
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

/* A walk from the root: what is made, and what is still to be made below it. */
struct walk {
    int rootfd;
    char done[PATH_MAX]; /* exists; the kernel resolves it anew each time */
    char todo[PATH_MAX];
    unsigned links; /* followed by us */
};

/* Takes the first component off `todo`; 0 when there is none. */
static int next_component(struct walk *w, char name[NAME_MAX + 1])
{
    const char *p = w->todo + strspn(w->todo, "/");
    size_t len = strcspn(p, "/");

    if (len > NAME_MAX)
        return -ENAMETOOLONG;
    memcpy(name, p, len);
    name[len] = '\0';
    p += len;
    p += strspn(p, "/");
    memmove(w->todo, p, strlen(p) + 1);
    return len > 0;
}

/*
 * What `name` of the directory `parent` leads to is missing. If it is a symlink, what it names is
 * to be made in its place, inside the root: 1. If it is no symlink: 0.
 */
static int follow_dangling(struct walk *w, int parent, const char *name)
{
    char target[PATH_MAX], rest[PATH_MAX];
    ssize_t n = readlinkat(parent, name, target, sizeof(target) - 1);

    if (n < 0)
        return errno == ENOENT || errno == EINVAL ? 0 : -errno;
    if (w->links++ == DANGLING_MAX)
        return -ELOOP;
    target[n] = '\0';
    memcpy(rest, w->todo, sizeof(rest));
    if (str_printf(w->todo, sizeof(w->todo), "%s/%s", target, rest) < 0)
        return -ENAMETOOLONG;
    if (target[0] == '/')
        w->done[0] = '\0';
    return 1;
}

/* Goes down by `name`; what is missing is made as a directory, or left to the caller if `leave`. */
static int descend(struct walk *w, const char *name, mode_t mode, bool leave)
{
    cleanup_fd int parent = open_dir(w->rootfd, w->done), there = -1;
    size_t len = strlen(w->done);
    int r;

    if (parent < 0)
        return parent;
    if (str_printf(w->done + len, sizeof(w->done) - len, "/%s", name) < 0)
        return -ENAMETOOLONG;
    there = leave ? path_open_in(w->rootfd, w->done, O_PATH, 0) : open_dir(w->rootfd, w->done);
    if (there != -ENOENT)
        return there < 0 ? there : 0;
    w->done[len] = '\0';
    r = follow_dangling(w, parent, name);
    if (r != 0)
        return r < 0 ? r : 0;
    if (!leave && mkdirat(parent, name, mode) < 0 && errno != EEXIST)
        return -errno;
    w->done[len] = '/';
    return 0;
}

/*
 * Makes sure that every part of `path` is a directory, but for the last one when `leave_last`. The
 * prefix is resolved anew from the root for each component, so that symlinks on the way (also
 * "../x" ones, and those whose targets are still to be made) mean what they mean inside. w->done is
 * then the path without symlinks that lead nowhere.
 */
static int walk_down(struct walk *w, const char *path, mode_t mode, bool leave_last, struct err *e)
{
    char name[NAME_MAX + 1];
    int r = str_printf(w->todo, sizeof(w->todo), "%s", path) < 0 ? -ENAMETOOLONG : 0;

    while (r == 0 && (r = next_component(w, name)) > 0)
        r = descend(w, name, mode, leave_last && !w->todo[0]);
    return r < 0 ? err_set(e, -r, "%s below the root: %s", path, strerror(-r)) : 0;
}

int path_mkdirs_in(int rootfd, const char *path, mode_t mode, struct err *e)
{
    struct walk w = {.rootfd = rootfd};
    int fd, r = walk_down(&w, path, mode, false, e);

    if (r < 0)
        return r;
    fd = open_dir(rootfd, w.done);
    if (fd < 0)
        return err_set(e, -fd, "%s below the root: %s", path, strerror(-fd));
    return fd;
}

int path_touch_in(int rootfd, const char *path, mode_t mode, struct err *e)
{
    struct walk w = {.rootfd = rootfd};
    cleanup_fd int made = -1;
    int fd, r;

    fd = path_open_in(rootfd, path, O_PATH, 0);
    if (fd >= 0)
        return fd;
    r = walk_down(&w, path, 0755, true, e);
    if (r < 0)
        return r;
    if (!path[0] || path[strlen(path) - 1] == '/')
        return err_set(e, EISDIR, "%s is a directory", path);
    made = path_open_in(rootfd, w.done, O_WRONLY | O_CREAT | O_NOCTTY | O_NONBLOCK, mode);
    if (made < 0)
        return err_set(e, -made, "create %s below the root: %s", path, strerror(-made));
    fd = path_open_in(rootfd, w.done, O_PATH, 0);
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
