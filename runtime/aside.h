/* Work in namespaces other than ours, done by a child and over when the call returns. */
#ifndef BULKHEAD_RUNTIME_ASIDE_H
#define BULKHEAD_RUNTIME_ASIDE_H

#include "lib/err.h"

/* Returns 0 or -errno with its error; may leave a descriptor for the caller in *fd. What else it
 * holds goes with the child. */
typedef int aside_work(const void *arg, int *fd, struct err *e);

/*
 * Runs the work in a child of ours, which dies when we do. Returns what it returned; on success
 * *fd_out (NULL = none is wanted) is its descriptor, -1 if it left none. `what` names the child
 * where the error is its own: "the child that ...".
 */
int aside(aside_work *work, const void *arg, const char *what, int *fd_out,
          struct err *e) must_check;

#endif
