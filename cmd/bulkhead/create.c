/* `bulkhead create`: boots a VM and makes the container in it, ready to start. */
#include "cmd/bulkhead/command.h"

int cmd_create(int argc, char **argv, const struct globals *g, struct err *e)
{
    struct create_options o = {.bundle = "."};
    const struct option options[] = {
        {"bundle", 'b', OPTION_STRING, &o.bundle, "directory of config.json (default: here)"},
        {"console-socket", 0, OPTION_STRING, &o.console_socket,
         "Unix socket that gets the terminal's master"},
        {"pid-file", 0, OPTION_STRING, &o.pid_file, "file for the process's pid on the host"},
        {"preserve-fds", 0, OPTION_UINT, &o.preserve_fds, "not supported above 0"},
        {"no-pivot", 0, OPTION_VOID, NULL, "accepted for compatibility, without meaning"},
        {"no-new-keyring", 0, OPTION_VOID, NULL, "accepted for compatibility, without meaning"},
        OPTIONS_END,
    };
    struct err warning = ERR_INIT;
    struct shim shim = SHIM_INIT;
    int first = command_parse(argc, argv, options, 1, 1, e);

    if (first < 0)
        return first;
    if (container_create(&g->rt, argv[first], &o, &shim, &warning, e) < 0)
        return err_wrap(e, "bulkhead create failed");
    shim_release(&shim);
    command_warn(&warning);
    return 0;
}
