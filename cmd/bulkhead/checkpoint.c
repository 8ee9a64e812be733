/* `bulkhead checkpoint` and `restore`: refused, so that no client takes a container for saved. */
#include "cmd/bulkhead/command.h"

#include <errno.h>

int cmd_checkpoint(int argc, char **argv, const struct globals *g, struct err *e)
{
    (void)argc, (void)argv, (void)g;
    return err_set(e, ENOTSUP,
                   "checkpoint is not supported: a VM is not saved yet, and CRIU "
                   "cannot see into one");
}

int cmd_restore(int argc, char **argv, const struct globals *g, struct err *e)
{
    (void)argc, (void)argv, (void)g;
    return err_set(e, ENOTSUP,
                   "restore is not supported: a VM is not saved yet, and CRIU cannot "
                   "see into one");
}
