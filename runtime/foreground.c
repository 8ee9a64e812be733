/*
 * `run` and `exec` in the foreground: wait for the shim, pass on signals, and with a terminal move
 * bytes between the user's terminal and the master. The file owns nothing beyond one call; signal
 * mask and terminal are as before when it returns.
 */
#include "lib/cleanup.h"
#include "runtime/console.h"
#include "runtime/shim/pump.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

struct foreground {
    struct shim *shim;
    int signals;
    int tty; /* the user's, -1 = none */
    struct console_raw raw;
    struct pump in, out;
    char *buffers;
    bool ended;
    int status;
};

/*
 * What we take as messages for the container. Job control stays the user's with this process, and
 * faults are our own.
 */
static void forwarded(sigset_t *set)
{
    static const int ours[] = {SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT, SIGSEGV,
                               SIGBUS,  SIGILL,  SIGFPE,  SIGTRAP, SIGSYS};

    sigfillset(set);
    for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
        sigdelset(set, ours[i]);
}

static void copy_size(struct foreground *f)
{
    struct winsize w;

    if (f->tty >= 0 && f->shim->master >= 0 && ioctl(f->tty, TIOCGWINSZ, &w) == 0)
        ioctl(f->shim->master, TIOCSWINSZ, &w); /* the kernel tells the shim by SIGWINCH */
}

static void take_signal(struct foreground *f)
{
    struct signalfd_siginfo si;

    if (read(f->signals, &si, sizeof(si)) != (ssize_t)sizeof(si))
        return;
    if (si.ssi_signo == SIGCHLD || (si.ssi_signo == SIGPIPE && si.ssi_pid == (uint32_t)getpid()))
        return;
    if (si.ssi_signo == SIGWINCH && f->shim->master >= 0)
        copy_size(f);
    else
        syscall(SYS_pidfd_send_signal, f->shim->pidfd, (int)si.ssi_signo, NULL, 0);
}

static int reap(struct foreground *f, struct err *e)
{
    int status;

    while (waitpid(f->shim->pid, &status, 0) < 0) {
        if (errno != EINTR)
            return err_errno(e, "wait for bulkhead-shim");
    }
    f->shim->pid = 0;
    f->ended = true;
    f->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return 0;
}

static struct pollfd watch(int fd, short events)
{
    return (struct pollfd){.fd = events ? fd : -1, .events = events};
}

/* Until the shim has ended and the master, which then ends too, has been read empty. */
static int loop(struct foreground *f, struct err *e)
{
    while (!f->ended || !f->out.done) {
        struct pollfd p[] = {
            watch(f->signals, POLLIN),
            watch(f->shim->pidfd, f->ended ? 0 : POLLIN),
            watch(f->in.src.fd, f->ended ? 0 : pump_src_events(&f->in)),
            watch(f->in.dst.fd, f->ended ? 0 : pump_dst_events(&f->in)),
            watch(f->out.src.fd, pump_src_events(&f->out)),
            watch(f->out.dst.fd, pump_dst_events(&f->out)),
        };
        int r;

        if (poll(p, ARRAY_SIZE(p), -1) < 0 && errno != EINTR)
            return err_errno(e, "poll");
        if (p[0].revents)
            take_signal(f);
        if (p[2].revents || p[3].revents)
            pump_run(&f->in);
        if (p[4].revents || p[5].revents)
            pump_run(&f->out);
        if (!p[1].revents)
            continue;
        r = reap(f, e);
        if (r < 0)
            return r;
    }
    return 0;
}

static int relay_terminal(struct foreground *f, struct err *e)
{
    f->buffers = malloc(2 * (size_t)PUMP_BUFFER);
    if (!f->buffers)
        return err_set(e, ENOMEM, "out of memory");
    pump_init(&f->in, STDIN_FILENO, f->shim->master, f->buffers);
    pump_init(&f->out, f->shim->master, STDOUT_FILENO, f->buffers + PUMP_BUFFER);
    f->tty = console_user_tty();
    if (f->tty < 0)
        return 0;
    copy_size(f);
    return console_raw_enter(&f->raw, f->tty, e);
}

/*
 * Without a terminal the shim has stdin and stdout; kept open here as well, they would hide from
 * whoever is behind them that the container closed its own.
 */
static int let_go_of_stdio(struct err *e)
{
    cleanup_fd int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null < 0)
        return err_errno(e, "open /dev/null");
    if (dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
        return err_errno(e, "replace stdin and stdout");
    return 0;
}

int console_foreground(struct shim *s, int *status_out, struct err *e)
{
    struct foreground f = {.shim = s, .tty = -1, .raw = CONSOLE_RAW_INIT};
    sigset_t set, before;
    int r = 0;

    forwarded(&set);
    if (sigprocmask(SIG_BLOCK, &set, &before) < 0)
        return err_errno(e, "block signals");
    pump_init(&f.in, -1, -1, NULL);
    pump_init(&f.out, -1, -1, NULL);
    f.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (f.signals < 0)
        r = err_errno(e, "signalfd");
    if (r == 0)
        r = s->master >= 0 ? relay_terminal(&f, e) : let_go_of_stdio(e);
    if (r == 0)
        r = loop(&f, e);
    console_raw_leave(&f.raw);
    free(f.buffers);
    close_fd(&f.signals);
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (r == 0)
        *status_out = f.status;
    return r;
}
