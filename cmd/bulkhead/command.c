/* What the verbs share: how they read their command line, warn, and print. */
#include "cmd/bulkhead/command.h"
#include "lib/log.h"

#include <errno.h>
#include <stdio.h>

int command_parse(const struct globals *g, int argc, char **argv, const struct option *table,
                  struct err *e)
{
    const struct verb *v = g->verb;
    char usage[256];

    snprintf(usage, sizeof usage, "%s%s%s\n\n%s", v->name, *v->arguments ? " " : "", v->arguments,
             v->summary);
    int first = options_parse(argc, argv, table, usage, e);
    if (first < 0)
        return first;
    int n = argc - first;
    if (v->min == v->max && n != v->min)
        return err_set(e, EINVAL, "bulkhead: \"%s\" requires exactly %d argument(s)", v->name,
                       v->min);
    if (n < v->min)
        return err_set(e, EINVAL, "bulkhead: \"%s\" requires a minimum of %d argument(s)", v->name,
                       v->min);
    if (v->max >= 0 && n > v->max)
        return err_set(e, EINVAL, "bulkhead: \"%s\" requires a maximum of %d argument(s)", v->name,
                       v->max);
    return first;
}

void command_warn(const struct err *warning)
{
    if (warning->code)
        log_warning("%s", warning->msg);
}

void command_warn_fds(unsigned preserve_fds)
{
    if (preserve_fds)
        log_warning("--preserve-fds %u: the container's process runs without them, descriptors of "
                    "the host do not reach into a virtual machine",
                    preserve_fds);
}

int command_print(json_t *taken, size_t flags, struct err *e)
{
    int r = taken ? json_dumpf(taken, stdout, flags) : -1;

    json_decref(taken);
    if (r < 0)
        return err_set(e, ENOMEM, "print: out of memory, or stdout is closed");
    putchar('\n');
    return 0;
}
