/* How the host's clients hear of what the guest's OOM killer did. */
#ifndef BULKHEAD_RUNTIME_SHIM_OOM_H
#define BULKHEAD_RUNTIME_SHIM_OOM_H

#include <stddef.h>

/*
 * Files on the host that were opened for it, -1 = not there. They are all the right that a shim has
 * beyond relaying: one in a guest's hand could change the container's limit on the host, within its
 * parent's; the VM is no larger for that. A lesser right there is not, for the kernel counts only
 * its own kills; and nobody else is there to do it, for no daemon is left.
 */
enum oom_fd {
    OOM_VICTIM,     /* oom_score_adj of the VMM, to write */
    OOM_STAT,       /* of the container's cgroup: memory.stat, to read */
    OOM_SWAP_MAX,   /* memory.swap.max, to write; a host without swap has none */
    OOM_MEMORY_MAX, /* memory.max, to write */
    OOM_FDS
};
#define OOM_NONE                                                                                   \
    {                                                                                              \
        -1, -1, -1, -1                                                                             \
    }

/*
 * Makes the kernel count an OOM kill in the memory.events of the container's cgroup, where
 * containerd looks (its "oom" event). To be called when the container is over: it costs the VM its
 * life, and no other process. Where a file is missing nothing is done.
 */
void oom_report(const int fds[OOM_FDS]);

/*
 * The limit that only the end of the VMM can meet, from the text of memory.stat; 0 when the text
 * does not say.
 */
unsigned long long oom_limit(const char *stat);

#endif
