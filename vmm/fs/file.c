/* Operations on open files besides reading and writing, which the VMM does itself: FLUSH, FSYNC,
 * FSYNCDIR, SYNCFS, FALLOCATE, LSEEK, COPY_FILE_RANGE. */
#include "vmm/fs/fs.h"

#include "lib/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* The most a single COPY_FILE_RANGE copies: the guest asks again, and others get their turn. */
#define COPY_MAX (16u << 20)

/* Closing a copy of the descriptor reports what a file system tells only at close (quota, NFS). */
int op_flush(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    struct fuse_flush_in in;
    struct handle *h;
    int fd, rc = reader_take(&rq->body, &in, sizeof(in));

    (void)rp;
    if (rc < 0)
        return rc;
    h = handles_get(&fs->handles, HANDLE_FILE, in.fh);
    if (!h)
        return -EBADF;
    fd = dup(h->fd);
    return fd < 0 || close(fd) < 0 ? -errno : 0;
}

static int sync_handle(struct fs *fs, struct fs_request *rq, enum handle_kind kind)
{
    struct fuse_fsync_in in;
    struct handle *h;
    int rc = reader_take(&rq->body, &in, sizeof(in));

    if (rc < 0)
        return rc;
    h = handles_get(&fs->handles, kind, in.fh);
    if (!h)
        return -EBADF;
    rc = in.fsync_flags & FUSE_FSYNC_FDATASYNC ? fdatasync(h->fd) : fsync(h->fd);
    return rc < 0 ? -errno : 0;
}

int op_fsync(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    (void)rp;
    return sync_handle(fs, rq, HANDLE_FILE);
}

int op_fsyncdir(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    (void)rp;
    return sync_handle(fs, rq, HANDLE_DIR);
}

static int sync_device(struct fs *fs, const struct inode *i)
{
    cleanup_fd int fd = fs_reopen(fs, i, i->type, O_RDONLY);

    if (fd < 0)
        return fd;
    return syncfs(fd) < 0 ? -errno : 0;
}

/* All trees are one file system to the guest: syncs each host file system it has looked into. */
int op_syncfs(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    struct inodes *t = &fs->inodes;
    bool done[DEVICES_MAX] = {false};
    int rc = 0;

    (void)rq;
    (void)rp;
    for (uint32_t k = FUSE_ROOT_ID; k < t->used; k++) {
        const struct inode *i = &t->slot[k];
        uint32_t d = 0;

        if (i->fd < 0 || (i->type != S_IFDIR && i->type != S_IFREG))
            continue;
        while (d < t->ndevs && t->dev[d] != i->dev)
            d++;
        if (d == t->ndevs || done[d])
            continue;
        int one = sync_device(fs, i);
        if (one == -EACCES || one == -EPERM)
            continue; /* another file may do */
        done[d] = true;
        if (rc == 0)
            rc = one;
    }
    return rc;
}

int op_fallocate(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    struct fuse_fallocate_in in;
    struct handle *h;
    int rc = reader_take(&rq->body, &in, sizeof(in));

    (void)rp;
    if (rc < 0)
        return rc;
    h = handles_get(&fs->handles, HANDLE_FILE, in.fh);
    if (!h)
        return -EBADF;
    if (in.offset > INT64_MAX || in.length > INT64_MAX)
        return -EFBIG;
    rc = fallocate(h->fd, (int)in.mode, (off_t)in.offset, (off_t)in.length);
    return rc < 0 ? -errno : 0;
}

/* The guest seeks itself; it asks only for what the file's layout decides. */
int op_lseek(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    struct fuse_lseek_out *out = fs_reply_put(rp, sizeof(*out));
    struct fuse_lseek_in in;
    struct handle *h;
    off_t at;
    int rc = reader_take(&rq->body, &in, sizeof(in));

    if (rc < 0)
        return rc;
    h = handles_get(&fs->handles, HANDLE_FILE, in.fh);
    if (!h)
        return -EBADF;
    if ((in.whence != SEEK_DATA && in.whence != SEEK_HOLE) || in.offset > INT64_MAX)
        return -EINVAL;
    at = lseek(h->fd, (off_t)in.offset, (int)in.whence);
    if (at < 0)
        return -errno;
    out->offset = (uint64_t)at;
    return 0;
}

int op_copy_file_range(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    struct fuse_write_out *out = fs_reply_put(rp, sizeof(*out));
    struct fuse_copy_file_range_in in;
    struct handle *from, *to;
    off_t off_in, off_out;
    ssize_t n;
    int rc = reader_take(&rq->body, &in, sizeof(in));

    if (rc < 0)
        return rc;
    from = handles_get(&fs->handles, HANDLE_FILE, in.fh_in);
    to = handles_get(&fs->handles, HANDLE_FILE, in.fh_out);
    if (!from || !to)
        return -EBADF;
    if (in.off_in > INT64_MAX || in.off_out > INT64_MAX || in.flags != 0)
        return -EINVAL;
    off_in = (off_t)in.off_in;
    off_out = (off_t)in.off_out;
    n = copy_file_range(from->fd, &off_in, to->fd, &off_out,
                        in.len < COPY_MAX ? (size_t)in.len : COPY_MAX, 0);
    if (n < 0)
        return -errno;
    out->size = (uint32_t)n;
    return 0;
}
