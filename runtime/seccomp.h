/* linux.seccomp (config-linux.md "Seccomp") compiled to classic BPF on the host; the agent only
 * loads it. */
#ifndef BULKHEAD_RUNTIME_SECCOMP_H
#define BULKHEAD_RUNTIME_SECCOMP_H

#include "lib/spec.h"

/*
 * Compiles for x86-64 (and the other architectures named). *bpf_out: array of struct sock_filter in
 * bytes, to free; *flags_out: SECCOMP_FILTER_FLAG_*. Unknown syscall names are skipped as runc
 * does; unknown actions, a listener (SCMP_ACT_NOTIFY, listenerPath), flags or operators are refused
 * by name.
 */
int seccomp_compile(const struct spec_seccomp *s, void **bpf_out, size_t *len_out,
                    uint32_t *flags_out, struct err *e) must_check;

/* What is honoured, one name for each i from 0; NULL after the last. For `features`. */
const char *seccomp_known_action(size_t i);
const char *seccomp_known_arch(size_t i);
const char *seccomp_known_flag(size_t i);

#endif
