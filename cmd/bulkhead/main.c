/*
 * bulkhead: the command line. Reads the global options, finds the verb, runs it, and says once what
 * went wrong, on stderr and in the log. Everything else is in the verb's file and in runtime.
 */
#include "cmd/bulkhead/command.h"
#include "lib/log.h"
#include "lib/names.h"
#include "lib/str.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_ROOT "/run/bulkhead"
/* runc's statuses: a failed verb, and a verb that does not exist */
#define EXIT_UNKNOWN_VERB 3
#define EXIT_EXEC_FAILED  255

static const struct verb verbs[] = {
    {"check", cmd_check, 0, 0, "[options]", "say whether containers can run on this machine", 1},
    {"checkpoint", cmd_checkpoint, 0, -1, "[options] <container-id>", "not supported: fails", 1},
    {"create", cmd_create, 1, 1, "[options] <container-id>",
     "boot a VM and make the container in it, ready to start", 1},
    {"delete", cmd_delete, 1, 1, "[options] <container-id>",
     "remove a stopped container and its VM", 1},
    {"events", cmd_events, 1, 1, "[options] <container-id>", "print statistics and OOM events", 1},
    {"exec", cmd_exec, 1, -1, "[options] <container-id> <command> [args]",
     "run another process in a container", EXIT_EXEC_FAILED},
    {"features", cmd_features, 0, 0, "", "print what is supported, as JSON", 1},
    {"kill", cmd_kill, 1, 2, "[options] <container-id> [signal]",
     "send a signal to the init process", 1},
    {"list", cmd_list, 0, 0, "[options]", "list the containers below --root", 1},
    {"pause", cmd_pause, 1, 1, "<container-id>", "freeze all processes of a container", 1},
    {"ps", cmd_ps, 1, -1, "[options] <container-id> [ps options]", "list the container's processes",
     1},
    {"restore", cmd_restore, 0, -1, "[options] <container-id>", "not supported: fails", 1},
    {"resume", cmd_resume, 1, 1, "<container-id>", "let a paused container go on", 1},
    {"run", cmd_run, 1, 1, "[options] <container-id>", "create, start, wait and delete in one", 1},
    {"spec", cmd_spec, 0, 0, "[options]", "write a config.json to start from", 1},
    {"start", cmd_start, 1, 1, "<container-id>", "run the command of a created container", 1},
    {"state", cmd_state, 1, 1, "[options] <container-id>", "print a container's state as JSON", 1},
    {"update", cmd_update, 1, 1, "[options] <container-id>", "change resource limits", 1},
};

static const struct verb *find_verb(const char *name)
{
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

static void print_version(void)
{
    printf("bulkhead version %s\n", BULKHEAD_VERSION);
#ifdef BULKHEAD_COMMIT /* not in a build from a tarball */
    printf("commit: %s\n", BULKHEAD_COMMIT);
#endif
    printf("spec: %s\n", OCI_VERSION);
}

static const char *usage(void)
{
    static char text[4096];
    int n = snprintf(text, sizeof text,
                     "[global options] <verb> [options] [arguments]\n\n"
                     "Runs OCI containers, each in a KVM virtual machine of its own.\n\nverbs:");
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "\n  %-12s %s", verbs[i].name,
                      verbs[i].summary);
    return text;
}

/*
 * The caller's descriptors above 2 are not for our children: they go at exec. Missing ones of 0, 1,
 * 2 become /dev/null, so that no file of ours can land there.
 */
static void tidy_descriptors(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    while (fd >= 0 && fd <= 2);
    if (fd > 2)
        close(fd);
    (void)close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
}

/* A relative --root counts from here, also for those whom we tell the path of. */
static int make_absolute(const char **path, struct err *e)
{
    static char buf[PATH_MAX];
    char here[PATH_MAX];

    if (**path == '/')
        return 0;
    if (!**path)
        return err_set(e, EINVAL, "--root must not be empty");
    if (!getcwd(here, sizeof here))
        return err_errno(e, "--root %s is relative, and the current directory", *path);
    if (str_printf(buf, sizeof buf, "%s/%s", strcmp(here, "/") == 0 ? "" : here, *path) < 0)
        return err_set(e, ENAMETOOLONG, "--root is too long");
    *path = buf;
    return 0;
}

static int parse_globals(int argc, char **argv, struct globals *g, bool *version, struct err *e)
{
    const char *format = "text", *manager = "";
    const struct option options[] = {
        {"root", 0, OPTION_STRING, &g->rt.root, "directory of the containers' state"},
        {"config", 0, OPTION_STRING, &g->rt.config, "bulkhead.json, instead of the usual places"},
        {"log", 0, OPTION_STRING, &g->log, "log file, besides stderr"},
        {"log-format", 0, OPTION_STRING, &format, "text (default) or json"},
        {"debug", 0, OPTION_FLAG, &g->debug, "log what is done and how long it takes"},
        {"systemd-cgroup", 0, OPTION_FLAG, &g->rt.systemd_cgroup,
         "cgroupsPath is in systemd's form, slice:prefix:name"},
        {"cgroup-manager", 0, OPTION_STRING, &manager, "cgroupfs, systemd or disabled"},
        {"rootless", 0, OPTION_VOID_STRING, NULL, "accepted for compatibility, without meaning"},
        {"criu", 0, OPTION_VOID_STRING, NULL, "accepted for compatibility, without meaning"},
        {"version", 'v', OPTION_FLAG, version, "print the version"},
        OPTIONS_END,
    };
    int first = options_parse(argc, argv, options, usage(), e);

    if (first < 0)
        return first;
    if (strcmp(format, "json") != 0 && strcmp(format, "text") != 0)
        return err_set(e, EINVAL, "--log-format must be text or json, got \"%s\"", format);
    g->log_json = strcmp(format, "json") == 0;
    if (strcmp(manager, "systemd") == 0)
        g->rt.systemd_cgroup = true;
    else if (strcmp(manager, "disabled") == 0)
        g->rt.no_cgroup = true;
    else if (*manager && strcmp(manager, "cgroupfs") != 0)
        return err_set(e, EINVAL,
                       "--cgroup-manager must be cgroupfs, systemd or disabled, got "
                       "\"%s\"",
                       manager);
    return make_absolute(&g->rt.root, e) < 0 ? -e->code : first;
}

int main(int argc, char **argv)
{
    struct globals g = {.rt = {.root = DEFAULT_ROOT}};
    struct err e = ERR_INIT;
    bool version = false;

    signal(SIGPIPE, SIG_IGN);
    tidy_descriptors();
    int first = parse_globals(argc, argv, &g, &version, &e);
    int opened = log_open(g.log, g.log_json, g.debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARNING,
                          first < 0 ? &(struct err)ERR_INIT : &e);
    if (first < 0 || opened < 0) {
        log_error("%s", e.msg);
        return 1;
    }
    if (version) {
        print_version();
        return 0;
    }
    if (first == argc || strcmp(argv[first], "help") == 0) {
        printf("usage: bulkhead %s\n", usage());
        return 0;
    }

    const struct verb *v = find_verb(argv[first]);
    if (!v) {
        log_error("No help topic for '%s'", argv[first]);
        return EXIT_UNKNOWN_VERB;
    }
    g.verb = v;
    int status = v->run(argc - first, argv + first, &g, &e);
    if (status < 0) {
        log_error("%s", e.msg);
        status = v->failure;
    }
    if (fflush(stdout) != 0 && status == 0) {
        log_error("write to stdout: %s", strerror(errno));
        status = v->failure;
    }
    log_close();
    return status;
}
