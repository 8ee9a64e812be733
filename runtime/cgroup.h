/*
 * The container's cgroup v2 on the host: all processes of its sandbox are born in or moved into it
 * (clients read it through /proc/PID/cgroup). linux.cgroupsPath in cgroupfs form ("/a/b" or
 * relative) and systemd form ("slice:prefix:name").
 */
#ifndef BULKHEAD_RUNTIME_CGROUP_H
#define BULKHEAD_RUNTIME_CGROUP_H

#include "lib/spec.h"

#include <sys/types.h>

/*
 * Works out the path below /sys/fs/cgroup: from cgroupsPath, or "/bulkhead/<id>" without one (below
 * the caller's own cgroup when that is where it must be). systemd = the --systemd-cgroup flag. *out
 * is owned.
 */
int cgroup_path(const char *cgroups_path, const char *id, bool systemd, char **out,
                struct err *e) must_check;
/* Creates it (and parents, enabling controllers on the way). fd_out: directory descriptor for
 * CLONE_INTO_CGROUP. Fails if it exists and holds processes. */
int cgroup_create(const char *path, int *fd_out, struct err *e) must_check;
int cgroup_add(const char *path, pid_t pid, struct err *e) must_check;
/* Sends SIGKILL to all in it (cgroup.kill) and waits until it is empty (cgroup.events), then
 * removes it with its children. Missing = success. */
int cgroup_destroy(const char *path, struct err *e) must_check;
int cgroup_freeze(const char *path, bool frozen, struct err *e) must_check;
/* The pids in it. *out owned. */
int cgroup_pids(const char *path, pid_t **out, size_t *n_out, struct err *e) must_check;

#endif
