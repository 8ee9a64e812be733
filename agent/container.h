/* A container in the guest: its configuration, its cgroup, its processes. The children behind these
 * are spawn.h's. */
#ifndef BULKHEAD_AGENT_CONTAINER_H
#define BULKHEAD_AGENT_CONTAINER_H

#include "agent/conn.h"
#include "agent/process.h"

struct container {
    struct agent *agent;
    struct container *next;
    char id[CONTAINER_ID_MAX + 1];
    struct spec *spec;
    char rootfs[PATH_MAX];
    char *bundle;    /* the host's path, for the state that hooks read; NULL = not told */
    int cgroup_fd;   /* directory */
    int device_prog; /* BPF program attached to the cgroup, -1 = none */
    struct process *init;
    struct process *processes; /* all, init included */
    struct loop_source oom_src, cgroup_src;
    int oom_fd, cgroup_events_fd; /* memory.events, cgroup.events: watched for changes */
    uint64_t oom_kills;
    bool paused;
    bool freeze_to; /* what freeze_reply waits for */
    struct reply_to freeze_reply;
    bool created;  /* CREATE was answered with OK */
    bool deleting; /* everything is killed; freed as soon as nothing is left */
    struct reply_to delete_reply;
    struct err failure; /* of CREATE, which is answered when all is gone */
};

struct container *container_find(struct agent *a, const char *id);
/* From a CREATE request: all but the child of its init. */
int container_new(struct agent *a, const char *id, const json_t *body, struct container **out,
                  struct err *e) must_check;
struct process *container_find_process(const struct container *c, const char *id);
struct process *container_add_process(struct container *c, const char *id, struct err *e);
/* Deletes it; whoever waits for its init is then told why. */
void container_fail(struct container *c, const struct err *e);
/* Kills all; frees later. */
void container_delete(struct container *c);
/* The init process has been reaped: nothing of the container may go on. */
void container_stopped(struct container *c);
bool container_running(const struct container *c);
int container_freeze(struct container *c, bool frozen, struct reply_to to,
                     struct err *e) must_check;
void container_thaw(struct container *c);
/* How many OOM kills its cgroup has seen. */
uint64_t container_oom_kills(struct container *c);
int container_update(struct container *c, const json_t *resources, struct err *e) must_check;
/* Frees what is finished. */
void container_sweep(struct agent *a);

/* refuse.c: what of the configuration this agent does not do, by name. */
int config_check(const struct spec *s, bool compiled_seccomp, struct err *e) must_check;
int config_check_process(const struct spec_process *p, const char *where, struct err *e) must_check;
int config_check_resources(const struct spec_resources *r, struct err *e) must_check;

#endif
