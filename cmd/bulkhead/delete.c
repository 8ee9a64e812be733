/* `bulkhead delete`: removes a container with all that belongs to it. */
#include "cmd/bulkhead/command.h"

int cmd_delete(int argc, char **argv, const struct globals *g, struct err *e)
{
    bool force = false;
    const struct option options[] = {
        {"force", 'f', OPTION_FLAG, &force, "kill it first if it runs; succeed if there is none"},
        OPTIONS_END,
    };
    struct err warning = ERR_INIT;
    int first = command_parse(g, argc, argv, options, e);

    if (first < 0)
        return first;
    if (container_delete(&g->rt, argv[first], force, &warning, e) < 0)
        return -e->code;
    command_warn(&warning);
    return 0;
}
