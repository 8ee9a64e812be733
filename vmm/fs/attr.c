/* Operations on names and attributes: LOOKUP, FORGET, GETATTR, SETATTR, STATFS. */
#include "vmm/fs/fs.h"

#include "lib/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/statfs.h>

int op_lookup(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    const char *name;
    int rc = reader_name(&rq->body, &name);

    if (rc == 0)
        rc = reader_end(&rq->body);
    if (rc < 0)
        return rc;
    return fs_lookup(fs, rq->node, name, fs_reply_put(rp, sizeof(struct fuse_entry_out)), NULL);
}

int op_forget(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    struct fuse_forget_in in;
    int rc = reader_take(&rq->body, &in, sizeof(in));

    (void)rp;
    if (rc == 0)
        inodes_forget(&fs->inodes, rq->h.nodeid, in.nlookup);
    return rc;
}

int op_batch_forget(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    struct fuse_batch_forget_in in;
    struct fuse_forget_one one;
    int rc = reader_take(&rq->body, &in, sizeof(in));

    (void)rp;
    while (rc == 0 && in.count-- > 0) {
        rc = reader_take(&rq->body, &one, sizeof(one));
        if (rc == 0)
            inodes_forget(&fs->inodes, one.nodeid, one.nlookup);
    }
    return rc;
}

static int put_attr(struct fs *fs, int fd, struct fs_reply *rp)
{
    struct fuse_attr_out *out = fs_reply_put(rp, sizeof(*out));
    struct statx st;
    int rc = fs_stat(fd, &st);

    if (rc < 0)
        return rc;
    out->attr_valid = FS_VALID_SECONDS;
    fs_attr(fs, &st, &out->attr);
    return 0;
}

int op_getattr(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    struct fuse_getattr_in in;
    int rc = reader_take(&rq->body, &in, sizeof(in));

    if (rc == 0)
        rc = reader_end(&rq->body);
    /* A handle adds nothing: the inode of an open file is known by its node id. */
    return rc < 0 ? rc : put_attr(fs, rq->node->fd, rp);
}

static int set_size(struct fs *fs, struct inode *i, const struct fuse_setattr_in *in)
{
    cleanup_fd int own = -1;
    int fd, rc, fsetid = 0;

    if (in->size > INT64_MAX)
        return -EFBIG;
    if (in->valid & FATTR_FH) {
        struct handle *h = handles_get(&fs->handles, HANDLE_FILE, in->fh);
        if (!h)
            return -EBADF;
        fd = h->fd;
    } else {
        own = fs_reopen(fs, i, S_IFREG, O_WRONLY);
        if (own < 0)
            return own;
        fd = own;
    }
    if (in->valid & FATTR_KILL_SUIDGID)
        fsetid = cred_drop_fsetid();
    if (fsetid < 0)
        return fsetid;
    rc = ftruncate(fd, (off_t)in->size) < 0 ? -errno : 0;
    fsetid = cred_restore_fsetid(fsetid);
    return rc < 0 ? rc : fsetid;
}

static int set_owner(struct inode *i, const struct fuse_setattr_in *in)
{
    uid_t uid = in->valid & FATTR_UID ? in->uid : (uid_t)-1;
    gid_t gid = in->valid & FATTR_GID ? in->gid : (gid_t)-1;

    if (fchownat(i->fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    return 0;
}

/* One of the two times: omitted, now, or as given. */
static int choose_time(const struct fuse_setattr_in *in, uint32_t set, uint32_t now, uint64_t sec,
                       uint32_t nsec, struct timespec *out)
{
    if (!(in->valid & set)) {
        *out = (struct timespec){.tv_nsec = UTIME_OMIT};
    } else if (in->valid & now) {
        *out = (struct timespec){.tv_nsec = UTIME_NOW};
    } else {
        if (nsec >= 1000000000u)
            return -EINVAL;
        *out = (struct timespec){.tv_sec = (time_t)sec, .tv_nsec = nsec};
    }
    return 0;
}

static int set_times(struct inode *i, const struct fuse_setattr_in *in)
{
    struct timespec t[2];
    int rc = choose_time(in, FATTR_ATIME, FATTR_ATIME_NOW, in->atime, in->atimensec, &t[0]);

    if (rc == 0)
        rc = choose_time(in, FATTR_MTIME, FATTR_MTIME_NOW, in->mtime, in->mtimensec, &t[1]);
    if (rc < 0)
        return rc;
    return utimensat(i->fd, "", t, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

static int set_mode(struct fs *fs, struct inode *i, uint32_t mode)
{
    char num[16];

    if (i->type == S_IFLNK)
        return -EOPNOTSUPP;
    (void)snprintf(num, sizeof(num), "%d", i->fd);
    return fchmodat(fs->proc_fd, num, mode & 07777, 0) < 0 ? -errno : 0;
}

int op_setattr(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    struct fuse_setattr_in in;
    int rc = reader_take(&rq->body, &in, sizeof(in));

    if (rc == 0)
        rc = reader_end(&rq->body);
    if (rc == 0 && (in.valid & (FATTR_UID | FATTR_GID)))
        rc = set_owner(rq->node, &in);
    /* After the owner: a change of that clears the set-ID bits. */
    if (rc == 0 && (in.valid & FATTR_MODE))
        rc = set_mode(fs, rq->node, in.mode);
    if (rc == 0 && (in.valid & FATTR_SIZE))
        rc = set_size(fs, rq->node, &in);
    if (rc == 0 && (in.valid & (FATTR_ATIME | FATTR_MTIME)))
        rc = set_times(rq->node, &in);
    return rc < 0 ? rc : put_attr(fs, rq->node->fd, rp);
}

int op_statfs(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    struct fuse_statfs_out *out = fs_reply_put(rp, sizeof(*out));
    struct statfs st;

    (void)fs;
    if (fstatfs(rq->node->fd, &st) < 0)
        return -errno;
    out->st = (struct fuse_kstatfs){
        .blocks = (uint64_t)st.f_blocks,
        .bfree = (uint64_t)st.f_bfree,
        .bavail = (uint64_t)st.f_bavail,
        .files = (uint64_t)st.f_files,
        .ffree = (uint64_t)st.f_ffree,
        .bsize = (uint32_t)st.f_bsize,
        .namelen = (uint32_t)st.f_namelen,
        .frsize = (uint32_t)st.f_frsize,
    };
    return 0;
}
