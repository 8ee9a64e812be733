/*
 * A FUSE client for tests: starts a file server in a child process on a fresh directory and talks
 * to it as the VMM would.
 *
 *   struct client c;
 *   client_open(&c, INODES_MAX_OR_LESS);      directory c.dir (c.dirfd), server, INIT
 *   e = client_call(&c, FUSE_LOOKUP, 1, PARTS({"name", 5}));   reply in c.body, c.len, c.fd
 *   client_close(&c);                         server must end well; directory removed
 */
#ifndef BULKHEAD_TEST_FS_CLIENT_H
#define BULKHEAD_TEST_FS_CLIENT_H

#include "tests/unit/cmocka_all.h"

#include "lib/cleanup.h"
#include "lib/fuse_wire.h"
#include "lib/path.h"
#include "vmm/fs/inode.h"
#include "vmm/fs/server.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>

#define PARTS_MAX 4
#define PARTS(...)                                                                                 \
    (const struct iovec[]){__VA_ARGS__},                                                           \
        sizeof((const struct iovec[]){__VA_ARGS__}) / sizeof(struct iovec)
#define PART(x)                                                                                    \
    {                                                                                              \
        .iov_base = &(x), .iov_len = sizeof(x)                                                     \
    }
#define NAME(s)                                                                                    \
    {                                                                                              \
        .iov_base = (void *)(uintptr_t)(s), .iov_len = strlen(s) + 1                               \
    }
#define BYTES(p, n)                                                                                \
    {                                                                                              \
        .iov_base = (void *)(uintptr_t)(p), .iov_len = (n)                                         \
    }
#define NO_PARTS NULL, 0

struct client {
    char dir[64];
    int dirfd, sock;
    pid_t pid;
    uint64_t unique;
    uint32_t uid, gid; /* of the caller */
    uint8_t reply[FUSE_WIRE_REPLY_MAX];
    uint8_t *body;
    size_t len; /* of the body */
    int fd;     /* came with the reply, or -1 */
};

static inline void client_child(int sock, const char *dir, uint32_t max_inodes)
{
    struct err e = ERR_INIT;
    struct fs *fs;
    int root = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int proc = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (fs_new(sock, root, proc, max_inodes, &fs, &e) < 0 || fs_serve(fs, &e) < 0) {
        fprintf(stderr, "server: %s\n", e.msg);
        exit(3);
    }
    fs_free(fs);
    exit(0);
}

/* Runs the server in the child process; does not return. */
typedef void client_child_fn(int sock, const char *dir, uint32_t max_inodes);

/* Starts a server of any directory, whose INIT is still to come. */
static inline void client_start_by(struct client *c, client_child_fn *child, const char *dir,
                                   uint32_t max_inodes)
{
    struct rlimit r;
    int pair[2];

    memset(c, 0, sizeof(*c));
    c->fd = -1;
    (void)snprintf(c->dir, sizeof(c->dir), "%s", dir);
    c->dirfd = open(c->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(c->dirfd >= 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &r), 0);
    r.rlim_cur = r.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &r), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    fflush(NULL);
    c->pid = fork();
    assert_true(c->pid >= 0);
    if (c->pid == 0) {
        close(pair[0]);
        child(pair[1], c->dir, max_inodes);
    }
    close(pair[1]);
    c->sock = pair[0];
}

static inline void client_start_at(struct client *c, const char *dir, uint32_t max_inodes)
{
    client_start_by(c, client_child, dir, max_inodes);
}

static inline void client_make_dir(char dir[64])
{
    strcpy(dir, "/tmp/bulkhead-fs-test-XXXXXX");
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chmod(dir, 0777), 0);
}

/* Starts one of a fresh directory. */
static inline void client_start(struct client *c, uint32_t max_inodes)
{
    char dir[64];

    client_make_dir(dir);
    client_start_at(c, dir, max_inodes);
}

static inline void client_send_raw(struct client *c, const void *p, size_t len)
{
    assert_int_equal(send(c->sock, p, len, MSG_NOSIGNAL), (ssize_t)len);
}

static inline void client_send(struct client *c, uint32_t opcode, uint64_t node,
                               const struct iovec *parts, size_t n)
{
    struct fuse_in_header h = {.len = sizeof(h),
                               .opcode = opcode,
                               .unique = ++c->unique,
                               .nodeid = node,
                               .uid = c->uid,
                               .gid = c->gid};
    struct iovec iov[PARTS_MAX + 1] = {{&h, sizeof(h)}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = n + 1};

    assert_true(n <= PARTS_MAX);
    for (size_t i = 0; i < n; i++) {
        iov[i + 1] = parts[i];
        h.len += (uint32_t)parts[i].iov_len;
    }
    assert_int_equal(sendmsg(c->sock, &msg, MSG_NOSIGNAL), h.len);
}

/* Receives the reply to the last request; returns its error. */
static inline int client_recv(struct client *c)
{
    union {
        struct cmsghdr align;
        char buf[CMSG_SPACE(4 * sizeof(int))];
    } control;
    struct iovec iov = {c->reply, sizeof(c->reply)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.buf,
                         .msg_controllen = sizeof(control.buf)};
    struct fuse_out_header h;
    struct cmsghdr *cm;
    ssize_t n;

    close_fd(&c->fd);
    n = recvmsg(c->sock, &msg, MSG_CMSG_CLOEXEC);
    assert_true(n >= (ssize_t)sizeof(h));
    memcpy(&h, c->reply, sizeof(h));
    assert_int_equal(h.len, n);
    assert_int_equal(h.unique, c->unique);
    c->body = c->reply + sizeof(h);
    c->len = (size_t)n - sizeof(h);
    cm = CMSG_FIRSTHDR(&msg);
    if (cm) {
        assert_int_equal(cm->cmsg_len, CMSG_LEN(sizeof(int)));
        memcpy(&c->fd, CMSG_DATA(cm), sizeof(int));
    }
    if (h.error)
        assert_int_equal(c->len, 0);
    return h.error;
}

static inline int client_call(struct client *c, uint32_t opcode, uint64_t node,
                              const struct iovec *parts, size_t n)
{
    client_send(c, opcode, node, parts, n);
    return client_recv(c);
}

static inline int client_init(struct client *c, uint32_t minor, uint32_t flags)
{
    struct fuse_init_in in = {.major = 7, .minor = minor, .max_readahead = 131072, .flags = flags};
    return client_call(c, FUSE_INIT, 0, PARTS(PART(in)));
}

static inline void client_open(struct client *c, uint32_t max_inodes)
{
    client_start(c, max_inodes);
    assert_int_equal(client_init(c, 38, ~0u), 0);
}

/* The server must have ended well (a sanitizer's finding ends it otherwise). */
static inline void client_stop(struct client *c)
{
    int status;

    close_fd(&c->fd);
    close_fd(&c->sock);
    assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    close_fd(&c->dirfd);
}

static inline void client_close(struct client *c)
{
    struct err e = ERR_INIT;

    client_stop(c);
    assert_int_equal(path_remove_tree(AT_FDCWD, c->dir, &e), 0);
}

/* Looks a name up; the node id, or 0 with the error in *error. */
static inline uint64_t client_lookup(struct client *c, uint64_t dir, const char *name, int *error)
{
    struct fuse_entry_out out;
    int rc = client_call(c, FUSE_LOOKUP, dir, PARTS(NAME(name)));

    if (error)
        *error = rc;
    if (rc < 0)
        return 0;
    assert_int_equal(c->len, sizeof(out));
    memcpy(&out, c->body, sizeof(out));
    return out.nodeid;
}

static inline int client_getattr(struct client *c, uint64_t node, struct fuse_attr *out)
{
    struct fuse_getattr_in in = {0};
    struct fuse_attr_out a;
    int rc = client_call(c, FUSE_GETATTR, node, PARTS(PART(in)));

    if (rc < 0)
        return rc;
    assert_int_equal(c->len, sizeof(a));
    memcpy(&a, c->body, sizeof(a));
    *out = a.attr;
    return 0;
}

static inline int client_openfile(struct client *c, uint32_t opcode, uint64_t node, uint32_t flags,
                                  uint64_t *fh)
{
    struct fuse_open_in in = {.flags = flags};
    struct fuse_open_out out;
    int rc = client_call(c, opcode, node, PARTS(PART(in)));

    if (rc < 0)
        return rc;
    assert_int_equal(c->len, sizeof(out));
    memcpy(&out, c->body, sizeof(out));
    *fh = out.fh;
    assert_int_equal(c->fd >= 0, opcode == FUSE_OPEN);
    return 0;
}

static inline int client_create(struct client *c, uint64_t dir, const char *name, uint32_t flags,
                                uint32_t mode, uint32_t umask_bits, uint64_t *node, uint64_t *fh)
{
    struct fuse_create_in in = {.flags = flags, .mode = S_IFREG | mode, .umask = umask_bits};
    struct fuse_entry_out entry;
    struct fuse_open_out out;
    int rc = client_call(c, FUSE_CREATE, dir, PARTS(PART(in), NAME(name)));

    if (rc < 0)
        return rc;
    assert_int_equal(c->len, sizeof(entry) + sizeof(out));
    memcpy(&entry, c->body, sizeof(entry));
    memcpy(&out, c->body + sizeof(entry), sizeof(out));
    *node = entry.nodeid;
    *fh = out.fh;
    assert_true(c->fd >= 0);
    return 0;
}

static inline int client_release(struct client *c, uint32_t opcode, uint64_t fh)
{
    struct fuse_release_in in = {.fh = fh};
    return client_call(c, opcode, 1, PARTS(PART(in)));
}

static inline void client_forget(struct client *c, uint64_t node, uint64_t n)
{
    struct fuse_forget_in in = {.nlookup = n};
    client_send(c, FUSE_FORGET, node, PARTS(PART(in)));
}

/* A file in the directory, made behind the server's back. */
static inline void client_put_file(struct client *c, const char *name, const char *text)
{
    int fd = openat(c->dirfd, name, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

#endif
