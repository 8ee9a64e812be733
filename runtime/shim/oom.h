/* How the host's clients hear of what the guest's OOM killer did. */
#ifndef BULKHEAD_RUNTIME_SHIM_OOM_H
#define BULKHEAD_RUNTIME_SHIM_OOM_H

/*
 * Makes the kernel count an OOM kill in the memory.events of the container's cgroup, where
 * containerd and conmon look. To be called when the container is over: it costs the VM its life.
 * The descriptors write memory.swap.max and memory.max of that cgroup; -1 = there is none, and
 * without memory.max nothing is done.
 */
void oom_report(int swap_max, int memory_max);

#endif
