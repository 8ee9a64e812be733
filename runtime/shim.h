/*
 * bulkhead-shim as the runtime sees it: the host process that stands for one guest process (design:
 * "The shim").
 *
 * It is a child of the very create/exec call that the client made, so that the client can reap it.
 * It is spawned early, waits in its namespaces while the VM boots (hooks and CNI want its pid and
 * network namespace), and is later handed the vsock connections of its process. It then only
 * relays: stdio, signals, window size; and exits with the guest process's status. When its control
 * connection ends without PROTO_EXIT, the VM is gone: it says so on the container's stderr, with
 * the last line of the console log, and exits SHIM_STATUS_VM_LOST.
 */
#ifndef BULKHEAD_RUNTIME_SHIM_H
#define BULKHEAD_RUNTIME_SHIM_H

#include "lib/err.h"
#include "runtime/shim/oom.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define SHIM_STATUS_VM_LOST 255

struct shim_params {
    const char *program; /* path of bulkhead-shim */
    const char *title;   /* what ps shows behind its name: the container's id, "<id>/<exec id>"; or
                            NULL */
    const char *rootfs;  /* host path that becomes its root */
    const char *netns;   /* network namespace to join; NULL = the one `new_netns` says */
    bool new_netns;      /* make one (when netns is NULL); false = stay in the host's */
    int cgroup_fd; /* O_PATH or directory descriptor of the cgroup v2 directory to be born in; -1 =
                      stay */
    int stdio[3];  /* what becomes the process's stdin, stdout, stderr; -1 = /dev/null; ignored when
                      terminal */
    bool terminal;
    uint16_t rows, cols;        /* initial size, 0 = leave */
    const char *console_socket; /* with terminal: where to send the pty master; NULL = master is
                                   returned in shim.master */
};

struct shim {
    pid_t pid; /* as the caller's pid namespace sees it; 0 = not running */
    int pidfd;
    int channel; /* seqpacket to the shim until shim_go */
    int master;  /* pty master when terminal and no console socket; else -1 */
    bool terminal;
    uint16_t rows, cols; /* size of the terminal at hand-over, 0 without one */
};
#define SHIM_INIT                                                                                  \
    {                                                                                              \
        .pid = 0, .pidfd = -1, .channel = -1, .master = -1                                         \
    }

/* What the shim relays between. Streams that do not exist are -1. All are borrowed: the caller
 * closes its own copies. */
struct shim_guest {
    int control;      /* vsock connection, PROCESS_ATTACH already answered with OK */
    int streams[3];   /* vsock connections, PROCESS_STREAM already answered with OK; terminal: only
                         [0] */
    int console_log;  /* readable descriptor of the VM's console log for last words, or -1 */
    int oom[OOM_FDS]; /* an init's; else OOM_NONE */
    const char *container, *process; /* for the frames it sends */
};

/* Spawns the shim; returns when it is in its namespaces, its jail, and its cgroup. */
int shim_spawn(const struct shim_params *p, struct shim *out, struct err *e) must_check;
/* Hands over the connections and waits until the shim has taken them. The shim then lives on its
 * own. */
int shim_go(struct shim *s, const struct shim_guest *g, struct err *e) must_check;
/* Its pid in decimal into the file that a client named (NULL = none), which is whole whenever it is
 * there. */
int shim_write_pid(const struct shim *s, const char *file, struct err *e) must_check;
/* Kills and reaps a shim that was never handed over; closes descriptors. Harmless on SHIM_INIT and
 * after shim_release. */
void shim_abort(struct shim *s);
/* Closes our descriptors and leaves the process running. */
void shim_release(struct shim *s);

#endif
