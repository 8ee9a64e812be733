/* `bulkhead kill`: a signal to the container's init, or to all its processes. */
#include "cmd/bulkhead/command.h"
#include "runtime/signals.h"

#include <errno.h>

int cmd_kill(int argc, char **argv, const struct globals *g, struct err *e)
{
    bool all = false;
    const struct option options[] = {
        {"all", 'a', OPTION_FLAG, &all, "signal every process of the container"},
        OPTIONS_END,
    };
    int first = command_parse(g, argc, argv, options, e);

    if (first < 0)
        return first;
    const char *name = first + 1 < argc ? argv[first + 1] : "TERM";
    int sig = signal_parse(name);
    if (sig < 0)
        return err_set(e, EINVAL, "unknown signal \"%s\"", name);
    return container_kill(&g->rt, argv[first], sig, all, e);
}
