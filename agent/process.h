/*
 * One guest process that the host asked for: a container's init, or an exec.
 *
 * creating -> created (waits for START) -> starting -> running -> exited. What moves it on stands
 * above it: spawn.h.
 */
#ifndef BULKHEAD_AGENT_PROCESS_H
#define BULKHEAD_AGENT_PROCESS_H

#include "agent/conn.h"

#include <linux/filter.h>
#include <signal.h>

enum process_state {
    PROCESS_CREATING,
    PROCESS_CREATED,
    PROCESS_STARTING,
    PROCESS_RUNNING,
    PROCESS_EXITED,
};

struct process {
    struct agent *agent;
    struct container *container; /* not looked into here */
    struct process *next;
    char id[PROTO_PROCESS_ID_MAX + 1]; /* "" = init */
    bool is_init;
    enum process_state state;
    pid_t pid; /* in the agent's pid namespace; 0 once reaped */
    int pidfd;
    int sync;
    struct loop_source sync_src;
    struct reply_to reply; /* CREATE or START */
    struct spec_process own_spec;
    const struct spec_process *spec; /* own_spec, or the container's */
    struct sock_filter *seccomp;
    size_t nseccomp; /* instructions */
    char *cgroup;    /* exec: below the container's, NULL = that itself */
    uint32_t seccomp_flags;
    int stdio[3]; /* our ends until a stream takes them: stdin's write end, the outputs' read ends;
                     terminal: the master in [0] */
    struct relay *relays[3];
    struct conn *creator; /* who asked for it, until somebody has attached or this one is gone */
    struct conn *attached;
    bool was_attached;
    int status, signal;
    int posed_signal; /* SIGKILL was sent in place of this one: see process_signal */
    bool failed;      /* it never came to be: its name is free, its exit is nobody's business */
    bool oom, exit_sent;
    uint64_t oom_before, exit_ns;
};

struct process *process_new(struct agent *a, const char *id, struct err *e);
/* Reads "seccomp" and "seccomp_flags" of a request. */
int process_read_seccomp(struct process *p, const json_t *body, struct err *e) must_check;
int process_signal(struct process *p, int sig, struct err *e) must_check;
void process_kill(struct process *p);
int process_resize(struct process *p, uint16_t rows, uint16_t cols, struct err *e) must_check;
int process_check_stream(const struct process *p, int index, struct err *e) must_check;
/* Hands fd (owned) and what was already read from it to the stream. */
void process_take_stream(struct process *p, int index, int fd, const char *first, size_t len);
/* It has been reaped; oom_kill: its container has lost a process for memory since it was made. */
void process_exited(struct process *p, const siginfo_t *info, bool oom_kill);
/* Sends EXIT when its time has come. */
void process_try_exit(struct process *p);
bool process_finished(const struct process *p); /* nothing of it is needed any more */
void process_free(struct process *p);

#endif
