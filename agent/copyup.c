/*
 * tmpcopyup: the first content of a tmpfs is what its destination held. Directories, files,
 * symlinks, FIFOs and nodes with owner, mode, times of modification and extended attributes; hard
 * links become copies. Nothing below is followed: the image is not trusted.
 */
#include "agent/child.h"
#include "lib/cleanup.h"
#include "lib/path.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define COPY_DEPTH_MAX 128
#define XATTR_LIST_MAX 65536

static int copy_dir(int from, int to, unsigned depth, struct err *e);

static int copy_xattr(int from, int to, const char *name, char *value, struct err *e)
{
    ssize_t n = fgetxattr(from, name, value, XATTR_SIZE_MAX);

    /* what cannot be read or kept here is not content: overlay's own marks, say */
    if (n >= 0 && fsetxattr(to, name, value, (size_t)n, 0) < 0 && errno != ENOTSUP)
        return err_errno(e, "attribute %s", name);
    return 0;
}

/* One buffer: first the names, then a value. */
static int copy_xattrs(int from, int to, struct err *e)
{
    cleanup_free char *names = malloc(XATTR_LIST_MAX + XATTR_SIZE_MAX);
    ssize_t len = names ? flistxattr(from, names, XATTR_LIST_MAX) : -1;

    if (!names)
        return err_set(e, ENOMEM, "out of memory");
    if (len < 0)
        return errno == ENOTSUP ? 0 : err_errno(e, "list attributes");
    for (char *p = names; p < names + len; p += strlen(p) + 1) {
        if (copy_xattr(from, to, p, names + XATTR_LIST_MAX, e) < 0)
            return -e->code;
    }
    return 0;
}

static int set_meta(int from, int to, const struct stat *st, struct err *e)
{
    struct timespec times[2] = {st->st_atim, st->st_mtim};

    if (fchown(to, st->st_uid, st->st_gid) < 0 || fchmod(to, st->st_mode & 07777) < 0)
        return err_errno(e, "owner and mode");
    if (copy_xattrs(from, to, e) < 0) /* after chown, which drops security.capability */
        return -e->code;
    return futimens(to, times) < 0 ? err_errno(e, "times") : 0;
}

static int copy_bytes(int from, int to, struct err *e)
{
    for (;;) {
        ssize_t n = sendfile(to, from, NULL, 1 << 20);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? err_errno(e, "copy") : 0;
    }
}

static int copy_file(int from_dir, int to_dir, const char *name, const struct stat *st,
                     struct err *e)
{
    cleanup_fd int from = openat(from_dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    cleanup_fd int to = -1;
    int r;

    if (from < 0)
        return err_errno(e, "open");
    to = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (to < 0)
        return err_errno(e, "create");
    r = copy_bytes(from, to, e);
    return r < 0 ? r : set_meta(from, to, st, e);
}

static int copy_subdir(int from_dir, int to_dir, const char *name, const struct stat *st,
                       unsigned depth, struct err *e)
{
    int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    cleanup_fd int from = openat(from_dir, name, flags), to = -1;
    int r;

    if (from < 0)
        return err_errno(e, "open");
    if (mkdirat(to_dir, name, 0700) < 0)
        return err_errno(e, "mkdir");
    to = openat(to_dir, name, flags);
    if (to < 0)
        return err_errno(e, "open the copy");
    r = copy_dir(from, to, depth, e);
    return r < 0 ? r : set_meta(from, to, st, e);
}

static int copy_link(int from_dir, int to_dir, const char *name, struct err *e)
{
    char target[PATH_MAX];
    ssize_t n = readlinkat(from_dir, name, target, sizeof(target) - 1);

    if (n < 0)
        return err_errno(e, "readlink");
    target[n] = '\0';
    return symlinkat(target, to_dir, name) < 0 ? err_errno(e, "symlink") : 0;
}

static int copy_entry(int from, int to, const char *name, unsigned depth, struct err *e)
{
    struct stat st;
    int r;

    if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return err_errno(e, "stat");
    if (S_ISREG(st.st_mode))
        return copy_file(from, to, name, &st, e);
    if (S_ISDIR(st.st_mode))
        return copy_subdir(from, to, name, &st, depth, e);
    if (S_ISSOCK(st.st_mode))
        return 0; /* nobody listens on a copy */
    if (S_ISLNK(st.st_mode))
        r = copy_link(from, to, name, e);
    else
        r = mknodat(to, name, st.st_mode, st.st_rdev) < 0 ? err_errno(e, "mknod") : 0;
    if (r == 0 && fchownat(to, name, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) < 0)
        r = err_errno(e, "chown");
    return r;
}

static int copy_dir(int from, int to, unsigned depth, struct err *e)
{
    int fd, r = 0;
    DIR *d;

    if (depth == 0)
        return err_set(e, ELOOP, "nested more than %d deep", COPY_DEPTH_MAX);
    fd = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        r = err_errno(e, "read a directory");
        close_fd(&fd);
        return r;
    }
    for (struct dirent *entry; r == 0 && (entry = readdir(d));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (copy_entry(from, to, entry->d_name, depth - 1, e) < 0)
            r = err_wrap(e, "%s", entry->d_name);
    }
    closedir(d);
    return r;
}

int copy_tree(int from, int to, struct err *e)
{
    struct stat st;
    int r = copy_dir(from, to, COPY_DEPTH_MAX, e);

    if (r < 0)
        return r;
    if (fstat(from, &st) < 0)
        return err_errno(e, "stat");
    return set_meta(from, to, &st, e);
}
