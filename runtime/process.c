/* Host processes by pid and start time. Keeps no state: identities live in the caller's state. */
#include "runtime/process.h"

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/str.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define STAT_MAX     4096
#define STAT_START   19 /* proc(5): "starttime" is field 22, "state" field 3 */
#define KILL_WAIT_MS 10000

static int pidfd_open(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

static int pidfd_signal(int pidfd, int sig)
{
    return syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0) < 0 ? -errno : 0;
}

/* State letter and start time of a pid. The name in the second field may hold anything. */
static int read_stat(pid_t pid, char *state, uint64_t *start)
{
    struct err e = ERR_INIT;
    cleanup_free char *text = NULL;
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    if (io_read_file(AT_FDCWD, path, STAT_MAX, &text, NULL, &e) < 0)
        return -ESRCH;
    char *p = strrchr(text, ')');
    if (!p || p[1] != ' ' || !p[2])
        return -ESRCH;
    *state = p[2];
    p += 3;
    for (int field = 1; field < STAT_START && p; field++)
        p = strchr(p + 1, ' ');
    if (!p || *p != ' ')
        return -ESRCH;
    p[1 + strcspn(p + 1, " ")] = '\0';
    return str_to_u64(p + 1, start) < 0 ? -ESRCH : 0;
}

int process_identify(pid_t pid, struct process *out)
{
    uint64_t start;
    char state;
    int r = read_stat(pid, &state, &start);

    if (r == 0)
        *out = (struct process){.pid = pid, .start = start};
    return r;
}

int process_open(const struct process *p)
{
    cleanup_fd int fd = -1;
    uint64_t start;
    char state;

    if (p->pid <= 0)
        return -ESRCH;
    fd = pidfd_open(p->pid);
    /* the pid is held by the pidfd's process now or free: what stat says is about it or stale */
    if (fd < 0 || read_stat(p->pid, &state, &start) < 0 || start != p->start || state == 'Z' ||
        state == 'X')
        return -ESRCH;
    return take_fd(&fd);
}

bool process_alive(const struct process *p)
{
    cleanup_fd int fd = process_open(p);

    return fd >= 0;
}

int process_signal(const struct process *p, int sig)
{
    cleanup_fd int fd = process_open(p);

    return fd < 0 ? fd : pidfd_signal(fd, sig);
}

int process_wait(int pidfd, int timeout_ms, int *status_out)
{
    uint64_t end = deadline_ns(timeout_ms < 0 ? 0u : (unsigned)timeout_ms);
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    siginfo_t info = {0};

    for (;;) {
        int n = poll(&p, 1, timeout_ms < 0 ? -1 : left_ms(end));

        if (n > 0)
            break;
        if (n == 0)
            return -ETIMEDOUT;
    }
    if (status_out)
        *status_out = -1;
    if (waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG) == 0 && info.si_pid && status_out)
        *status_out = info.si_code == CLD_EXITED ? W_EXITCODE(info.si_status, 0)
                                                 : W_EXITCODE(0, info.si_status);
    return 0;
}

int process_kill(const struct process *p, const char *what, struct err *e)
{
    cleanup_fd int fd = process_open(p);

    if (fd < 0) {
        /* it may still be a zombie of ours */
        if (p->pid > 0)
            waitpid(p->pid, NULL, WNOHANG);
        return 0;
    }
    int r = pidfd_signal(fd, SIGKILL);
    if (r < 0 && r != -ESRCH)
        return err_set(e, -r, "kill %s (pid %d): %s", what, p->pid, strerror(-r));
    if (process_wait(fd, KILL_WAIT_MS, NULL) < 0)
        return err_set(e, ETIMEDOUT, "%s (pid %d) does not end %d s after SIGKILL", what, p->pid,
                       KILL_WAIT_MS / 1000);
    return 0;
}

void process_spare(pid_t pid)
{
    struct err ignored = ERR_INIT;
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/oom_score_adj", pid);
    (void)!io_write_file(AT_FDCWD, path, "-1000", &ignored);
}
