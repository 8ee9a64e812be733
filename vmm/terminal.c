/* The keeper of the terminal. Its only state is the terminal's old settings. */
#include "vmm/terminal.h"

#include "lib/cleanup.h"
#include "lib/io.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define ESCAPE 0x01 /* Ctrl-A */

struct relay {
    int pipe; /* to the child */
    pid_t child;
    bool escaped;
};

/* Passes on what is not for us. false = the child takes no more. */
static bool relay_bytes(struct relay *r, const char *buf, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (r->escaped && buf[i] == 'x') {
            kill(r->child, SIGTERM);
        } else if (!r->escaped && buf[i] == ESCAPE) {
            r->escaped = true;
            continue;
        } else if (write(r->pipe, &buf[i], 1) < 0 && errno != EAGAIN) {
            /* A full pipe: the guest does not read, and typing ahead has an end. */
            return false;
        }
        r->escaped = false;
    }
    return true;
}

/* Until the child ends. SIGTERM, SIGINT, SIGQUIT and SIGHUP go to it. */
static void relay(struct relay *r, int pidfd, int sigfd)
{
    struct pollfd p[] = {{.fd = pidfd, .events = POLLIN},
                         {.fd = sigfd, .events = POLLIN},
                         {.fd = STDIN_FILENO, .events = POLLIN}};
    struct signalfd_siginfo info;
    char buf[256];

    while (!(p[0].revents & POLLIN)) {
        if (poll(p, ARRAY_SIZE(p), -1) < 0)
            continue;
        if ((p[1].revents & POLLIN) && read(sigfd, &info, sizeof(info)) == (ssize_t)sizeof(info))
            kill(r->child, info.ssi_signo == SIGHUP ? SIGTERM : (int)info.ssi_signo);
        if (p[2].revents) {
            ssize_t n = read(STDIN_FILENO, buf, sizeof(buf));
            if (n <= 0 || !relay_bytes(r, buf, (size_t)n))
                p[2].fd = -1;
        }
    }
}

static int wait_status(pid_t child)
{
    int st;

    while (waitpid(child, &st, 0) < 0) {
        if (errno != EINTR)
            return 255;
    }
    return WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
}

static int keep(struct relay *r, int sigfd, struct err *e)
{
    struct termios old, raw;
    cleanup_fd int pidfd = (int)syscall(SYS_pidfd_open, r->child, 0);

    if (pidfd < 0)
        return err_errno(e, "pidfd_open");
    if (tcgetattr(STDIN_FILENO, &old) < 0)
        return err_errno(e, "terminal");
    raw = old;
    cfmakeraw(&raw);
    raw.c_oflag |= OPOST | ONLCR; /* what both processes log stays readable */
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    relay(r, pidfd, sigfd);
    tcsetattr(STDIN_FILENO, TCSANOW, &old);
    return 0;
}

pid_t terminal_fork(int *input, int *status, struct err *e)
{
    sigset_t set, before;
    int ends[2];

    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return err_errno(e, "pipe");
    cleanup_fd int rd = ends[0];
    cleanup_fd int wr = ends[1];
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGQUIT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, &before);
    signal(SIGPIPE, SIG_IGN);
    cleanup_fd int sigfd = signalfd(-1, &set, SFD_CLOEXEC);
    if (sigfd < 0)
        return err_errno(e, "signalfd");
    pid_t pid = fork();
    if (pid < 0)
        return err_errno(e, "fork");
    if (pid == 0) {
        sigprocmask(SIG_SETMASK, &before, NULL);
        *input = take_fd(&rd);
        return 0;
    }
    close_fd(&rd);
    struct relay r = {.pipe = wr, .child = pid};
    int k = keep(&r, sigfd, e);
    if (k < 0)
        kill(pid, SIGTERM);
    *status = wait_status(pid);
    return k < 0 ? k : pid;
}
