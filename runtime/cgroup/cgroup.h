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
 * the caller's own cgroup when that is where it must be). systemd: cgroupsPath is in systemd's
 * form, "slice:prefix:name", and the path is where that scope (or slice) is. A relative path lies
 * in the parent of the caller's cgroup. *out is owned.
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
/* Sends SIGKILL to all in it (cgroup.kill) and waits until it is empty (cgroup.events), then
 * removes it with its children. Missing = success. */
int cgroup_destroy(const char *path, struct err *e) must_check;
/* Removes it if nothing is in it; else, and if it is not there, does nothing. The default parent
 * goes with it when that is empty. */
void cgroup_remove_empty(const char *path);
/* The same without the removal: the cgroup itself is someone else's (systemd's) to remove. */
int cgroup_empty(const char *path, struct err *e) must_check;

/* --- limits (limits.c) ----------------------------------------------------------------------- */

/* The VM as far as limits on the host depend on it. */
struct cgroup_vm {
    uint64_t memory_mib;
    uint32_t vcpus;
};

/*
 * A container's limits hold in its VM, to the byte. The same limits on the host bound the VM that
 * serves it, and leave it room: a container that stays within its limit must never lose its VM.
 *
 *   memory.max  the VM's memory, all of which the guest may touch in time, and besides
 *                 CGROUP_MEMORY_ROOM       for VMM, file server and shims
 *                 1/CGROUP_TABLES_SHARE    of it for the tables that map it
 *                 CGROUP_FILES_SHARE times the limit, at most CGROUP_FILES_ROOM_MAX: behind every
 *                 file that the guest knows stands an open one on the host, and what the kernels
 *                 keep about it is charged to the container in the guest and to the VM on the host
 *   memory.low  the reservation and CGROUP_MEMORY_ROOM
 *   cpu.max     the quota and 1/CGROUP_CPU_SHARE of a CPU, and that only after the guest has booted
 *   pids.max    the limit (each may have its shim), CGROUP_PIDS_ROOM, and the vCPUs' threads
 *
 * Swap, weights, CPUs, memory nodes and block I/O are as they are given.
 */
#define CGROUP_MEMORY_ROOM    (64ll << 20)
#define CGROUP_TABLES_SHARE   128
#define CGROUP_FILES_SHARE    2
#define CGROUP_FILES_ROOM_MAX (1ll << 30)
#define CGROUP_CPU_SHARE      10
#define CGROUP_PIDS_ROOM      64

/*
 * r with that room. *out borrows all pointers of r. Without what is the guest's alone: huge pages,
 * device rules.
 */
int cgroup_room(const struct spec_resources *r, const struct cgroup_vm *vm,
                struct spec_resources *out, struct err *e) must_check;

/*
 * r for a cgroup that has a quota already (dir, room and all): a quota without a period keeps the
 * period that it has, a period without a quota the quota, its room taken off. *out borrows as
 * above.
 */
void cgroup_keep_quota(int dir, const struct spec_resources *r, struct spec_resources *out);

/* The quota would slow down the boot: it waits until the guest is up. */
enum { CGROUP_BEFORE_BOOT = 1, CGROUP_AFTER_BOOT = 2, CGROUP_ANY_TIME = 3 };
/*
 * Writes limits (of cgroup_room) in the cgroup behind dir. A limit that holds in the guest anyway
 * and has no controller here is a warning; one that only the host can keep (CPUs, memory nodes,
 * block I/O) is then -ENOTSUP by name.
 */
int cgroup_limit(int dir, const struct spec_resources *limits, unsigned when, struct err *warning,
                 struct err *e) must_check;
/* Is there anything among them that only the host can keep? Its key, or NULL. */
const char *cgroup_host_only(const struct spec_resources *r);
/* Where a file of linux.resources.unified belongs; at least one of them. */
bool cgroup_unified_on_host(const char *file);
bool cgroup_unified_in_guest(const char *file);

#endif
