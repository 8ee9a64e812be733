/*
 * Reading directories: OPENDIR, READDIR, READDIRPLUS, RELEASEDIR.
 *
 * Offsets are the host file system's. On some (tmpfs before 6.6) they are mere counts, wrong once
 * an entry before them is removed, while a descriptor that is only read from goes on rightly. So
 * the descriptor is read in batches and never moved but to start anew: each reply comes from one
 * batch, which stays with the handle, and a guest that took only a part of a reply comes back to an
 * offset within that batch.
 */
#include "vmm/fs/fs.h"

#include "lib/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

int op_opendir(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    struct fuse_open_out *out = fs_reply_put(rp, sizeof(*out));
    struct fuse_open_in in;
    int fd, rc = reader_take(&rq->body, &in, sizeof(in));

    if (rc == 0)
        rc = reader_end(&rq->body);
    if (rc < 0)
        return rc;
    fd = fs_reopen(fs, rq->node, S_IFDIR, O_RDONLY | O_DIRECTORY);
    return fd < 0 ? fd : handles_add(&fs->handles, HANDLE_DIR, fd, &out->fh);
}

int op_releasedir(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    struct fuse_release_in in;
    int rc = reader_take(&rq->body, &in, sizeof(in));

    (void)rp;
    return rc < 0 ? rc : handles_release(&fs->handles, HANDLE_DIR, in.fh);
}

static void fill_dirent(struct fs *fs, const struct inode *dir, const struct dirent64 *d,
                        size_t namelen, struct fuse_dirent *out)
{
    *out = (struct fuse_dirent){
        .ino = inodes_number(&fs->inodes, dir->dev, d->d_ino),
        .off = (uint64_t)d->d_off,
        .namelen = (uint32_t)namelen,
        .type = d->d_type,
    };
    memcpy(out->name, d->d_name, namelen);
}

/* Appends one entry to the reply. False when it does not fit any more. */
static bool put_dirent(struct fs *fs, struct inode *dir, const struct dirent64 *d, bool plus,
                       size_t room, struct fs_reply *rp)
{
    size_t namelen = strlen(d->d_name);
    size_t len =
        FUSE_DIRENT_ALIGN((plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET) + namelen);

    if (len > room - rp->len)
        return false;
    if (!plus) {
        fill_dirent(fs, dir, d, namelen, fs_reply_put(rp, len));
        return true;
    }
    struct fuse_direntplus *out = fs_reply_put(rp, len);
    bool dots = strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0;
    /* Node id 0 says that only the name is known: the guest looks it up if it needs to. */
    if (dots || fs_lookup(fs, dir, d->d_name, &out->entry_out, NULL) < 0)
        out->entry_out = (struct fuse_entry_out){0};
    fill_dirent(fs, dir, d, namelen, &out->dirent);
    return true;
}

static const struct dirent64 *entry_at(const struct handle *h, size_t at)
{
    return (const struct dirent64 *)(const void *)(h->batch + at);
}

/* Where in the batch the entry after `offset` stands: batch_len when that is the batch's end. False
 * when offset is not in the batch. */
static bool find_in_batch(const struct handle *h, int64_t offset, size_t *at_out)
{
    size_t at = 0;
    bool found = h->batch_len > 0 && offset == h->batch_start && offset != 0;

    while (!found && at < h->batch_len) {
        found = entry_at(h, at)->d_off == offset;
        at += entry_at(h, at)->d_reclen;
    }
    *at_out = at;
    return found;
}

/* Reads the batch that begins at offset, where the descriptor stands already unless `seek`. */
static int next_batch(struct handle *h, int64_t offset, bool seek)
{
    ssize_t n;

    if (!h->batch)
        h->batch = malloc(HANDLE_BATCH_MAX);
    if (!h->batch)
        return -ENOMEM;
    h->batch_len = 0;
    if (seek && lseek(h->fd, offset, SEEK_SET) < 0)
        return -errno;
    n = getdents64(h->fd, h->batch, HANDLE_BATCH_MAX);
    if (n < 0)
        return -errno;
    h->batch_len = (uint32_t)n;
    h->batch_start = offset;
    return 0;
}

static int read_dir(struct fs *fs, struct fs_request *rq, struct fs_reply *rp, bool plus)
{
    struct fuse_read_in in;
    struct handle *h;
    size_t room, at = 0;
    int rc = reader_take(&rq->body, &in, sizeof(in));

    if (rc < 0)
        return rc;
    h = handles_get(&fs->handles, HANDLE_DIR, in.fh);
    if (!h)
        return -EBADF;
    if (rq->node->type != S_IFDIR || in.offset > INT64_MAX)
        return -EINVAL;
    room = in.size < FUSE_WIRE_BODY_MAX ? in.size : FUSE_WIRE_BODY_MAX;
    bool found = find_in_batch(h, (int64_t)in.offset, &at);
    if (!found || at == h->batch_len) {
        rc = next_batch(h, (int64_t)in.offset, !found);
        at = 0;
    }
    if (rc < 0)
        return rc;
    while (at < h->batch_len && put_dirent(fs, rq->node, entry_at(h, at), plus, room, rp))
        at += entry_at(h, at)->d_reclen;
    return h->batch_len > 0 && rp->len == 0 ? -EINVAL : 0;
}

int op_readdir(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    return read_dir(fs, rq, rp, false);
}

int op_readdirplus(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    return read_dir(fs, rq, rp, true);
}
