/*
 * `bulkhead run`: create, start, wait, delete. In the foreground the shim is our child: its exit
 * status becomes ours, and the user's terminal is relayed.
 */
#include "cmd/bulkhead/command.h"
#include "runtime/cancel.h"
#include "runtime/console.h"

static int start_or_delete(const struct globals *g, const char *id, struct err *e)
{
    struct err warning = ERR_INIT, ignored = ERR_INIT;

    if (container_start(&g->rt, id, &warning, e) < 0) {
        (void)!cancel_check(e);
        (void)!container_delete(&g->rt, id, true, &ignored, &ignored);
        return -e->code;
    }
    command_warn(&warning);
    return 0;
}

static int foreground(const struct globals *g, const char *id, struct shim *shim, bool keep,
                      struct err *e)
{
    struct err warning = ERR_INIT, ignored = ERR_INIT;
    int status = 0;
    int r = console_foreground(shim, &status, e);

    /* one that came just before: the VM has ended by it */
    (void)!cancel_check(&ignored);
    (void)!container_note_exit(&g->rt, id, &ignored); /* another may have deleted it */
    if (r < 0)                                        /* it is the reason that is told */
        (void)!container_delete(&g->rt, id, true, &ignored, &ignored);
    if (r < 0 || keep)
        return r < 0 ? r : status;
    if (container_delete(&g->rt, id, true, &warning, e) < 0)
        return -e->code;
    command_warn(&warning);
    return status;
}

int cmd_run(int argc, char **argv, const struct globals *g, struct err *e)
{
    struct create_options o = {.bundle = "."};
    bool detach = false, keep = false;
    unsigned fds = 0;
    const struct option options[] = {
        CREATE_OPTIONS(o, fds),
        {"detach", 'd', OPTION_FLAG, &detach, "do not wait for the container"},
        {"keep", 0, OPTION_FLAG, &keep, "do not delete the container when it has ended"},
        {"no-subreaper", 0, OPTION_VOID, NULL, VOID_HELP},
        OPTIONS_END,
    };
    struct err warning = ERR_INIT;
    struct shim shim = SHIM_INIT;
    int first = command_parse(g, argc, argv, options, e);

    if (first < 0)
        return first;
    o.foreground = !detach;
    if (container_create(&g->rt, argv[first], &o, &shim, &warning, e) < 0)
        return err_wrap(e, "bulkhead run failed");
    command_warn(&warning);
    command_warn_fds(fds);
    int r = start_or_delete(g, argv[first], e);
    if (r < 0)
        err_wrap(e, "bulkhead run failed");
    else if (!detach)
        r = foreground(g, argv[first], &shim, keep, e);
    cancel_end();
    shim_release(&shim);
    return r;
}
