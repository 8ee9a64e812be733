/* clone3 into a cgroup, a gate before exec, and a clean child. Keeps no state. */
#include "runtime/spawn.h"

#include "lib/cleanup.h"
#include "lib/io.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILD_FAILED 126

void spawn_reset_signals(void)
{
    /*
     * The kernel's structure and call, since libc hides the signals that it uses itself (32, 33)
     * from sigaction, while its posix_spawn leaves them ignored. All zero is SIG_DFL.
     */
    struct {
        void (*handler)(int);
        unsigned long flags;
        void (*restorer)(void);
        unsigned long mask;
    } dfl = {0};
    sigset_t none;

    for (int sig = 1; sig < NSIG; sig++)
        (void)syscall(SYS_rt_sigaction, sig, &dfl, NULL, sizeof(dfl.mask));
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static int place_stdio(const struct spawn *s, int null_fd)
{
    for (int i = 0; i < 3; i++)
        if (dup2(s->stdio[i] < 0 ? null_fd : s->stdio[i], i) < 0)
            return -1;
    return 0;
}

/* In the child: waits for the word, then becomes the program. Reports an errno on the gate. */
static _Noreturn void child(const struct spawn *s, int gate, int null_fd)
{
    char *const no_env[] = {NULL};
    char word;

    if (read(gate, &word, 1) != 1)
        _exit(CHILD_FAILED);
    spawn_reset_signals();
    setsid();
    umask(077);
    if (chdir("/") == 0 && place_stdio(s, null_fd) == 0 &&
        close_range(3, ~0u, CLOSE_RANGE_CLOEXEC) == 0) {
        for (unsigned i = 0; i < s->nkeep; i++)
            (void)io_set_cloexec(s->keep[i], 0);
        execve(s->program, (char *const *)(uintptr_t)s->argv, no_env);
    }
    int code = errno;
    (void)!write(gate, &code, sizeof code);
    _exit(CHILD_FAILED);
}

int spawn_held(const struct spawn *s, struct spawned *out, struct err *e)
{
    cleanup_fd int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    int gate[2], pidfd = -1;
    struct clone_args args = {
        .flags = CLONE_PIDFD,
        .pidfd = (uint64_t)(uintptr_t)&pidfd,
        .exit_signal = SIGCHLD,
    };

    if (null_fd < 0)
        return err_errno(e, "open /dev/null");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, gate) < 0)
        return err_errno(e, "socket pair for %s", s->program);
    cleanup_fd int ours = gate[0], theirs = gate[1];
    if (s->cgroup_fd >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (unsigned)s->cgroup_fd;
    }
    long pid = syscall(SYS_clone3, &args, sizeof args);
    if (pid < 0)
        return err_errno(e, "start %s%s", s->program,
                         s->cgroup_fd >= 0 ? " in the container's cgroup" : "");
    if (pid == 0) {
        close(ours);
        child(s, theirs, null_fd);
    }
    out->pidfd = pidfd;
    out->gate = take_fd(&ours);
    if (process_identify((pid_t)pid, &out->process) < 0) {
        spawned_done(out);
        return err_set(e, ESRCH, "%s ended before it began", s->program);
    }
    return 0;
}

int spawn_release(const char *program, struct spawned *p, struct err *e)
{
    int code = 0;
    int r = io_write_full(p->gate, "g", 1);

    if (r < 0)
        return err_set(e, -r, "start %s: %s", program, strerror(-r));
    /* the other end closes at exec */
    ssize_t n = io_read_full(p->gate, &code, sizeof code);
    close_fd(&p->gate);
    if (n == sizeof code)
        return err_set(e, code, "start %s: %s", program, strerror(code));
    return 0;
}

void spawned_done(struct spawned *p)
{
    bool held = p->gate >= 0;

    close_fd(&p->gate);
    if (held && p->pidfd >= 0)
        process_wait(p->pidfd, -1, NULL);
    close_fd(&p->pidfd);
}
