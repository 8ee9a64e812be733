/*
 * What the new process does before it is bulkhead-shim: join its network namespace, make the
 * container's tree its root and only mount, take its terminal, arrange its descriptors, exec. It
 * was born in the other namespaces and in its cgroup, with all signals blocked. It runs in a copy
 * of the spawner's memory and never returns into it.
 */
#include "runtime/shim_child.h"

#include "lib/cleanup.h"
#include "lib/io.h"
#include "runtime/shim/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define PROGRAM_FD (SHIM_CHANNEL_FD + 1)
#define FIRST_FREE (PROGRAM_FD + 1)

/*
 * The host's mounts are slaves here until they go with the old root: nothing this process does
 * shows on the host, and what the host unmounts is unmounted here. The tree is bound with all that
 * is mounted in it.
 */
static int change_root(const char *rootfs, struct err *e)
{
    if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
        return err_errno(e, "make the host's mounts slaves");
    if (mount(rootfs, rootfs, NULL, MS_BIND | MS_REC, NULL) < 0)
        return err_errno(e, "bind rootfs %s", rootfs);
    if (chdir(rootfs) < 0)
        return err_errno(e, "enter rootfs %s", rootfs);
    /* new root and the place for the old one are the same: the old one comes to lie on top */
    if (syscall(SYS_pivot_root, ".", ".") < 0)
        return err_errno(e,
                         "pivot_root into rootfs %s (a host that runs from its initramfs must "
                         "switch_root first)",
                         rootfs);
    if (umount2(".", MNT_DETACH) < 0)
        return err_errno(e, "detach the host's root");
    if (chdir("/") < 0)
        return err_errno(e, "enter the new root");
    return 0;
}

/*
 * Clients that enter this mount namespace to list processes (podman top) read /proc here: it shows
 * this pid namespace. A tree that has no /proc and cannot get one is left as it is.
 */
static void mount_proc(void)
{
    struct stat st;

    mkdir("/proc", 0555);
    if (lstat("/proc", &st) == 0 && S_ISDIR(st.st_mode) &&
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
        return;
}

static int take_terminal(const struct shim_child *c, struct err *e)
{
    /* a session of its own in any case, as a container's process has: ^C of the caller's terminal
     * reaches the caller, who passes it on */
    if (setsid() < 0)
        return err_errno(e, "setsid");
    if (c->params->terminal && ioctl(c->stdio[0], TIOCSCTTY, 0) < 0)
        return err_errno(e, "take the terminal");
    return 0;
}

/*
 * Brings the descriptors to where bulkhead-shim looks for them and closes all else, the caller's
 * leaks included. First all go above the places to fill, then each into its own.
 */
static int arrange(const struct shim_child *c, struct err *e)
{
    const int from[FIRST_FREE] = {c->stdio[0], c->stdio[1], c->stdio[2], c->channel, c->program};
    int high[FIRST_FREE];

    for (int i = 0; i < FIRST_FREE; i++) {
        high[i] = fcntl(from[i], F_DUPFD_CLOEXEC, FIRST_FREE);
        if (high[i] < 0)
            return err_errno(e, "arrange descriptors");
    }
    for (int i = 0; i < FIRST_FREE; i++) {
        if (dup3(high[i], i, i == PROGRAM_FD ? O_CLOEXEC : 0) < 0)
            return err_errno(e, "arrange descriptors");
    }
    io_close_from(FIRST_FREE);
    return 0;
}

static __attribute__((noreturn)) void fail(int channel, const struct err *e)
{
    struct shim_report r = {.code = e->code};

    snprintf(r.message, sizeof(r.message), "%s", e->msg);
    /* the spawner sees the end of the channel if even this fails */
    _exit(send(channel, &r, sizeof(r), MSG_NOSIGNAL) < 0 ? 2 : 1);
}

void shim_child_run(struct shim_child *c)
{
    char *argv[] = {(char *)(uintptr_t) "bulkhead-shim", (char *)(uintptr_t)c->params->title, NULL};
    char *envp[] = {NULL};
    int channel = c->channel;
    struct err e = ERR_INIT;
    int r = 0;

    if (c->netns >= 0 && setns(c->netns, CLONE_NEWNET) < 0)
        r = err_errno(&e, "join network namespace %s", c->params->netns);
    if (r == 0)
        r = change_root(c->params->rootfs, &e);
    if (r == 0) {
        mount_proc();
        r = take_terminal(c, &e);
    }
    if (r == 0)
        r = arrange(c, &e);
    if (r == 0) {
        channel = SHIM_CHANNEL_FD;
        syscall(SYS_execveat, PROGRAM_FD, "", argv, envp, AT_EMPTY_PATH);
        err_errno(&e, "execute %s", c->params->program);
    }
    fail(channel, &e);
}
