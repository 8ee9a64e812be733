/*
 * Overlays of the host. The mount is made by a child in a mount namespace that dies with it, and
 * only a detached clone comes back: mount(2) rather than fsconfig(2), whose values end at 255
 * bytes, which lists of layers easily pass. What the options mean is the host's kernel's affair;
 * attributes and propagation are set on the clone by the caller. No state.
 */
#include "runtime/overlay.h"

#include "lib/cleanup.h"
#include "lib/io.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define DATA_MAX 4095 /* of mount(2): a page, with its end */

/* The bundle is what is covered: a directory that surely is there. */
static int mount_and_clone(const char *options, const char *bundle, struct err *e)
{
    int fd;

    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0)
        return err_errno(e, "make a mount namespace");
    if (chdir(bundle) < 0)
        return err_errno(e, "enter %s", bundle);
    if (mount("overlay", bundle, "overlay", 0, options) < 0)
        return err_errno(e, "the host's kernel refuses the overlay %.200s", options);
    fd = open_tree(AT_FDCWD, bundle, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    return fd < 0 ? err_errno(e, "clone the overlay") : fd;
}

_Noreturn static void child(int sock, const char *options, const char *bundle)
{
    struct err e = ERR_INIT;
    int fd = -1;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    fd = mount_and_clone(options, bundle, &e);
    (void)!io_send_fds(sock, &e, sizeof(e), &fd, fd >= 0);
    _exit(0);
}

static int receive(int sock, struct err *e)
{
    struct err said = ERR_INIT;
    unsigned n = 0;
    int fd = -1;
    ssize_t len = io_recv_fds(sock, &said, sizeof(said), &fd, 1, &n);

    if (len != sizeof(said))
        return err_set(e, EIO, "the process that was to mount an overlay has died");
    if (n == 1)
        return fd;
    *e = said;
    return -e->code;
}

int overlay_mount(const char *options, const char *bundle, struct err *e)
{
    int pair[2], r;
    pid_t pid;

    if (strlen(options) > DATA_MAX)
        return err_set(e, E2BIG,
                       "the options of an overlay are %zu bytes long, the kernel takes %d (use "
                       "shorter paths, relative to the bundle, or fewer layers)",
                       strlen(options), DATA_MAX);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_errno(e, "overlay: socketpair");
    pid = fork();
    if (pid == 0)
        child(pair[1], options, bundle);
    r = pid < 0 ? err_errno(e, "overlay: fork") : 0;
    close(pair[1]);
    if (r == 0)
        r = receive(pair[0], e);
    close(pair[0]);
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return r;
}
