/* The container's cgroup v2 directory in the guest (config-linux.md "Control groups"). */
#ifndef BULKHEAD_AGENT_CGROUP_H
#define BULKHEAD_AGENT_CGROUP_H

#include "agent/devfilter.h"
#include "lib/spec.h"

#include <sys/types.h>

#define CGROUP_PIDS_MAX 65536

/* Makes <dir>/<name>; returns a directory descriptor. */
int cgroup_make(const char *dir, const char *name, struct err *e) must_check;
int cgroup_set(int fd, const struct spec_resources *r, struct err *e) must_check;
int cgroup_kill(int fd);
/* Removes <dir>/<name> with what the container made below. -EBUSY while processes are in it. */
int cgroup_remove(const char *dir, const char *name);
/* All processes, of child groups too, in the caller's pid namespace. *out is owned. */
int cgroup_processes(int fd, pid_t **out, size_t *n_out, struct err *e) must_check;
/* "key value" files: 0 and the value, or -ENOENT. */
int cgroup_field(int fd, const char *file, const char *key, uint64_t *out);
/* The whole file in buf, NUL-terminated. Length or -errno. */
ssize_t cgroup_read(int fd, const char *file, char *buf, size_t size);

/* stats.c */
json_t *cgroup_stats(int fd);
json_t *process_list(const pid_t *pids, size_t n);

#endif
