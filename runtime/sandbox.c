/* One VM: plan, spawn, wait, end. Owns the descriptors in its structs; the processes own
 * themselves. */
#include "runtime/sandbox.h"

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/names.h"
#include "lib/proto.h"
#include "lib/str.h"
#include "runtime/client.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define VMM_LOG     "vmm.log"
#define CONSOLE_LOG "console.log"

/* A full console, when somebody wants to read it. */
#define CONSOLE_PARAMETERS " console=ttyS0 8250.nr_uarts=1 ignore_loglevel"

/* --- files ------------------------------------------------------------------------------------ */

static int open_kvm(struct err *e)
{
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

    if (fd >= 0)
        return fd;
    if (errno == ENOENT || errno == ENXIO || errno == ENODEV)
        return err_set(e, ENODEV,
                       "/dev/kvm does not exist: this machine offers no KVM (enable "
                       "virtualisation in its firmware, or nested virtualisation if it "
                       "is itself a VM, and load kvm-intel or kvm-amd)");
    if ((errno == EACCES || errno == EPERM) && geteuid() == 0)
        return err_set(e, EACCES,
                       "/dev/kvm: permission denied, though this is root: a mount with nodev, a "
                       "device rule of the cgroup or a security module forbids it");
    if (errno == EACCES || errno == EPERM)
        return err_set(e, EACCES,
                       "/dev/kvm: permission denied: run as root, or put this user in "
                       "the group that owns it (usually kvm)");
    return err_errno(e, "open /dev/kvm");
}

static int open_regular(const char *path, const char *what, const char *mend, struct err *e)
{
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;

    if (fd < 0 && errno == ENOENT)
        return err_set(e, ENOENT, "%s %s does not exist (%s)", what, path, mend);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_errno(e, "open %s %s", what, path);
    if (!S_ISREG(st.st_mode))
        return err_set(e, EINVAL, "%s %s is not a regular file", what, path);
    return take_fd(&fd);
}

static int open_kernel(const char *path, struct err *e)
{
    cleanup_fd int fd = open_regular(
        path, "guest kernel", "make kernel builds one; \"kernel\" in bulkhead.json names it", e);
    Elf64_Ehdr h;

    if (fd < 0)
        return fd;
    ssize_t n = io_pread_full(fd, &h, sizeof h, 0);
    if (n < 0)
        return err_set(e, (int)-n, "read guest kernel %s: %s", path, strerror((int)-n));
    if (n < (ssize_t)sizeof h || memcmp(h.e_ident, ELFMAG, SELFMAG) != 0)
        return err_set(e, ENOEXEC,
                       "guest kernel %s is not an ELF file (an uncompressed vmlinux is "
                       "needed, not a bzImage)",
                       path);
    if (h.e_ident[EI_CLASS] != ELFCLASS64 || h.e_machine != EM_X86_64)
        return err_set(e, ENOEXEC, "guest kernel %s is not for x86-64", path);
    return take_fd(&fd);
}

int sandbox_open_files(const struct config *c, struct sandbox_files *out, struct err *e)
{
    struct sandbox_files f = SANDBOX_FILES_INIT;

    f.kernel = open_kernel(c->kernel, e);
    if (f.kernel >= 0)
        f.initrd =
            open_regular(c->initrd, "guest initramfs", "\"initrd\" in bulkhead.json names it", e);
    if (f.initrd >= 0 && config_check_program("vmm", c->vmm, e) == 0 &&
        config_check_program("fs", c->fs, e) == 0 && config_check_program("shim", c->shim, e) == 0)
        f.kvm = open_kvm(e);
    if (f.kvm < 0) {
        sandbox_close_files(&f);
        return -e->code;
    }
    *out = f;
    return 0;
}

void sandbox_close_files(struct sandbox_files *f)
{
    close_fd(&f->kvm);
    close_fd(&f->kernel);
    close_fd(&f->initrd);
}

/* --- starting --------------------------------------------------------------------------------- */

/* All that exists only until both programs run. */
struct launch {
    int log, console, control, vsock, ready[2], fs[2], plan_fd;
    struct plan plan;
};
#define LAUNCH_INIT                                                                                \
    {                                                                                              \
        .log = -1, .console = -1, .control = -1, .vsock = -1, .ready = {-1, -1}, .fs = {-1, -1},   \
        .plan_fd = -1                                                                              \
    }

static void launch_done(struct launch *l)
{
    int *fds[] = {&l->log,      &l->console, &l->control, &l->vsock,  &l->ready[0],
                  &l->ready[1], &l->fs[0],   &l->fs[1],   &l->plan_fd};

    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        close_fd(fds[i]);
}

static int open_log(const struct store *store, const char *name, struct err *e)
{
    int fd = openat(store->dir, name, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);

    return fd < 0 ? err_errno(e, "create %s/%s", store->path, name) : fd;
}

int sandbox_open_console(const char *path, struct err *e)
{
    const int flags = O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    cleanup_fd int fd = open(path, flags, 0600);
    struct stat st;

    if (fd < 0 && errno == ELOOP)
        return err_set(e, ELOOP, "console log %s is a symbolic link: name the file itself", path);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_errno(e, "open console log %s", path);
    if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode))
        return err_set(e, EINVAL, "console log %s is neither a regular file nor a fifo", path);
    return take_fd(&fd);
}

/* The log for those who only read it, -1 for a fifo: its bytes are its reader's. */
static int reopen_console(int fd)
{
    char path[64];
    struct stat st;

    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return -1;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
}

static int listen_at(const struct store *store, const char *name, int type, struct err *e)
{
    char path[PATH_MAX];

    if (str_printf(path, sizeof path, "%s/%s", store->path, name) < 0)
        return err_set(e, ENAMETOOLONG, "%s: name too long", store->path);
    return io_unix_listen(path, type, e);
}

/* Logs, sockets, and the two socket pairs. */
static int launch_open(struct launch *l, const struct config *c, const struct store *store,
                       struct err *e)
{
    l->log = open_log(store, VMM_LOG, e);
    if (l->log < 0)
        return l->log;
    if (c->console_log) {
        l->console = sandbox_open_console(c->console_log, e);
        if (l->console < 0)
            return l->console;
        /* last words are looked for under the usual name */
        if (symlinkat(c->console_log, store->dir, CONSOLE_LOG) < 0)
            return err_errno(e, "link to console log %s", c->console_log);
    } else {
        l->console = open_log(store, CONSOLE_LOG, e);
        if (l->console < 0)
            return l->console;
    }
    l->control = listen_at(store, CLIENT_CONTROL_SOCKET, SOCK_SEQPACKET, e);
    if (l->control < 0)
        return l->control;
    l->vsock = listen_at(store, CLIENT_VSOCK_SOCKET, SOCK_STREAM, e);
    if (l->vsock < 0)
        return l->vsock;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, l->ready) < 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, l->fs) < 0)
        return err_errno(e, "socket pair");
    return 0;
}

static void launch_plan(struct launch *l, const struct config *c, const struct sandbox_files *f)
{
    struct plan *p = &l->plan;
    struct plan_device *d = p->devices;

    plan_init(p);
    p->vcpus = c->vcpus;
    p->memory = c->memory_mib << 20;
    p->kvm_fd = f->kvm;
    p->kernel_fd = f->kernel;
    p->initrd_fd = f->initrd;
    p->control_fd = l->control;
    p->console_fd = l->console;
    p->flags = c->console_log ? PLAN_SERIAL : 0;
    snprintf(p->cmdline, sizeof p->cmdline, "%s%s", c->kernel_parameters,
             c->console_log ? CONSOLE_PARAMETERS : "");

    d->type = PLAN_VSOCK;
    d->fd[0] = l->vsock;
    d->cid = VSOCK_GUEST_CID;
    d->nlisteners = 1;
    d->listeners[0] = (struct plan_listener){.port = VSOCK_PORT_READY, .fd = l->ready[1]};
    d++;
    d->type = PLAN_FS;
    d->fd[0] = l->fs[0];
    snprintf(d->id, sizeof d->id, "%s", SHARE_TAG);
    d++;
    d->type = PLAN_RNG;
    p->ndevices = 3;
}

static int hold_vmm(const struct launch *l, const struct config *c, int cgroup_fd,
                    struct spawned *out, struct err *e)
{
    const int keep[] = {l->plan.kvm_fd, l->plan.kernel_fd, l->control, l->console,       l->vsock,
                        l->ready[1],    l->fs[0],          l->plan_fd, l->plan.initrd_fd};
    char number[16];
    const char *argv[] = {"bulkhead-vmm", "--plan", number, NULL};
    struct spawn s = {
        .program = c->vmm,
        .argv = argv,
        .stdio = {-1, l->log, l->log},
        .cgroup_fd = cgroup_fd,
        .keep = keep,
        .nkeep = ARRAY_SIZE(keep),
    };

    snprintf(number, sizeof number, "%d", l->plan_fd);
    return spawn_held(&s, out, e);
}

/* bulkhead-fs --socket FD --tree FD:NAME ... --readonly NAME ... */
static int hold_fs(const struct launch *l, const struct config *c, const struct share *share,
                   int cgroup_fd, struct spawned *out, struct err *e)
{
    struct strbuf words[SHARE_TREES_MAX] = {0}; /* the "FD:NAME" ones */
    const char *argv[4 + 4 * SHARE_TREES_MAX];
    int keep[1 + SHARE_TREES_MAX], n = 0, r = 0;
    char number[16];
    struct spawn s = {
        .program = c->fs,
        .argv = argv,
        .stdio = {-1, l->log, l->log},
        .cgroup_fd = cgroup_fd,
        .keep = keep,
        .nkeep = 1,
    };

    snprintf(number, sizeof number, "%d", l->fs[1]);
    argv[n++] = "bulkhead-fs";
    argv[n++] = "--socket";
    argv[n++] = number;
    keep[0] = l->fs[1];
    for (size_t i = 0; i < share->n; i++) {
        const struct share_tree *t = &share->trees[i];
        strbuf_add(&words[i], "%d:%s", t->fd, t->name);
        if (words[i].failed)
            r = err_set(e, ENOMEM, "start %s: out of memory", c->fs);
        argv[n++] = "--tree";
        argv[n++] = words[i].s;
        keep[s.nkeep++] = t->fd;
        if (t->readonly) {
            argv[n++] = "--readonly";
            argv[n++] = t->name;
        }
    }
    argv[n] = NULL;
    if (r == 0)
        r = spawn_held(&s, out, e);
    for (size_t i = 0; i < share->n; i++)
        strbuf_done(&words[i]);
    return r;
}

/* Each VMM has a uid of its own, made of its pid: that is known only now. */
static int write_jail(struct launch *l, const struct config *c, pid_t pid, struct err *e)
{
    l->plan.jail_uid = l->plan.jail_gid = c->vmm_uid_base + (uint32_t)pid;
    if (pwrite(l->plan_fd, &l->plan, sizeof l->plan, 0) != sizeof l->plan)
        return err_errno(e, "write the plan");
    return 0;
}

int sandbox_start(const struct config *c, const struct sandbox_files *files,
                  const struct share *share, const struct store *store, int cgroup_fd,
                  struct state *state, struct sandbox *out, struct err *e)
{
    struct launch l = LAUNCH_INIT;
    struct sandbox sb = SANDBOX_INIT;
    int r = launch_open(&l, c, store, e);

    if (r == 0) {
        launch_plan(&l, c, files);
        r = l.plan_fd = plan_write(&l.plan, e);
    }
    if (r >= 0)
        r = hold_vmm(&l, c, cgroup_fd, &sb.vmm, e);
    if (r == 0)
        r = hold_fs(&l, c, share, cgroup_fd, &sb.fs, e);
    if (r == 0)
        r = write_jail(&l, c, sb.vmm.process.pid, e);
    if (r == 0) {
        state->vmm = sb.vmm.process;
        state->fs = sb.fs.process;
        process_spare(state->fs.pid); /* it ends when the VMM does, which is what is large */
        r = store_save(store, state, e);
    }
    if (r == 0)
        r = spawn_release(c->fs, &sb.fs, e);
    if (r == 0)
        r = spawn_release(c->vmm, &sb.vmm, e);
    if (r == 0) {
        state->phase[PHASE_VMM] = monotonic_ns();
        sb.ready = take_fd(&l.ready[0]);
        sb.console = reopen_console(l.console);
        *out = sb;
    } else {
        spawned_done(&sb.vmm);
        spawned_done(&sb.fs);
    }
    launch_done(&l);
    return r;
}

void sandbox_release(struct sandbox *s)
{
    spawned_done(&s->vmm);
    spawned_done(&s->fs);
    close_fd(&s->ready);
    close_fd(&s->console);
}
