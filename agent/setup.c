/*
 * The guest's boot, from the kernel's first instruction of /init to a serving agent: one function a
 * step, in order. Nothing here is undone: when a step fails the VM ends.
 */
#include "agent/setup.h"
#include "agent/agent.h"
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/path.h"
#include "lib/str.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define LISTEN_BACKLOG 128

/*
 * The kernel starts us on its first ramfs, which pivot_root cannot leave. A bind of it, moved on
 * top of itself, is a root like any other. The ramfs then goes read-only: it holds our own program.
 */
static int leave_first_root(struct err *e)
{
    if (mkdir("/root", 0700) < 0 && errno != EEXIST)
        return err_errno(e, "mkdir /root");
    if (mount("/", "/root", NULL, MS_BIND, NULL) < 0 || chdir("/root") < 0 ||
        mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0)
        return err_errno(e, "move the root");
    return 0;
}

struct fs {
    const char *type, *dir, *data;
    unsigned long flags;
};

static int mount_fs(const struct fs *m, struct err *e)
{
    int r = path_mkdirs(m->dir, 0755, e);

    if (r < 0)
        return r;
    if (mount(m->type, m->dir, m->type, m->flags, m->data) < 0)
        return err_errno(e, "mount %s on %s", m->type, m->dir);
    return 0;
}

static int mount_all_fs(struct err *e)
{
    const unsigned long safe = MS_NOSUID | MS_NOEXEC | MS_NODEV;
    const struct fs list[] = {
        {"proc", "/proc", NULL, safe},
        {"sysfs", "/sys", NULL, safe},
        {"devtmpfs", "/dev", "mode=0755", MS_NOSUID | MS_NOEXEC},
        {"devpts", "/dev/pts", "mode=0620,ptmxmode=0666", MS_NOSUID | MS_NOEXEC},
        {"tmpfs", "/run", "mode=0755", MS_NOSUID | MS_NODEV},
        {"cgroup2", AGENT_CGROUP_DIR, "nsdelegate", safe},
    };

    for (size_t i = 0; i < ARRAY_SIZE(list); i++) {
        if (mount_fs(&list[i], e) < 0)
            return -e->code;
    }
    return 0;
}

/* The kernel may have opened no console for us: 0 to 2 must not become anything else. */
static int open_stdio(struct err *e)
{
    int null = open("/dev/null", O_RDWR), log;

    if (null < 0)
        return err_errno(e, "open /dev/null");
    for (int i = 0; i < 2; i++) {
        if (null != i && dup2(null, i) < 0)
            return err_errno(e, "stdio");
    }
    log = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
    if (log < 0)
        return err_errno(e, "open /dev/kmsg");
    if (log != 2 && dup2(log, 2) < 0)
        return err_errno(e, "stdio");
    if (log > 2)
        close(log);
    if (null > 2)
        close(null);
    return 0;
}

static int mount_share(struct err *e)
{
    if (path_mkdirs(SHARE_DIR, 0755, e) < 0)
        return -e->code;
    if (mount(SHARE_TAG, SHARE_DIR, "virtiofs", 0, NULL) == 0)
        return 0;
    /* no such tag: a VM without shared files, whose containers will say what they miss */
    if (errno == EINVAL || errno == ENODEV)
        return 0;
    return err_errno(e, "mount the shared files");
}

/* Every controller the kernel has, for the containers' cgroups. The agent stays in the root. */
static int enable_controllers(struct err *e)
{
    char text[256], *rest = text, *name;
    cleanup_fd int dir = open(AGENT_CGROUP_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cleanup_fd int fd = dir < 0 ? -1 : openat(dir, "cgroup.controllers", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

    if (n < 0)
        return err_errno(e, "read cgroup.controllers");
    text[n] = '\0';
    while ((name = strsep(&rest, " \n"))) {
        char word[64];

        if (!*name || str_printf(word, sizeof(word), "+%s", name) < 0)
            continue;
        if (io_write_file(dir, "cgroup.subtree_control", word, e) < 0)
            return err_wrap(e, "enable the cgroup controller %s", name);
    }
    return 0;
}

static int set_limits(struct err *e)
{
    struct rlimit files = {AGENT_FILES_MAX, 1048576};
    struct rlimit processes = {RLIM_INFINITY, RLIM_INFINITY}; /* the pids controller's affair */

    if (setrlimit(RLIMIT_NOFILE, &files) < 0 || setrlimit(RLIMIT_NPROC, &processes) < 0)
        return err_errno(e, "resource limits");
    return io_write_file(AT_FDCWD, "/proc/self/oom_score_adj", "-1000", e);
}

int setup_loopback(struct err *e)
{
    cleanup_fd int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq ifr = {.ifr_name = "lo"};

    if (fd < 0)
        return err_errno(e, "loopback: socket");
    if (ioctl(fd, SIOCGIFFLAGS, &ifr) < 0)
        return err_errno(e, "loopback");
    ifr.ifr_flags |= IFF_UP;
    if (ioctl(fd, SIOCSIFFLAGS, &ifr) < 0)
        return err_errno(e, "loopback");
    return 0;
}

int setup_guest(struct err *e)
{
    int r;

    umask(0022);
    r = leave_first_root(e);
    if (r == 0)
        r = mount_all_fs(e);
    if (r == 0)
        r = open_stdio(e);
    if (r == 0 && mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0)
        r = err_errno(e, "make the initramfs read-only");
    if (r == 0)
        r = mount_share(e);
    if (r == 0)
        r = enable_controllers(e);
    if (r == 0)
        r = set_limits(e);
    return r == 0 ? setup_loopback(e) : r;
}

int setup_listen(struct err *e)
{
    cleanup_fd int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_vm at = {
        .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = VSOCK_PORT_AGENT};

    if (fd < 0)
        return err_errno(e, "vsock");
    if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, LISTEN_BACKLOG) < 0)
        return err_errno(e, "listen on vsock port %u", VSOCK_PORT_AGENT);
    return take_fd(&fd);
}

int setup_ready(struct err *e)
{
    cleanup_fd int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_vm to = {
        .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = VSOCK_PORT_READY};

    if (fd < 0)
        return err_errno(e, "vsock");
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
        return err_errno(e, "call the host's vsock port %u", VSOCK_PORT_READY);
    if (io_set_nonblock(fd, 1) < 0)
        return err_errno(e, "vsock");
    return take_fd(&fd);
}
