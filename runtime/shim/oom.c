/*
 * A container that meets its memory limit meets it in the guest, and the guest's kernel kills for
 * it. Only the host's own OOM killer writes the host's memory.events, so it gets a victim: the
 * limit of the cgroup goes down to what shim and file server need, and of what is more than that
 * the VMM has the most. Its container has ended, and all that was written is on the host.
 */
#include "runtime/shim/oom.h"

#include <string.h>
#include <unistd.h>

/* A VMM has far more than this, its guest's kernel alone; all others in the cgroup far less. */
#define REST "8M"

static void set(int fd, const char *limit)
{
    /* a host without swap has no file for it; a cgroup that is just removed has nobody to tell */
    if (fd >= 0 && write(fd, limit, strlen(limit)) < 0)
        return;
}

void oom_report(int swap_max, int memory_max)
{
    if (memory_max < 0)
        return;
    set(swap_max, "0"); /* else the VMM were swapped out, not killed */
    set(memory_max, REST);
}
