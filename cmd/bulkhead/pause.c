/* `bulkhead pause` and `resume`: the freezer of the container's cgroup in the guest. */
#include "cmd/bulkhead/command.h"

static int pause_or_resume(int argc, char **argv, const struct globals *g, bool pause,
                           struct err *e)
{
    const struct option options[] = {OPTIONS_END};
    int first = command_parse(g, argc, argv, options, e);

    return first < 0 ? first : container_pause(&g->rt, argv[first], pause, e);
}

int cmd_pause(int argc, char **argv, const struct globals *g, struct err *e)
{
    return pause_or_resume(argc, argv, g, true, e);
}

int cmd_resume(int argc, char **argv, const struct globals *g, struct err *e)
{
    return pause_or_resume(argc, argv, g, false, e);
}
