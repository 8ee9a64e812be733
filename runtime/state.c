/* A container's state: status, shapes for people and hooks, and state.json itself. Keeps nothing.
 */
#include "runtime/state.h"

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/json.h"
#include "lib/names.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STATE_FILE    "state.json"
#define STATE_VERSION 1

const char *const phase_names[PHASE_COUNT] = {
    "begin", "vmm", "ready", "created", "started", "exited",
};

enum status state_status(const struct state *s)
{
    if (!s->complete)
        return process_alive(&s->creator) ? STATUS_CREATING : STATUS_STOPPED;
    if (!process_alive(&s->shim))
        return STATUS_STOPPED;
    if (s->paused)
        return STATUS_PAUSED;
    return s->started ? STATUS_RUNNING : STATUS_CREATED;
}

const char *status_name(enum status s)
{
    static const char *const names[] = {"creating", "created", "running", "paused", "stopped"};

    return names[s];
}

char *state_created(const struct state *s, char buf[STATE_TIME_MAX])
{
    time_t t = (time_t)s->created_s;
    struct tm tm;
    size_t n;

    gmtime_r(&t, &tm);
    n = strftime(buf, STATE_TIME_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
    if (s->created_ns) {
        n += (size_t)snprintf(buf + n, STATE_TIME_MAX - n, ".%09u", s->created_ns);
        while (buf[n - 1] == '0')
            n--;
    }
    snprintf(buf + n, STATE_TIME_MAX - n, "Z");
    return buf;
}

json_t *state_json(const struct state *s, enum status status, const char *owner)
{
    char created[STATE_TIME_MAX];
    json_t *j = json_pack("{s:s, s:s, s:i, s:s, s:s, s:s, s:s}", "ociVersion", OCI_VERSION, "id",
                          s->id, "pid", status == STATUS_STOPPED ? 0 : s->shim.pid, "status",
                          status_name(status), "bundle", s->bundle ? s->bundle : "", "rootfs",
                          s->rootfs ? s->rootfs : "", "created", state_created(s, created));

    if (j && json_object_size(s->annotations) &&
        json_object_set(j, "annotations", s->annotations) < 0) {
        json_decref(j);
        return NULL;
    }
    if (j && owner)
        json_object_set_new(j, "owner", json_string(owner));
    return j;
}

static json_t *vm_json(const struct state *s, const struct control_reply *vm)
{
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {
        {"exits", vm->exits},
        {"exits_io", vm->exits_io},
        {"exits_mmio", vm->exits_mmio},
        {"exits_hlt", vm->exits_hlt},
        {"exits_other", vm->exits_other},
        {"kicks", vm->kicks},
        {"interrupts", vm->interrupts},
        {"resident", vm->resident},
    };
    const struct {
        const char *name;
        uint64_t at;
    } moments[] = {
        {"start", vm->t_start},
        {"run", vm->t_run},
        {"driver_ok", vm->t_driver_ok},
        {"first_connection", vm->t_first_connection},
    };
    json_t *o = json_object();

    for (size_t i = 0; i < ARRAY_SIZE(moments) && o; i++)
        if (moments[i].at >= s->phase[PHASE_BEGIN])
            json_object_set_new(o, moments[i].name,
                                json_integer((json_int_t)(moments[i].at - s->phase[PHASE_BEGIN])));
    for (size_t i = 0; i < ARRAY_SIZE(numbers) && o; i++)
        json_object_set_new(o, numbers[i].name, json_integer((json_int_t)numbers[i].value));
    return o;
}

json_t *state_timing(const struct state *s, const struct control_reply *vm)
{
    json_t *phases = json_object();

    for (unsigned i = 0; i < PHASE_COUNT && phases; i++)
        if (s->phase[i] && s->phase[PHASE_BEGIN])
            json_object_set_new(phases, phase_names[i],
                                json_integer((json_int_t)(s->phase[i] - s->phase[PHASE_BEGIN])));
    return json_pack("{s:s, s:o, s:I, s:o*}", "id", s->id, "phases", phases, "guest_boot_ns",
                     (json_int_t)s->guest_boot_ns, "vm", vm ? vm_json(s, vm) : NULL);
}

void state_done(struct state *s)
{
    free(s->id);
    free(s->bundle);
    free(s->rootfs);
    free(s->cgroup);
    free(s->execs);
    json_decref(s->annotations);
    *s = (struct state)STATE_INIT;
}

/* --- state.json ----------------------------------------------------------------------------- */

static json_t *process_json(const struct process *p)
{
    return json_pack("{s:i, s:I}", "pid", p->pid, "start", (json_int_t)p->start);
}

static json_t *execs_json(const struct state *s)
{
    json_t *list = json_array();

    for (size_t i = 0; i < s->nexecs && list; i++)
        json_array_append_new(list, json_pack("{s:s, s:o}", "id", s->execs[i].id, "shim",
                                              process_json(&s->execs[i].shim)));
    return list;
}

static json_t *phases_json(const struct state *s)
{
    json_t *o = json_object();

    for (unsigned i = 0; i < PHASE_COUNT && o; i++)
        json_object_set_new(o, phase_names[i], json_integer((json_int_t)s->phase[i]));
    return o;
}

int store_save(const struct store *store, const struct state *s, struct err *e)
{
    json_t *j = json_pack(
        "{s:i, s:s, s:s, s:s, s:s*, s:b, s:b, s:I, s:i, s:I, s:i, s:i, s:b, s:b, s:b}", "version",
        STATE_VERSION, "id", s->id, "bundle", s->bundle ? s->bundle : "", "rootfs",
        s->rootfs ? s->rootfs : "", "cgroup", s->cgroup, "cgroup_made", s->cgroup_made,
        "cgroup_scope", s->cgroup_scope, "memory_mib", (json_int_t)s->memory_mib, "vcpus",
        (int)s->vcpus, "created_s", (json_int_t)s->created_s, "created_ns", (int)s->created_ns,
        "owner", (int)s->owner, "complete", s->complete, "started", s->started, "paused",
        s->paused);
    cleanup_free char *text = NULL;

    if (j && json_object_update_new(
                 j, json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:O*}", "creator",
                              process_json(&s->creator), "shim", process_json(&s->shim), "vmm",
                              process_json(&s->vmm), "fs", process_json(&s->fs), "execs",
                              execs_json(s), "phases", phases_json(s), "guest_boot_ns",
                              (json_int_t)s->guest_boot_ns, "annotations", s->annotations)) == 0)
        text = json_dumps(j, JSON_INDENT(2));
    json_decref(j);
    if (!text)
        return err_set(e, ENOMEM, "write %s/" STATE_FILE ": out of memory", store->path);
    int r = io_replace_file(store->dir, STATE_FILE, 0600, text, strlen(text), e);
    return r < 0 ? err_wrap(e, "%s", store->path) : 0;
}

static int get_string(const json_t *j, const char *key, char **out, struct err *e)
{
    const char *v = NULL;
    int r = json_get_str(j, "", key, &v, e);

    if (r <= 0)
        return r;
    *out = strdup(v);
    return *out ? 1 : err_set(e, ENOMEM, "out of memory");
}

static int get_process(const json_t *j, const char *key, struct process *out, struct err *e)
{
    json_t *o = NULL;
    int64_t pid = 0, start = 0;
    int r = json_get_obj(j, "", key, &o, e);

    if (r <= 0)
        return r;
    if (json_get_i64(o, key, "pid", 0, INT32_MAX, &pid, e) < 0 ||
        json_get_i64(o, key, "start", 0, INT64_MAX, &start, e) < 0)
        return -e->code;
    *out = (struct process){.pid = (pid_t)pid, .start = (uint64_t)start};
    return 1;
}

static int get_execs(const json_t *j, struct state *s, struct err *e)
{
    json_t *list = NULL, *item;
    size_t i;
    int r = json_get_array(j, "", "execs", &list, e);

    if (r <= 0)
        return r;
    s->execs = calloc(json_array_size(list) + 1, sizeof *s->execs);
    if (!s->execs)
        return err_set(e, ENOMEM, "out of memory");
    json_array_foreach(list, i, item)
    {
        const char *id = "";
        if (i == STORE_EXECS_MAX)
            return err_set(e, E2BIG, "more than %d execs", STORE_EXECS_MAX);
        if (json_get_str(item, "execs", "id", &id, e) < 0 ||
            get_process(item, "shim", &s->execs[i].shim, e) < 0)
            return -e->code;
        snprintf(s->execs[i].id, sizeof s->execs[i].id, "%s", id);
        s->nexecs++;
    }
    return 1;
}

static int get_numbers(const json_t *j, struct state *s, struct err *e)
{
    int64_t created_ns = 0, owner = 0, boot = 0, memory = 0, vcpus = 0;
    json_t *phases = NULL;

    if (json_get_i64(j, "", "created_s", 0, INT64_MAX, &s->created_s, e) < 0 ||
        json_get_i64(j, "", "created_ns", 0, 999999999, &created_ns, e) < 0 ||
        json_get_i64(j, "", "owner", INT32_MIN, INT32_MAX, &owner, e) < 0 ||
        json_get_i64(j, "", "guest_boot_ns", 0, INT64_MAX, &boot, e) < 0 ||
        json_get_bool(j, "", "complete", &s->complete, e) < 0 ||
        json_get_bool(j, "", "started", &s->started, e) < 0 ||
        json_get_bool(j, "", "paused", &s->paused, e) < 0 ||
        json_get_bool(j, "", "cgroup_made", &s->cgroup_made, e) < 0 ||
        json_get_bool(j, "", "cgroup_scope", &s->cgroup_scope, e) < 0 ||
        json_get_i64(j, "", "memory_mib", 0, PLAN_MEMORY_MAX >> 20, &memory, e) < 0 ||
        json_get_i64(j, "", "vcpus", 0, PLAN_VCPUS_MAX, &vcpus, e) < 0 ||
        json_get_obj(j, "", "phases", &phases, e) < 0)
        return -e->code;
    s->created_ns = (uint32_t)created_ns;
    s->owner = (uid_t)owner;
    s->guest_boot_ns = (uint64_t)boot;
    s->memory_mib = (uint64_t)memory;
    s->vcpus = (uint32_t)vcpus;
    for (unsigned i = 0; phases && i < PHASE_COUNT; i++) {
        int64_t t = 0;
        if (json_get_i64(phases, "phases", phase_names[i], 0, INT64_MAX, &t, e) < 0)
            return -e->code;
        s->phase[i] = (uint64_t)t;
    }
    return 0;
}

static int parse(const json_t *j, struct state *s, struct err *e)
{
    int64_t version = 0;
    json_t *annotations = NULL;

    if (json_get_i64(j, "", "version", 0, INT32_MAX, &version, e) < 0)
        return -e->code;
    if (version != STATE_VERSION)
        return err_set(e, EPROTO, "it is of another version of bulkhead (%lld, ours is %d)",
                       (long long)version, STATE_VERSION);
    if (get_string(j, "bundle", &s->bundle, e) < 0 || get_string(j, "rootfs", &s->rootfs, e) < 0 ||
        get_string(j, "cgroup", &s->cgroup, e) < 0 || get_numbers(j, s, e) < 0 ||
        get_process(j, "creator", &s->creator, e) < 0 || get_process(j, "shim", &s->shim, e) < 0 ||
        get_process(j, "vmm", &s->vmm, e) < 0 || get_process(j, "fs", &s->fs, e) < 0 ||
        get_execs(j, s, e) < 0 || json_get_obj(j, "", "annotations", &annotations, e) < 0)
        return -e->code;
    if (annotations) {
        json_decref(s->annotations);
        s->annotations = json_incref(annotations);
    }
    return 0;
}

static int begin(const struct store *store, struct state *s, struct err *e)
{
    *s = (struct state){.id = strdup(store->id), .annotations = json_object()};
    if (s->id && s->annotations)
        return 0;
    state_done(s);
    return err_set(e, ENOMEM, "read %s: out of memory", store->path);
}

int store_load(const struct store *store, struct state *out, struct err *e)
{
    struct state s;
    json_t *j = NULL;
    int r = begin(store, &s, e);

    if (r < 0)
        return r;
    r = json_load_file_at(store->dir, STATE_FILE, &j, e);
    if (r == 0)
        r = parse(j, &s, e);
    json_decref(j);
    if (r < 0 && r != -ENOENT) {
        state_done(&s);
        err_wrap(e, "%s/" STATE_FILE, store->path);
        return r == -ENOMEM || r == -EACCES
                   ? r
                   : err_set(e, -r, "%s (bulkhead delete --force removes the container)", e->msg);
    }
    *out = s;
    return 0;
}

/* Each by itself: what cannot be read stays as it is in an empty state. */
static void salvage(const json_t *j, struct state *s)
{
    struct err ignored = ERR_INIT;

    (void)!get_string(j, "bundle", &s->bundle, &ignored);
    (void)!get_string(j, "rootfs", &s->rootfs, &ignored);
    (void)!get_string(j, "cgroup", &s->cgroup, &ignored);
    (void)!json_get_bool(j, "", "cgroup_made", &s->cgroup_made, &ignored);
    (void)!json_get_bool(j, "", "cgroup_scope", &s->cgroup_scope, &ignored);
    (void)!json_get_bool(j, "", "complete", &s->complete, &ignored);
    (void)!get_process(j, "creator", &s->creator, &ignored);
    (void)!get_process(j, "shim", &s->shim, &ignored);
    (void)!get_process(j, "vmm", &s->vmm, &ignored);
    (void)!get_process(j, "fs", &s->fs, &ignored);
    (void)!get_execs(j, s, &ignored);
}

int store_load_forced(const struct store *store, struct state *out, struct err *damage,
                      struct err *e)
{
    struct err ignored = ERR_INIT;
    json_t *j = NULL;
    int r = store_load(store, out, damage);

    if (r == 0)
        return 0;
    r = begin(store, out, e);
    if (r == 0 && json_load_file_at(store->dir, STATE_FILE, &j, &ignored) == 0)
        salvage(j, out);
    json_decref(j);
    return r;
}
