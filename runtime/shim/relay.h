/* The shim's life after the hand-over. */
#ifndef BULKHEAD_RUNTIME_SHIM_RELAY_H
#define BULKHEAD_RUNTIME_SHIM_RELAY_H

#include "runtime/shim/oom.h"

#include <stdbool.h>

struct relay_fds {
    int stdio[3]; /* the container's; with a terminal the first is its slave end */
    int signals;  /* signalfd of all signals, all blocked */
    int control, streams[3];
    int console_log;
    int oom[OOM_FDS];
    bool terminal;
};

/*
 * Relays until the guest process has ended and all it wrote is written, or the virtual machine is
 * lost. Returns the exit status. `ident` as in shim_handover.
 */
int relay_run(const struct relay_fds *f, const char *ident);

#endif
