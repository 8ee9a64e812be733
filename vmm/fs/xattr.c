/*
 * Extended attributes. The calls for them take no O_PATH descriptor and have no *at form, so they
 * go by the entry of the descriptor in /proc/self/fd, the server's working directory; its link ends
 * at the file itself, a symlink included. Which attributes may be set is the host kernel's
 * decision by the server's capabilities: user.*, security.capability and POSIX ACLs, not trusted.*.
 */
#include "vmm/fs/fs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#define XATTR_NAME_LEN_MAX 255u /* the kernel's XATTR_NAME_MAX */
#define ACL_PREFIX         "system.posix_acl_"
#define ACL_ACCESS         ACL_PREFIX "access"

static void link_of(const struct inode *i, char out[16])
{
    (void)snprintf(out, 16, "%d", i->fd);
}

/* Where the caller may not keep set-group-ID over a change of the ACL. */
static int kill_sgid(struct fs *fs, const struct inode *i, const char *num)
{
    struct statx st;
    int rc = fs_stat(i->fd, &st);

    if (rc < 0 || !(st.stx_mode & S_ISGID))
        return rc;
    return fchmodat(fs->proc_fd, num, st.stx_mode & 07777 & ~(mode_t)S_ISGID, 0) < 0 ? -errno : 0;
}

int op_setxattr(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    struct fuse_setxattr_in in;
    const char *name = "";
    const void *value = "";
    char num[16];
    int rc = reader_take(&rq->body, &in, sizeof(in));

    (void)rp;
    if (rc == 0)
        rc = reader_text(&rq->body, XATTR_NAME_LEN_MAX, &name);
    if (rc == 0)
        rc = reader_bytes(&rq->body, in.size, &value);
    if (rc == 0)
        rc = reader_end(&rq->body);
    if (rc < 0)
        return rc;
    if (in.flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE))
        return -EINVAL;
    link_of(rq->node, num);
    if (setxattr(num, name, value, in.size, (int)in.flags) < 0)
        return -errno;
    if ((in.setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID) && strcmp(name, ACL_ACCESS) == 0)
        return kill_sgid(fs, rq->node, num);
    return 0;
}

/* The reply to a question for `want` bytes (0 = only how many), answered with n. */
static int put_value(struct fs_reply *rp, ssize_t n, uint32_t want)
{
    if (n < 0)
        return -errno;
    if (want == 0) {
        struct fuse_getxattr_out *out = fs_reply_put(rp, sizeof(*out));
        out->size = (uint32_t)n;
    } else {
        rp->len = (size_t)n;
    }
    return 0;
}

static uint32_t bounded(uint32_t size)
{
    return size < FUSE_WIRE_BODY_MAX ? size : FUSE_WIRE_BODY_MAX;
}

int op_getxattr(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    struct fuse_getxattr_in in;
    const char *name = "";
    char num[16];
    int rc = reader_take(&rq->body, &in, sizeof(in));

    (void)fs;
    if (rc == 0)
        rc = reader_text(&rq->body, XATTR_NAME_LEN_MAX, &name);
    if (rc == 0)
        rc = reader_end(&rq->body);
    if (rc < 0)
        return rc;
    link_of(rq->node, num);
    rc = put_value(rp, getxattr(num, name, rp->buf, bounded(in.size)), in.size);
    /* The guest kernel asks for the ACL to check a permission, and would fail the access if told
     * that this tree has none. */
    if (rc == -EOPNOTSUPP && strncmp(name, ACL_PREFIX, strlen(ACL_PREFIX)) == 0)
        return -ENODATA;
    return rc;
}

int op_listxattr(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    struct fuse_getxattr_in in;
    char num[16];
    int rc = reader_take(&rq->body, &in, sizeof(in));

    (void)fs;
    if (rc == 0)
        rc = reader_end(&rq->body);
    if (rc < 0)
        return rc;
    link_of(rq->node, num);
    return put_value(rp, listxattr(num, (char *)rp->buf, bounded(in.size)), in.size);
}

int op_removexattr(struct fs *fs, struct fs_request *rq, struct fs_reply *rp)
{
    const char *name = "";
    char num[16];
    int rc = reader_text(&rq->body, XATTR_NAME_LEN_MAX, &name);

    (void)fs;
    (void)rp;
    if (rc == 0)
        rc = reader_end(&rq->body);
    if (rc < 0)
        return rc;
    link_of(rq->node, num);
    return removexattr(num, name) < 0 ? -errno : 0;
}
