/* What PID 1 of the guest does before it serves: file systems, loopback, limits, cgroups. */
#ifndef BULKHEAD_AGENT_SETUP_H
#define BULKHEAD_AGENT_SETUP_H

#include "lib/err.h"

#define AGENT_CGROUP_DIR "/sys/fs/cgroup"

int setup_guest(struct err *e) must_check;
/* Brings `lo` of the current network namespace up. */
int setup_loopback(struct err *e) must_check;
/* The listening vsock socket; the connection to the host's ready port. */
int setup_listen(struct err *e) must_check;
int setup_ready(struct err *e) must_check;

#endif
