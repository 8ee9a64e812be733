/* Limits as properties of a systemd unit, and the names of units. Keeps no state, speaks to nobody.
 */
#include "runtime/cgroup/systemd.h"

#include "lib/limits.h"
#include "lib/str.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define US_PER_S        1000000ull
#define QUOTA_STEP_US   10000ull /* systemd refuses what is not a multiple; the file is exact */
#define CPU_WEIGHT_IDLE 0ull

static void add(struct systemd_properties *p, const char *name, uint64_t value)
{
    p->v[p->n++] = (struct systemd_property){.name = name, .type = 't', .number = value};
}

static uint64_t or_infinity(int64_t v)
{
    return v < 0 ? UINT64_MAX : (uint64_t)v;
}

static int add_memory(struct systemd_properties *p, const struct spec_resources *r, struct err *e)
{
    int64_t swap;

    if (limits_swap(r, &swap, e) < 0)
        return -e->code;
    if (r->memory.limit.set && r->memory.limit.v)
        add(p, "MemoryMax", or_infinity(r->memory.limit.v));
    if (r->memory.reservation.set && r->memory.reservation.v)
        add(p, "MemoryLow", or_infinity(r->memory.reservation.v));
    if (swap != -2)
        add(p, "MemorySwapMax", or_infinity(swap));
    return 0;
}

/* Microseconds of CPU time a second, in systemd's steps. */
static uint64_t quota_per_second(int64_t quota, uint64_t period)
{
    double us = (double)quota * (double)US_PER_S / (double)period;
    uint64_t whole = us >= (double)(UINT64_MAX / 2) ? UINT64_MAX / 2 : (uint64_t)us;

    if ((double)whole < us)
        whole++;
    return (whole + QUOTA_STEP_US - 1) / QUOTA_STEP_US * QUOTA_STEP_US;
}

static void add_cpu(struct systemd_properties *p, const struct spec_resources *r)
{
    bool quota = r->cpu.quota.set && r->cpu.quota.v, period = r->cpu.period.set && r->cpu.period.v;
    uint64_t length = period ? r->cpu.period.v : LIMITS_CPU_PERIOD_US;

    if (r->cpu.idle.set && r->cpu.idle.v == 1)
        add(p, "CPUWeight", CPU_WEIGHT_IDLE);
    else if (r->cpu.shares.set && r->cpu.shares.v)
        add(p, "CPUWeight", limits_cpu_weight(r->cpu.shares.v));
    if (period)
        add(p, "CPUQuotaPeriodUSec", length);
    if (quota)
        add(p, "CPUQuotaPerSecUSec",
            r->cpu.quota.v < 0 ? UINT64_MAX : quota_per_second(r->cpu.quota.v, length));
}

/* --- lists of CPUs and memory nodes ---------------------------------------------------------- */

static void set_bits(struct systemd_property *p, unsigned long first, unsigned long last)
{
    for (unsigned long i = first; i <= last; i++) {
        p->bytes[i / 8] = (uint8_t)(p->bytes[i / 8] | 1u << i % 8);
        if (i / 8 >= p->nbytes)
            p->nbytes = i / 8 + 1;
    }
}

/* One "3" or "0-5" of a list; NULL when it is neither. */
static const char *add_range(struct systemd_property *p, const char *s)
{
    unsigned long first, last;
    char *end;

    if (*s < '0' || *s > '9')
        return NULL;
    first = last = strtoul(s, &end, 10);
    if (*end == '-') {
        s = end + 1;
        if (*s < '0' || *s > '9')
            return NULL;
        last = strtoul(s, &end, 10);
    }
    if (last < first || last >= SYSTEMD_CPUS_MAX)
        return NULL;
    set_bits(p, first, last);
    return end;
}

/* "0-2,7" as a bit map, the first byte for the first eight. */
static int add_list(struct systemd_properties *all, const char *name, const char *key,
                    const char *list, struct err *e)
{
    struct systemd_property p = {
        .name = name, .type = 'y', .bytes = calloc(1, SYSTEMD_CPUS_MAX / 8)};
    const char *s = list;

    if (!p.bytes)
        return err_set(e, ENOMEM, "out of memory");
    do
        s = add_range(&p, s);
    while (s && *s == ',' && s++);
    if (!s || (*s && *s != '\n')) {
        free(p.bytes);
        return err_set(e, EINVAL, "linux.resources.%s must be a list such as 0-2,7, got \"%.60s\"",
                       key, list);
    }
    all->v[all->n++] = p;
    return 0;
}

int systemd_properties(const struct spec_resources *r, struct systemd_properties *out,
                       struct err *e)
{
    struct systemd_properties p = {.n = 0};
    int k = add_memory(&p, r, e);

    add_cpu(&p, r);
    if (r->pids_limit.set && r->pids_limit.v)
        add(&p, "TasksMax", or_infinity(r->pids_limit.v));
    if (r->block_io.weight.set && r->block_io.weight.v)
        add(&p, "IOWeight", limits_io_weight(r->block_io.weight.v));
    if (k == 0 && r->cpu.cpus && *r->cpu.cpus)
        k = add_list(&p, "AllowedCPUs", "cpu.cpus", r->cpu.cpus, e);
    if (k == 0 && r->cpu.mems && *r->cpu.mems)
        k = add_list(&p, "AllowedMemoryNodes", "cpu.mems", r->cpu.mems, e);
    if (k < 0) {
        systemd_properties_done(&p);
        return k;
    }
    *out = p;
    return 0;
}

void systemd_properties_done(struct systemd_properties *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->v[i].bytes);
    p->n = 0;
}

/* --- names ----------------------------------------------------------------------------------- */

static bool ends(const char *name, size_t len, const char *suffix)
{
    size_t n = strlen(suffix);

    return len > n && memcmp(name + len - n, suffix, n) == 0;
}

int systemd_names(const char *path, char scope[SYSTEMD_NAME_MAX], char slice[SYSTEMD_NAME_MAX],
                  struct err *e)
{
    const char *name = strrchr(path, '/'), *parent = name;

    if (!name || !ends(name + 1, strlen(name + 1), ".scope"))
        return err_set(
            e, EINVAL,
            "linux.cgroupsPath names %s, which is not a scope: only a scope of systemd's "
            "can hold processes (slice:prefix:name)",
            path);
    while (parent > path && parent[-1] != '/')
        parent--;
    if (str_printf(scope, SYSTEMD_NAME_MAX, "%s", name + 1) < 0 ||
        (name == path
             ? str_printf(slice, SYSTEMD_NAME_MAX, "-.slice")
             : str_printf(slice, SYSTEMD_NAME_MAX, "%.*s", (int)(name - parent), parent)) < 0)
        return err_set(e, ENAMETOOLONG, "linux.cgroupsPath: %s is too long a name for systemd",
                       path);
    return 0;
}
