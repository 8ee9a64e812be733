/* Operations that make, move and remove names: SYMLINK, MKNOD, MKDIR, UNLINK, RMDIR, RENAME, LINK;
 * and READLINK. */
#include "vmm/fs/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define RENAME_KNOWN (RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT)

int op_readlink(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    ssize_t n;

    (void)fs;
    if (rq->node->type != S_IFLNK)
        return -EINVAL;
    n = readlinkat(rq->node->fd, "", (char *)rp->buf, PATH_MAX);
    if (n < 0)
        return -errno;
    rp->len = (size_t)n;
    return 0;
}

/* The reply to a name just made. */
static int put_entry(struct fs *fs, struct fs_request *rq, const char *name, struct fs_reply *rp)
{
    return fs_lookup(fs, rq->node, name, fs_reply_put(rp, sizeof(struct fuse_entry_out)), NULL);
}

int op_symlink(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    const char *name = "", *target = "";
    int rc = reader_name(&rq->body, &name);

    if (rc == 0)
        rc = reader_text(&rq->body, PATH_MAX - 1, &target);
    if (rc == 0)
        rc = reader_end(&rq->body);
    if (rc == 0)
        rc = cred_enter(fs, rq, 0);
    if (rc < 0)
        return rc;
    rc = symlinkat(target, rq->node->fd, name) < 0 ? -errno : 0;
    cred_leave(fs);
    return rc < 0 ? rc : put_entry(fs, rq, name, rp);
}

/* The kernel's new_decode_dev. */
static dev_t decode_dev(uint32_t dev)
{
    return makedev((dev & 0xfff00) >> 8, (dev & 0xff) | ((dev >> 12) & 0xfff00));
}

/* The name after an operation's own structure of len bytes; the ids to make it with are entered. */
static int begin_make(struct fs *fs, struct fs_request *rq, void *in, size_t len,
                      const uint32_t *umask, const char **name)
{
    int rc = reader_take(&rq->body, in, len);

    if (rc == 0)
        rc = reader_name(&rq->body, name);
    if (rc == 0)
        rc = reader_end(&rq->body);
    return rc < 0 ? rc : cred_enter(fs, rq, *umask);
}

int op_mknod(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    struct fuse_mknod_in in = {0};
    const char *name = "";
    int rc = begin_make(fs, rq, &in, sizeof(in), &in.umask, &name);

    if (rc < 0)
        return rc;
    rc = mknodat(rq->node->fd, name, in.mode, decode_dev(in.rdev)) < 0 ? -errno : 0;
    cred_leave(fs);
    return rc < 0 ? rc : put_entry(fs, rq, name, rp);
}

int op_mkdir(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    struct fuse_mkdir_in in = {0};
    const char *name = "";
    int rc = begin_make(fs, rq, &in, sizeof(in), &in.umask, &name);

    if (rc < 0)
        return rc;
    rc = mkdirat(rq->node->fd, name, in.mode & 07777) < 0 ? -errno : 0;
    cred_leave(fs);
    return rc < 0 ? rc : put_entry(fs, rq, name, rp);
}

static int remove_name(struct fs_request *rq, int flags)
{
    const char *name = "";
    int rc = reader_name(&rq->body, &name);

    if (rc == 0)
        rc = reader_end(&rq->body);
    if (rc < 0)
        return rc;
    return unlinkat(rq->node->fd, name, flags) < 0 ? -errno : 0;
}

int op_unlink(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    (void)fs;
    (void)rp;
    return remove_name(rq, 0);
}

int op_rmdir(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    (void)fs;
    (void)rp;
    return remove_name(rq, AT_REMOVEDIR);
}

static int rename_names(struct fs *fs, struct fs_request *rq, uint64_t newdir, uint32_t flags)
{
    struct inode *to = inodes_get(&fs->inodes, newdir);
    const char *name = "", *newname = "";
    int rc = reader_name(&rq->body, &name);

    if (rc == 0)
        rc = reader_name(&rq->body, &newname);
    if (rc == 0)
        rc = reader_end(&rq->body);
    if (rc < 0)
        return rc;
    if (!to)
        return -ESTALE;
    if (flags & ~(uint32_t)RENAME_KNOWN)
        return -EINVAL;
    return renameat2(rq->node->fd, name, to->fd, newname, flags) < 0 ? -errno : 0;
}

int op_rename(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    struct fuse_rename_in in;
    int rc = reader_take(&rq->body, &in, sizeof(in));

    (void)rp;
    return rc < 0 ? rc : rename_names(fs, rq, in.newdir, 0);
}

int op_rename2(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    struct fuse_rename2_in in;
    int rc = reader_take(&rq->body, &in, sizeof(in));

    (void)rp;
    return rc < 0 ? rc : rename_names(fs, rq, in.newdir, in.flags);
}

int op_link(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    struct fuse_link_in in;
    struct inode *old;
    const char *name = "";
    char num[16];
    int rc = reader_take(&rq->body, &in, sizeof(in));

    if (rc == 0)
        rc = reader_name(&rq->body, &name);
    if (rc == 0)
        rc = reader_end(&rq->body);
    if (rc < 0)
        return rc;
    old = inodes_get(&fs->inodes, in.oldnodeid);
    if (!old)
        return -ESTALE;
    (void)snprintf(num, sizeof(num), "%d", old->fd);
    /* Follows the link in /proc, and not what it leads to, should that be a symlink itself. */
    if (linkat(fs->proc_fd, num, rq->node->fd, name, AT_SYMLINK_FOLLOW) < 0)
        return -errno;
    return put_entry(fs, rq, name, rp);
}
