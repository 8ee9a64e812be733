/*
 * Reading directories: OPENDIR, READDIR, READDIRPLUS, RELEASEDIR. Offsets are those of the host's
 * file system, so nothing needs to be remembered but where the descriptor stands.
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

static int read_dir(struct fs *fs, struct fs_request *rq, struct fs_reply *rp, bool plus)
{
    struct fuse_read_in in;
    struct handle *h;
    size_t room, len;
    ssize_t n;
    int rc = reader_take(&rq->body, &in, sizeof(in));

    if (rc < 0)
        return rc;
    h = handles_get(&fs->handles, HANDLE_DIR, in.fh);
    if (!h)
        return -EBADF;
    if (rq->node->type != S_IFDIR || in.offset > INT64_MAX)
        return -EINVAL;
    room = in.size < FUSE_WIRE_BODY_MAX ? in.size : FUSE_WIRE_BODY_MAX;
    if ((int64_t)in.offset != h->pos && lseek(h->fd, (off_t)in.offset, SEEK_SET) < 0)
        return -errno;
    h->pos = (int64_t)in.offset;
    /* A READDIRPLUS entry is several times as long as the kernel's: ask for what may fit. */
    len = plus ? room / 4 : room;
    n = getdents64(h->fd, fs->scratch, len);
    if (n == -1 && errno == EINVAL && len < room)
        n = getdents64(h->fd, fs->scratch, room);
    if (n < 0)
        return -errno;
    for (ssize_t at = 0; at < n;) {
        const struct dirent64 *d = (const struct dirent64 *)(const void *)(fs->scratch + at);
        h->pos = d->d_off;
        if (!put_dirent(fs, rq->node, d, plus, room, rp)) {
            h->pos = -1; /* the descriptor stands behind what was given */
            break;
        }
        at += d->d_reclen;
    }
    return n > 0 && rp->len == 0 ? -EINVAL : 0;
}

int op_readdir(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    return read_dir(fs, rq, rp, false);
}

int op_readdirplus(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    return read_dir(fs, rq, rp, true);
}
