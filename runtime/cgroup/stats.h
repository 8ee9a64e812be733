/* A container's statistics, from the guest's words (cgroup v2) to the shape of runc's `events`. */
#ifndef BULKHEAD_RUNTIME_STATS_H
#define BULKHEAD_RUNTIME_STATS_H

#include <jansson.h>

/*
 * `guest` is "stats" of PROTO_CONTAINER_STATS: untrusted, only numbers of known names are taken
 * (and of memory.stat, all numbers, as "raw"). Times become nanoseconds. NULL without memory.
 */
json_t *stats_shape(const json_t *guest);

#endif
