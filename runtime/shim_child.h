/* The child's side of shim_spawn, between clone and exec. Private to runtime/shim*.c. */
#ifndef BULKHEAD_RUNTIME_SHIM_CHILD_H
#define BULKHEAD_RUNTIME_SHIM_CHILD_H

#include "runtime/shim.h"

struct shim_child {
    const struct shim_params *params;
    int program;  /* bulkhead-shim, opened */
    int netns;    /* to join, or -1 */
    int channel;  /* the shim's end */
    int stdio[3]; /* what becomes 0, 1, 2; the same one may stand there more than once */
};

/* Becomes the shim, or reports why not over the channel and exits. */
void shim_child_run(struct shim_child *c) __attribute__((noreturn));

#endif
