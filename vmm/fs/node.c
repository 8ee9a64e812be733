/*
 * What the operations are made of: from a name or a descriptor to the guest's view of it, back to a
 * descriptor that can be read, and into the reply. Owns nothing; the inodes are in inode.c's table.
 */
#include "vmm/fs/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void *fs_reply_put(struct fs_reply *rp, size_t len)
{
    void *p = rp->buf + rp->len;

    if (len > rp->cap - rp->len)
        abort(); /* operations bound what they put: see FUSE_WIRE_REPLY_MAX */
    memset(p, 0, len);
    rp->len += len;
    return p;
}

int fs_stat(int fd, struct statx *out)
{
    if (statx(fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, STATX_BASIC_STATS | STATX_MNT_ID, out) < 0)
        return -errno;
    return 0;
}

/* The kernel's new_encode_dev. */
static uint32_t encode_dev(uint32_t major, uint32_t minor)
{
    return (minor & 0xff) | major << 8 | (minor & ~0xffu) << 12;
}

void fs_attr(struct fs *fs, const struct statx *st, struct fuse_attr *out)
{
    *out = (struct fuse_attr){
        .ino = inodes_number(&fs->inodes, inode_statx_dev(st), st->stx_ino),
        .size = st->stx_size,
        .blocks = st->stx_blocks,
        .atime = (uint64_t)st->stx_atime.tv_sec,
        .mtime = (uint64_t)st->stx_mtime.tv_sec,
        .ctime = (uint64_t)st->stx_ctime.tv_sec,
        .atimensec = st->stx_atime.tv_nsec,
        .mtimensec = st->stx_mtime.tv_nsec,
        .ctimensec = st->stx_ctime.tv_nsec,
        .mode = st->stx_mode,
        .nlink = st->stx_nlink,
        .uid = st->stx_uid,
        .gid = st->stx_gid,
        .rdev = encode_dev(st->stx_rdev_major, st->stx_rdev_minor),
        .blksize = st->stx_blksize,
    };
}

static int add_inode(struct fs *fs, int fd, struct fuse_entry_out *out, struct inode **node)
{
    struct statx st;
    struct inode *i;
    int rc = fs_stat(fd, &st);

    if (rc < 0) {
        close(fd);
        return rc;
    }
    rc = inodes_add(&fs->inodes, fd, &st, &i);
    if (rc < 0)
        return rc;
    *out = (struct fuse_entry_out){
        .nodeid = inodes_id(&fs->inodes, i),
        .entry_valid = FS_VALID_SECONDS,
        .attr_valid = FS_VALID_SECONDS,
    };
    fs_attr(fs, &st, &out->attr);
    if (node)
        *node = i;
    return 0;
}

int fs_lookup(struct fs *fs, struct inode *dir, const char *name, struct fuse_entry_out *out,
              struct inode **node)
{
    int fd = openat(dir->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

    return fd < 0 ? -errno : add_inode(fs, fd, out, node);
}

int fs_adopt(struct fs *fs, int fd, struct fuse_entry_out *out, struct inode **node)
{
    char num[16];
    int path_fd;

    (void)snprintf(num, sizeof(num), "%d", fd);
    path_fd = openat(fs->proc_fd, num, O_PATH | O_CLOEXEC);
    return path_fd < 0 ? -errno : add_inode(fs, path_fd, out, node);
}

int fs_reopen(struct fs *fs, const struct inode *i, uint32_t type, int flags)
{
    char num[16];
    int fd;

    if (i->type != type) {
        if (type == S_IFDIR)
            return -ENOTDIR;
        return i->type == S_IFDIR ? -EISDIR : i->type == S_IFLNK ? -ELOOP : -ENXIO;
    }
    (void)snprintf(num, sizeof(num), "%d", i->fd);
    /* O_NONBLOCK: not to wait for the holder of a lease. */
    fd = openat(fs->proc_fd, num, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}
