/*
 * Work in namespaces other than ours (aside.h): forked, so that no root, directory or namespace of
 * this process has to be found again afterwards. Its error, and a descriptor, come back in one
 * message. No state.
 */
#include "runtime/aside.h"

#include "lib/cleanup.h"
#include "lib/io.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

static _Noreturn void child(aside_work *work, const void *arg, int sock, pid_t parent)
{
    struct err e = ERR_INIT;
    int fd = -1;

    /* it holds our locks: a call that is killed must not hold them any longer */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
        _exit(1);
    if (work(arg, &fd, &e) == 0)
        e.code = 0;
    (void)!io_send_fds(sock, &e, sizeof e, &fd, fd >= 0);
    _exit(0);
}

/* The work's error, or that there was none. */
static int receive(int sock, const char *what, int *fd_out, struct err *e)
{
    struct err said;
    cleanup_fd int fd = -1;
    unsigned n = 0;

    if (io_recv_fds(sock, &said, sizeof said, &fd, 1, &n) != sizeof said)
        return err_set(e, EIO, "%s ended early", what);
    if (said.code) {
        *e = said;
        return -said.code;
    }
    if (fd_out)
        *fd_out = take_fd(&fd);
    return 0;
}

int aside(aside_work *work, const void *arg, const char *what, int *fd_out, struct err *e)
{
    pid_t parent = getpid();
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_errno(e, "%s: socketpair", what);
    cleanup_fd int ours = pair[0], theirs = pair[1];
    pid_t pid = fork();
    if (pid < 0)
        return err_errno(e, "%s: fork", what);
    if (pid == 0)
        child(work, arg, theirs, parent);
    close_fd(&theirs);
    int r = receive(ours, what, fd_out, e);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return r;
}
