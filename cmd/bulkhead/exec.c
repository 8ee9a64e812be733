/* `bulkhead exec`: another process in a running container, in the foreground or detached. */
#include "runtime/exec.h"
#include "cmd/bulkhead/command.h"
#include "runtime/console.h"

#include <errno.h>
#include <string.h>

struct lists {
    struct option_list env, caps, gids, cgroups;
};

/* What is refused, and what "not given" looks like to clients that always give it: "". */
static int check(const char *label, const char *apparmor, const struct option_list *cgroups,
                 struct err *e)
{
    const char *cgroup = cgroups->v[0];

    if (label && *label)
        return err_set(e, ENOTSUP, "exec --process-label %s: the guest has no SELinux", label);
    if (apparmor && *apparmor && strcmp(apparmor, "unconfined") != 0)
        return err_set(e, ENOTSUP, "exec --apparmor %s: the guest has no AppArmor", apparmor);
    if (cgroups->n > 1)
        return err_set(e, EINVAL,
                       "exec --cgroup %s: --cgroup is given already, and a process is in one "
                       "cgroup only (give it once)",
                       cgroups->v[1]);
    if (cgroup && strchr(cgroup, ':'))
        return err_set(e, ENOTSUP,
                       "exec --cgroup %s: the guest has cgroup v2, where a path without a "
                       "controller is what counts",
                       cgroup);
    return 0;
}

static int run(const struct globals *g, const char *id, const struct exec_options *o, unsigned fds,
               struct err *e)
{
    struct err warning = ERR_INIT;
    struct shim shim = SHIM_INIT;
    int status = 0;

    command_warn_fds(fds); /* now: from container_exec on the process writes, too */
    if (container_exec(&g->rt, id, o, &shim, &warning, e) < 0)
        return err_wrap(e, "exec failed");
    command_warn(&warning);
    int r = o->foreground ? console_foreground(&shim, &status, e) : 0;
    shim_release(&shim);
    return r < 0 ? r : status;
}

int cmd_exec(int argc, char **argv, const struct globals *g, struct err *e)
{
    struct exec_options o = {.terminal = false};
    struct lists l = {.env = {.n = 0}};
    const char *label = NULL, *apparmor = NULL;
    bool detach = false;
    unsigned fds = 0;
    const struct option options[] = {
        {"process", 'p', OPTION_STRING, &o.process_file, "file with an OCI process object"},
        {"cwd", 0, OPTION_STRING, &o.cwd, "working directory in the container"},
        {"env", 'e', OPTION_LIST, &l.env, "NAME=VALUE to add to the environment"},
        {"user", 'u', OPTION_STRING, &o.user, "UID or UID:GID"},
        {"additional-gids", 'g', OPTION_LIST, &l.gids, "another group id"},
        {"cap", 'c', OPTION_LIST, &l.caps, "capability to add"},
        {"tty", 't', OPTION_FLAG, &o.terminal, "give it a terminal"},
        {"detach", 'd', OPTION_FLAG, &detach, "do not wait for it"},
        {"pid-file", 0, OPTION_STRING, &o.pid_file, "file for its pid on the host"},
        {"console-socket", 0, OPTION_STRING, &o.console_socket,
         "Unix socket that gets the terminal's master"},
        {"no-new-privs", 0, OPTION_FLAG, &o.no_new_privileges, "set no_new_privs"},
        {"ignore-paused", 0, OPTION_FLAG, &o.ignore_paused, "also in a paused container"},
        {"cgroup", 0, OPTION_LIST, &l.cgroups, "run it in this cgroup below the container's"},
        {"preserve-fds", 0, OPTION_UINT, &fds, PRESERVE_FDS_HELP},
        {"process-label", 0, OPTION_STRING, &label, "refused: the guest has no SELinux"},
        {"apparmor", 0, OPTION_STRING, &apparmor, "refused: the guest has no AppArmor"},
        OPTIONS_END,
    };
    int first = command_parse(g, argc, argv, options, e);

    if (first < 0)
        return first;
    if (check(label, apparmor, &l.cgroups, e) < 0)
        return -e->code;
    if (l.cgroups.n && *l.cgroups.v[0])
        o.cgroup = l.cgroups.v[0];
    if (!o.process_file && first + 1 == argc)
        return err_set(e, EINVAL, "bulkhead: \"exec\" requires a command, or --process");
    o.args = (const char *const *)&argv[first + 1];
    o.env = l.env.v;
    o.caps = l.caps.v;
    o.gids = l.gids.v;
    o.foreground = !detach;
    return run(g, argv[first], &o, fds, e);
}
