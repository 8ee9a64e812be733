/* `bulkhead create`: boots a VM and makes the container in it, ready to start. */
#include "cmd/bulkhead/command.h"

int cmd_create(int argc, char **argv, const struct globals *g, struct err *e)
{
    struct create_options o = {.bundle = "."};
    unsigned fds = 0;
    const struct option options[] = {
        CREATE_OPTIONS(o, fds),
        OPTIONS_END,
    };
    struct err warning = ERR_INIT;
    struct shim shim = SHIM_INIT;
    int first = command_parse(g, argc, argv, options, e);

    if (first < 0)
        return first;
    if (container_create(&g->rt, argv[first], &o, &shim, &warning, e) < 0)
        return err_wrap(e, "bulkhead create failed");
    shim_release(&shim);
    command_warn(&warning);
    command_warn_fds(fds);
    return 0;
}
