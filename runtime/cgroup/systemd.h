/*
 * Scopes of a running systemd, for containers whose client manages cgroups through it
 * (--systemd-cgroup). Only where systemd runs; elsewhere a scope is a directory like any other
 * (cgroup.h). The same limits are written to the cgroup's files afterwards: what systemd knows of
 * them it keeps at its next reload, instead of taking them away.
 */
#ifndef BULKHEAD_RUNTIME_SYSTEMD_H
#define BULKHEAD_RUNTIME_SYSTEMD_H

#include "lib/spec.h"

#include <sys/types.h>

/* /run/systemd/system exists (sd_booted(3)). */
bool systemd_runs(void);

/* One property of a unit (org.freedesktop.systemd1(5)): name, D-Bus type, value. */
#define SYSTEMD_CPUS_MAX 8192
struct systemd_property {
    const char *name;
    char type; /* 't' or 'y' (array of bytes) */
    uint64_t number;
    uint8_t *bytes; /* owned */
    size_t nbytes;
};
struct systemd_properties {
    struct systemd_property v[16];
    size_t n;
};
/* Those that stand for limits (of cgroup_room). What systemd has no property for is left to the
 * files. */
int systemd_properties(const struct spec_resources *r, struct systemd_properties *out,
                       struct err *e) must_check;
void systemd_properties_done(struct systemd_properties *p);

/* "/a.slice/a-b.slice/x.scope": "x.scope" and "a-b.slice". -EINVAL when it is no scope. */
#define SYSTEMD_NAME_MAX 256
int systemd_names(const char *path, char scope[SYSTEMD_NAME_MAX], char slice[SYSTEMD_NAME_MAX],
                  struct err *e) must_check;

/*
 * Makes the scope whose cgroup is `path` (as cgroup_path says it), with the process pid in it, and
 * waits until it stands. A scope ends when its last process does: the caller sees to it that one
 * stays.
 */
int systemd_scope_start(const char *path, const char *description, pid_t pid,
                        const struct spec_resources *limits, struct err *e) must_check;
int systemd_scope_update(const char *path, const struct spec_resources *limits,
                         struct err *e) must_check;
/* Ends it and waits, not long: a systemd that does not answer must not hold up delete. One that is
 * gone is success. */
int systemd_scope_stop(const char *path, struct err *e) must_check;

#endif
