/*
 * linux.resources.devices as an eBPF program for BPF_CGROUP_DEVICE. For every access bit the last
 * rule that matches the device decides, as in cgroup v1; what no rule names is denied. The devices
 * that every container has (config-linux.md "Default Devices", ptys, mknod of anything) follow as
 * the last rules, so that they cannot be taken away by a mere "deny all".
 */
#ifndef BULKHEAD_AGENT_DEVFILTER_H
#define BULKHEAD_AGENT_DEVFILTER_H

#include "lib/spec.h"

#include <linux/bpf.h>

#define DEVFILTER_RULES_MAX 1024
#define DEVFILTER_INSNS_MAX (DEVFILTER_RULES_MAX * 8 + 32)

/* Makes the program; *out is owned. Returns the number of instructions. */
int devfilter_build(const struct spec_device_rule *rules, size_t n, struct bpf_insn **out,
                    struct err *e) must_check;
/* Loads and attaches it to the cgroup, in place of old_prog (-1 = none). Returns the new program.
 */
int devfilter_attach(int cgroup_fd, const struct spec_device_rule *rules, size_t n, int old_prog,
                     struct err *e) must_check;

#endif
