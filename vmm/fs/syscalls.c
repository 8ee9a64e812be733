/*
 * The system calls the server may make once it serves; any other ends the process. Which operation
 * needs a call stands beside it.
 */
#include "vmm/fs/jail.h"

#include "lib/cleanup.h"

#include <errno.h>
#include <seccomp.h>
#include <string.h>
#include <sys/mman.h>

static const int allowed[] = {
    /* server.c: requests, replies, and opened files with them */
    SCMP_SYS(recvfrom),
    SCMP_SYS(sendmsg),
    SCMP_SYS(close),
    /* the log's last words, and the C library's look for a time zone before them */
    SCMP_SYS(write),
    SCMP_SYS(newfstatat),
    /* attr.c */
    SCMP_SYS(openat),
    SCMP_SYS(statx),
    SCMP_SYS(fstatfs),
    SCMP_SYS(ftruncate),
    SCMP_SYS(fchownat),
    SCMP_SYS(fchmodat),
    SCMP_SYS(utimensat),
    /* open.c: whether a file's times have settled */
    SCMP_SYS(clock_gettime),
    /* file.c */
    SCMP_SYS(dup),
    SCMP_SYS(fsync),
    SCMP_SYS(fdatasync),
    SCMP_SYS(syncfs),
    SCMP_SYS(fallocate),
    SCMP_SYS(lseek),
    SCMP_SYS(copy_file_range),
    /* dir.c */
    SCMP_SYS(getdents64),
    /* name.c */
    SCMP_SYS(readlinkat),
    SCMP_SYS(symlinkat),
    SCMP_SYS(mknodat),
    SCMP_SYS(mkdirat),
    SCMP_SYS(unlinkat),
    SCMP_SYS(renameat), /* what the C library makes of renameat2 without flags */
    SCMP_SYS(renameat2),
    SCMP_SYS(linkat),
    /* xattr.c */
    SCMP_SYS(setxattr),
    SCMP_SYS(getxattr),
    SCMP_SYS(listxattr),
    SCMP_SYS(removexattr),
    /* cred.c */
    SCMP_SYS(setfsuid),
    SCMP_SYS(setfsgid),
    SCMP_SYS(umask),
    SCMP_SYS(capget),
    SCMP_SYS(capset),
    /* the C library: memory, the way out */
    SCMP_SYS(brk),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(exit_group),
};

static int add_rules(scmp_filter_ctx ctx)
{
    int rc = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);

    for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(allowed); i++)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed[i], 0);
    /* No memory is ever made executable. */
    if (rc == 0)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
                              SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    return rc == 0 ? seccomp_load(ctx) : rc;
}

int jail_seccomp(struct err *e)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
    int rc;

    if (!ctx)
        return err_set(e, ENOMEM, "no memory for a system call filter");
    rc = add_rules(ctx);
    seccomp_release(ctx);
    return rc < 0 ? err_set(e, -rc, "load the system call filter: %s", strerror(-rc)) : 0;
}
