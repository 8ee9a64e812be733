/*
 * Inside the file server: its state, a request and its reply, and the operations.
 *
 * The server is one thread that takes one request at a time, so operations need no locks. Paths
 * are never used: every operation starts at a descriptor the inode or handle table holds and takes
 * at most one checked name from there, never following a symlink. What O_PATH descriptors do not
 * allow themselves (open, chmod, xattrs) goes through /proc/self/fd, which the server opened before
 * it lost sight of /proc, and which is its working directory, since xattr calls have no *at form.
 */
#ifndef BULKHEAD_FS_FS_H
#define BULKHEAD_FS_FS_H

#include "lib/fuse_wire.h"
#include "vmm/fs/handle.h"
#include "vmm/fs/inode.h"
#include "vmm/fs/reader.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * How long the guest may believe names and attributes, in seconds. Host processes look into and
 * change the tree while the container runs, and there is no way to tell the guest of it: so a
 * change made on the host is seen in the guest after at most this time, and at once by an open.
 * Long enough that a path walk or a build does not ask for each component again and again. Names
 * that do not exist are not remembered at all.
 */
#define FS_VALID_SECONDS 1u

struct fs {
    int sock;
    int proc_fd;  /* /proc/self/fd */
    bool running; /* between INIT and DESTROY */
    struct inodes inodes;
    struct handles handles;
    uint32_t uid, gid;        /* the server's own */
    uint8_t *request, *reply; /* FUSE_WIRE_REQUEST_MAX, _REPLY_MAX bytes */
};

struct fs_request {
    struct fuse_in_header h;
    struct reader body;
    struct inode *node; /* of h.nodeid; not NULL */
};

/* A reply's body under construction. */
struct fs_reply {
    uint8_t *buf;
    size_t len, cap;
    int fd; /* borrowed; goes with the reply; -1 = none */
};

/* An operation returns 0 or -errno; after an error what is in the reply does not count. */
typedef int fs_op(struct fs *fs, struct fs_request *rq, struct fs_reply *rp);

/* node.c */
/* len zeroed bytes at the end of the reply; the buffer is larger than any fixed reply. */
void *fs_reply_put(struct fs_reply *rp, size_t len);
int fs_stat(int fd, struct statx *out) must_check;
void fs_attr(struct fs *fs, const struct statx *st, struct fuse_attr *out);
/* Looks a checked name up and counts the lookup. Fills *out and, if wanted, *node. */
int fs_lookup(struct fs *fs, struct inode *dir, const char *name, struct fuse_entry_out *out,
              struct inode **node) must_check;
/* The same for a file that is open (O_PATH or not) and may have no name. */
int fs_adopt(struct fs *fs, int fd, struct fuse_entry_out *out, struct inode **node) must_check;
/* Opens the file of an inode, which must be of type S_IFREG or S_IFDIR. fd or -errno. */
int fs_reopen(struct fs *fs, const struct inode *i, uint32_t type, int flags) must_check;

/* attr.c */
fs_op op_lookup, op_getattr, op_setattr, op_statfs;
fs_op op_forget, op_batch_forget; /* the server sends no reply */

/* open.c */
fs_op op_open, op_create, op_tmpfile, op_release;

/* file.c */
fs_op op_flush, op_fsync, op_fsyncdir, op_syncfs, op_fallocate, op_lseek, op_copy_file_range;

/* dir.c */
fs_op op_opendir, op_readdir, op_readdirplus, op_releasedir;

/* name.c */
fs_op op_readlink, op_symlink, op_mknod, op_mkdir, op_unlink, op_rmdir, op_rename, op_rename2,
    op_link;

/* xattr.c */
fs_op op_setxattr, op_getxattr, op_listxattr, op_removexattr;

/* cred.c */
/* Keeps capabilities when the fsuid changes. 0 or -errno. */
int cred_init(struct fs *fs, struct err *e) must_check;
/*
 * Until cred_leave, new files belong to the caller of the request, and its umask applies (where a
 * default ACL does not override it). 0, or -EPERM when these ids cannot be had.
 */
int cred_enter(struct fs *fs, const struct fs_request *rq, uint32_t umask_bits) must_check;
void cred_leave(struct fs *fs);
/* Without CAP_FSETID the kernel clears set-user-ID and set-group-ID bits when a file changes.
 * 1 when it was there, 0, or -errno: then the file must not be changed. */
int cred_drop_fsetid(void) must_check;
/* was: what cred_drop_fsetid returned. 0 or -errno. */
int cred_restore_fsetid(int was) must_check;

#endif
