/*
 * Takes requests from the socket, one at a time, hands each to its operation and sends the reply.
 * Negotiates the protocol (INIT). Owns the socket, the tables and the buffers.
 */
#include "vmm/fs/server.h"

#include "lib/cleanup.h"
#include "vmm/fs/fs.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define MINOR_MIN 31u /* the first with virtio-fs */

/*
 * What we want of what the guest's kernel offers. Not among them: WRITEBACK_CACHE, with which the
 * host would not see what the guest wrote; SUBMOUNTS, since 6.1 loses count of a submount's root;
 * locks, which the guest's kernel then keeps by itself: they hold between the processes of the VM,
 * not against processes of the host.
 */
#define WANTED                                                                                     \
    (FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_DONT_MASK |                    \
     FUSE_AUTO_INVAL_DATA | FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO | FUSE_ASYNC_DIO |         \
     FUSE_PARALLEL_DIROPS | FUSE_POSIX_ACL | FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS |                \
     FUSE_HANDLE_KILLPRIV_V2 | FUSE_SETXATTR_EXT)

/* Without these requests mean something else than we take them for. */
#define NEEDED (FUSE_MAX_PAGES | FUSE_DONT_MASK | FUSE_SETXATTR_EXT | FUSE_BIG_WRITES)

#define BACKGROUND_MAX 64

static void drop_state(struct fs *fs)
{
    handles_clear(&fs->handles);
    inodes_clear(&fs->inodes);
    fs->running = false;
}

static int op_init(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    struct fuse_init_out *out = fs_reply_put(rp, sizeof(*out));
    /* The part every version has; what later ones add announces itself by flags. */
    struct {
        uint32_t major, minor, max_readahead, flags;
    } in;
    int rc = reader_take(&rq->body, &in, sizeof(in));

    if (rc < 0)
        return rc;
    drop_state(fs);
    out->major = FUSE_KERNEL_VERSION;
    out->minor = FUSE_KERNEL_MINOR_VERSION;
    if (in.major > FUSE_KERNEL_VERSION)
        return 0; /* it will ask again with ours */
    if (in.major < FUSE_KERNEL_VERSION || in.minor < MINOR_MIN || (in.flags & NEEDED) != NEEDED)
        return -EPROTO;
    out->max_readahead = in.max_readahead;
    out->flags = in.flags & WANTED;
    out->max_background = BACKGROUND_MAX;
    out->congestion_threshold = BACKGROUND_MAX * 3 / 4;
    out->max_pages = FUSE_WIRE_PAGES_MAX;
    out->max_write = FUSE_WIRE_PAGES_MAX * 4096;
    out->time_gran = 1;
    fs->running = true;
    return 0;
}

static int op_destroy(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    (void)rq;
    (void)rp;
    drop_state(fs);
    return 0;
}

/*
 * What is not here is answered ENOSYS, from which the guest's kernel draws its conclusions: locks
 * are local, ioctl says ENOTTY, poll says ready, access(2) is its own check. READ and WRITE are the
 * VMM's.
 */
static const struct operation {
    fs_op *run;
    bool no_node;  /* the node id means nothing */
    bool no_reply; /* FUSE defines none */
} operations[] = {
    [FUSE_LOOKUP] = {.run = op_lookup},
    [FUSE_FORGET] = {.run = op_forget, .no_node = true, .no_reply = true},
    [FUSE_GETATTR] = {.run = op_getattr},
    [FUSE_SETATTR] = {.run = op_setattr},
    [FUSE_READLINK] = {.run = op_readlink},
    [FUSE_SYMLINK] = {.run = op_symlink},
    [FUSE_MKNOD] = {.run = op_mknod},
    [FUSE_MKDIR] = {.run = op_mkdir},
    [FUSE_UNLINK] = {.run = op_unlink},
    [FUSE_RMDIR] = {.run = op_rmdir},
    [FUSE_RENAME] = {.run = op_rename},
    [FUSE_LINK] = {.run = op_link},
    [FUSE_OPEN] = {.run = op_open},
    [FUSE_STATFS] = {.run = op_statfs},
    [FUSE_RELEASE] = {.run = op_release, .no_node = true},
    [FUSE_FSYNC] = {.run = op_fsync, .no_node = true},
    [FUSE_SETXATTR] = {.run = op_setxattr},
    [FUSE_GETXATTR] = {.run = op_getxattr},
    [FUSE_LISTXATTR] = {.run = op_listxattr},
    [FUSE_REMOVEXATTR] = {.run = op_removexattr},
    [FUSE_FLUSH] = {.run = op_flush, .no_node = true},
    [FUSE_INIT] = {.run = op_init, .no_node = true},
    [FUSE_OPENDIR] = {.run = op_opendir},
    [FUSE_READDIR] = {.run = op_readdir},
    [FUSE_RELEASEDIR] = {.run = op_releasedir, .no_node = true},
    [FUSE_FSYNCDIR] = {.run = op_fsyncdir, .no_node = true},
    [FUSE_CREATE] = {.run = op_create},
    [FUSE_DESTROY] = {.run = op_destroy, .no_node = true},
    [FUSE_BATCH_FORGET] = {.run = op_batch_forget, .no_node = true, .no_reply = true},
    [FUSE_FALLOCATE] = {.run = op_fallocate, .no_node = true},
    [FUSE_READDIRPLUS] = {.run = op_readdirplus},
    [FUSE_RENAME2] = {.run = op_rename2},
    [FUSE_LSEEK] = {.run = op_lseek, .no_node = true},
    [FUSE_COPY_FILE_RANGE] = {.run = op_copy_file_range, .no_node = true},
    [FUSE_SYNCFS] = {.run = op_syncfs, .no_node = true},
    [FUSE_TMPFILE] = {.run = op_tmpfile},
};

static const struct operation *operation_of(uint32_t opcode)
{
    if (opcode >= ARRAY_SIZE(operations) || !operations[opcode].run)
        return NULL;
    return &operations[opcode];
}

static int run(struct fs *fs, const struct operation *op, struct fs_request *rq,
               struct fs_reply *rp)
{
    if (!op)
        return -ENOSYS;
    if (!fs->running && rq->h.opcode != FUSE_INIT && rq->h.opcode != FUSE_DESTROY)
        return -EPROTO;
    /* Extensions come only with flags we did not take. */
    if (rq->h.total_extlen != 0)
        return -EINVAL;
    if (!op->no_node) {
        rq->node = inodes_get(&fs->inodes, rq->h.nodeid);
        if (!rq->node)
            return -ESTALE;
    }
    return op->run(fs, rq, rp);
}

/* 0, or -errno when the socket is of no use any more. */
static int send_reply(struct fs *fs, const struct fuse_out_header *h, const struct fs_reply *rp)
{
    union {
        struct cmsghdr align;
        char buf[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov[2] = {{(void *)h, sizeof(*h)}, {rp->buf, h->len - sizeof(*h)}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
    ssize_t n;

    if (rp->fd >= 0 && h->error == 0) {
        struct cmsghdr *c;
        msg.msg_control = control.buf;
        msg.msg_controllen = sizeof(control.buf);
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &rp->fd, sizeof(int));
    }
    do
        n = sendmsg(fs->sock, &msg, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

/* One message of len bytes in fs->request. 0, or -errno when the socket is of no use any more. */
static int serve_one(struct fs *fs, size_t len)
{
    struct fs_request rq = {.body = {.at = fs->request, .left = len}};
    struct fs_reply rp = {
        .buf = fs->reply, .cap = FUSE_WIRE_REPLY_MAX - sizeof(struct fuse_out_header), .fd = -1};
    struct fuse_out_header h = {0};
    const struct operation *op;
    int rc;

    if (reader_take(&rq.body, &rq.h, sizeof(rq.h)) < 0 || rq.h.len != len)
        return -EPROTO; /* not even the VMM's doing */
    op = operation_of(rq.h.opcode);
    rc = run(fs, op, &rq, &rp);
    if ((op && op->no_reply) || rq.h.unique == FUSE_WIRE_NO_REPLY)
        return 0;
    h.unique = rq.h.unique;
    h.error = rc;
    h.len = (uint32_t)(sizeof(h) + (rc == 0 ? rp.len : 0));
    return send_reply(fs, &h, &rp);
}

int fs_serve(struct fs *fs, struct err *e)
{
    int rc = 0;

    while (rc == 0) {
        ssize_t n = recv(fs->sock, fs->request, FUSE_WIRE_REQUEST_MAX, MSG_TRUNC);
        if (n == 0)
            return 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            rc = -errno;
        else if ((size_t)n > FUSE_WIRE_REQUEST_MAX)
            rc = -EPROTO;
        else
            rc = serve_one(fs, (size_t)n);
    }
    if (rc == -EPIPE || rc == -ECONNRESET)
        return 0;
    return err_set(e, -rc, "the socket to the VMM: %s", strerror(-rc));
}

int fs_new(int sock, int root_fd, int proc_fd, uint32_t max_inodes, struct fs **out, struct err *e)
{
    struct fs *fs = calloc(1, sizeof(*fs));
    int rc;

    if (!fs)
        return err_set(e, ENOMEM, "no memory for the file server");
    fs->sock = fs->proc_fd = -1;
    fs->request = malloc(FUSE_WIRE_REQUEST_MAX);
    fs->reply = malloc(FUSE_WIRE_REPLY_MAX);
    if (!fs->request || !fs->reply)
        rc = err_set(e, ENOMEM, "no memory for the file server");
    else if (fchdir(proc_fd) < 0)
        rc = err_errno(e, "make /proc/self/fd the working directory");
    else
        rc = cred_init(fs, e);
    if (rc == 0)
        rc = handles_init(&fs->handles, e);
    if (rc == 0)
        rc = inodes_init(&fs->inodes, root_fd, max_inodes, e);
    if (rc < 0) {
        fs_free(fs);
        return rc;
    }
    fs->sock = sock;
    fs->proc_fd = proc_fd;
    *out = fs;
    return 0;
}

void fs_free(struct fs *fs)
{
    if (!fs)
        return;
    inodes_done(&fs->inodes);
    handles_done(&fs->handles);
    close_fd(&fs->sock);
    close_fd(&fs->proc_fd);
    free(fs->request);
    free(fs->reply);
    free(fs);
}
