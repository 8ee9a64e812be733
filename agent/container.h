/* A container in the guest: its configuration, its cgroup, its processes. */
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
    char *bundle;  /* the host's path, for the state that hooks read; NULL = not told */
    int cgroup_fd; /* directory; -1 = none */
    bool cgroup_made;
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
    struct reply_to failed_reply; /* CREATE, to be answered with `failure` when all is gone */
    struct err failure;
};

struct container *container_find(struct agent *a, const char *id);
/* Answers `to` itself when it returns 0: the init process is made asynchronously. */
int container_create(struct agent *a, const char *id, const json_t *body, struct reply_to to,
                     struct err *e) must_check;
/* Remembers why CREATE failed, and who is to be told. */
void container_fail(struct container *c, struct reply_to *to, const struct err *e);
/* Kills all; frees later. */
void container_delete(struct container *c);
/* The init process is gone: nothing of the container may go on. */
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
