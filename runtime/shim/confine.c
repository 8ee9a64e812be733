/*
 * The shim's jail. Around it are already an own mount namespace that holds the container's tree and
 * mounts and nothing else, and own pid, IPC and UTS namespaces. Here go the capabilities, privilege
 * gain, and all system calls but those of a relay over descriptors it holds: it can open, create,
 * map, signal and start nothing.
 *
 * The user id stays the caller's: every file that it could own is out of reach, and any other id
 * would let the host's processes of that id signal and trace it. It stays dumpable (without core
 * files) for the same reason clients need: a rootless client reads /proc/PID/root and ns/ of it.
 */
#include "runtime/shim/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
/* cppcheck-suppress preprocessorErrorDirective */
#error "say here which AUDIT_ARCH_* this machine is"
#endif
#define X32_BIT         0x40000000u /* x86-64: the other numbering of the same calls */
#define DESCRIPTORS_MAX 32

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define RETURN(v)   BPF_STMT(BPF_RET | BPF_K, (v))
#define ALLOW(name)                                                                                \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_##name, 0, 1), RETURN(SECCOMP_RET_ALLOW)
/* The call is allowed with one value of its second argument; it leaves the filter either way. */
#define ALLOW_ARG1(name, value)                                                                    \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_##name, 0, 4), LOAD(args[1]),                         \
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), 0, 1), RETURN(SECCOMP_RET_ALLOW),             \
        RETURN(SECCOMP_RET_KILL_PROCESS)

static const struct sock_filter filter[] = {
    LOAD(arch),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0),
    RETURN(SECCOMP_RET_KILL_PROCESS),
    LOAD(nr),
    BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1),
    RETURN(SECCOMP_RET_KILL_PROCESS),
    /* the relay, the most frequent first */
    ALLOW(ppoll),
    ALLOW(splice),
    ALLOW(recvfrom),
    ALLOW(sendto),
    ALLOW(read),
    ALLOW(write),
    ALLOW(clock_gettime),
    ALLOW(shutdown),
    ALLOW(close),
    ALLOW_ARG1(ioctl, TIOCGWINSZ),
    /* taking the connections, looking at what they are, last words */
    ALLOW(recvmsg),
    ALLOW(fstat),
    ALLOW(newfstatat), /* glibc's fstat */
    ALLOW_ARG1(fcntl, F_GETFL),
    ALLOW(pread64),
    /* the end */
    ALLOW(exit_group),
    ALLOW(exit),
    ALLOW(restart_syscall),
    RETURN(SECCOMP_RET_KILL_PROCESS),
};

static int limit(void)
{
    static const struct {
        int what;
        rlim_t value;
    } limits[] = {
        {RLIMIT_CORE, 0},     {RLIMIT_NOFILE, DESCRIPTORS_MAX},
        {RLIMIT_NPROC, 0},    {RLIMIT_MEMLOCK, 0},
        {RLIMIT_MSGQUEUE, 0},
    };

    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        struct rlimit now;

        if (getrlimit(limits[i].what, &now) < 0)
            return -errno;
        /* never above a hard limit that is there: that would want a privilege */
        if (now.rlim_max < limits[i].value)
            continue;
        now.rlim_cur = now.rlim_max = limits[i].value;
        if (setrlimit(limits[i].what, &now) < 0)
            return -errno;
    }
    return 0;
}

static int drop_capabilities(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0, 0, 0}};

    /* a caller without CAP_SETPCAP keeps its bounding set: without exec it grants nothing */
    for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++) {
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && errno != EPERM)
            return -errno;
    }
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL)
        return -errno;
    return syscall(SYS_capset, &head, none) < 0 ? -errno : 0;
}

int confine_enter(const char **what)
{
    struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]),
                                 .filter = (struct sock_filter *)(unsigned long)filter};
    int r;

    *what = "resource limits";
    r = limit();
    if (r < 0)
        return r;
    *what = "capabilities";
    r = drop_capabilities();
    if (r < 0)
        return r;
    *what = "no_new_privs";
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    *what = "seccomp";
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0)
        return -errno;
    return 0;
}
