/* `bulkhead start`: runs the command of a created container. Prints nothing: stdout is a client's.
 */
#include "cmd/bulkhead/command.h"

int cmd_start(int argc, char **argv, const struct globals *g, struct err *e)
{
    const struct option options[] = {OPTIONS_END};
    struct err warning = ERR_INIT;
    int first = command_parse(g, argc, argv, options, e);

    if (first < 0)
        return first;
    if (container_start(&g->rt, argv[first], &warning, e) < 0)
        return -e->code;
    command_warn(&warning);
    return 0;
}
