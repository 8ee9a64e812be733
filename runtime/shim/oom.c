/*
 * A container that meets its memory limit meets it in the guest, and the guest's kernel kills for
 * it. Only the host's own OOM killer writes the host's memory.events, so it gets a victim: the VMM,
 * whose container has ended and has all that it wrote on the host.
 *
 * No other process may be hit: this one still has a status to return. So shim and file server are
 * spared (process_spare), for the kernel looks for a second victim when the first takes over a
 * second to go; the VMM is made the first that the kernel chooses, and the cgroup's limit goes to
 * where there is room again without it: what cannot be taken back at once (the kernel's memory,
 * files on a tmpfs, pages not yet written) stays, and so does half of the processes' own memory,
 * nearly all of which is the VM's.
 */
#include "runtime/shim/oom.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STAT_MAX 8192 /* the kernel's is one page */

/* A cgroup that is just removed has nobody to tell. */
static int set(int fd, const char *text)
{
    return write(fd, text, strlen(text)) < 0 ? -1 : 0;
}

/* Takes the figure of one line "KEY N"; false when there is none. */
static bool figure(const char *stat, const char *key, unsigned long long *sum, unsigned divisor)
{
    size_t len = strlen(key);

    for (const char *line = stat; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, len) == 0 && line[len] == ' ') {
            *sum += strtoull(line + len, NULL, 10) / divisor;
            return true;
        }
    }
    return false;
}

unsigned long long oom_limit(const char *stat)
{
    unsigned long long sum = 0;

    return figure(stat, "anon", &sum, 2) && figure(stat, "kernel", &sum, 1) &&
                   figure(stat, "shmem", &sum, 1) && figure(stat, "file_dirty", &sum, 1) &&
                   figure(stat, "file_writeback", &sum, 1)
               ? sum
               : 0;
}

void oom_report(const int fds[OOM_FDS])
{
    char stat[STAT_MAX], limit[24];
    unsigned long long bytes;
    ssize_t n;

    if (fds[OOM_VICTIM] < 0 || fds[OOM_STAT] < 0 || fds[OOM_MEMORY_MAX] < 0)
        return;
    n = pread(fds[OOM_STAT], stat, sizeof(stat) - 1, 0);
    if (n <= 0)
        return;
    stat[n] = '\0';
    bytes = oom_limit(stat);
    if (!bytes || set(fds[OOM_VICTIM], "1000") < 0)
        return;
    if (fds[OOM_SWAP_MAX] >= 0 && set(fds[OOM_SWAP_MAX], "0") < 0)
        return; /* the VMM would be swapped out, not killed */
    snprintf(limit, sizeof(limit), "%llu", bytes);
    (void)set(fds[OOM_MEMORY_MAX], limit);
}
