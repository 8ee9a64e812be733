/*
 * Opening and closing regular files: OPEN, CREATE, TMPFILE, RELEASE.
 *
 * Only regular files are ever opened. The guest kernel handles device nodes, FIFOs and sockets
 * itself and never asks for them; a hostile one that does is refused, since opening a device or a
 * FIFO of the host acts on the host.
 */
#include "vmm/fs/fs.h"

#include "lib/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/statfs.h>
#include <time.h>

/*
 * O_APPEND and O_SYNC are not taken over: the VMM applies them to each write that has them, since
 * the guest also uses a descriptor to write back mapped pages, which must go where they belong.
 * O_DIRECT is the guest's own affair.
 */
#define OPEN_FLAGS (O_ACCMODE | O_TRUNC | O_NOATIME)

/* How often CREATE tries again when another process makes or removes the name meanwhile. */
#define CREATE_TRIES 3

/*
 * Timestamps of a file that changed less than this ago prove nothing: it may change again within
 * the clock's granularity (2 s on the worst file systems).
 */
#define STAMP_SETTLED_NS 2000000000ll

static int64_t timestamp_ns(const struct statx_timestamp *t)
{
    return t->tv_sec * 1000000000ll + t->tv_nsec;
}

/*
 * Whether the guest may keep the pages it has of this file: yes when nothing has changed since an
 * earlier open whose stamp could be trusted.
 */
static bool unchanged(struct inode *i, int fd)
{
    struct inode_stamp now;
    struct timespec clock;
    struct statx st;
    bool same;

    if (fs_stat(fd, &st) < 0 || clock_gettime(CLOCK_REALTIME, &clock) < 0)
        return false;
    now = (struct inode_stamp){
        .mtime_ns = timestamp_ns(&st.stx_mtime),
        .ctime_ns = timestamp_ns(&st.stx_ctime),
        .size = st.stx_size,
    };
    same = i->seen.mtime_ns != 0 && i->seen.mtime_ns == now.mtime_ns &&
           i->seen.ctime_ns == now.ctime_ns && i->seen.size == now.size;
    if (now.ctime_ns > clock.tv_sec * 1000000000ll + clock.tv_nsec - STAMP_SETTLED_NS)
        now.mtime_ns = 0;
    i->seen = now;
    return same;
}

/*
 * Whether closing the file can tell of an error that writing did not: so it is with file systems
 * of the network and of user space, whose types are many, and not with these.
 */
static bool close_is_silent(int fd)
{
    static const uint32_t local[] = {
        EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC,
        F2FS_SUPER_MAGIC, TMPFS_MAGIC,     OVERLAYFS_SUPER_MAGIC,
    };
    struct statfs st;

    if (fstatfs(fd, &st) < 0)
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(local); i++) {
        if ((uint32_t)st.f_type == local[i])
            return true;
    }
    return false;
}

/* Takes fd. */
static int put_open(struct fs *fs, struct inode *i, int fd, uint32_t flags, struct fs_reply *rp)
{
    struct fuse_open_out *out = fs_reply_put(rp, sizeof(*out));
    bool keep = unchanged(i, fd);
    int rc = handles_add(&fs->handles, HANDLE_FILE, fd, &out->fh);

    if (rc < 0)
        return rc;
    if (keep)
        out->open_flags |= FOPEN_KEEP_CACHE;
    /* Saves a request for each close(2). */
    if ((flags & O_ACCMODE) == O_RDONLY || close_is_silent(fd))
        out->open_flags |= FOPEN_NOFLUSH;
    rp->fd = fd;
    return 0;
}

static int open_inode(struct fs *fs, struct inode *i, uint32_t flags, uint32_t open_flags)
{
    int fd, rc, fsetid = 0;

    if ((flags & O_ACCMODE) == O_ACCMODE)
        return -EINVAL;
    if ((flags & O_TRUNC) && (open_flags & FUSE_OPEN_KILL_SUIDGID))
        fsetid = cred_drop_fsetid();
    if (fsetid < 0)
        return fsetid;
    fd = fs_reopen(fs, i, S_IFREG, (int)(flags & OPEN_FLAGS));
    rc = cred_restore_fsetid(fsetid);
    if (rc < 0) {
        close_fd(&fd);
        return rc;
    }
    return fd;
}

int op_open(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    struct fuse_open_in in;
    int fd, rc = reader_take(&rq->body, &in, sizeof(in));

    if (rc == 0)
        rc = reader_end(&rq->body);
    if (rc < 0)
        return rc;
    fd = open_inode(fs, rq->node, in.flags, in.open_flags);
    return fd < 0 ? fd : put_open(fs, rq->node, fd, in.flags, rp);
}

/*
 * Makes the file, or opens one that is there already, which the guest did not know of. In two
 * steps, because O_CREAT without O_EXCL would open whatever is there, a FIFO or a device included.
 * fd or -errno.
 */
static int create_or_open(struct fs *fs, struct fs_request *rq, const struct fuse_create_in *in,
                          const char *name, struct fuse_entry_out *entry, struct inode **node)
{
    int flags = (int)(in->flags & OPEN_FLAGS & ~(uint32_t)O_TRUNC);
    int fd, rc;

    rc = cred_enter(fs, rq, in->umask);
    if (rc < 0)
        return rc;
    fd = openat(rq->node->fd, name,
                flags | O_CREAT | O_EXCL | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
                in->mode & 07777);
    rc = errno;
    cred_leave(fs);
    if (fd >= 0) {
        rc = fs_adopt(fs, fd, entry, node);
        if (rc == 0)
            return fd;
        close(fd);
        return rc;
    }
    if (rc != EEXIST || (in->flags & O_EXCL))
        return -rc;
    rc = fs_lookup(fs, rq->node, name, entry, node);
    if (rc < 0)
        return rc == -ENOENT ? -EAGAIN : rc;
    fd = open_inode(fs, *node, in->flags, in->open_flags);
    if (fd < 0)
        inodes_forget(&fs->inodes, entry->nodeid, 1);
    /* Not a file: ESTALE makes the guest look the name up and decide again. */
    return fd == -ELOOP || fd == -ENXIO ? -ESTALE : fd;
}

/* Takes fd. The lookup counted in entry is given back when the handle cannot be had. */
static int put_create(struct fs *fs, const struct fuse_entry_out *entry, struct inode *node, int fd,
                      uint32_t flags, struct fs_reply *rp)
{
    int rc = put_open(fs, node, fd, flags, rp);

    if (rc < 0)
        inodes_forget(&fs->inodes, entry->nodeid, 1);
    return rc;
}

int op_create(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    struct fuse_entry_out *entry = fs_reply_put(rp, sizeof(*entry));
    struct fuse_create_in in;
    struct inode *node = rq->node;
    const char *name = "";
    int fd = -EAGAIN, rc = reader_take(&rq->body, &in, sizeof(in));

    if (rc == 0)
        rc = reader_name(&rq->body, &name);
    if (rc == 0)
        rc = reader_end(&rq->body);
    if (rc < 0)
        return rc;
    if ((in.flags & O_ACCMODE) == O_ACCMODE)
        return -EINVAL;
    for (int i = 0; i < CREATE_TRIES && fd == -EAGAIN; i++)
        fd = create_or_open(fs, rq, &in, name, entry, &node);
    return fd < 0 ? fd : put_create(fs, entry, node, fd, in.flags, rp);
}

int op_tmpfile(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    struct fuse_entry_out *entry = fs_reply_put(rp, sizeof(*entry));
    struct fuse_create_in in;
    struct inode *node = rq->node;
    char num[16];
    int fd, rc = reader_take(&rq->body, &in, sizeof(in));

    /* A name follows, which means nothing. */
    if (rc < 0)
        return rc;
    if ((in.flags & O_ACCMODE) != O_WRONLY && (in.flags & O_ACCMODE) != O_RDWR)
        return -EINVAL;
    if (rq->node->type != S_IFDIR)
        return -ENOTDIR;
    rc = cred_enter(fs, rq, in.umask);
    if (rc < 0)
        return rc;
    (void)snprintf(num, sizeof(num), "%d", rq->node->fd);
    fd = openat(fs->proc_fd, num,
                (int)(in.flags & (O_ACCMODE | O_EXCL)) | O_TMPFILE | O_NOCTTY | O_CLOEXEC,
                in.mode & 07777);
    rc = fd < 0 ? -errno : 0;
    cred_leave(fs);
    if (rc < 0)
        return rc;
    rc = fs_adopt(fs, fd, entry, &node);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    return put_create(fs, entry, node, fd, in.flags, rp);
}

int op_release(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    struct fuse_release_in in;
    int rc = reader_take(&rq->body, &in, sizeof(in));

    (void)rp;
    return rc < 0 ? rc : handles_release(&fs->handles, HANDLE_FILE, in.fh);
}
