/*
 * Requests of the host: one function a type. Each reads its body through lib/json's checked
 * getters, answers at once, or hands a `struct reply_to` on to who answers later.
 */
#include "agent/request.h"
#include "agent/cgroup.h"
#include "agent/container.h"
#include "agent/spawn.h"
#include "lib/cleanup.h"
#include "lib/json.h"
#include "lib/path.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

struct request {
    struct conn *conn;
    struct reply_to to; /* cleared by whoever takes over the answer */
    const json_t *body;
    struct container *container;
    struct process *process;
};
typedef int request_fn(struct request *q, struct err *e);

/* A required string. */
static int need_str(const struct request *q, const char *key, const char **out, struct err *e)
{
    int r = json_get_str(q->body, "", key, out, e);

    return r == 0 ? err_set(e, EINVAL, "%s is missing", key) : r;
}

static int take_stopped(const struct container *c, struct err *e)
{
    if (!container_running(c))
        return err_set(e, ESRCH, "container not running");
    return 0;
}

static int do_container_create(struct request *q, struct err *e)
{
    struct container *c;
    const char *id;
    int r = need_str(q, "id", &id, e);

    if (r < 0)
        return r;
    r = container_new(q->conn->agent, id, q->body, &c, e);
    if (r < 0)
        return r;
    spawn_process(c->init, q->to);
    q->to.conn = NULL;
    return 0;
}

static int do_container_delete(struct request *q, struct err *e)
{
    struct container *c = q->container;

    if (c->deleting)
        return err_set(e, EALREADY, "container %s is being deleted", c->id);
    c->delete_reply = q->to;
    q->to.conn = NULL;
    q->conn->deleted = true;
    container_delete(c);
    return 0;
}

static int do_container_ps(struct request *q, struct err *e)
{
    pid_t *pids;
    size_t n;
    int r = take_stopped(q->container, e);

    if (r == 0)
        r = cgroup_processes(q->container->cgroup_fd, &pids, &n, e);
    if (r < 0)
        return r;
    reply_ok(&q->to, json_pack("{s:o}", "processes", process_list(pids, n)));
    free(pids);
    return 0;
}

static int do_container_stats(struct request *q, struct err *e)
{
    int r = take_stopped(q->container, e);

    if (r < 0)
        return r;
    reply_ok(&q->to, json_pack("{s:o}", "stats", cgroup_stats(q->container->cgroup_fd)));
    return 0;
}

static int do_container_update(struct request *q, struct err *e)
{
    json_t *resources;
    int r = take_stopped(q->container, e);

    if (r == 0)
        r = json_get_obj(q->body, "", "resources", &resources, e);
    if (r < 0)
        return r;
    if (r == 0)
        return err_set(e, EINVAL, "resources is missing");
    return container_update(q->container, resources, e);
}

static int do_freeze(struct request *q, bool frozen, struct err *e)
{
    int r = take_stopped(q->container, e);

    if (r == 0)
        r = container_freeze(q->container, frozen, q->to, e);
    if (r == 0)
        q->to.conn = NULL;
    return r;
}

static int do_container_pause(struct request *q, struct err *e)
{
    return do_freeze(q, true, e);
}

static int do_container_resume(struct request *q, struct err *e)
{
    return do_freeze(q, false, e);
}

static int do_container_events(struct request *q, struct err *e)
{
    int r = take_stopped(q->container, e);

    if (r == 0)
        q->conn->events_of = q->container;
    return r;
}

/* Where an exec runs, if not in the container's own cgroup. */
static int read_cgroup(struct process *p, const json_t *body, struct err *e)
{
    const char *path;
    int r = json_get_str(body, "", "cgroup", &path, e);

    if (r <= 0)
        return r;
    p->cgroup = strdup(path);
    return p->cgroup ? 0 : err_set(e, ENOMEM, "out of memory");
}

static int do_process_create(struct request *q, struct err *e)
{
    struct container *c = q->container;
    struct process *p;
    const char *id = NULL;
    json_t *spec;
    int r = take_stopped(c, e);

    if (r == 0)
        r = need_str(q, "process", &id, e);
    if (r < 0)
        return r;
    if (!path_is_clean_name(id) || strlen(id) > PROTO_PROCESS_ID_MAX)
        return err_set(e, EINVAL, "process must be a plain name of at most %d bytes",
                       PROTO_PROCESS_ID_MAX);
    if (container_find_process(c, id))
        return err_set(e, EEXIST, "process %s exists in container %s", id, c->id);
    r = json_get_obj(q->body, "", "spec", &spec, e);
    if (r <= 0)
        return r < 0 ? r : err_set(e, EINVAL, "spec is missing");
    p = container_add_process(c, id, e);
    if (!p)
        return -e->code;
    r = spec_parse_process(spec, "process", &p->own_spec, e);
    if (r >= 0)
        p->spec = &p->own_spec;
    if (r >= 0)
        r = config_check_process(p->spec, "process", e);
    if (r >= 0)
        r = process_read_seccomp(p, q->body, e);
    if (r >= 0)
        r = read_cgroup(p, q->body, e);
    if (r < 0) {
        p->state = PROCESS_EXITED;
        return r;
    }
    spawn_process(p, q->to);
    q->to.conn = NULL;
    return 0;
}

static int do_process_start(struct request *q, struct err *e)
{
    int r = spawn_start(q->process, q->to, e);

    if (r == 0)
        q->to.conn = NULL;
    return r;
}

/* `all`: every process of the container, as runc's kill --all. */
static int signal_all(struct container *c, int sig, struct err *e)
{
    pid_t *pids;
    size_t n;
    int r;

    if (sig == SIGKILL)
        return cgroup_kill(c->cgroup_fd) < 0 ? err_errno(e, "kill container %s", c->id) : 0;
    r = cgroup_processes(c->cgroup_fd, &pids, &n, e);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++)
        kill(pids[i], sig);
    free(pids);
    return 0;
}

static int do_process_signal(struct request *q, struct err *e)
{
    bool all = false;
    int64_t sig;
    int r = json_get_i64(q->body, "", "signal", 0, SIGRTMAX, &sig, e);

    if (r == 0)
        return err_set(e, EINVAL, "signal is missing");
    if (r > 0)
        r = json_get_bool(q->body, "", "all", &all, e);
    if (r < 0)
        return r;
    if (q->process->state == PROCESS_EXITED)
        return err_set(e, ESRCH, q->process->is_init ? "container not running" : "no such process");
    if (all && q->process->is_init && q->process->state == PROCESS_RUNNING)
        return signal_all(q->container, (int)sig, e);
    return process_signal(q->process, (int)sig, e);
}

static int do_process_attach(struct request *q, struct err *e)
{
    struct process *p = q->process;

    if (p->was_attached)
        return err_set(e, EBUSY, "process \"%s\" has been attached to", p->id);
    p->attached = q->conn;
    p->was_attached = true;
    p->creator = NULL;
    reply_ok(&q->to, NULL); /* the sweep tells of an exit that there has been */
    return 0;
}

static int do_process_stream(struct request *q, struct err *e)
{
    int64_t index;
    int r = json_get_i64(q->body, "", "stream", 0, 2, &index, e);

    if (r == 0)
        return err_set(e, EINVAL, "stream is missing");
    if (r > 0)
        r = process_check_stream(q->process, (int)index, e);
    if (r < 0)
        return r;
    for (struct conn *c = q->conn->agent->conns; c; c = c->next) {
        if (c->stream_of == q->process && c->stream_index == index)
            return err_set(e, EBUSY, "stream %d is being attached to", (int)index);
    }
    /* the answer goes out first; conn.c then gives the descriptor away */
    conn_send_last(&q->to, q->process, (int)index);
    return 0;
}

static int do_process_resize(struct request *q, struct err *e)
{
    int64_t rows = 0, cols = 0;
    int r = json_get_i64(q->body, "", "rows", 0, UINT16_MAX, &rows, e);

    if (r > 0)
        r = json_get_i64(q->body, "", "cols", 0, UINT16_MAX, &cols, e);
    if (r <= 0)
        return r < 0 ? r : err_set(e, EINVAL, "rows or cols is missing");
    return process_resize(q->process, (uint16_t)rows, (uint16_t)cols, e);
}

enum needs { NEEDS_NOTHING, NEEDS_CONTAINER, NEEDS_PROCESS };
static const struct {
    uint16_t type;
    enum needs needs;
    request_fn *fn;
} requests[] = {
    {PROTO_CONTAINER_CREATE, NEEDS_NOTHING, do_container_create},
    {PROTO_CONTAINER_DELETE, NEEDS_CONTAINER, do_container_delete},
    {PROTO_CONTAINER_PS, NEEDS_CONTAINER, do_container_ps},
    {PROTO_CONTAINER_STATS, NEEDS_CONTAINER, do_container_stats},
    {PROTO_CONTAINER_UPDATE, NEEDS_CONTAINER, do_container_update},
    {PROTO_CONTAINER_PAUSE, NEEDS_CONTAINER, do_container_pause},
    {PROTO_CONTAINER_RESUME, NEEDS_CONTAINER, do_container_resume},
    {PROTO_CONTAINER_EVENTS, NEEDS_CONTAINER, do_container_events},
    {PROTO_PROCESS_CREATE, NEEDS_CONTAINER, do_process_create},
    {PROTO_PROCESS_START, NEEDS_PROCESS, do_process_start},
    {PROTO_PROCESS_SIGNAL, NEEDS_PROCESS, do_process_signal},
    {PROTO_PROCESS_ATTACH, NEEDS_PROCESS, do_process_attach},
    {PROTO_PROCESS_STREAM, NEEDS_PROCESS, do_process_stream},
    {PROTO_PROCESS_RESIZE, NEEDS_PROCESS, do_process_resize},
};

/* Finds what "id" and "process" name. */
static int find_target(struct request *q, enum needs needs, struct err *e)
{
    const char *id, *process = "";
    int r;

    if (needs == NEEDS_NOTHING)
        return 0;
    r = need_str(q, "id", &id, e);
    if (r < 0)
        return r;
    q->container = container_find(q->conn->agent, id);
    if (!q->container)
        return err_set(e, ENOENT, "container %.64s does not exist in the sandbox", id);
    if (needs == NEEDS_CONTAINER)
        return 0;
    r = json_get_str(q->body, "", "process", &process, e);
    if (r < 0)
        return r;
    q->process = container_find_process(q->container, process);
    if (!q->process)
        return err_set(e, ESRCH, "process \"%.64s\" does not exist in container %.64s", process,
                       id);
    return 0;
}

static void handle(struct conn *c, const struct proto_frame *f)
{
    struct request q = {.conn = c, .to = {c, f->id}, .body = f->body};
    struct err e = ERR_INIT;

    for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
        if (requests[i].type != f->type)
            continue;
        if (find_target(&q, requests[i].needs, &e) < 0 || requests[i].fn(&q, &e) < 0)
            reply_error(&q.to, &e);
        else
            reply_ok(&q.to, NULL);
        return;
    }
    err_set(&e, ENOSYS, "the agent knows no request of type %u", f->type);
    reply_error(&q.to, &e);
}

static void forget(struct reply_to *to, const struct conn *c)
{
    if (to->conn == c)
        to->conn = NULL;
}

/*
 * Nothing may point to a closed connection. Whoever attached to a process and goes away takes the
 * process along; so does whoever asked for one and goes away before somebody has attached to it.
 */
static void conn_gone(struct conn *gone)
{
    for (struct container *c = gone->agent->containers; c; c = c->next) {
        for (struct process *p = c->processes; p; p = p->next) {
            if (p->attached == gone || p->creator == gone)
                process_kill(p);
            if (p->creator == gone)
                p->creator = NULL;
            if (p->attached == gone)
                p->attached = NULL;
            forget(&p->reply, gone);
        }
        if (c->freeze_reply.conn == gone && c->freeze_to)
            container_thaw(c); /* nobody would ever resume it */
        forget(&c->freeze_reply, gone);
        forget(&c->delete_reply, gone);
    }
}

const struct conn_user request_user = {
    .frame = handle,
    .gone = conn_gone,
    .stream = process_take_stream,
};
