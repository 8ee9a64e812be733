/* Input and output helpers over plain descriptors. They keep no state. */
#include "lib/io.h"

#include "lib/cleanup.h"
#include "lib/path.h"
#include "lib/str.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define LISTEN_BACKLOG 128

ssize_t io_read_full(int fd, void *buf, size_t len)
{
    size_t got = 0;

    while (got < len) {
        ssize_t n = read(fd, (char *)buf + got, len - got);

        if (n == 0)
            break;
        if (n < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        got += (size_t)n;
    }
    return (ssize_t)got;
}

ssize_t io_pread_full(int fd, void *buf, size_t len, off_t off)
{
    size_t got = 0;

    while (got < len) {
        ssize_t n = pread(fd, (char *)buf + got, len - got, off + (off_t)got);

        if (n == 0)
            break;
        if (n < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        got += (size_t)n;
    }
    return (ssize_t)got;
}

int io_write_full(int fd, const void *buf, size_t len)
{
    const char *p = buf;

    while (len) {
        ssize_t n = write(fd, p, len);

        if (n < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

int io_read_file(int dirfd, const char *path, size_t max, char **out, size_t *len_out,
                 struct err *e)
{
    cleanup_fd int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    cleanup_free char *buf = NULL;
    size_t len = 0, cap = 4096;

    if (fd < 0)
        return err_errno(e, "open %s", path);
    for (;;) {
        char *grown = realloc(buf, cap + 1);
        ssize_t n;

        if (!grown)
            return err_set(e, ENOMEM, "read %s: out of memory", path);
        buf = grown;
        n = io_read_full(fd, buf + len, cap - len);
        if (n < 0)
            return err_set(e, (int)-n, "read %s: %s", path, strerror((int)-n));
        len += (size_t)n;
        if (len > max)
            return err_set(e, EFBIG, "%s is larger than the limit of %zu bytes", path, max);
        if (len < cap)
            break;
        cap *= 2;
    }
    buf[len] = '\0';
    if (len_out)
        *len_out = len;
    *out = take_ptr(buf);
    return 0;
}

int io_replace_file(int dirfd, const char *path, mode_t mode, const void *buf, size_t len,
                    struct err *e)
{
    cleanup_fd int fd = -1;
    char tmp[4096];
    int r;

    if (str_printf(tmp, sizeof(tmp), "%s.new-%d", path, getpid()) < 0)
        return err_set(e, ENAMETOOLONG, "write %s: name too long", path);
    fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return err_errno(e, "create %s", tmp);
    r = io_write_full(fd, buf, len);
    if (r < 0) {
        unlinkat(dirfd, tmp, 0);
        return err_set(e, -r, "write %s: %s", tmp, strerror(-r));
    }
    if (renameat(dirfd, tmp, dirfd, path) < 0) {
        r = err_errno(e, "rename %s to %s", tmp, path);
        unlinkat(dirfd, tmp, 0);
        return r;
    }
    return 0;
}

int io_publish_file(int dirfd, const char *path, mode_t mode, const void *buf, size_t len,
                    struct err *e)
{
    const char *slash = strrchr(path, '/');
    cleanup_free char *parent = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    char link[PATH_FD_LEN];
    cleanup_fd int fd = -1;
    int r;

    if (!parent)
        return err_set(e, ENOMEM, "write %s: out of memory", path);
    fd = openat(dirfd, parent, O_WRONLY | O_TMPFILE | O_CLOEXEC, mode);
    if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR))
        return io_replace_file(dirfd, path, mode, buf, len, e);
    if (fd < 0)
        return err_errno(e, "create %s", path);
    r = io_write_full(fd, buf, len);
    if (r < 0)
        return err_set(e, -r, "write %s: %s", path, strerror(-r));
    path_of_fd(link, fd);
    (void)unlinkat(dirfd, path, 0);
    if (linkat(AT_FDCWD, link, dirfd, path, AT_SYMLINK_FOLLOW) == 0)
        return 0;
    /* without /proc, or somebody else was faster */
    return errno == EEXIST || errno == ENOENT ? io_replace_file(dirfd, path, mode, buf, len, e)
                                              : err_errno(e, "create %s", path);
}

int io_write_file(int dirfd, const char *path, const char *text, struct err *e)
{
    cleanup_fd int fd = openat(dirfd, path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    ssize_t n;

    if (fd < 0)
        return err_errno(e, "open %s", path);
    /* such files take a value in one write */
    do
        n = write(fd, text, strlen(text));
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return err_errno(e, "write \"%s\" to %s", text, path);
    return 0;
}

ssize_t io_send_fds(int sock, const void *buf, size_t len, const int *fds, unsigned nfds)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * IO_FDS_MAX)];
    } control;
    struct iovec iov = {(void *)(uintptr_t)buf, len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n;

    if (nfds > IO_FDS_MAX)
        return -EINVAL;
    if (nfds) {
        struct cmsghdr *c;

        memset(&control, 0, sizeof(control));
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * nfds);
    }
    do
        n = sendmsg(sock, &msg, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

ssize_t io_recv_fds(int sock, void *buf, size_t len, int *fds, unsigned max_fds, unsigned *nfds_out)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * IO_FDS_MAX)];
    } control;
    struct iovec iov = {buf, len};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control.bytes)};
    unsigned got = 0;
    ssize_t n;

    do
        n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
        size_t count;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (got < max_fds)
                fds[got++] = fd;
            else
                close(fd);
        }
    }
    *nfds_out = got;
    return n;
}

void io_close_from(int first)
{
    close_range((unsigned)first, ~0u, 0);
}

static int change_flag(int fd, int get, int set, int flag, int on)
{
    int flags = fcntl(fd, get), want;

    if (flags < 0)
        return -errno;
    want = on ? flags | flag : flags & ~flag;
    if (want != flags && fcntl(fd, set, want) < 0)
        return -errno;
    return 0;
}

int io_set_cloexec(int fd, int on)
{
    return change_flag(fd, F_GETFD, F_SETFD, FD_CLOEXEC, on);
}

int io_set_nonblock(int fd, int on)
{
    return change_flag(fd, F_GETFL, F_SETFL, O_NONBLOCK, on);
}

/*
 * Fills the address of `path`. One that is too long for sun_path is named through an open
 * descriptor of its directory, which the caller keeps in *dir_out until bind or connect is done.
 */
static int unix_address(const char *path, struct sockaddr_un *a, int *dir_out, struct err *e)
{
    cleanup_fd int dir = -1;
    const char *base = strrchr(path, '/');
    char parent[4096];

    memset(a, 0, sizeof(*a));
    a->sun_family = AF_UNIX;
    if (str_printf(a->sun_path, sizeof(a->sun_path), "%s", path) == 0)
        return 0;
    if (!base || (size_t)(base - path) >= sizeof(parent))
        return err_set(e, ENAMETOOLONG, "socket path %s is too long", path);
    memcpy(parent, path, (size_t)(base - path));
    parent[base - path] = '\0';
    dir = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return err_errno(e, "open %s", parent);
    if (str_printf(a->sun_path, sizeof(a->sun_path), "/proc/self/fd/%d%s", dir, base) < 0)
        return err_set(e, ENAMETOOLONG, "socket name %s is too long", base + 1);
    *dir_out = take_fd(&dir);
    return 0;
}

/* A socket of `type`, and the address of `path` for it; *dir_out as above. Returns the descriptor.
 */
static int unix_socket(const char *path, int type, struct sockaddr_un *a, int *dir_out,
                       struct err *e)
{
    int fd, r = unix_address(path, a, dir_out, e);

    if (r < 0)
        return r;
    fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    return fd < 0 ? err_errno(e, "socket for %s", path) : fd;
}

int io_unix_listen(const char *path, int type, struct err *e)
{
    cleanup_fd int fd = -1, dir = -1;
    struct sockaddr_un a;

    fd = unix_socket(path, type, &a, &dir, e);
    if (fd < 0)
        return -e->code;
    /* the mode of the bound file is that of the socket less the umask */
    if (fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ||
        listen(fd, LISTEN_BACKLOG) < 0)
        return err_errno(e, "listen at %s", path);
    return take_fd(&fd);
}

int io_unix_connect(const char *path, int type, struct err *e)
{
    cleanup_fd int fd = -1, dir = -1;
    struct sockaddr_un a;

    fd = unix_socket(path, type, &a, &dir, e);
    if (fd < 0)
        return -e->code;
    while (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
        if (errno != EINTR)
            return err_errno(e, "connect to %s", path);
    }
    return take_fd(&fd);
}
