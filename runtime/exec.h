/* Another process in a running container: `exec`. */
#ifndef BULKHEAD_RUNTIME_EXEC_H
#define BULKHEAD_RUNTIME_EXEC_H

#include "runtime/container.h"

struct exec_options {
    const char *process_file; /* an OCI process object; NULL = the fields below over the container's
                                 own process */
    const char *const *args, *const *env, *const *caps, *const *gids; /* NULL-terminated */
    const char *cwd, *user; /* NULL = the container's; user = "uid[:gid]" */
    const char *cgroup;     /* below the container's in the guest; NULL = that itself */
    bool terminal, no_new_privileges;
    bool ignore_paused;
    const char *pid_file, *console_socket;
    bool foreground; /* the caller stays */
};

/*
 * Makes and starts the process. shim_out: the process that stands for it, a child of ours. The
 * pid-file is written when it runs.
 */
int container_exec(const struct runtime *rt, const char *id, const struct exec_options *o,
                   struct shim *shim_out, struct err *warning, struct err *e) must_check;

#endif
