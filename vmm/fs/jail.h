/*
 * Where the server lives and what it may do there.
 *
 * Order: jail_trees (needs root's capabilities; afterwards the process sees nothing but the trees),
 * then fs_new, then jail_close (afterwards it can do nothing but serve).
 */
#ifndef BULKHEAD_FS_JAIL_H
#define BULKHEAD_FS_JAIL_H

#include "lib/err.h"

#include <stdbool.h>
#include <stdint.h>

#define JAIL_TREES_MAX 256u

struct jail_tree {
    int fd;           /* a detached mount (open_tree), or any descriptor of a directory or file */
    const char *name; /* where it goes: relative, clean components */
    bool readonly;
};

/*
 * Leaves the host's mount, network, IPC and UTS namespaces for own ones whose root is a read-only
 * tmpfs with the trees at their places. *root_fd_out: O_PATH of the new root; *proc_fd_out:
 * /proc/self/fd, the only way left to it. The descriptors of the trees stay the caller's.
 */
int jail_trees(const struct jail_tree *trees, unsigned n, int *root_fd_out, int *proc_fd_out,
               struct err *e) must_check;

/* Raises RLIMIT_NOFILE as far as it is of use; the number of inodes that leaves room for. */
int jail_limits(uint32_t *max_inodes_out, struct err *e) must_check;

/* Drops all capabilities but those of acting for a guest's root, and all system calls but those of
 * serving. */
int jail_close(struct err *e) must_check;

/* The part of jail_close that is about system calls (syscalls.c). */
int jail_seccomp(struct err *e) must_check;

#endif
