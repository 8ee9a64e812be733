/*
 * Asking systemd for scopes, over the system bus with sd-bus.
 *
 * libsystemd is loaded when a scope is asked for, not linked: it brings five libraries along, which
 * take longer to load than most of our commands take in all, and only clients that manage cgroups
 * through systemd need it. So a host without systemd needs no libsystemd either.
 *
 * Each call makes its own connection and is done with it when it returns.
 */
#include "runtime/cgroup/systemd.h"

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "runtime/cancel.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-bus.h>

#define LIBRARY   "libsystemd.so.0"
#define SERVICE   "org.freedesktop.systemd1"
#define OBJECT    "/org/freedesktop/systemd1"
#define MANAGER   "org.freedesktop.systemd1.Manager"
#define NO_UNIT   "org.freedesktop.systemd1.NoSuchUnit"
#define US_PER_MS 1000

/* A whole talk, from the bus's greeting to the end of the job: systemd may be reloading just now.
 */
#define TALK_MS 25000
/* Taking leave of a scope: what it held is gone by then, and systemd forgets it by itself. */
#define LEAVE_MS 5000

#define MEND                                                                                       \
    "use the cgroupfs manager (podman: --cgroup-manager=cgroupfs, containerd: SystemdCgroup = "    \
    "false)"

/* --- the library ----------------------------------------------------------------------------- */

#define FUNCTIONS(f)                                                                               \
    f(sd_bus_open_system) f(sd_bus_is_ready) f(sd_bus_flush_close_unref) f(sd_bus_close_unref)     \
        f(sd_bus_set_method_call_timeout) f(sd_bus_message_new_method_call)                        \
            f(sd_bus_message_unref) f(sd_bus_message_append) f(sd_bus_message_append_array)        \
                f(sd_bus_message_open_container) f(sd_bus_message_close_container)                 \
                    f(sd_bus_message_read) f(sd_bus_call) f(sd_bus_match_signal) f(sd_bus_process) \
                        f(sd_bus_wait) f(sd_bus_error_free) f(sd_bus_error_has_name)

#define POINTER(name) __typeof__(name) *name;
struct library {
    FUNCTIONS(POINTER)
};

static int load(struct library *out, struct err *e)
{
    void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    struct library l;

    if (!handle)
        return err_set(e, ENOPKG,
                       "--systemd-cgroup: " LIBRARY " cannot be loaded: install it (Debian: "
                       "libsystemd0), or " MEND);
#define FIND(name)                                                                                 \
    {                                                                                              \
        void *at = dlsym(handle, #name);                                                           \
        if (!at)                                                                                   \
            return err_set(e, ENOPKG, "--systemd-cgroup: " LIBRARY " has no " #name "; " MEND);    \
        memcpy(&l.name, &at, sizeof(at));                                                          \
    }
    FUNCTIONS(FIND)
    *out = l;
    return 0;
}

/* --- one connection -------------------------------------------------------------------------- */

struct talk {
    struct library f;
    sd_bus *bus;
    uint64_t end; /* monotonic ns */
    char scope[SYSTEMD_NAME_MAX], slice[SYSTEMD_NAME_MAX];
    /* the job that is waited for, and how it ended */
    const char *job;
    char result[32];
};

/* What is left of it; not 0, which would be sd-bus's own, long time. */
static uint64_t left_us(const struct talk *t)
{
    return (uint64_t)left_ms(t->end) * US_PER_MS + 1;
}

/* Takes in what has come, or waits for it, to the end of the talk's time: then -ETIMEDOUT, for the
 * caller to say what did not come; other errors have their message. */
static int step(struct talk *t, struct err *e)
{
    int r = t->f.sd_bus_process(t->bus, NULL);

    if (r == 0 && left_ms(t->end) == 0)
        return -ETIMEDOUT;
    if (r == 0)
        r = t->f.sd_bus_wait(t->bus, left_us(t));
    if (r == -EINTR && cancel_check(e) < 0)
        return -EINTR;
    return r < 0 && r != -EINTR ? err_set(e, -r, "wait for systemd: %s", strerror(-r)) : 0;
}

/* The bus lets us in and knows us: sd-bus itself would wait for that as long as it likes. */
static int wait_ready(struct talk *t, struct err *e)
{
    int r = 0;

    while (r == 0 && t->f.sd_bus_is_ready(t->bus) == 0)
        r = step(t, e);
    if (r == -ETIMEDOUT && !e->code)
        err_set(e, ETIMEDOUT, "--systemd-cgroup: the system bus does not answer; " MEND);
    if (r == 0)
        return 0;
    t->f.sd_bus_close_unref(t->bus); /* nothing is flushed to a bus that does not answer */
    t->bus = NULL;
    return r;
}

static int talk_begin(struct talk *t, const char *path, unsigned ms, struct err *e)
{
    int r = systemd_names(path, t->scope, t->slice, e);

    t->end = deadline_ns(ms);
    if (r == 0)
        r = load(&t->f, e);
    if (r < 0)
        return r;
    r = t->f.sd_bus_open_system(&t->bus);
    /* no strerror: clients look for its words and take them for the container's command */
    if (r == -ENOENT || r == -ECONNREFUSED)
        return err_set(e, EHOSTDOWN,
                       "--systemd-cgroup: systemd runs, but there is no system bus to reach it by: "
                       "start dbus, or " MEND);
    if (r >= 0) /* for the call that sd-bus makes itself: the match */
        r = t->f.sd_bus_set_method_call_timeout(t->bus, left_us(t));
    if (r < 0)
        return err_set(e, -r, "--systemd-cgroup: the system bus cannot be reached: %s; " MEND,
                       strerror(-r));
    return wait_ready(t, e);
}

static void talk_end(struct talk *t)
{
    if (t->bus)
        t->f.sd_bus_flush_close_unref(t->bus);
}

static int bad_message(int r, struct err *e)
{
    return err_set(e, -r, "a message for systemd: %s", strerror(-r));
}

static int new_call(const struct talk *t, const char *method, sd_bus_message **out, struct err *e)
{
    int r = t->f.sd_bus_message_new_method_call(t->bus, out, SERVICE, OBJECT, MANAGER, method);

    return r < 0 ? bad_message(r, e) : 0;
}

/* Sends m, which it takes. 1 = there is no such unit. reply_out may be NULL. */
static int call(const struct talk *t, sd_bus_message *m, sd_bus_message **reply_out, struct err *e)
{
    sd_bus_error error = SD_BUS_ERROR_NULL;
    int r = t->f.sd_bus_call(t->bus, m, left_us(t), &error, reply_out);

    t->f.sd_bus_message_unref(m);
    if (r >= 0)
        return 0;
    if (t->f.sd_bus_error_has_name(&error, NO_UNIT))
        r = 1;
    else if (r == -ETIMEDOUT)
        r = err_set(e, ETIMEDOUT, "systemd does not answer (%s)", t->scope);
    else
        r = err_set(e, -r, "systemd refuses: %s", error.message ? error.message : strerror(-r));
    t->f.sd_bus_error_free(&error);
    return r;
}

/* --- jobs ------------------------------------------------------------------------------------ */

static int on_removed(sd_bus_message *m, void *arg, sd_bus_error *error)
{
    const char *job = NULL, *unit = NULL, *result = NULL;
    struct talk *t = arg;
    uint32_t id;

    (void)error;
    if (t->f.sd_bus_message_read(m, "uoss", &id, &job, &unit, &result) < 0 || !t->job ||
        strcmp(job, t->job) != 0)
        return 0;
    strncpy(t->result, result, sizeof(t->result) - 1);
    return 0;
}

/* Before the job is asked for: its end may come right behind the reply. */
static int watch_jobs(struct talk *t, struct err *e)
{
    int r = t->f.sd_bus_match_signal(t->bus, NULL, SERVICE, OBJECT, MANAGER, "JobRemoved",
                                     on_removed, t);

    return r < 0 ? err_set(e, -r, "listen to systemd: %s", strerror(-r)) : 0;
}

static int wait_job(struct talk *t, const char *what, struct err *e)
{
    int r = 0;

    while (r == 0 && !*t->result)
        r = step(t, e);
    if (r == -ETIMEDOUT && !e->code)
        err_set(e, ETIMEDOUT, "systemd does not %s %s", what, t->scope);
    if (r < 0)
        return r;
    if (strcmp(t->result, "done") != 0)
        return err_set(e, EIO, "systemd could not %s %s: its job ended as \"%s\"", what, t->scope,
                       t->result);
    return 0;
}

/* Sends m (taken), whose reply names a job, and waits for that. 1 = there is no such unit. */
static int run_job(struct talk *t, sd_bus_message *m, const char *what, struct err *e)
{
    sd_bus_message *reply = NULL;
    int r = call(t, m, &reply, e);

    if (r == 0) {
        r = t->f.sd_bus_message_read(reply, "o", &t->job);
        r = r < 0 ? bad_message(r, e) : wait_job(t, what, e);
    }
    t->job = NULL;
    t->f.sd_bus_message_unref(reply);
    return r;
}

/* --- messages -------------------------------------------------------------------------------- */

static int append_property(const struct talk *t, sd_bus_message *m,
                           const struct systemd_property *p)
{
    int r;

    if (p->type == 't')
        return t->f.sd_bus_message_append(m, "(sv)", p->name, "t", p->number);
    r = t->f.sd_bus_message_open_container(m, 'r', "sv");
    if (r >= 0)
        r = t->f.sd_bus_message_append(m, "s", p->name);
    if (r >= 0)
        r = t->f.sd_bus_message_open_container(m, 'v', "ay");
    if (r >= 0)
        r = t->f.sd_bus_message_append_array(m, 'y', p->bytes, p->nbytes);
    if (r >= 0)
        r = t->f.sd_bus_message_close_container(m);
    return r < 0 ? r : t->f.sd_bus_message_close_container(m);
}

static int append_limits(const struct talk *t, sd_bus_message *m, const struct spec_resources *l,
                         struct err *e)
{
    struct systemd_properties p;
    int r = systemd_properties(l, &p, e);

    if (r < 0)
        return r;
    for (size_t i = 0; i < p.n && r >= 0; i++)
        r = append_property(t, m, &p.v[i]);
    systemd_properties_done(&p);
    return r < 0 ? bad_message(r, e) : 0;
}

/*
 * Delegate: what is below the scope is ours. CollectMode: a scope that failed goes as well, so that
 * its name is free.
 */
static int append_scope(const struct talk *t, sd_bus_message *m, const char *description, pid_t pid,
                        struct err *e)
{
    int r = t->f.sd_bus_message_append(
        m, "(sv)(sv)(sv)(sv)(sv)(sv)(sv)(sv)(sv)", "Description", "s", description, "Slice", "s",
        t->slice, "PIDs", "au", 1, (uint32_t)pid, "Delegate", "b", 1, "DefaultDependencies", "b", 0,
        "CollectMode", "s", "inactive-or-failed", "MemoryAccounting", "b", 1, "IOAccounting", "b",
        1, "TasksAccounting", "b", 1);

    return r < 0 ? bad_message(r, e) : 0;
}

static int start_message(const struct talk *t, const char *description, pid_t pid,
                         const struct spec_resources *limits, sd_bus_message *m, struct err *e)
{
    int r = t->f.sd_bus_message_append(m, "ss", t->scope, "fail");

    if (r >= 0)
        r = t->f.sd_bus_message_open_container(m, 'a', "(sv)");
    if (r < 0)
        return bad_message(r, e);
    if (append_scope(t, m, description, pid, e) < 0 || append_limits(t, m, limits, e) < 0)
        return -e->code;
    r = t->f.sd_bus_message_close_container(m);
    if (r >= 0)
        r = t->f.sd_bus_message_append(m, "a(sa(sv))", 0);
    return r < 0 ? bad_message(r, e) : 0;
}

/* --- what others call ------------------------------------------------------------------------ */

bool systemd_runs(void)
{
    struct stat st;

    return lstat("/run/systemd/system", &st) == 0 && S_ISDIR(st.st_mode);
}

/* Up to the message of a call that makes a job, for its arguments. */
static int begin_job(struct talk *t, const char *path, unsigned ms, const char *method,
                     sd_bus_message **m, struct err *e)
{
    int r = talk_begin(t, path, ms, e);

    if (r == 0)
        r = watch_jobs(t, e);
    return r == 0 ? new_call(t, method, m, e) : r;
}

int systemd_scope_start(const char *path, const char *description, pid_t pid,
                        const struct spec_resources *limits, struct err *e)
{
    struct talk t = {.bus = NULL};
    sd_bus_message *m = NULL;
    int r = begin_job(&t, path, TALK_MS, "StartTransientUnit", &m, e);

    if (r == 0) {
        r = start_message(&t, description, pid, limits, m, e);
        if (r < 0)
            t.f.sd_bus_message_unref(m);
    }
    if (r == 0)
        r = run_job(&t, m, "start", e);
    if (r == 1)
        r = err_set(e, ENOENT, "systemd does not know the slice %s", t.slice);
    talk_end(&t);
    return r;
}

int systemd_scope_update(const char *path, const struct spec_resources *limits, struct err *e)
{
    struct talk t = {.bus = NULL};
    sd_bus_message *m = NULL;
    int r = talk_begin(&t, path, TALK_MS, e);

    if (r == 0)
        r = new_call(&t, "SetUnitProperties", &m, e);
    if (r == 0) {
        r = t.f.sd_bus_message_append(m, "sb", t.scope, 1);
        if (r >= 0)
            r = t.f.sd_bus_message_open_container(m, 'a', "(sv)");
        r = r < 0 ? bad_message(r, e) : append_limits(&t, m, limits, e);
        if (r == 0 && t.f.sd_bus_message_close_container(m) < 0)
            r = bad_message(-EINVAL, e);
        if (r < 0)
            t.f.sd_bus_message_unref(m);
    }
    if (r == 0)
        r = call(&t, m, NULL, e);
    if (r == 1)
        r = err_set(e, ESRCH, "systemd has no scope %s any more", t.scope);
    talk_end(&t);
    return r;
}

int systemd_scope_stop(const char *path, struct err *e)
{
    struct talk t = {.bus = NULL};
    sd_bus_message *m = NULL;
    int r = begin_job(&t, path, LEAVE_MS, "StopUnit", &m, e);

    if (r == 0) {
        (void)t.f.sd_bus_message_append(m, "ss", t.scope, "replace");
        r = run_job(&t, m, "stop", e);
    }
    /* gone by itself is the usual case; one that failed stays known by name until it is reset */
    if (r >= 0 && new_call(&t, "ResetFailedUnit", &m, e) == 0) {
        (void)t.f.sd_bus_message_append(m, "s", t.scope);
        r = call(&t, m, NULL, e);
    }
    talk_end(&t);
    return r == 1 ? 0 : r;
}
