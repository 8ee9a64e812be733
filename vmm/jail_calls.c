/*
 * Which system calls each kind of thread may make, and the filters made of that. One table: adding
 * a call to a device means adding its line here, with its reason. Whatever is not in a thread's
 * list ends the process (SECCOMP_RET_KILL_PROCESS).
 *
 * Nothing here opens a path, makes a process, maps executable memory or changes another process.
 */
#include "vmm/jail.h"

#include "lib/cleanup.h"
#include "lib/io.h"

#include <errno.h>
#include <linux/kvm.h>
#include <sched.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define V (1u << JAIL_VCPU)
#define L (1u << JAIL_LOOP)
/* Device threads: all that the loop may do as well, since it is under their filter, too. */
#define D (1u << JAIL_DEVICE)
/* Workers: reading, writing and closing what is open, and telling the others. */
#define W (1u << JAIL_WORKER)

static const struct {
    int nr;
    unsigned who;
} calls[] = {
    /* The C library: locks, heap (never executable: see below), threads that end, signals. */
    {SCMP_SYS(futex), V | L | W},
    {SCMP_SYS(brk), V | L},
    {SCMP_SYS(munmap), V | L | W},
    {SCMP_SYS(mremap), V | L},
    {SCMP_SYS(madvise), V | L | W},
    {SCMP_SYS(exit), V | L | W},
    {SCMP_SYS(exit_group), V | L},
    {SCMP_SYS(rt_sigreturn), V | L | W},
    {SCMP_SYS(rt_sigprocmask), V | L | W},
    {SCMP_SYS(restart_syscall), V | L | W},
    {SCMP_SYS(sched_yield), V | L},
    {SCMP_SYS(getpid), V | L},
    {SCMP_SYS(gettid), V | L},
    {SCMP_SYS(clock_gettime), V | L}, /* where the vDSO cannot */
    /* A device is activated and reset on a vCPU thread: it may then close what its requests had
     * open, tell a peer, and change what the loop watches. A guest's files are closed by workers.
     */
    {SCMP_SYS(close), V | L | W},
    {SCMP_SYS(shutdown), V | L},
    {SCMP_SYS(epoll_ctl), V | L},
    {SCMP_SYS(sendmsg), V | L},
    /* eventfds; the serial port, whose output is written by the vCPU that makes it. */
    {SCMP_SYS(read), V | L},
    {SCMP_SYS(write), V | L | W},
    {SCMP_SYS(poll), V | L},
    {SCMP_SYS(ftruncate), V | L},
    {SCMP_SYS(lseek), V | L},
    /* The loop. */
    {SCMP_SYS(epoll_wait), L},
    {SCMP_SYS(epoll_pwait), L},
    /* Block devices and shared files. */
    {SCMP_SYS(readv), L},
    {SCMP_SYS(writev), L},
    {SCMP_SYS(pread64), L},
    {SCMP_SYS(pwrite64), L},
    {SCMP_SYS(preadv), L | W},
    {SCMP_SYS(pwritev), L | W},
    {SCMP_SYS(preadv2), L | W},
    {SCMP_SYS(pwritev2), L | W},
    {SCMP_SYS(fdatasync), L | W},
    {SCMP_SYS(fallocate), L | W},
    {SCMP_SYS(fstat), L},
    {SCMP_SYS(newfstatat), L}, /* how the C library does fstat; there is no path to find */
    /* Sockets: control, bulkhead-fs, vsock. None is made but as a connected pair. */
    {SCMP_SYS(accept4), L},
    {SCMP_SYS(socketpair), L},
    {SCMP_SYS(recvmsg), L},
    {SCMP_SYS(recvfrom), L},
    {SCMP_SYS(sendto), L},
    /* Random numbers for the guest. */
    {SCMP_SYS(getrandom), L},
    /* The rests between them; when to look after a guest that said something, on its vCPU. */
    {SCMP_SYS(timerfd_settime), V | L},
    /* Statistics: how much guest RAM is touched. */
    {SCMP_SYS(mincore), L},
    /* A device that starts its own thread, and the loop thread when it narrows itself. */
    {SCMP_SYS(seccomp), D},
    {SCMP_SYS(rt_sigaction), D}, /* the C library's first thread */
    {SCMP_SYS(set_robust_list), D},
    {SCMP_SYS(rseq), D},
    {SCMP_SYS(sigaltstack), D},
    {SCMP_SYS(eventfd2), L},
};

static const struct {
    unsigned long request;
    unsigned who;
} ioctls[] = {
    {KVM_RUN, V},          {KVM_KVMCLOCK_CTRL, V}, /* after a pause */
    {KVM_GET_REGS, V | L}, /* where a vCPU was when it had to be given up; register dumps */
    {KVM_GET_SREGS, L},    {KVM_GET_MP_STATE, L}, /* has the guest powered off? */
};

static int failed(struct err *e, int r)
{
    return err_set(e, -r, "jail: cannot build a seccomp filter: %s", strerror(-r));
}

/* mmap and mprotect of anything but code; signals to ourselves alone, since VMs may share a uid;
 * threads, never processes. */
static int add_special(scmp_filter_ctx ctx, unsigned who)
{
    const struct scmp_arg_cmp no_exec = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
    /* The kernel looks at 32 bits of a pid. */
    const struct scmp_arg_cmp us = SCMP_A0(SCMP_CMP_MASKED_EQ, 0xffffffffu, (uint32_t)getpid());
    const struct scmp_arg_cmp zero = SCMP_A0(SCMP_CMP_MASKED_EQ, 0xffffffffu, 0);
    int r = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, &no_exec);

    if (r == 0)
        r = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, &no_exec);
    /* Kicking vCPUs (pthread_kill). */
    if (r == 0)
        r = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, &us);
    if (r == 0 && (who & D))
        r = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 1, &zero);
    if (r == 0 && (who & D)) {
        const struct scmp_arg_cmp thread = SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD);
        r = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1, &thread);
        /* Its flags are in memory, out of a filter's sight: the C library then uses clone. */
        if (r == 0)
            r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    }
    return r;
}

static int add_rules(scmp_filter_ctx ctx, unsigned who)
{
    int r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a tree, not a list */

    if (r == 0)
        r = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(calls); i++) {
        if (calls[i].who & who)
            r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, calls[i].nr, 0);
    }
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(ioctls); i++) {
        /* The kernel looks at 32 bits of the request. */
        const struct scmp_arg_cmp is =
            SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffffu, ioctls[i].request & 0xffffffffu);
        if (ioctls[i].who & who)
            r = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1, &is);
    }
    return r || who == W ? r : add_special(ctx, who);
}

/* libseccomp writes a program to a descriptor only. */
static int export(scmp_filter_ctx ctx, struct sock_fprog *out, struct err *e)
{
    cleanup_fd int fd = memfd_create("seccomp", MFD_CLOEXEC);
    if (fd < 0)
        return err_errno(e, "jail: memfd_create");
    int r = seccomp_export_bpf(ctx, fd);
    if (r < 0)
        return failed(e, r);
    off_t size = lseek(fd, 0, SEEK_END);
    if (size <= 0 || size > BPF_MAXINSNS * (off_t)sizeof(struct sock_filter))
        return err_set(e, E2BIG, "jail: a seccomp filter of %lld bytes", (long long)size);
    struct sock_filter *code = malloc((size_t)size);
    if (code == NULL)
        return err_set(e, ENOMEM, "jail: no memory for a seccomp filter");
    if (io_pread_full(fd, code, (size_t)size, 0) != size) {
        free(code);
        return err_set(e, EIO, "jail: cannot read a seccomp filter back");
    }
    out->filter = code;
    out->len = (unsigned short)((size_t)size / sizeof(struct sock_filter));
    return 0;
}

static int compile(enum jail_thread t, struct sock_fprog *out, struct err *e)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (ctx == NULL)
        return err_set(e, ENOMEM, "jail: no memory for a seccomp filter");
    int r = add_rules(ctx, t == JAIL_DEVICE ? D | L : 1u << t);
    r = r < 0 ? failed(e, r) : export(ctx, out, e);
    seccomp_release(ctx);
    return r;
}

int jail_init(struct jail *j, struct err *e)
{
    memset(j, 0, sizeof(*j));
    for (unsigned t = 0; t < JAIL_THREADS; t++) {
        int r = compile((enum jail_thread)t, &j->filter[t], e);
        if (r < 0) {
            jail_done(j);
            return r;
        }
    }
    return 0;
}

void jail_done(struct jail *j)
{
    for (unsigned t = 0; t < JAIL_THREADS; t++) {
        free(j->filter[t].filter);
        j->filter[t].filter = NULL;
    }
}

int jail_filter(const struct jail *j, enum jail_thread t, struct err *e)
{
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &j->filter[t]) != 0)
        return err_errno(e, "jail: seccomp");
    return 0;
}
