/*
 * The container's cgroup v2 on the host: all processes of its sandbox are born in or moved into it
 * (clients read it through /proc/PID/cgroup). linux.cgroupsPath in cgroupfs form ("/a/b" or
 * relative) and systemd form ("slice:prefix:name").
 */
#ifndef BULKHEAD_RUNTIME_CGROUP_H
#define BULKHEAD_RUNTIME_CGROUP_H

#include "lib/spec.h"

#include <sys/types.h>

#define CGROUP_DEFAULT_PARENT "/bulkhead" /* of containers without a cgroupsPath */

/*
 * All paths here are absolute below the v2 hierarchy (/sys/fs/cgroup, or /sys/fs/cgroup/unified on
 * a host with both), as cgroup_path makes them. A missing cgroup is -ENOENT unless said otherwise.
 *
 * Works out the path below /sys/fs/cgroup: from cgroupsPath, or "/bulkhead/<id>" without one (below
 * the caller's own cgroup when that is where it must be). systemd = the --systemd-cgroup flag:
 * "slice:prefix:name" is then that scope's directory where no systemd runs, and refused where one
 * does. A relative path lies in the parent of the caller's cgroup. *out is owned.
 */
int cgroup_path(const char *cgroups_path, const char *id, bool systemd, char **out,
                struct err *e) must_check;
/* The caller's own cgroup; "/" when it lies outside the caller's cgroup namespace. *out is owned.
 */
int cgroup_own(char **out, struct err *e) must_check;
/* Creates it (and parents, enabling controllers on the way). fd_out: directory descriptor for
 * CLONE_INTO_CGROUP. Fails if it exists and holds processes. */
int cgroup_create(const char *path, int *fd_out, struct err *e) must_check;
/* Opens an existing one, for CLONE_INTO_CGROUP of a later process. */
int cgroup_open(const char *path, int *fd_out, struct err *e) must_check;
int cgroup_add(const char *path, pid_t pid, struct err *e) must_check;
/* Sends SIGKILL to all in it (cgroup.kill) and waits until it is empty (cgroup.events), then
 * removes it with its children. Missing = success. */
int cgroup_destroy(const char *path, struct err *e) must_check;
int cgroup_freeze(const char *path, bool frozen, struct err *e) must_check;
/* The pids in it and in its children, as we see them. *out owned, NULL when there are none. */
int cgroup_pids(const char *path, pid_t **out, size_t *n_out, struct err *e) must_check;

#endif
