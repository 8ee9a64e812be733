/*
 * A container's limits on the host: the numbers with room for the VM (cgroup.h says how much), and
 * writing them. What each number becomes is lib/limits; this decides what to do where the host has
 * no file for it. Keeps no state.
 */
#include "runtime/cgroup/cgroup.h"

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/limits.h"
#include "lib/str.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define CPU_MAX_SIZE 64

/* --- room ------------------------------------------------------------------------------------ */

static int64_t sum(int64_t a, int64_t b)
{
    return a > INT64_MAX - b ? INT64_MAX : a + b;
}

static int64_t memory_max(int64_t limit, const struct cgroup_vm *vm)
{
    int64_t ram = (int64_t)(vm->memory_mib << 20);
    int64_t files = limit < ram ? limit : ram;

    files = files > CGROUP_FILES_ROOM_MAX / CGROUP_FILES_SHARE ? CGROUP_FILES_ROOM_MAX
                                                               : files * CGROUP_FILES_SHARE;
    return ram + CGROUP_MEMORY_ROOM + ram / CGROUP_TABLES_SHARE + files;
}

int cgroup_room(const struct spec_resources *r, const struct cgroup_vm *vm,
                struct spec_resources *out, struct err *e)
{
    struct spec_resources h = *r;
    int64_t swap;

    if (limits_swap(r, &swap, e) < 0)
        return -e->code;
    if (r->memory.limit.set && r->memory.limit.v > 0) {
        h.memory.limit.v = memory_max(r->memory.limit.v, vm);
        if (swap >= 0)
            h.memory.swap.v = sum(h.memory.limit.v, swap);
    }
    if (r->memory.reservation.set && r->memory.reservation.v > 0)
        h.memory.reservation.v = sum(r->memory.reservation.v, CGROUP_MEMORY_ROOM);
    if (r->cpu.quota.set && r->cpu.quota.v > 0) {
        uint64_t period =
            r->cpu.period.set && r->cpu.period.v ? r->cpu.period.v : LIMITS_CPU_PERIOD_US;
        h.cpu.quota.v = sum(r->cpu.quota.v, (int64_t)(period / CGROUP_CPU_SHARE & INT64_MAX));
    }
    if (r->pids_limit.set && r->pids_limit.v > 0)
        h.pids_limit.v = sum(r->pids_limit.v, CGROUP_PIDS_ROOM + vm->vcpus);
    h.hugepages = NULL;
    h.nhugepages = 0;
    h.devices = NULL;
    h.ndevices = 0;
    *out = h;
    return 0;
}

void cgroup_keep_quota(int dir, const struct spec_resources *r, struct spec_resources *out)
{
    cleanup_free char *text = NULL;
    struct err ignored = ERR_INIT; /* no such controller here: cgroup_limit says so */
    struct limits_quota now;

    *out = *r;
    if (io_read_file(dir, "cpu.max", CPU_MAX_SIZE, &text, NULL, &ignored) < 0 ||
        !limits_quota_now(text, &now))
        return;
    if (now.quota > 0) {
        now.quota -= (int64_t)(now.period / CGROUP_CPU_SHARE & INT64_MAX);
        now.quota = now.quota < 1 ? 1 : now.quota;
    }
    limits_keep_quota(out, &now);
}

/* --- whose limit ----------------------------------------------------------------------------- */

/* The guest has neither disks nor swap, and its CPUs are not those that the numbers mean. */
static bool only_on_host(const char *file)
{
    return str_starts(file, "cpuset.") || str_starts(file, "io.") ||
           str_starts(file, "memory.swap.") || str_starts(file, "memory.zswap.");
}

bool cgroup_unified_in_guest(const char *file)
{
    return !only_on_host(file);
}

/* Weights count among the host's cgroups and among the guest's. All else has no room added. */
bool cgroup_unified_on_host(const char *file)
{
    return only_on_host(file) || str_starts(file, "cpu.weight") || strcmp(file, "cpu.idle") == 0;
}

static int find_host_only(void *arg, const char *key, const char *file, const char *text,
                          struct err *e)
{
    (void)e;
    (void)text;
    if (only_on_host(file) && strcmp(key, "memory.swap") != 0) {
        *(const char **)arg = key;
        return -ECANCELED;
    }
    return 0;
}

const char *cgroup_host_only(const struct spec_resources *r)
{
    struct err ignored = ERR_INIT;
    const char *key = NULL;

    (void)!limits_each(r, find_host_only, &key, &ignored);
    return key;
}

/* --- writing --------------------------------------------------------------------------------- */

struct target {
    int dir;
    unsigned when;
    struct err *warning;
};

static bool exists(int dir, const char *file)
{
    return faccessat(dir, file, F_OK, 0) == 0;
}

static unsigned moment(const char *file)
{
    return strcmp(file, "cpu.max") == 0 || strcmp(file, "cpu.max.burst") == 0 ? CGROUP_AFTER_BOOT
                                                                              : CGROUP_BEFORE_BOOT;
}

/* The kernel has one file for weights, or two: then the scheduler's is the one that counts. */
static bool other_weight(int dir, const char *file)
{
    if (strcmp(file, "io.bfq.weight") == 0)
        return !exists(dir, file);
    return strcmp(file, "io.weight") == 0 && exists(dir, "io.bfq.weight");
}

/* The controller's name is the file's first word. */
static int no_file(const struct target *t, const char *key, const char *file, const char *text,
                   struct err *e)
{
    int len = (int)strcspn(file, ".");
    bool any = strcmp(text, "max") == 0 || strcmp(text, "0") == 0;
    char reason[64];

    /* a host without accounting of swap says so to all clients, who then ask for any or none */
    if (strcmp(key, "memory.swap") == 0 && any)
        return 0;
    if (only_on_host(file))
        return err_set(e, ENOTSUP,
                       "linux.resources.%s needs the %.*s controller of cgroup v2 on the host, and "
                       "the container's cgroup has no %s there (bulkhead check names what is "
                       "missing)",
                       key, len, file, file);
    /* once for each controller, whatever the number of its limits */
    if (str_printf(reason, sizeof(reason), "has no %.*s controller", len, file) == 0 &&
        !strstr(t->warning->msg, reason))
        err_add(t->warning, ENOTSUP,
                "linux.resources.%s holds in the virtual machine alone: the container's cgroup on "
                "the host %s",
                key, reason);
    return 0;
}

static int write_limit(void *arg, const char *key, const char *file, const char *text,
                       struct err *e)
{
    const struct target *t = arg;
    bool unified = strcmp(key, "unified") == 0;

    if (!(moment(file) & t->when) || (unified && !cgroup_unified_on_host(file)))
        return 0;
    if (!unified && other_weight(t->dir, file))
        return 0;
    if (!exists(t->dir, file))
        return no_file(t, key, file, text, e);
    if (io_write_file(t->dir, file, text, e) < 0)
        return err_wrap(e, "linux.resources.%s: the host's cgroup", key);
    return 0;
}

int cgroup_limit(int dir, const struct spec_resources *limits, unsigned when, struct err *warning,
                 struct err *e)
{
    struct target t = {.dir = dir, .when = when, .warning = warning};

    return limits_each(limits, write_limit, &t, e);
}
