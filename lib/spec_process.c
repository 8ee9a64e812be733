/*
 * config.json, "process" (config.md "Process"): form only. The agent acts on it, the host reads
 * terminal, consoleSize and args. A struct spec_process owns all it points to.
 */
#include "lib/cleanup.h"
#include "lib/spec_internal.h"
#include "lib/str.h"

#include <errno.h>
#include <linux/ioprio.h>
#include <linux/sched.h>
#include <string.h>
#include <sys/resource.h>

static const char *const cap_names[SPEC_CAP_LAST + 1] = {
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
};

int spec_cap_from_name(const char *name)
{
    for (int i = 0; i <= SPEC_CAP_LAST; i++)
        if (!strcmp(cap_names[i], name))
            return i;
    return -1;
}

const char *spec_cap_name(int cap)
{
    return cap >= 0 && cap <= SPEC_CAP_LAST ? cap_names[cap] : NULL;
}

/* --- args, env, cwd, user, terminal ---------------------------------------------------------- */

static int fill_command(const json_t *obj, const char *where, struct spec_process *p, struct err *e)
{
    int r = spec_get_strings(obj, where, "args", SPEC_ARGS_MAX, &p->args, e);

    if (r < 0)
        return r;
    if (r == 0 || !p->args[0])
        return err_set(e, EINVAL, "%s.args must not be empty", where);
    if (!*p->args[0])
        return err_set(e, EINVAL, "%s.args[0] must not be empty", where);
    r = spec_get_strings(obj, where, "env", SPEC_ENV_MAX, &p->env, e);
    if (r < 0)
        return r;
    for (size_t i = 0; p->env && p->env[i]; i++)
        if (p->env[i][0] == '=' || !strchr(p->env[i], '='))
            return err_set(e, EINVAL, "%s.env[%zu] must be NAME=VALUE, got \"%.100s\"", where, i,
                           p->env[i]);
    return spec_need(spec_get_path(obj, where, "cwd", &p->cwd, e), where, "cwd", e);
}

static int fill_terminal(const json_t *obj, const char *where, struct spec_process *p,
                         struct err *e)
{
    uint64_t rows = 0, cols = 0;
    struct spec_where w;
    json_t *size;
    int r = json_get_bool(obj, where, "terminal", &p->terminal, e);

    if (r >= 0)
        r = json_get_obj(obj, where, "consoleSize", &size, e);
    if (r <= 0)
        return r;
    spec_key(&w, where, "consoleSize");
    r = spec_need(json_get_u64(size, w.s, "height", UINT16_MAX, &rows, e), w.s, "height", e);
    if (r >= 0)
        r = spec_need(json_get_u64(size, w.s, "width", UINT16_MAX, &cols, e), w.s, "width", e);
    p->rows = (uint16_t)rows;
    p->cols = (uint16_t)cols;
    return r;
}

static int fill_gids(const json_t *user, const char *where, struct spec_process *p, struct err *e)
{
    json_t *array;
    size_t n;
    int r = json_get_array(user, where, "additionalGids", &array, e);

    if (r <= 0)
        return r;
    n = json_array_size(array);
    if (n > SPEC_GIDS_MAX)
        return err_set(e, E2BIG, "%s.additionalGids has %zu entries, at most %d are allowed", where,
                       n, SPEC_GIDS_MAX);
    p->additional_gids = spec_zalloc(n, sizeof(*p->additional_gids));
    if (!p->additional_gids)
        return spec_oom(where, "additionalGids", e);
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(array, i);
        json_int_t gid = json_integer_value(v);

        if (!json_is_integer(v) || gid < 0 || gid > UINT32_MAX)
            return err_set(e, EINVAL, "%s.additionalGids[%zu] must be a group id from 0 to %u",
                           where, i, UINT32_MAX);
        p->additional_gids[i] = (uint32_t)gid;
    }
    p->nadditional_gids = n;
    return 0;
}

static int fill_user(const json_t *obj, const char *where, struct spec_process *p, struct err *e)
{
    struct spec_where w;
    uint64_t mask;
    json_t *user;
    int r = json_get_obj(obj, where, "user", &user, e);

    if (r <= 0)
        return r; /* absent is {0, 0}: what clients mean by it */
    spec_key(&w, where, "user");
    r = spec_get_u32(user, w.s, "uid", &p->uid, e);
    if (r >= 0)
        r = spec_get_u32(user, w.s, "gid", &p->gid, e);
    if (r >= 0)
        r = json_get_u64(user, w.s, "umask", 0777, &mask, e);
    if (r > 0) {
        p->umask_set = true;
        p->umask = (mode_t)mask;
    }
    return r < 0 ? r : fill_gids(user, w.s, p, e);
}

/* --- capabilities, rlimits -------------------------------------------------------------------- */

/* Adds a name to caps->unknown, which has room for `room` of them, unless it is there. */
static int add_unknown(struct spec_caps *caps, char **name)
{
    size_t n = strv_len(caps->unknown);

    for (size_t i = 0; i < n; i++)
        if (!strcmp(caps->unknown[i], *name))
            return 0;
    if (n >= SPEC_CAPS_MAX)
        return -E2BIG;
    caps->unknown[n] = take_ptr(*name);
    return 0;
}

static int fill_cap_set(const json_t *obj, const char *where, const char *key,
                        struct spec_caps *caps, uint64_t *mask, struct err *e)
{
    char **names = NULL;
    int r = spec_get_strings(obj, where, key, SPEC_CAPS_MAX, &names, e);

    if (r <= 0)
        return r;
    for (size_t i = 0, n = strv_len(names); i < n && r >= 0; i++) {
        int cap = spec_cap_from_name(names[i]);

        if (cap >= 0) {
            *mask |= 1ull << cap;
            continue;
        }
        if (!str_starts(names[i], "CAP_")) {
            r = err_set(e, EINVAL, "%s.%s[%zu] must be a name like CAP_KILL, got \"%.100s\"", where,
                        key, i, names[i]);
            break;
        }
        if (add_unknown(caps, &names[i]) < 0)
            r = err_set(e, E2BIG, "%s names too many unknown capabilities", where);
        if (!names[i]) { /* moved: close the gap for strv_free */
            names[i] = names[n - 1];
            names[n - 1] = NULL;
            n--;
            i--;
        }
    }
    strv_free(names);
    return r;
}

static int fill_caps(const json_t *obj, const char *where, struct spec_caps *c, struct err *e)
{
    struct spec_where w;
    json_t *caps;
    int r = json_get_obj(obj, where, "capabilities", &caps, e);

    if (r <= 0)
        return r;
    c->set = true;
    c->unknown = spec_zalloc(SPEC_CAPS_MAX + 1, sizeof(*c->unknown));
    if (!c->unknown)
        return spec_oom(where, "capabilities", e);
    spec_key(&w, where, "capabilities");
    r = fill_cap_set(caps, w.s, "bounding", c, &c->bounding, e);
    if (r >= 0)
        r = fill_cap_set(caps, w.s, "effective", c, &c->effective, e);
    if (r >= 0)
        r = fill_cap_set(caps, w.s, "inheritable", c, &c->inheritable, e);
    if (r >= 0)
        r = fill_cap_set(caps, w.s, "permitted", c, &c->permitted, e);
    if (r >= 0)
        r = fill_cap_set(caps, w.s, "ambient", c, &c->ambient, e);
    if (r >= 0 && !c->unknown[0]) {
        free(c->unknown);
        c->unknown = NULL;
    }
    return r;
}

static const struct spec_enum rlimit_types[] = {
    {"RLIMIT_AS", RLIMIT_AS},
    {"RLIMIT_CORE", RLIMIT_CORE},
    {"RLIMIT_CPU", RLIMIT_CPU},
    {"RLIMIT_DATA", RLIMIT_DATA},
    {"RLIMIT_FSIZE", RLIMIT_FSIZE},
    {"RLIMIT_LOCKS", RLIMIT_LOCKS},
    {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK},
    {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE},
    {"RLIMIT_NICE", RLIMIT_NICE},
    {"RLIMIT_NOFILE", RLIMIT_NOFILE},
    {"RLIMIT_NPROC", RLIMIT_NPROC},
    {"RLIMIT_RSS", RLIMIT_RSS},
    {"RLIMIT_RTPRIO", RLIMIT_RTPRIO},
    {"RLIMIT_RTTIME", RLIMIT_RTTIME},
    {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING},
    {"RLIMIT_STACK", RLIMIT_STACK},
    {NULL, 0},
};

static int parse_rlimit(const json_t *obj, const char *where, void *item, struct err *e)
{
    struct spec_rlimit *l = item;
    int r = spec_need(spec_get_enum(obj, where, "type", rlimit_types, &l->resource, e), where,
                      "type", e);

    if (r >= 0)
        r = spec_need(json_get_u64(obj, where, "soft", UINT64_MAX, &l->soft, e), where, "soft", e);
    if (r >= 0)
        r = spec_need(json_get_u64(obj, where, "hard", UINT64_MAX, &l->hard, e), where, "hard", e);
    if (r >= 0 && l->soft > l->hard)
        r = err_set(e, EINVAL, "%s.soft (%llu) must not be above its hard limit (%llu)", where,
                    (unsigned long long)l->soft, (unsigned long long)l->hard);
    return r;
}

static int fill_rlimits(const json_t *obj, const char *where, struct spec_process *p, struct err *e)
{
    int r = spec_get_items(obj, where, "rlimits", SPEC_RLIMITS_MAX, sizeof(*p->rlimits),
                           parse_rlimit, &p->rlimits, &p->nrlimits, e);

    if (r < 0)
        return r;
    for (size_t i = 0; i < p->nrlimits; i++)
        for (size_t j = 0; j < i; j++)
            if (p->rlimits[i].resource == p->rlimits[j].resource)
                return err_set(e, EINVAL, "%s.rlimits[%zu].type is already in rlimits[%zu]", where,
                               i, j);
    return 0;
}

/* --- scheduling ------------------------------------------------------------------------------- */

static const struct spec_enum sched_policies[] = {
    {"SCHED_OTHER", SCHED_NORMAL},
    {"SCHED_FIFO", SCHED_FIFO},
    {"SCHED_RR", SCHED_RR},
    {"SCHED_BATCH", SCHED_BATCH},
    {"SCHED_ISO", 4},
    {"SCHED_IDLE", SCHED_IDLE},
    {"SCHED_DEADLINE", SCHED_DEADLINE},
    {NULL, 0},
};
static const struct spec_enum sched_flags[] = {
    {"SCHED_FLAG_RESET_ON_FORK", SCHED_FLAG_RESET_ON_FORK},
    {"SCHED_FLAG_RECLAIM", SCHED_FLAG_RECLAIM},
    {"SCHED_FLAG_DL_OVERRUN", SCHED_FLAG_DL_OVERRUN},
    {"SCHED_FLAG_KEEP_POLICY", SCHED_FLAG_KEEP_POLICY},
    {"SCHED_FLAG_KEEP_PARAMS", SCHED_FLAG_KEEP_PARAMS},
    {"SCHED_FLAG_UTIL_CLAMP_MIN", SCHED_FLAG_UTIL_CLAMP_MIN},
    {"SCHED_FLAG_UTIL_CLAMP_MAX", SCHED_FLAG_UTIL_CLAMP_MAX},
    {NULL, 0},
};

static int fill_sched_flags(const json_t *obj, const char *where, struct spec_scheduler *s,
                            struct err *e)
{
    char **names = NULL;
    int r = spec_get_strings(obj, where, "flags", SPEC_NAMES_MAX, &names, e), flag;

    for (size_t i = 0; r > 0 && names[i]; i++) {
        r = spec_enum_find(sched_flags, where, "flags", names[i], &flag, e);
        if (r > 0)
            s->flags |= (uint64_t)flag;
    }
    strv_free(names);
    return r;
}

static int fill_scheduler(const json_t *obj, const char *where, struct spec_scheduler *s,
                          struct err *e)
{
    struct spec_where w;
    int64_t nice = 0, priority = 0;
    json_t *sched;
    int r = json_get_obj(obj, where, "scheduler", &sched, e);

    if (r <= 0)
        return r;
    s->set = true;
    spec_key(&w, where, "scheduler");
    r = spec_need(spec_get_enum(sched, w.s, "policy", sched_policies, &s->policy, e), w.s, "policy",
                  e);
    if (r >= 0)
        r = json_get_i64(sched, w.s, "nice", -20, 19, &nice, e);
    if (r >= 0)
        r = json_get_i64(sched, w.s, "priority", 0, 99, &priority, e);
    if (r >= 0)
        r = fill_sched_flags(sched, w.s, s, e);
    if (r >= 0)
        r = json_get_u64(sched, w.s, "runtime", UINT64_MAX, &s->runtime, e);
    if (r >= 0)
        r = json_get_u64(sched, w.s, "deadline", UINT64_MAX, &s->deadline, e);
    if (r >= 0)
        r = json_get_u64(sched, w.s, "period", UINT64_MAX, &s->period, e);
    s->nice = (int32_t)nice;
    s->priority = (int32_t)priority;
    return r;
}

static const struct spec_enum io_classes[] = {
    {"IOPRIO_CLASS_RT", IOPRIO_CLASS_RT},
    {"IOPRIO_CLASS_BE", IOPRIO_CLASS_BE},
    {"IOPRIO_CLASS_IDLE", IOPRIO_CLASS_IDLE},
    {NULL, 0},
};

static int fill_io_priority(const json_t *obj, const char *where, struct spec_process *p,
                            struct err *e)
{
    struct spec_where w;
    int64_t priority = 0;
    json_t *io;
    int r = json_get_obj(obj, where, "ioPriority", &io, e);

    if (r <= 0)
        return r;
    p->io_priority_set = true;
    spec_key(&w, where, "ioPriority");
    r = spec_need(spec_get_enum(io, w.s, "class", io_classes, &p->io_class, e), w.s, "class", e);
    if (r >= 0)
        r = json_get_i64(io, w.s, "priority", 0, IOPRIO_NR_LEVELS - 1, &priority, e);
    p->io_priority = (int)priority;
    return r;
}

static int fill_affinity(const json_t *obj, const char *where, struct spec_process *p,
                         struct err *e)
{
    struct spec_where w;
    json_t *affinity;
    int r = json_get_obj(obj, where, "execCPUAffinity", &affinity, e);

    if (r <= 0)
        return r;
    spec_key(&w, where, "execCPUAffinity");
    r = spec_get_string(affinity, w.s, "initial", &p->exec_cpu_initial, e);
    if (r >= 0)
        r = spec_get_string(affinity, w.s, "final", &p->exec_cpu_final, e);
    return r;
}

/* --- the whole -------------------------------------------------------------------------------- */

/* A string of which "" means "not given" (clients write both). */
static int get_label(const json_t *obj, const char *where, const char *key, char **out,
                     struct err *e)
{
    int r = spec_get_string(obj, where, key, out, e);

    if (r > 0 && !**out) {
        free(*out);
        *out = NULL;
    }
    return r;
}

static int fill_attributes(const json_t *obj, const char *where, struct spec_process *p,
                           struct err *e)
{
    int64_t adj = 0;
    int r = json_get_bool(obj, where, "noNewPrivileges", &p->no_new_privileges, e);

    if (r >= 0)
        r = get_label(obj, where, "apparmorProfile", &p->apparmor_profile, e);
    if (r > 0 && p->apparmor_profile && !strcmp(p->apparmor_profile, "unconfined")) {
        free(p->apparmor_profile);
        p->apparmor_profile = NULL;
    }
    if (r >= 0)
        r = get_label(obj, where, "selinuxLabel", &p->selinux_label, e);
    if (r >= 0)
        r = json_get_i64(obj, where, "oomScoreAdj", -1000, 1000, &adj, e);
    p->oom_score_adj_set = r > 0;
    p->oom_score_adj = (int)adj;
    return r;
}

int spec_fill_process(const json_t *obj, const char *where, struct spec_process *p, struct err *e)
{
    int r = fill_command(obj, where, p, e);

    if (r >= 0)
        r = fill_terminal(obj, where, p, e);
    if (r >= 0)
        r = fill_user(obj, where, p, e);
    if (r >= 0)
        r = fill_caps(obj, where, &p->caps, e);
    if (r >= 0)
        r = fill_rlimits(obj, where, p, e);
    if (r >= 0)
        r = fill_attributes(obj, where, p, e);
    if (r >= 0)
        r = fill_scheduler(obj, where, &p->scheduler, e);
    if (r >= 0)
        r = fill_io_priority(obj, where, p, e);
    if (r >= 0)
        r = fill_affinity(obj, where, p, e);
    return r;
}

int spec_parse_process(const json_t *obj, const char *where, struct spec_process *out,
                       struct err *e)
{
    struct spec_process p = {0};
    int r;

    if (!json_is_object(obj))
        return err_set(e, EINVAL, "%s must be an object", where);
    r = spec_fill_process(obj, where, &p, e);
    if (r < 0) {
        spec_process_done(&p);
        return r;
    }
    *out = p;
    return 0;
}

void spec_process_done(struct spec_process *p)
{
    free(p->additional_gids);
    strv_free(p->args);
    strv_free(p->env);
    free(p->cwd);
    strv_free(p->caps.unknown);
    free(p->rlimits);
    free(p->apparmor_profile);
    free(p->selinux_label);
    free(p->exec_cpu_initial);
    free(p->exec_cpu_final);
    memset(p, 0, sizeof(*p));
}
