/*
 * The child's side: what the forked process does between clone and execve, in one fixed order.
 * Each function returns 0 or fails with an error that names the step; child.c reports it.
 *
 * The files of this side (child, rootfs, mount, devices, terminal, cred, program, hook, copyup)
 * include nothing of the agent but this and setup.h.
 */
#ifndef BULKHEAD_AGENT_CHILD_H
#define BULKHEAD_AGENT_CHILD_H

#include "lib/names.h"
#include "lib/spec.h"

#include <limits.h>
#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* child -> agent on the sync socket; CHILD_READY may carry the pty master */
enum child_event { CHILD_LIMITS = 1, CHILD_READY = 2, CHILD_FAILED = 3 };
struct child_message {
    uint32_t event;
    struct err err;
};
/* agent -> child */
enum child_order { ORDER_GO = 1, ORDER_ON = 2, ORDER_START = 3 };
struct child_command {
    uint32_t order;
    uint32_t null_streams; /* ORDER_START: bit n = nobody listens to stream n, make it /dev/null */
};

/* All that it knows: nothing of the agent's objects is looked at on this side. */
struct child {
    const struct spec *spec; /* the container's */
    const struct spec_process *proc;
    bool is_init;       /* or an exec, in the container of another */
    const char *id;     /* the container's */
    const char *bundle; /* the host's path, for the state that hooks read; NULL = not told */
    const char *rootfs, *cgroup; /* absolute paths in the guest */
    struct sock_filter *seccomp; /* NULL = no filter */
    size_t nseccomp;             /* instructions */
    uint32_t seccomp_flags;
    int sync;
    int stdio[3];   /* the child's ends; -1 with a terminal */
    int init_pidfd; /* exec: whose namespaces to join; -1 for init */
    int null_fd;
    int master; /* pty master to hand over */
};

/* Runs in the child; does not return. */
_Noreturn void child_main(struct child *c);

/* rootfs.c: everything below the container's root, ending in pivot_root. */
int rootfs_enter(struct child *c, struct err *e) must_check;
/* mount.c */
int mount_all(int rootfd, const struct child *c, struct err *e) must_check;
int mount_clone(int dirfd, const char *path, bool recursive, struct err *e) must_check;
int mount_attach(int mnt, int target, const char *what, struct err *e) must_check;
/* devices.c: default and requested nodes, links, ptmx. */
int devices_make(int rootfd, const struct spec *s, struct err *e) must_check;
/* terminal.c: a pty of the container's own devpts; returns the slave. */
int terminal_open(int rootfd, const struct spec_process *p, int *master_out,
                  struct err *e) must_check;
int terminal_console(int rootfd, int slave, struct err *e) must_check;
/* cred.c */
int cred_set_user(const struct spec_process *p, bool keep_sysadmin, struct err *e) must_check;
int cred_set_caps(const struct spec_process *p, bool keep_sysadmin, struct err *e) must_check;
uint64_t cred_last_cap(void);
/* program.c */
int program_find(const char *arg0, const char *path_env, char *out, size_t size,
                 struct err *e) must_check;
const char *program_env(char *const *env, const char *key);
int passwd_home(int fd, uint32_t uid, char *out, size_t size);
/* hook.c: startContainer hooks, in the container. */
int hooks_start_container(const struct child *c, struct err *e) must_check;
/* copyup.c: what a tmpfs with tmpcopyup starts with. */
int copy_tree(int from, int to, struct err *e) must_check;

#endif
