/*
 * container_create. The order:
 *
 *   1  read and check all there is to read (bundle, configuration, kernel, /dev/kvm)
 *   2  claim the id: state directory, lock, state.json
 *   3  cgroup, trees to share, shim (so that it is in cgroup and namespaces when create returns)
 *   4  VMM and file server; the guest boots from here on
 *   5  hooks of the host, meanwhile
 *   6  agent ready: the container is made in the guest, its connections go to the shim
 *   7  state.json complete, then the pid-file
 *
 * struct creation owns everything until then. A failure undoes all by the same means as delete; a
 * signal to end ends what is waited for (cancel.h), which is such a failure.
 */
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/log.h"
#include "lib/names.h"
#include "lib/str.h"
#include "runtime/cancel.h"
#include "runtime/cgroup/hostgroup.h"
#include "runtime/client.h"
#include "runtime/container.h"
#include "runtime/guest.h"
#include "runtime/hooks.h"
#include "runtime/sandbox.h"
#include "runtime/shim_view.h"
#include "runtime/support.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/*
 * From the beginning until the container stands in the guest: far beyond the slowest emulated
 * machine, below the 240 s that podman waits. Hooks that took longer than all of it leave the guest
 * HOOKED_MS more.
 */
#define CREATE_MS 200000
#define HOOKED_MS 30000

struct creation {
    const struct runtime *rt;
    const struct create_options *o;
    const char *id;
    char bundle[PATH_MAX];
    char rootfs[PATH_MAX];
    struct spec *spec;
    struct config config;
    struct sandbox_files files;
    struct store store;
    struct state state;
    struct share share;
    json_t *mounts, *filter; /* of the guest: see guest.h */
    struct shim shim;
    struct sandbox sandbox;
    struct hostgroup group;
    int control, streams[3];
    uint64_t end; /* monotonic ns, from when the hooks have ended */
    bool hooks_ran;
};

/* --- 1: reading ------------------------------------------------------------------------------- */

static int check_support(const struct creation *c, struct err *warning, struct err *e)
{
    struct strbuf warnings = {0};
    int r = support_check(c->spec, &warnings, e);

    support_warn(&warnings, warning);
    return r;
}

static int check_terminal(const struct creation *c, struct err *e)
{
    bool terminal = c->spec->process.terminal;

    if (terminal && !c->o->console_socket && !c->o->foreground)
        return err_set(e, EINVAL,
                       "process.terminal is true: a detached container needs "
                       "--console-socket to hand its terminal to");
    if (!terminal && c->o->console_socket)
        return err_set(e, EINVAL, "--console-socket is given, but process.terminal is false");
    return 0;
}

static int check_rootfs(struct creation *c, struct err *e)
{
    const char *path = c->spec->root_path;
    struct stat st;

    if (!path || !*path)
        return err_set(e, EINVAL, "root.path is missing");
    if (str_printf(c->rootfs, sizeof c->rootfs, "%s%s%s", *path == '/' ? "" : c->bundle,
                   *path == '/' ? "" : "/", path) < 0)
        return err_set(e, ENAMETOOLONG, "root.path is too long");
    if (stat(c->rootfs, &st) < 0)
        return errno == ENOENT
                   ? err_set(e, ENOENT,
                             "root.path %s does not exist: put the container's root file system "
                             "there, or mend the path in config.json",
                             c->rootfs)
                   : err_errno(e, "root.path %s", c->rootfs);
    if (!S_ISDIR(st.st_mode))
        return err_set(e, ENOTDIR, "root.path %s is not a directory", c->rootfs);
    return 0;
}

static int read_bundle(struct creation *c, struct err *e)
{
    if (!realpath(c->o->bundle, c->bundle))
        return errno == ENOENT ? err_set(e, ENOENT,
                                         "bundle %s does not exist: --bundle names the directory "
                                         "that holds config.json",
                                         c->o->bundle)
                               : err_errno(e, "bundle %s", c->o->bundle);
    int r = spec_load(c->bundle, &c->spec, e);
    return r == -ENOENT
               ? err_set(e, ENOENT, "bundle %s has no config.json: `bulkhead spec` writes one",
                         c->bundle)
               : r;
}

static int read_all(struct creation *c, struct err *warning, struct err *e)
{
    if (store_check_id(c->id, e) < 0 || read_bundle(c, e) < 0)
        return -e->code;
    if (check_support(c, warning, e) < 0 || guest_filter(c->spec, &c->filter, e) < 0 ||
        check_terminal(c, e) < 0 || check_rootfs(c, e) < 0)
        return -e->code;
    if (config_load(c->rt->config, &c->config, e) < 0 ||
        config_apply_spec(&c->config, c->spec, c->id, e) < 0)
        return -e->code;
    return 0;
}

/* --- 2: claiming ------------------------------------------------------------------------------ */

static int save_config(const struct creation *c, struct err *e)
{
    cleanup_free char *text = json_dumps(c->spec->doc, JSON_COMPACT);

    if (!text)
        return err_set(e, ENOMEM, "copy config.json: out of memory");
    return io_replace_file(c->store.dir, "config.json", 0600, text, strlen(text), e);
}

static int claim(struct creation *c, struct err *e)
{
    struct state *s = &c->state;
    struct timespec now;

    if (store_create(c->rt->root, c->id, &c->store, e) < 0)
        return -e->code;
    clock_gettime(CLOCK_REALTIME, &now);
    s->created_s = now.tv_sec;
    s->created_ns = (uint32_t)now.tv_nsec;
    s->owner = getuid();
    s->id = strdup(c->id);
    s->bundle = strdup(c->bundle);
    s->rootfs = strdup(c->rootfs);
    s->annotations = json_object();
    if (!s->id || !s->bundle || !s->rootfs || !s->annotations)
        return err_set(e, ENOMEM, "state: out of memory");
    for (size_t i = 0; i < c->spec->nannotations; i++)
        json_object_set_new(s->annotations, c->spec->annotations[i].key,
                            json_string(c->spec->annotations[i].value));
    if (process_identify(getpid(), &s->creator) < 0)
        return err_set(e, ESRCH, "/proc is not mounted: bulkhead needs it");
    if (store_save(&c->store, s, e) < 0)
        return -e->code;
    return save_config(c, e);
}

/* --- 3: cgroup, trees, shim ------------------------------------------------------------------- */

static int make_shim(struct creation *c, struct err *e)
{
    const struct spec_namespace *net = &c->spec->linux_.ns[NS_NETWORK];
    const struct spec_process *p = &c->spec->process;
    struct shim_params params = {
        .program = c->config.shim,
        .title = c->id,
        .rootfs = c->rootfs,
        .netns = net->path,
        .new_netns = net->present && !net->path,
        .cgroup_fd = c->group.fd,
        .stdio = {0, 1, 2},
        .terminal = p->terminal,
        .rows = p->rows,
        .cols = p->cols,
        .console_socket = c->o->console_socket,
    };

    if (shim_spawn(&params, &c->shim, e) < 0)
        return -e->code;
    if (process_identify(c->shim.pid, &c->state.shim) < 0)
        return err_set(e, ESRCH, "the shim has ended");
    return store_save(&c->store, &c->state, e);
}

/* The OOM killer of the host judges the VM as it would the container's process. */
static int set_oom_score(const struct creation *c, pid_t pid, struct err *e)
{
    char path[64], text[16];

    if (!c->spec->process.oom_score_adj_set)
        return 0;
    snprintf(path, sizeof path, "/proc/%d/oom_score_adj", pid);
    snprintf(text, sizeof text, "%d", c->spec->process.oom_score_adj);
    if (io_write_file(AT_FDCWD, path, text, e) == 0)
        return 0;
    /* an unprivileged caller may not lower it: the guest's own is set all the same */
    return geteuid() != 0 ? 0 : err_wrap(e, "process.oomScoreAdj");
}

static int make_host_side(struct creation *c, struct err *warning, struct err *e)
{
    c->state.memory_mib = c->config.memory_mib;
    c->state.vcpus = c->config.vcpus;
    if (hostgroup_make(c->rt, &c->spec->linux_, &c->store, &c->state, &c->group, warning, e) < 0 ||
        share_open(c->spec, c->bundle, c->id, &c->share, &c->mounts, e) < 0 || make_shim(c, e) < 0)
        return -e->code;
    if (sandbox_start(&c->config, &c->files, &c->share, &c->store, c->group.fd, &c->state,
                      &c->sandbox, e) < 0)
        return -e->code;
    cancel_vmm(c->sandbox.vmm.pidfd);
    log_debug("VM: %u vCPUs, %llu MiB, kernel %s, command line \"%s\"; pids: shim %d, VMM %d, file "
              "server %d",
              c->config.vcpus, (unsigned long long)c->config.memory_mib, c->config.kernel,
              c->config.kernel_parameters, c->state.shim.pid, c->state.vmm.pid, c->state.fs.pid);
    return set_oom_score(c, c->state.vmm.pid, e);
}

/* --- 5: hooks --------------------------------------------------------------------------------- */

static int run_hooks(struct creation *c, struct err *e)
{
    static const enum spec_hook_kind kinds[] = {HOOK_PRESTART, HOOK_CREATE_RUNTIME,
                                                HOOK_CREATE_CONTAINER};

    c->hooks_ran = true;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (hooks_run_for(&c->spec->hooks, kinds[i], &c->state, STATUS_CREATING, e) < 0)
            return -e->code;
    return 0;
}

/* --- 6: in the guest -------------------------------------------------------------------------- */

static void set_end(struct creation *c)
{
    uint64_t usual = c->state.phase[PHASE_BEGIN] + CREATE_MS * NS_PER_MS;
    uint64_t least = deadline_ns(HOOKED_MS);

    c->end = usual > least ? usual : least;
}

/* What repeats a kill for memory on the host. Without one of these files it is not repeated. */
static void open_oom(const struct creation *c, int fds[OOM_FDS])
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/oom_score_adj", c->state.vmm.pid);
    fds[OOM_VICTIM] = open(path, O_WRONLY | O_CLOEXEC);
    fds[OOM_STAT] = openat(c->group.fd, "memory.stat", O_RDONLY | O_CLOEXEC);
    fds[OOM_SWAP_MAX] = openat(c->group.fd, "memory.swap.max", O_WRONLY | O_CLOEXEC);
    fds[OOM_MEMORY_MAX] = openat(c->group.fd, "memory.max", O_WRONLY | O_CLOEXEC);
}

static int make_guest_side(struct creation *c, json_t *body_taken, struct err *e)
{
    /* the agent's own call carries the first requests, and is then the shim's for good */
    if (proto_call(c->control, PROTO_CONTAINER_CREATE, body_taken, left_ms(c->end), NULL, e) < 0)
        return -e->code;
    c->state.phase[PHASE_CREATED] = monotonic_ns();
    if (proto_call(c->control, PROTO_PROCESS_ATTACH, client_target(c->id, ""), left_ms(c->end),
                   NULL, e) < 0)
        return -e->code;
    for (int i = 0; i < (c->spec->process.terminal ? 1 : 3); i++) {
        c->streams[i] = client_stream(c->store.path, c->id, "", i, left_ms(c->end), e);
        if (c->streams[i] < 0)
            return c->streams[i];
    }
    return 0;
}

static int enter_guest(struct creation *c, json_t *body_taken, struct err *e)
{
    json_t *hello = NULL;

    set_end(c);
    c->control = sandbox_wait(&c->sandbox, &c->store, left_ms(c->end), &hello, e);
    if (c->control < 0) {
        json_decref(body_taken);
        return c->control;
    }
    c->state.phase[PHASE_READY] = monotonic_ns();
    json_int_t boot = json_integer_value(json_object_get(hello, "boot_ns"));
    c->state.guest_boot_ns = boot > 0 ? (uint64_t)boot : 0;
    log_debug("agent ready %.1f ms after create began, %.1f ms of them in the guest",
              (double)(c->state.phase[PHASE_READY] - c->state.phase[PHASE_BEGIN]) / 1e6,
              (double)c->state.guest_boot_ns / 1e6);
    json_decref(hello);
    if (make_guest_side(c, body_taken, e) < 0)
        return sandbox_explain(&c->store, &c->state.vmm, e);
    /* not earlier: to the guest, its mount points have to be what the image says they are */
    if (shim_view_mount(&c->shim, c->sandbox.fs.pidfd, c->share.views, c->share.nviews, e) < 0)
        return -e->code;

    struct shim_guest g = {
        .control = c->control,
        .streams = {c->streams[0], c->streams[1], c->streams[2]},
        .console_log = c->sandbox.console,
        .oom = OOM_NONE,
        .container = c->id,
        .process = "",
    };
    open_oom(c, g.oom);
    int r = shim_go(&c->shim, &g, e);
    for (int i = 0; i < OOM_FDS; i++)
        close_fd(&g.oom[i]);
    return r;
}

/* --- 7: done ---------------------------------------------------------------------------------- */

static int make(struct creation *c, struct err *warning, struct err *e)
{
    json_t *body = NULL;

    if (claim(c, e) < 0 || make_host_side(c, warning, e) < 0 || cancel_check(e) < 0 ||
        run_hooks(c, e) < 0 || cancel_check(e) < 0 ||
        guest_create_body(c->spec, c->id, c->bundle, c->mounts, c->filter, &body, e) < 0 ||
        enter_guest(c, body, e) < 0 ||
        hostgroup_booted(&c->spec->linux_, &c->state, warning, e) < 0)
        return -e->code;
    /* from here on a detached container stays; one in the foreground goes until it is started */
    if (!c->o->foreground)
        cancel_vmm(-1);
    if (cancel_check(e) < 0)
        return -e->code;
    c->state.complete = true;
    if (store_save(&c->store, &c->state, e) < 0)
        return -e->code;
    return shim_write_pid(&c->shim, c->o->pid_file, e);
}

/* What cannot be undone is added to the reason of the failure. */
static void undo(struct creation *c, struct err *e)
{
    struct err more = ERR_INIT;

    shim_abort(&c->shim);
    if (c->store.dir >= 0 && container_destroy(&c->store, &c->state, &more) < 0)
        err_set(e, e->code, "%s; and cleaning up failed: %s", e->msg, more.msg);
    if (c->hooks_ran &&
        hooks_run_for(&c->spec->hooks, HOOK_POSTSTOP, &c->state, STATUS_STOPPED, &more) < 0)
        err_set(e, e->code, "%s; and %s", e->msg, more.msg);
}

static void creation_done(struct creation *c)
{
    close_fd(&c->control);
    for (int i = 0; i < 3; i++)
        close_fd(&c->streams[i]);
    sandbox_release(&c->sandbox);
    hostgroup_done(&c->group);
    share_done(&c->share);
    json_decref(c->mounts);
    json_decref(c->filter);
    sandbox_close_files(&c->files);
    config_done(&c->config);
    spec_free(c->spec);
    state_done(&c->state);
    store_close(&c->store);
}

int container_create(const struct runtime *rt, const char *id, const struct create_options *o,
                     struct shim *shim_out, struct err *warning, struct err *e)
{
    struct creation c = {
        .rt = rt,
        .o = o,
        .id = id,
        .files = SANDBOX_FILES_INIT,
        .store = STORE_INIT,
        .state = STATE_INIT,
        .shim = SHIM_INIT,
        .sandbox = SANDBOX_INIT,
        .group = HOSTGROUP_INIT,
        .control = -1,
        .streams = {-1, -1, -1},
    };
    int r;

    c.state.phase[PHASE_BEGIN] = monotonic_ns();
    cancel_begin();
    r = read_all(&c, warning, e);
    if (r == 0)
        r = sandbox_open_files(&c.config, &c.files, e);
    if (r == 0) {
        r = make(&c, warning, e);
        if (r < 0) {
            (void)!cancel_check(e);
            undo(&c, e);
        } else {
            *shim_out = c.shim;
        }
    }
    if (r < 0 || !o->foreground)
        cancel_end();
    creation_done(&c);
    return r;
}
