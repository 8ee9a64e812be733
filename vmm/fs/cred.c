/*
 * Whose files the server makes. The guest kernel has checked permissions; what is left is that new
 * files get the caller's ids and umask, and that set-ID bits fall when they should. The server's
 * capabilities stay as they are meanwhile (SECBIT_NO_SETUID_FIXUP): the caller may have a right by
 * a supplementary group that we do not know of.
 *
 * The state lives in the kernel; every enter has its leave.
 */
#include "vmm/fs/fs.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int cred_init(struct fs *fs, struct err *e)
{
    fs->uid = geteuid();
    fs->gid = getegid();
    umask(0);
    if (fs->uid != 0)
        return 0; /* no capabilities to lose */
    if (prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED, 0, 0, 0) <
        0)
        return err_errno(e, "keep capabilities over changes of the fsuid");
    return 0;
}

/* setfsuid and setfsgid report no errors: asking for an impossible id shows the present one. */
static int become(uint32_t uid, uint32_t gid)
{
    (void)setfsgid(gid);
    (void)setfsuid(uid);
    if ((uint32_t)setfsgid((gid_t)-1) != gid || (uint32_t)setfsuid((uid_t)-1) != uid)
        return -EPERM;
    return 0;
}

int cred_enter(struct fs *fs, const struct fs_request *rq, uint32_t umask_bits)
{
    int rc = 0;

    if (rq->h.uid != fs->uid || rq->h.gid != fs->gid)
        rc = become(rq->h.uid, rq->h.gid);
    if (rc < 0)
        cred_leave(fs);
    else
        umask(umask_bits & 0777);
    return rc;
}

void cred_leave(struct fs *fs)
{
    (void)setfsgid(fs->gid);
    (void)setfsuid(fs->uid);
    umask(0);
}

/* Sets or clears CAP_FSETID in the effective set. 1 when it was there, 0, or -errno. */
static int set_fsetid(bool on)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    bool was;

    if (syscall(SYS_capget, &head, data) < 0)
        return -errno;
    was = data[0].effective & (1u << CAP_FSETID);
    if (was == on)
        return was;
    if (on)
        data[0].effective |= 1u << CAP_FSETID;
    else
        data[0].effective &= ~(1u << CAP_FSETID);
    return syscall(SYS_capset, &head, data) < 0 ? -errno : was;
}

int cred_drop_fsetid(void)
{
    return set_fsetid(false);
}

int cred_restore_fsetid(int was)
{
    int rc = was > 0 ? set_fsetid(true) : 0;

    return rc < 0 ? rc : 0;
}
