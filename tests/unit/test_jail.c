/*
 * The VMM's jail, entered for real in child processes: what is gone afterwards, and that each
 * thread's list of system calls holds. Needs root (or user namespaces) and says so.
 */
#include "vmm/jail.h"

#include "cmocka_all.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define JAIL_UID 54321

/* Whether this process may make namespaces; where it may not, the tests that need them say SKIP. */
static bool able;
#define NEEDS_NAMESPACES                                                                           \
    do {                                                                                           \
        if (!able)                                                                                 \
            skip_because("it may not make namespaces");                                            \
    } while (0)

/* Runs f in a child; returns its exit status, or 1000 + n when signal n ended it. */
static int in_child(int (*f)(void))
{
    int st;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        /* Not _exit: the sanitizers make calls of their own in it, which the filters forbid. And
         * the only call to end with that every filter allows. */
        syscall(SYS_exit, f());
    }
    assert_int_equal(waitpid(pid, &st, 0), pid);
    return WIFSIGNALED(st) ? 1000 + WTERMSIG(st) : WEXITSTATUS(st);
}

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            dprintf(2, "%s:%d: %s: %s\n", __FILE__, __LINE__, #cond, strerror(errno));             \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

static uint32_t wanted_uid(void)
{
    return geteuid() == 0 ? JAIL_UID : 0;
}

static int enter(struct jail *j)
{
    struct err e = ERR_INIT;

    if (jail_init(j, &e) < 0 || jail_enter(wanted_uid(), wanted_uid(), &e) < 0) {
        dprintf(2, "%s\n", e.msg);
        return 1;
    }
    return 0;
}

static int child_only_plan_fds(void)
{
    struct plan p;
    struct err e = ERR_INIT;
    int keep = fcntl(0, F_DUPFD, 200), disk = fcntl(0, F_DUPFD, 37);
    int gone[] = {fcntl(0, F_DUPFD, 3),   fcntl(0, F_DUPFD, 36),  fcntl(0, F_DUPFD, 38),
                  fcntl(0, F_DUPFD, 199), fcntl(0, F_DUPFD, 201), fcntl(0, F_DUPFD, 900)};

    plan_init(&p);
    p.kvm_fd = keep;
    p.kernel_fd = keep; /* twice in the plan is still once */
    p.ndevices = 1;
    p.devices[0].type = PLAN_BLK;
    p.devices[0].fd[0] = disk;
    CHECK(jail_close_others(&p, &e) == 0);
    CHECK(fcntl(keep, F_GETFD) >= 0 && fcntl(disk, F_GETFD) >= 0 && fcntl(2, F_GETFD) >= 0);
    for (size_t i = 0; i < sizeof(gone) / sizeof(gone[0]); i++)
        CHECK(fcntl(gone[i], F_GETFD) < 0 && errno == EBADF);
    return 0;
}

static int child_has_nothing(void)
{
    struct jail j;
    struct stat st;
    struct rlimit l;

    CHECK(enter(&j) == 0);
    CHECK(stat("/proc", &st) < 0 && errno == ENOENT);
    CHECK(stat("/etc", &st) < 0 && errno == ENOENT);
    CHECK(open("/x", O_CREAT | O_RDWR, 0600) < 0 && (errno == EROFS || errno == EACCES));
    CHECK(chdir("..") == 0 && stat("proc", &st) < 0);
    if (wanted_uid() != 0) {
        CHECK(getuid() == JAIL_UID && getgid() == JAIL_UID && getgroups(0, NULL) == 0);
        CHECK(setuid(0) < 0 && setgid(0) < 0);
    }
    CHECK(capng_get_caps_process() == 0);
    CHECK(capng_have_capabilities(CAPNG_SELECT_ALL) == CAPNG_NONE);
    CHECK(prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN, 0, 0, 0) == 0);
    CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
    CHECK(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0);
    CHECK(unshare(CLONE_NEWNS) < 0 && errno == EPERM);
    CHECK(getrlimit(RLIMIT_CORE, &l) == 0 && l.rlim_max == 0);
    /* A network of its own, with nothing in it. */
    int s = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_storage to = {.ss_family = AF_INET};
    CHECK(s >= 0 && connect(s, (struct sockaddr *)&to, 16) < 0 && errno == ENETUNREACH);
    jail_done(&j);
    return 0;
}

/* What a loop thread lives on still works. */
static int child_loop_lives(void)
{
    struct jail j;
    struct err e = ERR_INIT;
    int pair[2], efd = eventfd(0, 0), ep = epoll_create1(0);
    int timer = timerfd_create(CLOCK_MONOTONIC, 0);
    const struct itimerspec soon = {.it_value.tv_nsec = 1};
    struct epoll_event ev = {.events = EPOLLIN};
    uint64_t count;
    char c;

    CHECK(enter(&j) == 0);
    CHECK(jail_filter(&j, JAIL_DEVICE, &e) == 0);
    CHECK(jail_filter(&j, JAIL_LOOP, &e) == 0);
    CHECK(timerfd_settime(timer, 0, &soon, NULL) == 0);
    CHECK(read(timer, &count, sizeof(count)) == sizeof(count));
    CHECK(pthread_kill(pthread_self(), 0) == 0);
    CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, efd, &ev) == 0);
    CHECK(eventfd_write(efd, 1) == 0 && epoll_wait(ep, &ev, 1, -1) == 1);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    CHECK(send(pair[0], "x", 1, 0) == 1 && recv(pair[1], &c, 1, 0) == 1);
    void *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char seen[256];
    CHECK(p != MAP_FAILED && mincore(p, 1 << 20, seen) == 0 && munmap(p, 1 << 20) == 0);
    return 0;
}

/* Between the two filters a device may start a thread: the C library asks for clone3, is told that
 * there is none, and uses clone. (Made to fail here, since the sanitizers do more in a thread than
 * the filters allow.) */
static int child_device_thread(void)
{
    struct jail j;
    struct err e = ERR_INIT;

    CHECK(enter(&j) == 0);
    CHECK(jail_filter(&j, JAIL_DEVICE, &e) == 0);
    CHECK(syscall(SYS_clone3, NULL, 0) < 0 && errno == ENOSYS);
    CHECK(syscall(SYS_clone, CLONE_THREAD, 0, 0, 0, 0) < 0 && errno == EINVAL);
    CHECK(jail_no_threads(&e) == 0);
    CHECK(jail_filter(&j, JAIL_LOOP, &e) == 0);
    return 0;
}

/* Each forbidden call, in a child of its own, under each filter. */
static enum jail_thread forbidden_thread;
static unsigned forbidden_call;

static void make_call(unsigned n)
{
    switch (n) {
    case 0:
        syscall(SYS_openat, AT_FDCWD, "/", O_RDONLY, 0);
        break;
    case 1:
        syscall(SYS_execve, "/bin/sh", NULL, NULL);
        break;
    case 2:
        syscall(SYS_fork);
        break;
    case 3:
        syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);
        break;
    case 4:
        syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        break;
    case 5:
        syscall(SYS_kill, 1, 0);
        break;
    case 6:
        syscall(SYS_ptrace, 0, 0, 0, 0);
        break;
    case 7:
        syscall(SYS_ioctl, 0, 0x5412 /* TIOCSTI */, "x");
        break;
    case 8:
        syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
        break;
    case 9:
        syscall(SYS_io_uring_setup, 1, NULL);
        break;
    case 10:
        syscall(SYS_process_vm_writev, 1, NULL, 0, NULL, 0, 0);
        break;
    case 11:
        syscall(SYS_setuid, 0);
        break;
    case 12:
        syscall(SYS_dup, 0);
        break;
    case 13:
        syscall(SYS_tgkill, 1, 1, 0);
        break;
    case 14:
        syscall(SYS_prlimit64, 1, RLIMIT_CORE, NULL, NULL);
        break;
    case 15:
        syscall(SYS_fcntl, 0, F_SETOWN, 1);
        break;
    case 16:
        syscall(SYS_setsockopt, 0, 0, 0, NULL, 0);
        break;
    }
}
#define FORBIDDEN_CALLS 17

static int child_forbidden(void)
{
    struct jail j;
    struct err e = ERR_INIT;

    CHECK(enter(&j) == 0);
    CHECK(jail_filter(&j, forbidden_thread, &e) == 0);
    make_call(forbidden_call);
    return 0; /* alive: the filter let it pass */
}

static void test_only_plan_fds(void **state)
{
    (void)state;
    assert_int_equal(in_child(child_only_plan_fds), 0);
}

static void test_has_nothing(void **state)
{
    (void)state;
    NEEDS_NAMESPACES;
    assert_int_equal(in_child(child_has_nothing), 0);
}

static void test_loop_lives(void **state)
{
    (void)state;
    NEEDS_NAMESPACES;
    assert_int_equal(in_child(child_loop_lives), 0);
}

static void test_device_thread(void **state)
{
    (void)state;
    NEEDS_NAMESPACES;
    assert_int_equal(in_child(child_device_thread), 0);
}

static void test_forbidden(void **state)
{
    (void)state;
    NEEDS_NAMESPACES;
    for (unsigned t = 0; t < JAIL_THREADS; t++) {
        for (forbidden_call = 0; forbidden_call < FORBIDDEN_CALLS; forbidden_call++) {
            forbidden_thread = (enum jail_thread)t;
            int st = in_child(child_forbidden);
            if (st != 1000 + SIGSYS)
                fail_msg("thread kind %u, call %u: status %d", t, forbidden_call, st);
        }
    }
}

/* A vCPU thread may do less than the loop: no files, no sockets but those it has. */
static int child_vcpu_no_files(void)
{
    struct jail j;
    struct err e = ERR_INIT;
    char c;

    CHECK(enter(&j) == 0);
    CHECK(jail_filter(&j, JAIL_VCPU, &e) == 0);
    CHECK(poll(NULL, 0, 0) == 0);
    (void)!pread(0, &c, 1, 0);
    return 0;
}

static void test_vcpu_no_files(void **state)
{
    (void)state;
    NEEDS_NAMESPACES;
    assert_int_equal(in_child(child_vcpu_no_files), 1000 + SIGSYS);
}

/* A device's worker reads, writes, closes and tells, and nothing else. */
static int child_worker_lives(void)
{
    struct jail j;
    struct err e = ERR_INIT;
    int efd = eventfd(0, 0), fd = memfd_create("disk", 0);
    char text[] = "text", back[sizeof(text)] = "";
    struct iovec out = {text, sizeof(text)}, in = {back, sizeof(back)};

    CHECK(enter(&j) == 0);
    CHECK(jail_filter(&j, JAIL_DEVICE, &e) == 0);
    CHECK(jail_filter(&j, JAIL_WORKER, &e) == 0);
    CHECK(pwritev(fd, &out, 1, 0) == sizeof(text) && pwritev2(fd, &out, 1, 0, RWF_DSYNC) > 0);
    CHECK(preadv(fd, &in, 1, 0) == sizeof(text) && memcmp(text, back, sizeof(text)) == 0);
    CHECK(preadv2(fd, &in, 1, 0, RWF_HIPRI) > 0 || errno == EOPNOTSUPP);
    CHECK(fdatasync(fd) == 0 && fallocate(fd, 0, 0, 8192) == 0);
    CHECK(eventfd_write(efd, 1) == 0);
    CHECK(close(fd) == 0);
    return 0;
}

static void test_worker_lives(void **state)
{
    (void)state;
    NEEDS_NAMESPACES;
    assert_int_equal(in_child(child_worker_lives), 0);
}

/* What the loop may and a worker may not. */
static unsigned worker_call;
static int child_worker_less(void)
{
    static const long call[] = {SYS_mmap,     SYS_mprotect,   SYS_tgkill,     SYS_epoll_ctl,
                                SYS_shutdown, SYS_sendmsg,    SYS_recvmsg,    SYS_read,
                                SYS_accept4,  SYS_socketpair, SYS_exit_group, SYS_ftruncate,
                                SYS_brk,      SYS_seccomp,    SYS_clone,      SYS_ioctl};
    struct jail j;
    struct err e = ERR_INIT;

    if (worker_call == sizeof(call) / sizeof(call[0]))
        return 2;
    CHECK(enter(&j) == 0);
    CHECK(jail_filter(&j, JAIL_WORKER, &e) == 0);
    syscall(call[worker_call], -1, 0, 0, 0, 0, 0);
    return 1;
}

static void test_worker_less(void **state)
{
    int st = 1000 + SIGSYS;

    (void)state;
    NEEDS_NAMESPACES;
    for (worker_call = 0; st == 1000 + SIGSYS; worker_call++)
        st = in_child(child_worker_less);
    if (st != 2)
        fail_msg("call %u: status %d", worker_call - 1, st);
}

static int child_needs_root(void)
{
    struct err e = ERR_INIT;

    CHECK(setresuid(1, 1, 1) == 0);
    CHECK(jail_enter(2, 2, &e) == -EPERM);
    CHECK(strstr(e.msg, "needs root") != NULL);
    return 0;
}

static void test_needs_root(void **state)
{
    (void)state;
    if (geteuid() == 0)
        assert_int_equal(in_child(child_needs_root), 0);
}

/* Namespaces can be forbidden even to root (a container without CAP_SYS_ADMIN). */
static int child_can_unshare(void)
{
    return unshare(geteuid() == 0 ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER) < 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_plan_fds), cmocka_unit_test(test_has_nothing),
        cmocka_unit_test(test_loop_lives),    cmocka_unit_test(test_device_thread),
        cmocka_unit_test(test_forbidden),     cmocka_unit_test(test_vcpu_no_files),
        cmocka_unit_test(test_worker_lives),  cmocka_unit_test(test_worker_less),
        cmocka_unit_test(test_needs_root),
    };

    able = in_child(child_can_unshare) == 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
