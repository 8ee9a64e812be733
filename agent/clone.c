/*
 * Making the child of a process: descriptors, namespaces, cgroup. What is said to it then, and
 * heard of it, is in spawn.c.
 *
 * The order on the agent's side:
 *   1. sync socket and stdio pipes, owned by the container's user
 *   2. the namespaces that only a parent can choose: pid of an exec, time of an init
 *   3. clone3 with all other new namespaces, born in the container's cgroup
 *   4. OOM score, id maps
 */
#include "agent/child.h"
#include "agent/container.h"
#include "agent/spawn.h"
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/path.h"
#include "lib/str.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ULL
#endif

/* The guest's id of a container's id; the overflow id when it is not mapped. */
static uint32_t mapped(const struct spec_id_map *m, size_t n, uint32_t id)
{
    if (!n)
        return id;
    for (size_t i = 0; i < n; i++) {
        if (id >= m[i].container_id && id - m[i].container_id < m[i].size)
            return m[i].host_id + (id - m[i].container_id);
    }
    return 65534;
}

/*
 * Three pipes. They belong to the process's user, since programs open /proc/self/fd/N anew. Our
 * ends go to p->stdio, the child's to `theirs`.
 */
static int make_pipes(struct process *p, int theirs[3], struct err *e)
{
    const struct spec_linux *l = &p->container->spec->linux_;
    uid_t uid = mapped(l->uid_maps, l->nuid_maps, p->spec->uid);
    gid_t gid = mapped(l->gid_maps, l->ngid_maps, p->spec->gid);

    for (int i = 0; i < 3; i++) {
        int fds[2];

        if (pipe2(fds, O_CLOEXEC) < 0)
            return err_errno(e, "stdio pipes");
        p->stdio[i] = fds[i == 0];
        theirs[i] = fds[i != 0];
        if (fchown(fds[0], uid, gid) < 0)
            return err_errno(e, "stdio pipes");
    }
    return 0;
}

/* Flags of the new namespaces that clone makes. The cgroup namespace is made later, by the child:
 * its root is the cgroup of whoever calls, which here would be the agent's. */
static uint64_t clone_flags(const struct process *p)
{
    const struct spec_namespace *ns = p->container->spec->linux_.ns;
    uint64_t flags = 0;

    for (int i = 0; p->is_init && i < NS_KINDS; i++) {
        if (ns[i].present && i != NS_CGROUP && i != NS_TIME)
            flags |= (uint64_t)(unsigned)spec_ns_flags[i];
    }
    return flags;
}

/* A new time namespace for our next child, with its offsets, which freeze when it is entered. */
static int new_time_ns(const struct spec_linux *l, struct err *e)
{
    char text[160];
    int r;

    if (unshare(CLONE_NEWTIME) < 0)
        return err_errno(e, "make a time namespace");
    r = str_printf(text, sizeof(text), "monotonic %lld %u\nboottime %lld %u\n",
                   (long long)l->monotonic_offset.secs, l->monotonic_offset.nanosecs,
                   (long long)l->boottime_offset.secs, l->boottime_offset.nanosecs);
    if (r < 0)
        return err_set(e, -r, "linux.timeOffsets");
    r = io_write_file(AT_FDCWD, "/proc/self/timens_offsets", text, e);
    return r < 0 ? err_wrap(e, "linux.timeOffsets") : 0;
}

/* The cgroup of the container's init: a container that manages cgroups itself (systemd) has moved
 * its processes to children, and may hold none in its own. */
static int init_cgroup(const struct process *init, int cgroup_fd)
{
    char path[64], text[PATH_MAX];
    char *group, *end, *name, ours[CONTAINER_ID_MAX + 2];
    ssize_t n;
    cleanup_fd int fd = -1;

    snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)init->pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (n <= 0)
        return -1;
    text[n] = '\0';
    group = strstr(text, "0::/");
    if (!group)
        return -1;
    end = strchrnul(group, '\n');
    *end = '\0';
    /* ours is named after the container; what follows is below it */
    snprintf(ours, sizeof(ours), "/%s", init->container->id);
    name = strstr(group + strlen("0::"), ours);
    while (name && name[strlen(ours)] != '/' && name[strlen(ours)] != '\0')
        name = strstr(name + 1, ours);
    if (!name)
        return -1;
    name += strlen(ours);
    while (*name == '/')
        name++;
    return openat(cgroup_fd, *name ? name : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static pid_t do_clone(struct process *p, uint64_t flags, int cgroup_fd)
{
    struct clone_args args = {
        .flags = flags | CLONE_PIDFD | (cgroup_fd >= 0 ? CLONE_INTO_CGROUP : 0),
        .pidfd = (uint64_t)(uintptr_t)&p->pidfd,
        .exit_signal = SIGCHLD,
        .cgroup = (uint64_t)(unsigned)cgroup_fd,
    };

    return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

/* In the one below the container's that the host has named. The container may have made it, but
 * the path does not lead out. */
static pid_t clone_in_named(struct process *p, struct err *e)
{
    cleanup_fd int fd =
        path_open_in(p->container->cgroup_fd, p->cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    pid_t pid;

    if (fd < 0)
        return err_set(e, -fd, "cgroup %s of container %s: %s", p->cgroup, p->container->id,
                       strerror(-fd));
    pid = do_clone(p, clone_flags(p), fd);
    return pid < 0 ? err_errno(e, "clone the process into cgroup %s", p->cgroup) : pid;
}

/* clone3 in the right cgroup. 0 in the child. */
static pid_t clone_child(struct process *p, struct err *e)
{
    struct container *c = p->container;

    if (p->cgroup)
        return clone_in_named(p, e);

    pid_t pid = do_clone(p, clone_flags(p), c->cgroup_fd);

    if (pid < 0 && errno == EBUSY && !p->is_init) {
        cleanup_fd int fd = init_cgroup(c->init, c->cgroup_fd);

        errno = EBUSY;
        if (fd >= 0)
            pid = do_clone(p, clone_flags(p), fd);
    }
    if (pid < 0)
        return err_errno(e, "clone the process");
    return pid;
}

/* Enters what only a parent can choose, clones, and comes back. */
static pid_t clone_in_namespaces(struct process *p, struct err *e)
{
    struct container *c = p->container;
    const struct spec_namespace *ns = c->spec->linux_.ns;
    bool pidns = !p->is_init && ns[NS_PID].present;
    bool timens = p->is_init && ns[NS_TIME].present;
    pid_t pid;

    if (pidns && setns(c->init->pidfd, CLONE_NEWPID) < 0)
        return errno == ESRCH ? err_set(e, ESRCH, "container not running")
                              : err_errno(e, "join the container's pid namespace");
    pid = timens ? new_time_ns(&c->spec->linux_, e) : 0;
    if (pid == 0)
        pid = clone_child(p, e);
    if (pid == 0)
        return 0; /* the child */
    if (pid > 0)
        p->pid = pid;
    if ((pidns && setns(c->agent->pidns_fd, CLONE_NEWPID) < 0) ||
        (timens && setns(c->agent->timens_fd, CLONE_NEWTIME) < 0)) {
        /* every later child would be born in the wrong place */
        loop_stop(&c->agent->loop);
        return err_errno(e, "come back to the agent's namespaces");
    }
    return pid;
}

static int write_map(pid_t pid, const char *file, const struct spec_id_map *m, size_t n,
                     struct err *e)
{
    struct strbuf text = {0};
    char path[64];
    int r;

    for (size_t i = 0; i < n; i++)
        strbuf_add(&text, "%u %u %u\n", m[i].container_id, m[i].host_id, m[i].size);
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
    r = text.failed ? err_set(e, ENOMEM, "out of memory for id mappings")
                    : io_write_file(AT_FDCWD, path, text.s, e);
    strbuf_done(&text);
    return r < 0 ? err_wrap(e, "linux.%s", file[0] == 'u' ? "uidMappings" : "gidMappings") : 0;
}

/* The agent itself must never be killed for memory, its children may. */
static int set_oom_score(const struct process *p, struct err *e)
{
    char path[64], text[16];
    int r;

    snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)p->pid);
    snprintf(text, sizeof(text), "%d", p->spec->oom_score_adj_set ? p->spec->oom_score_adj : 0);
    r = io_write_file(AT_FDCWD, path, text, e);
    return r < 0 ? err_wrap(e, "process.oomScoreAdj") : 0;
}

/* What it needs from outside before it may go on. */
static int prepare_child(struct process *p, struct err *e)
{
    const struct spec_linux *l = &p->container->spec->linux_;
    int r = set_oom_score(p, e);

    if (r == 0 && p->is_init && l->ns[NS_USER].present) {
        r = write_map(p->pid, "uid_map", l->uid_maps, l->nuid_maps, e);
        if (r == 0)
            r = write_map(p->pid, "gid_map", l->gid_maps, l->ngid_maps, e);
    }
    return r;
}

int clone_process(struct process *p, struct err *e)
{
    struct container *c = p->container;
    char cgroup[PATH_MAX];
    int theirs[3] = {-1, -1, -1}, sync[2] = {-1, -1}, r = 0;
    pid_t pid = -1;
    struct child child = {.spec = c->spec,
                          .proc = p->spec,
                          .is_init = p->is_init,
                          .id = c->id,
                          .bundle = c->bundle,
                          .rootfs = c->rootfs,
                          .cgroup = cgroup,
                          .seccomp = p->seccomp,
                          .nseccomp = p->nseccomp,
                          .seccomp_flags = p->seccomp_flags,
                          .init_pidfd = p->is_init ? -1 : c->init->pidfd,
                          .null_fd = c->agent->null_fd,
                          .master = -1};

    if (str_printf(cgroup, sizeof(cgroup), "%s/%s", c->agent->cfg.cgroup_dir, c->id) < 0)
        return err_set(e, ENAMETOOLONG, "%s: name too long", c->id);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sync) < 0)
        return err_errno(e, "sync socket");
    p->sync = sync[0];
    (void)io_set_nonblock(p->sync, 1);
    if (!p->spec->terminal)
        r = make_pipes(p, theirs, e);
    if (r == 0)
        pid = clone_in_namespaces(p, e);
    if (r == 0 && pid == 0) {
        child.sync = sync[1];
        memcpy(child.stdio, theirs, sizeof(theirs));
        child_main(&child);
    }
    close_fd(&sync[1]);
    for (int i = 0; i < 3; i++)
        close_fd(&theirs[i]);
    if (r < 0 || pid < 0)
        return r < 0 ? r : pid;
    p->pid = pid;
    return prepare_child(p, e);
}
