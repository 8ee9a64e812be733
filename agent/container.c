/*
 * The life of a container in the guest: made from a CREATE request, watched, frozen, killed, freed.
 *
 * It owns the cgroup directory and the list of processes. How the init process builds its root is
 * child.c's affair; what the cgroup files mean is cgroup.c's.
 */
#include "agent/container.h"
#include "agent/cgroup.h"
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/json.h"
#include "lib/path.h"
#include "lib/str.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

struct container *container_find(struct agent *a, const char *id)
{
    struct container *c = a->containers;

    while (c && (strcmp(c->id, id) != 0 || (c->deleting && !c->created)))
        c = c->next;
    return c;
}

struct process *container_find_process(const struct container *c, const char *id)
{
    struct process *p = c->processes;

    /* a finished exec may still relay what its children write: its name is free again */
    while (p && (strcmp(p->id, id) != 0 || ((p->exit_sent || p->failed) && !p->is_init)))
        p = p->next;
    return p;
}

struct process *container_add_process(struct container *c, const char *id, struct err *e)
{
    struct process *p = process_new(c->agent, id, e);

    if (p) {
        p->container = c;
        p->next = c->processes;
        c->processes = p;
    }
    return p;
}

bool container_running(const struct container *c)
{
    return c->init->state != PROCESS_EXITED && !c->deleting;
}

uint64_t container_oom_kills(struct container *c)
{
    uint64_t n = 0;

    (void)cgroup_field(c->cgroup_fd, "memory.events", "oom_kill", &n);
    return n;
}

/* Whoever asked for events hears of OOM kills that are new. */
static void tell_oom(struct container *c)
{
    uint64_t n = container_oom_kills(c);

    if (n > c->oom_kills) {
        for (struct conn *conn = c->agent->conns; conn; conn = conn->next) {
            if (conn->events_of == c && !conn->closed)
                conn_send(conn, PROTO_OOM, 0, NULL);
        }
    }
    c->oom_kills = n;
}

/* memory.events changed. */
static void on_oom(struct loop_source *s, uint32_t events)
{
    struct container *c = s->arg;
    char buf[512];

    (void)events;
    if (lseek(s->fd, 0, SEEK_SET) < 0 || read(s->fd, buf, sizeof(buf)) <= 0)
        loop_del(&c->agent->loop, s);
    else
        tell_oom(c);
}

/* cgroup.events changed: frozen, thawed, or the last process is gone (which the sweep looks at). */
static void on_cgroup(struct loop_source *s, uint32_t events)
{
    struct container *c = s->arg;
    uint64_t frozen = 0;
    char buf[256];

    (void)events;
    if (lseek(s->fd, 0, SEEK_SET) < 0 || read(s->fd, buf, sizeof(buf)) <= 0) {
        loop_del(&c->agent->loop, s);
        return;
    }
    if (c->freeze_reply.conn &&
        cgroup_field(c->cgroup_fd, "cgroup.events", "frozen", &frozen) == 0 &&
        (frozen != 0) == c->freeze_to) {
        c->paused = c->freeze_to;
        reply_ok(&c->freeze_reply, NULL);
    }
}

/* Watches a cgroup file that the kernel may lack (no memory controller: no OOM kills by it). */
static int watch(struct container *c, const char *file, int *fd, struct loop_source *s, loop_fn *fn,
                 struct err *e)
{
    char buf[512];
    int r;

    *fd = openat(c->cgroup_fd, file, O_RDONLY | O_CLOEXEC);
    if (*fd < 0)
        return errno == ENOENT ? 0 : err_errno(e, "open %s", file);
    if (read(*fd, buf, sizeof(buf)) < 0) /* the first read arms the notification */
        return err_errno(e, "read %s", file);
    r = loop_add(&c->agent->loop, s, *fd, EPOLLPRI, fn, c);
    return r < 0 ? err_set(e, -r, "watch %s: %s", file, strerror(-r)) : 0;
}

static int make_cgroup(struct container *c, struct err *e)
{
    const struct spec_resources *res = &c->spec->linux_.resources;
    int r;

    c->cgroup_fd = cgroup_make(c->agent->cfg.cgroup_dir, c->id, e);
    if (c->cgroup_fd < 0)
        return c->cgroup_fd;
    r = cgroup_set(c->cgroup_fd, res, e);
    if (r < 0)
        return r;
    c->device_prog = devfilter_attach(c->cgroup_fd, res->devices, res->ndevices, -1, e);
    if (c->device_prog < 0)
        return c->device_prog;
    r = watch(c, "memory.events", &c->oom_fd, &c->oom_src, on_oom, e);
    if (r == 0)
        r = watch(c, "cgroup.events", &c->cgroup_events_fd, &c->cgroup_src, on_cgroup, e);
    return r;
}

static int find_rootfs(struct container *c, const char *share, struct err *e)
{
    cleanup_fd int fd = -1;

    if (!path_is_clean_name(share))
        return err_set(e, EINVAL, "share must be a plain name");
    if (str_printf(c->rootfs, sizeof(c->rootfs), "%s/%s/rootfs", c->agent->cfg.share_dir, share) <
        0)
        return err_set(e, ENAMETOOLONG, "share: name too long");
    fd = open(c->rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, "the container's rootfs in the guest (%s)", c->rootfs);
    return 0;
}

static int build(struct container *c, const json_t *body, struct err *e)
{
    const char *share = NULL, *bundle = NULL;
    json_t *config = NULL;
    int r;

    r = json_get_str(body, "", "share", &share, e);
    if (r > 0)
        r = json_get_obj(body, "", "config", &config, e);
    if (r == 0)
        return err_set(e, EINVAL, "share or config is missing");
    if (r > 0)
        r = json_get_str(body, "", "bundle", &bundle, e);
    if (r > 0 && !(c->bundle = strdup(bundle)))
        return err_set(e, ENOMEM, "out of memory for a container");
    if (r >= 0)
        r = spec_parse(config, &c->spec, e);
    if (r < 0)
        return r;
    c->init = container_add_process(c, "", e);
    if (!c->init)
        return -e->code;
    c->init->spec = &c->spec->process;
    r = process_read_seccomp(c->init, body, e);
    if (r >= 0)
        r = config_check(c->spec, c->init->nseccomp > 0, e);
    if (r >= 0)
        r = find_rootfs(c, share, e);
    if (r >= 0)
        r = make_cgroup(c, e);
    return r;
}

static int remove_cgroup(const struct container *c)
{
    return cgroup_remove(c->agent->cfg.cgroup_dir, c->id);
}

static void container_free(struct container *c)
{
    struct agent *a = c->agent;

    for (struct conn *conn = a->conns; conn; conn = conn->next) {
        if (conn->events_of == c)
            conn->events_of = NULL;
    }
    while (c->processes) {
        struct process *p = c->processes;

        c->processes = p->next;
        process_free(p);
    }
    loop_del(&a->loop, &c->oom_src);
    loop_del(&a->loop, &c->cgroup_src);
    close_fd(&c->oom_fd);
    close_fd(&c->cgroup_events_fd);
    close_fd(&c->device_prog);
    close_fd(&c->cgroup_fd);
    spec_free(c->spec);
    free(c->bundle);
    a->ncontainers--;
    free(c);
}

int container_new(struct agent *a, const char *id, const json_t *body, struct container **out,
                  struct err *e)
{
    struct container *c;

    if (!path_is_clean_name(id) || strlen(id) > CONTAINER_ID_MAX)
        return err_set(e, EINVAL, "id must be a plain name of at most %d bytes", CONTAINER_ID_MAX);
    if (container_find(a, id))
        return err_set(e, EEXIST, "container %s exists in the sandbox", id);
    if (a->ncontainers >= AGENT_CONTAINERS_MAX)
        return err_set(e, EMFILE, "the sandbox holds %d containers, which is its limit",
                       AGENT_CONTAINERS_MAX);
    c = calloc(1, sizeof(*c));
    if (!c)
        return err_set(e, ENOMEM, "out of memory for a container");
    c->agent = a;
    memcpy(c->id, id, strlen(id) + 1);
    c->cgroup_fd = c->device_prog = c->oom_fd = c->cgroup_events_fd = -1;
    c->oom_src.fd = c->cgroup_src.fd = -1;
    a->ncontainers++;
    if (build(c, body, e) < 0) {
        if (c->cgroup_fd >= 0)
            (void)remove_cgroup(c);
        container_free(c);
        return -e->code;
    }
    c->next = a->containers;
    a->containers = c;
    *out = c;
    return 0;
}

void container_delete(struct container *c)
{
    c->deleting = true;
    for (struct process *p = c->processes; p; p = p->next)
        process_kill(p);
    (void)cgroup_kill(c->cgroup_fd);
}

void container_fail(struct container *c, const struct err *e)
{
    c->failure = *e;
    container_delete(c);
}

void container_stopped(struct container *c)
{
    struct err e = ERR_INIT;

    (void)cgroup_kill(c->cgroup_fd); /* what shared the guest's pid namespace, and late execs */
    err_set(&e, ESRCH, "container not running");
    reply_error(&c->freeze_reply, &e);
    tell_oom(c); /* the kernel tells of a change of memory.events up to 10 ms late */
    for (struct conn *conn = c->agent->conns; conn; conn = conn->next) {
        if (conn->events_of == c)
            conn_close(conn);
    }
    if (!c->created) /* it never came to be: the answer to CREATE said why */
        container_delete(c);
}

void container_thaw(struct container *c)
{
    struct err e = ERR_INIT;

    c->freeze_to = c->paused = false;
    (void)!io_write_file(c->cgroup_fd, "cgroup.freeze", "0", &e);
}

int container_freeze(struct container *c, bool frozen, struct reply_to to, struct err *e)
{
    uint64_t now = 0;
    int r;

    if (c->freeze_reply.conn)
        return err_set(e, EBUSY, "container %s is being paused or resumed", c->id);
    if (frozen == c->paused)
        return err_set(e, EINVAL, "container %s is %s paused", c->id, frozen ? "already" : "not");
    r = io_write_file(c->cgroup_fd, "cgroup.freeze", frozen ? "1" : "0", e);
    if (r < 0)
        return err_wrap(e, "%s container %s", frozen ? "pause" : "resume", c->id);
    c->freeze_to = frozen;
    c->freeze_reply = to;
    if (cgroup_field(c->cgroup_fd, "cgroup.events", "frozen", &now) == 0 && (now != 0) == frozen) {
        c->paused = frozen;
        reply_ok(&c->freeze_reply, NULL);
    }
    return 0;
}

int container_update(struct container *c, const json_t *resources, struct err *e)
{
    struct spec_resources res;
    int r, prog;

    memset(&res, 0, sizeof(res));
    r = spec_parse_resources(resources, "resources", &res, e);
    if (r < 0)
        return r;
    r = config_check_resources(&res, e);
    if (r >= 0)
        r = cgroup_set(c->cgroup_fd, &res, e);
    if (r >= 0 && res.ndevices) {
        prog = devfilter_attach(c->cgroup_fd, res.devices, res.ndevices, c->device_prog, e);
        if (prog >= 0) {
            close_fd(&c->device_prog);
            c->device_prog = prog;
        }
        r = prog < 0 ? prog : 0;
    }
    spec_resources_done(&res);
    return r < 0 ? r : 0;
}

static bool is_empty(const struct container *c)
{
    for (const struct process *p = c->processes; p; p = p->next) {
        if (p->pid)
            return false;
    }
    return true;
}

/*
 * Execs that are over go. The container's init stays for as long as the container does, and its
 * exit is told behind those of the processes that were killed with it: the host may end the virtual
 * machine as soon as it has it.
 */
static void sweep_processes(struct container *c)
{
    for (struct process **at = &c->processes; *at;) {
        struct process *p = *at;

        if (!p->is_init || is_empty(c))
            process_try_exit(p);
        if (p->is_init || !process_finished(p)) {
            at = &p->next;
            continue;
        }
        *at = p->next;
        process_free(p);
    }
}

void container_sweep(struct agent *a)
{
    for (struct container **at = &a->containers; *at;) {
        struct container *c = *at;

        sweep_processes(c);
        if (!c->deleting || !is_empty(c) || remove_cgroup(c) == -EBUSY) {
            at = &c->next;
            continue;
        }
        *at = c->next;
        reply_ok(&c->delete_reply, NULL);
        reply_error(&c->init->reply, &c->failure);
        container_free(c);
    }
}
