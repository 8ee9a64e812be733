/*
 * The agent's objects: one agent, its containers, their processes, and the host's connections.
 *
 * All of it lives in one thread around one loop. Callbacks only change states; whatever must be
 * finished because of that (replies, EXIT, freeing, the end of the sandbox) is done once per turn
 * by the sweeps, so nothing is freed while a callback might still hold it.
 *
 * Its files stand in layers, the lower knowing nothing of the higher (tests/static/includes). Calls
 * go down; what is told upwards goes by the functions that conn.h's user handed down, or is a state
 * that the one above looks at:
 *
 *    agent.c                the loop, the sweeps
 *    request                what the host's requests mean
 *    spawn, clone, limits   the children: made, led to their execve, reaped
 *    container, refuse      what they share: cgroup, freezing, the end of all
 *    process                one of them: streams, signals, exit
 *    child.h's files | cgroup.h's | conn, relay
 *
 * the child's side, which ends in execve; limits and numbers; bytes of the host.
 */
#ifndef BULKHEAD_AGENT_AGENT_H
#define BULKHEAD_AGENT_AGENT_H

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/loop.h"
#include "lib/names.h"
#include "lib/proto.h"
#include "lib/spec.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define AGENT_CONTAINERS_MAX 64
#define AGENT_PROCESSES_MAX  1024
#define AGENT_CONNS_MAX      (4 * AGENT_PROCESSES_MAX + 256)
#define AGENT_FILES_MAX      65536 /* RLIMIT_NOFILE: several descriptors for each of the above */

#define CONN_READ_CHUNK 16384
#define CONN_OUT_MAX    (8u << 20) /* unread replies and events before a connection is dropped */
#define RELAY_BUF       65536

struct agent;
struct container;
struct process;
struct conn;
struct relay;

/* Where the agent stands: its main fills this for the guest, tests for a private namespace. */
struct agent_config {
    const char *share_dir;  /* the tree that holds <share>/rootfs */
    const char *cgroup_dir; /* a cgroup v2 directory in which the containers' are made */
    bool ends;              /* agent_run returns when the last container is gone */
};

struct agent {
    struct loop loop;
    struct agent_config cfg;
    struct loop_source listen_src, signal_src;
    int signal_fd;
    int pidns_fd, timens_fd; /* the agent's own, to come back to after making a child in another */
    int null_fd;
    int spare_fd; /* given up to take, and refuse, a caller when there is no descriptor left */
    const struct conn_user *user; /* what connections are for: request.h */
    struct conn *conns;
    unsigned nconns;
    struct container *containers;
    unsigned ncontainers, nprocesses;
    bool had_container; /* one was made: when none is left, the sandbox ends */
    char scratch[RELAY_BUF];
};

/* Takes over listen_fd (-1 = none). SIGCHLD is blocked for the process from here on. */
int agent_init(struct agent *a, const struct agent_config *cfg, int listen_fd,
               struct err *e) must_check;
/* Serves one more connection, which the agent now owns; greets with HELLO if told to. */
int agent_add_conn(struct agent *a, int fd, bool hello, struct err *e) must_check;
/* Until the sandbox ends (cfg.ends), loop_stop, or the loop itself fails. */
int agent_run(struct agent *a, struct err *e) must_check;
void agent_done(struct agent *a);

#endif
