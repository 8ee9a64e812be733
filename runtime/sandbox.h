/*
 * A sandbox is one VM: bulkhead-vmm and the bulkhead-fs that serves it. This makes the plan, starts
 * both, and waits until the agent in the guest says that it is ready. What happens in the VM then
 * is container.c's.
 */
#ifndef BULKHEAD_RUNTIME_SANDBOX_H
#define BULKHEAD_RUNTIME_SANDBOX_H

#include "lib/err.h"
#include "lib/plan.h"
#include "runtime/config.h"
#include "runtime/share.h"
#include "runtime/spawn.h"
#include "runtime/store.h"

/* What a VM is made of, opened and looked at before anything is created. */
struct sandbox_files {
    int kvm, kernel, initrd;
};
#define SANDBOX_FILES_INIT                                                                         \
    {                                                                                              \
        .kvm = -1, .kernel = -1, .initrd = -1                                                      \
    }
int sandbox_open_files(const struct config *c, struct sandbox_files *out, struct err *e) must_check;
void sandbox_close_files(struct sandbox_files *f);

/*
 * Opens (makes) a console log that the user named. Only a regular file or a fifo is taken, no link:
 * whatever else lies at that path is neither written to nor waited for.
 */
int sandbox_open_console(const char *path, struct err *e) must_check;

struct sandbox {
    struct spawned vmm, fs;
    int ready;   /* seqpacket: the VMM sends the agent's connection here */
    int console; /* the guest's last words, for reading alone; -1 when a fifo takes them away */
};
#define SANDBOX_INIT                                                                               \
    {                                                                                              \
        .vmm = SPAWNED_INIT, .fs = SPAWNED_INIT, .ready = -1, .console = -1                        \
    }

/*
 * Starts both programs, in the cgroup behind cgroup_fd (-1 = ours). Their identities are in *state
 * and on disk before either runs a line of its own.
 */
int sandbox_start(const struct config *c, const struct sandbox_files *files,
                  const struct share *share, const struct store *store, int cgroup_fd,
                  struct state *state, struct sandbox *out, struct err *e) must_check;
/* Waits for the agent. Returns its connection, which takes requests; hello_out is what it said. */
int sandbox_wait(struct sandbox *s, const struct store *store, int timeout_ms, json_t **hello_out,
                 struct err *e) must_check;
/* Closes our descriptors; the processes live on. */
void sandbox_release(struct sandbox *s);

/*
 * After a call into the VM failed: if the VM is gone, adds why (the VMM's message, the guest's last
 * words) to e. Returns -e->code.
 */
int sandbox_explain(const struct store *store, const struct process *vmm, struct err *e);
/*
 * Ends the VM: gives the guest grace_ms to end by itself (it does when its last container is gone),
 * then SIGKILL to both programs, and waits. What is gone already is success.
 */
int sandbox_stop(const struct state *state, int grace_ms, struct err *e) must_check;

#endif
