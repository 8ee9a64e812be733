/*
 * cgroup.h and systemd.h as the verbs use them. Keeps no state of its own: struct state says where
 * the cgroup is (cgroup), whether it stands (cgroup_made), and whether it is a scope of systemd's
 * (cgroup_scope).
 */
#include "runtime/cgroup/hostgroup.h"

#include "lib/cleanup.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/cgroup/systemd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The slice and prefix of a container that names none, as other runtimes have it. */
#define DEFAULT_SCOPE "system.slice:bulkhead:"

static int with_room(const struct spec_resources *r, const struct state *s,
                     struct spec_resources *out, struct err *e)
{
    const struct cgroup_vm vm = {.memory_mib = s->memory_mib, .vcpus = s->vcpus};

    return cgroup_room(r, &vm, out, e);
}

/* --- making ---------------------------------------------------------------------------------- */

/* Where it will be. In systemd's form only where the client says that its names are of that form.
 */
static int find_place(const struct runtime *rt, const char *written, struct state *s, struct err *e)
{
    cleanup_free char *scope = NULL;
    char *path = NULL;
    int r;

    s->cgroup_scope = rt->systemd_cgroup && systemd_runs();
    if (s->cgroup_scope && !(written && *written)) {
        if (asprintf(&scope, DEFAULT_SCOPE "%s", s->id) < 0)
            return err_set(e, ENOMEM, "out of memory");
        written = scope;
    }
    r = cgroup_path(written, s->id, rt->systemd_cgroup, &path, e);
    s->cgroup = path;
    return r;
}

/* A process that does nothing but be there, until our end of its gate closes. */
static int drop_anchor(struct spawned *out, struct err *e)
{
    const struct spawn s = {.program = "the scope's first process", .cgroup_fd = -1};

    return spawn_held(&s, out, e);
}

static int start_scope(const struct state *s, const struct spec_resources *limits,
                       struct hostgroup *g, struct err *e)
{
    struct spec_resources early = *limits;
    char description[128];
    int r = drop_anchor(&g->anchor, e);

    if (r < 0)
        return r;
    early.cpu.quota.set = early.cpu.period.set = false;
    snprintf(description, sizeof description, "bulkhead container %.64s", s->id);
    r = systemd_scope_start(s->cgroup, description, g->anchor.process.pid, &early, e);
    if (r < 0)
        return r;
    r = cgroup_open(s->cgroup, &g->fd, e);
    return r == -ENOENT ? err_set(e, ENXIO,
                                  "systemd has started the scope, but not at %s of this "
                                  "cgroup hierarchy",
                                  s->cgroup)
                        : r;
}

static int make(const struct runtime *rt, const struct spec_linux *linux_, struct store *store,
                struct state *s, struct hostgroup *g, struct err *e)
{
    struct spec_resources limits;
    int r = find_place(rt, linux_->cgroups_path, s, e);

    if (r == 0)
        r = with_room(&linux_->resources, s, &limits, e);
    /* on disk before it exists: an empty directory of a killed create can be found */
    if (r == 0)
        r = store_save(store, s, e);
    if (r == 0)
        r = s->cgroup_scope ? start_scope(s, &limits, g, e) : cgroup_create(s->cgroup, &g->fd, e);
    return r;
}

static bool may_do_without(const struct spec_linux *linux_, const struct state *s, int code)
{
    bool denied = code == EACCES || code == EPERM || code == EROFS;

    return (denied && geteuid() != 0) || (!linux_->cgroups_path && !s->cgroup_scope);
}

static int check_host_only(const struct spec_resources *r, const char *why, struct err *e)
{
    const char *key = cgroup_host_only(r);

    return key ? err_set(e, ENOTSUP,
                         "linux.resources.%s: only a cgroup on the host can keep this limit, and "
                         "the container has none: %s",
                         key, why)
               : 0;
}

static int do_without(const struct spec_linux *linux_, struct store *store, struct state *s,
                      struct err *warning, struct err *e)
{
    bool fatal = !may_do_without(linux_, s, e->code);
    struct err why = *e;
    int r;

    free(s->cgroup);
    s->cgroup = NULL;
    s->cgroup_scope = false;
    if (fatal)
        return err_wrap(e, "cgroup");
    r = check_host_only(&linux_->resources, why.msg, e);
    if (r < 0)
        return r;
    err_add(warning, why.code, "the container has no cgroup on the host: %s", why.msg);
    return store_save(store, s, e);
}

int hostgroup_make(const struct runtime *rt, const struct spec_linux *linux_, struct store *store,
                   struct state *state, struct hostgroup *out, struct err *warning, struct err *e)
{
    struct spec_resources limits;

    if (rt->no_cgroup)
        return check_host_only(&linux_->resources, "--cgroup-manager=disabled", e);
    if (make(rt, linux_, store, state, out, e) < 0)
        return do_without(linux_, store, state, warning, e);
    state->cgroup_made = true;
    if (store_save(store, state, e) < 0 || with_room(&linux_->resources, state, &limits, e) < 0)
        return -e->code;
    return cgroup_limit(out->fd, &limits, CGROUP_BEFORE_BOOT, warning, e);
}

/* --- later ----------------------------------------------------------------------------------- */

static bool has_quota(const struct spec_resources *r)
{
    return r->cpu.quota.set || r->cpu.period.set || r->cpu.burst.set;
}

static int set(const struct spec_resources *r, const struct state *s, unsigned when,
               struct err *warning, struct err *e)
{
    struct spec_resources whole, limits;
    cleanup_fd int fd = -1;

    if (cgroup_open(s->cgroup, &fd, e) < 0)
        return -e->code;
    cgroup_keep_quota(fd, r, &whole);
    if (with_room(&whole, s, &limits, e) < 0)
        return -e->code;
    if (s->cgroup_scope && systemd_scope_update(s->cgroup, &limits, e) < 0)
        return -e->code;
    return cgroup_limit(fd, &limits, when, warning, e);
}

int hostgroup_booted(const struct spec_linux *linux_, const struct state *state,
                     struct err *warning, struct err *e)
{
    if (!state->cgroup_made || !has_quota(&linux_->resources))
        return 0;
    return set(&linux_->resources, state, CGROUP_AFTER_BOOT, warning, e);
}

int hostgroup_update(const struct spec_resources *r, const struct state *state, struct err *warning,
                     struct err *e)
{
    if (!state->cgroup_made)
        return check_host_only(r, "it was created without", e);
    return set(r, state, CGROUP_ANY_TIME, warning, e);
}

int hostgroup_remove(const struct state *state, struct err *e)
{
    struct err ignored = ERR_INIT;

    if (!state->cgroup)
        return 0;
    if (!state->cgroup_made) {
        cgroup_remove_empty(state->cgroup); /* a killed create may have made it */
        return 0;
    }
    if (state->cgroup_scope) {
        if (cgroup_empty(state->cgroup, e) < 0)
            return -e->code;
        /* what matters is that nothing runs and nothing is left: systemd forgets an empty scope by
         * itself, should it not answer now */
        (void)!systemd_scope_stop(state->cgroup, &ignored);
    }
    return cgroup_destroy(state->cgroup, e);
}

void hostgroup_done(struct hostgroup *g)
{
    spawned_done(&g->anchor);
    close_fd(&g->fd);
}
