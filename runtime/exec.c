/*
 * container_exec: the process object, a shim in the container's cgroup and network namespace, the
 * process in the guest, the hand-over, the start. The container is locked until the shim is
 * recorded in its state, so that delete finds it; not longer, since the guest may take its time.
 */
#include "runtime/exec.h"

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/json.h"
#include "lib/path.h"
#include "lib/str.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/client.h"
#include "runtime/config.h"
#include "runtime/guest.h"
#include "runtime/sandbox.h"
#include "runtime/support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define EXEC_ID_BYTES 8
/*
 * For all that the guest is asked in one exec, together: a busy guest may take long over one answer
 * and be quick with the others. Below the 240 s that podman waits.
 */
#define EXEC_MS 200000

struct execution {
    const struct runtime *rt;
    const struct exec_options *o;
    struct store store;
    struct state state;
    struct spec *spec;
    struct config config;
    json_t *process; /* what the guest gets */
    struct spec_process parsed;
    bool is_parsed;
    char id[2 * EXEC_ID_BYTES + 1];
    struct shim shim;
    int cgroup_fd, console, control, streams[3];
    uint64_t end; /* monotonic ns */
};

/* --- the process object ---------------------------------------------------------------------- */

static int no_memory(struct err *e)
{
    return err_set(e, ENOMEM, "process: out of memory");
}

static json_t *strings(const char *const *v)
{
    json_t *list = json_array();

    for (; v && *v && list; v++)
        json_array_append_new(list, json_string(*v));
    return list;
}

/* "uid[:gid]", numbers alone: names are the image's, which the host does not read. */
static int set_user(json_t *process, const char *text, struct err *e)
{
    json_t *user = json_copy(json_object_get(process, "user"));
    const char *colon = strchr(text, ':');
    char uid[16];
    uint64_t u, g = 0;

    if (str_printf(uid, sizeof uid, "%.*s", colon ? (int)(colon - text) : (int)strlen(text), text) <
            0 ||
        str_to_u64(uid, &u) < 0 || u > UINT32_MAX ||
        (colon && (str_to_u64(colon + 1, &g) < 0 || g > UINT32_MAX))) {
        json_decref(user);
        return err_set(e, EINVAL, "--user must be UID or UID:GID in numbers, got \"%s\"", text);
    }
    if (!user)
        user = json_object();
    json_object_set_new(user, "uid", json_integer((json_int_t)u));
    if (colon)
        json_object_set_new(user, "gid", json_integer((json_int_t)g));
    return json_object_set_new(process, "user", user) < 0 ? no_memory(e) : 0;
}

static int set_gids(json_t *process, const char *const *gids, struct err *e)
{
    json_t *user = json_deep_copy(json_object_get(process, "user"));
    json_t *list = json_copy(json_object_get(user, "additionalGids"));

    if (!list)
        list = json_array();
    for (; *gids; gids++) {
        uint64_t g;
        if (str_to_u64(*gids, &g) < 0 || g > UINT32_MAX) {
            json_decref(user);
            json_decref(list);
            return err_set(e, EINVAL, "--additional-gids must be a number, got \"%s\"", *gids);
        }
        json_array_append_new(list, json_integer((json_int_t)g));
    }
    if (!user)
        user = json_object();
    json_object_set_new(user, "additionalGids", list);
    return json_object_set_new(process, "user", user) < 0 ? no_memory(e) : 0;
}

/* --cap adds to what the container's process may have. */
static int add_caps(json_t *process, const char *const *caps, struct err *e)
{
    static const char *const sets[] = {"bounding", "effective", "permitted"};
    json_t *all = json_deep_copy(json_object_get(process, "capabilities"));

    if (!all)
        all = json_object();
    for (size_t i = 0; i < ARRAY_SIZE(sets); i++) {
        json_t *set = json_object_get(all, sets[i]);
        if (!set) {
            set = json_array();
            json_object_set_new(all, sets[i], set);
        }
        for (const char *const *c = caps; *c; c++)
            json_array_append_new(set, json_string(*c));
    }
    return json_object_set_new(process, "capabilities", all) < 0 ? no_memory(e) : 0;
}

static int add_env(json_t *process, const char *const *env, struct err *e)
{
    json_t *all = json_deep_copy(json_object_get(process, "env"));

    if (!all)
        all = json_array();
    for (; *env; env++)
        json_array_append_new(all, json_string(*env));
    return json_object_set_new(process, "env", all) < 0 ? no_memory(e) : 0;
}

static int build_process(struct execution *x, struct err *e)
{
    const struct exec_options *o = x->o;
    json_t *p = json_deep_copy(json_object_get(x->spec->doc, "process"));

    if (!p)
        return no_memory(e);
    x->process = p;
    json_object_del(p, "consoleSize");
    json_object_set_new(p, "args", strings(o->args));
    json_object_set_new(p, "terminal", json_boolean(o->terminal));
    if (o->cwd)
        json_object_set_new(p, "cwd", json_string(o->cwd));
    if (o->no_new_privileges)
        json_object_set_new(p, "noNewPrivileges", json_true());
    if (o->user && set_user(p, o->user, e) < 0)
        return -e->code;
    if (o->gids && *o->gids && set_gids(p, o->gids, e) < 0)
        return -e->code;
    if (o->caps && *o->caps && add_caps(p, o->caps, e) < 0)
        return -e->code;
    if (o->env && *o->env && add_env(p, o->env, e) < 0)
        return -e->code;
    return 0;
}

static int make_process(struct execution *x, struct err *warning, struct err *e)
{
    struct strbuf warnings = {0};
    int r = x->o->process_file ? json_load_file_at(AT_FDCWD, x->o->process_file, &x->process, e)
                               : build_process(x, e);

    if (r == 0)
        r = spec_parse_process(x->process, "process", &x->parsed, e);
    if (r < 0)
        return r;
    x->is_parsed = true;
    r = support_check_process(&x->parsed, "process", &warnings, e);
    support_warn(&warnings, warning);
    if (r == 0 && x->parsed.terminal && !x->o->console_socket && !x->o->foreground)
        return err_set(e, EINVAL, "a detached process with a terminal needs --console-socket");
    if (r == 0 && !x->parsed.terminal && x->o->console_socket)
        return err_set(e, EINVAL, "--console-socket is given, but the process has no terminal");
    return r;
}

/* --- the container --------------------------------------------------------------------------- */

static int check_running(const struct execution *x, struct err *e)
{
    enum status s = state_status(&x->state);

    if (s == STATUS_STOPPED)
        return err_set(e, EINVAL, "cannot exec in a stopped container");
    if (s == STATUS_PAUSED && !x->o->ignore_paused)
        return err_set(e, EBUSY,
                       "cannot exec in a paused container (use --ignore-paused to "
                       "override)");
    if (s == STATUS_CREATING)
        return err_set(e, EINVAL, "cannot exec in a container that is still being created");
    return 0;
}

static int record(struct execution *x, struct err *e)
{
    struct state *s = &x->state;
    size_t n = 0;

    for (size_t i = 0; i < s->nexecs; i++)
        if (process_alive(&s->execs[i].shim))
            s->execs[n++] = s->execs[i];
    s->nexecs = n;
    if (n == STORE_EXECS_MAX)
        return err_set(e, EAGAIN, "%d processes were exec'ed and still run: no more are allowed",
                       STORE_EXECS_MAX);
    struct exec_record *grown = realloc(s->execs, (n + 1) * sizeof *grown);
    if (!grown)
        return no_memory(e);
    s->execs = grown;
    memset(&grown[n], 0, sizeof *grown);
    memcpy(grown[n].id, x->id, sizeof x->id);
    if (process_identify(x->shim.pid, &grown[n].shim) < 0)
        return err_set(e, ESRCH, "the shim has ended");
    s->nexecs = n + 1;
    return store_save(&x->store, s, e);
}

/* By pid, so it counts only if that process is still there once it is open. */
static int open_netns(const struct process *shim, int *out, struct err *e)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/ns/net", shim->pid);
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    int code = errno;

    if (!process_alive(shim))
        return err_set(e, EINVAL, "cannot exec in a stopped container");
    if (fd < 0)
        return err_set(e, code, "open %s: %s", path, strerror(code));
    *out = take_fd(&fd);
    return 0;
}

static int make_shim(struct execution *x, struct err *e)
{
    char path[PATH_FD_LEN], title[600];
    cleanup_fd int netns = -1;
    struct shim_params params = {
        .program = x->config.shim,
        .title = title,
        .rootfs = x->state.rootfs,
        .netns = path,
        .cgroup_fd = -1,
        .stdio = {0, 1, 2},
        .terminal = x->parsed.terminal,
        .rows = x->parsed.rows,
        .cols = x->parsed.cols,
        .console_socket = x->o->console_socket,
    };

    if (open_netns(&x->state.shim, &netns, e) < 0)
        return -e->code;
    path_of_fd(path, netns);
    snprintf(title, sizeof title, "%s/%s", x->state.id, x->id);
    if (x->state.cgroup && x->state.cgroup_made &&
        cgroup_open(x->state.cgroup, &x->cgroup_fd, e) < 0)
        return -e->code;
    params.cgroup_fd = x->cgroup_fd;
    if (shim_spawn(&params, &x->shim, e) < 0)
        return -e->code;
    return record(x, e);
}

/* Under the lock: everything up to the shim's being on record. */
static int enter(struct execution *x, const char *id, struct err *warning, struct err *e)
{
    int r = store_open(x->rt->root, id, true, &x->store, e);

    if (r == 0)
        r = store_load(&x->store, &x->state, e);
    if (r == 0)
        r = check_running(x, e);
    if (r == 0)
        r = spec_load(x->store.path, &x->spec, e);
    if (r == 0)
        r = make_process(x, warning, e);
    if (r == 0)
        r = config_load(x->rt->config, &x->config, e);
    if (r == 0)
        r = config_check_program("shim", x->config.shim, e);
    if (r == 0)
        r = make_shim(x, e);
    if (x->store.dir >= 0)
        store_unlock(&x->store);
    return r;
}

/* --- the guest -------------------------------------------------------------------------------- */

static int make_in_guest(struct execution *x, struct err *e)
{
    json_t *body = NULL;

    if (guest_exec_body(x->spec, x->state.id, x->id, x->process, &body, e) < 0)
        return -e->code;
    if (x->o->cgroup)
        json_object_set_new(body, "cgroup", json_string(x->o->cgroup));
    x->control = client_connect(x->store.path, left_ms(x->end), e);
    if (x->control < 0) {
        json_decref(body);
        return -e->code;
    }
    if (proto_call(x->control, PROTO_PROCESS_CREATE, body, left_ms(x->end), NULL, e) < 0 ||
        proto_call(x->control, PROTO_PROCESS_ATTACH, client_target(x->state.id, x->id),
                   left_ms(x->end), NULL, e) < 0)
        return -e->code;
    for (int i = 0; i < (x->parsed.terminal ? 1 : 3); i++) {
        x->streams[i] = client_stream(x->store.path, x->state.id, x->id, i, left_ms(x->end), e);
        if (x->streams[i] < 0)
            return -e->code;
    }
    return 0;
}

static int hand_over(struct execution *x, struct err *e)
{
    struct shim_guest g = {
        .control = x->control,
        .streams = {x->streams[0], x->streams[1], x->streams[2]},
        .oom = OOM_NONE,
        .container = x->state.id,
        .process = x->id,
    };

    x->console = openat(x->store.dir, "console.log", O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    g.console_log = x->console;
    return shim_go(&x->shim, &g, e);
}

static int run(struct execution *x, struct err *e)
{
    x->end = deadline_ns(EXEC_MS);
    if (make_in_guest(x, e) < 0)
        return sandbox_explain(&x->store, &x->state.vmm, e);
    if (hand_over(x, e) < 0)
        return -e->code;
    if (client_call(x->store.path, PROTO_PROCESS_START, client_target(x->state.id, x->id),
                    left_ms(x->end), NULL, e) < 0)
        return sandbox_explain(&x->store, &x->state.vmm, e);
    return shim_write_pid(&x->shim, x->o->pid_file, e);
}

/* --- all together ---------------------------------------------------------------------------- */

static int make_id(char id[2 * EXEC_ID_BYTES + 1], struct err *e)
{
    unsigned char raw[EXEC_ID_BYTES];

    if (getrandom(raw, sizeof raw, 0) != sizeof raw)
        return err_errno(e, "random bytes");
    for (unsigned i = 0; i < sizeof raw; i++)
        snprintf(id + 2 * i, 3, "%02x", raw[i]);
    return 0;
}

/* A shim that is on its own by now still goes: its closing connection kills the process. */
static void undo(struct execution *x)
{
    struct err ignored = ERR_INIT;
    struct process p;

    if (x->shim.pid > 0 && process_identify(x->shim.pid, &p) == 0)
        (void)!process_kill(&p, "the shim", &ignored);
    shim_abort(&x->shim);
}

static void execution_done(struct execution *x)
{
    int *fds[] = {&x->cgroup_fd,  &x->console,    &x->control,
                  &x->streams[0], &x->streams[1], &x->streams[2]};

    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        close_fd(fds[i]);
    if (x->is_parsed)
        spec_process_done(&x->parsed);
    json_decref(x->process);
    config_done(&x->config);
    spec_free(x->spec);
    state_done(&x->state);
    store_close(&x->store);
}

int container_exec(const struct runtime *rt, const char *id, const struct exec_options *o,
                   struct shim *shim_out, struct err *warning, struct err *e)
{
    struct execution x = {
        .rt = rt,
        .o = o,
        .store = STORE_INIT,
        .state = STATE_INIT,
        .shim = SHIM_INIT,
        .cgroup_fd = -1,
        .console = -1,
        .control = -1,
        .streams = {-1, -1, -1},
    };
    int r = make_id(x.id, e);

    if (r == 0)
        r = enter(&x, id, warning, e);
    if (r == 0)
        r = run(&x, e);
    if (r < 0)
        undo(&x);
    else
        *shim_out = x.shim;
    execution_done(&x);
    return r;
}
