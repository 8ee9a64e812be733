/*
 * What main and the verbs agree on: global options, the table of verbs, and how a verb reads its
 * own command line. A verb parses, calls `runtime`, prints; it holds no state and knows no OCI.
 *
 * To add a verb: one file with `int cmd_NAME(...)`, a declaration here, a line in the table in
 * main.c.
 */
#ifndef BULKHEAD_COMMAND_H
#define BULKHEAD_COMMAND_H

#include "lib/err.h"
#include "runtime/container.h"

#include <stdbool.h>

struct globals {
    struct runtime rt;       /* --root, --config, --systemd-cgroup, --cgroup-manager */
    const char *log;         /* --log, NULL = stderr only */
    bool log_json;           /* --log-format json */
    bool debug;              /* --debug */
    const struct verb *verb; /* the one that runs */
};

/*
 * argv[0] is the verb. Returns the exit status (>= 0), or -errno with e filled: main then logs the
 * message once and exits with the verb's `failure` status.
 */
typedef int command_fn(int argc, char **argv, const struct globals *g, struct err *e);

struct verb {
    const char *name;
    command_fn *run;
    int min, max;          /* how many arguments; max -1 = any number */
    const char *arguments; /* "[options] <container-id>" */
    const char *summary;   /* one line for --help */
    int failure;           /* exit status when run fails; runc: 1, exec 255 */
};

command_fn cmd_check, cmd_checkpoint, cmd_create, cmd_delete, cmd_events, cmd_exec, cmd_features,
    cmd_kill, cmd_list, cmd_pause, cmd_ps, cmd_restore, cmd_resume, cmd_run, cmd_spec, cmd_start,
    cmd_state, cmd_update;

/*
 * Options. `--name value`, `--name=value`, one dash or two, as Go's flag package has it; a FLAG
 * takes no value or `=true`/`=false`. Reading stops at the first argument that is not an option, or
 * after `--`.
 */
enum option_kind {
    OPTION_FLAG,        /* bool * */
    OPTION_STRING,      /* const char ** */
    OPTION_UINT,        /* unsigned * */
    OPTION_LIST,        /* struct option_list * */
    OPTION_VOID,        /* a flag that is accepted and has no meaning here */
    OPTION_VOID_STRING, /* the same with a value */
};
struct option {
    const char *name;
    char letter; /* 0 = none */
    enum option_kind kind;
    void *out;
    const char *help;
};
#define OPTION_LIST_MAX 256
struct option_list {
    const char *v[OPTION_LIST_MAX + 1]; /* NULL-terminated */
    unsigned n;
};
/* What a verb that succeeded has to say all the same. */
void command_warn(const struct err *warning);
/* --preserve-fds is accepted, since clients give it without being asked to, but never in silence.
 */
void command_warn_fds(unsigned preserve_fds);
/* Prints an object to stdout and drops it; NULL = out of memory. */
int command_print(json_t *taken, size_t flags, struct err *e) must_check;

/* The options that create and run share. `o`: struct create_options, `fds`: unsigned. */
#define CREATE_OPTIONS(o, fds)                                                                     \
    {"bundle", 'b', OPTION_STRING, &(o).bundle, "directory of config.json (default: here)"},       \
        {"console-socket", 0, OPTION_STRING, &(o).console_socket,                                  \
         "Unix socket that gets the terminal's master"},                                           \
        {"pid-file", 0, OPTION_STRING, &(o).pid_file, "file for the process's pid on the host"},   \
        {"preserve-fds", 0, OPTION_UINT, &(fds), PRESERVE_FDS_HELP},                               \
        {"no-pivot", 0, OPTION_VOID, NULL, VOID_HELP},                                             \
    {                                                                                              \
        "no-new-keyring", 0, OPTION_VOID, NULL, VOID_HELP                                          \
    }
#define PRESERVE_FDS_HELP "accepted; descriptors do not reach a VM, a warning says so"
#define VOID_HELP         "accepted for compatibility, without meaning"

#define OPTIONS_END                                                                                \
    {                                                                                              \
        .name = NULL                                                                               \
    }

/* Reads options alone; returns the index of the first argument left. --help prints and exits 0. */
int options_parse(int argc, char **argv, const struct option *o, const char *usage,
                  struct err *e) must_check;
/* The same for the verb that runs: demands its number of arguments after the options. */
int command_parse(const struct globals *g, int argc, char **argv, const struct option *o,
                  struct err *e) must_check;

#endif
