/* From the OCI's numbers to the kernel's. Keeps no state and touches no file. */
#include "lib/limits.h"

#include "lib/path.h"
#include "lib/str.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* One call of limits_each; `r` is the first failure, after which nothing more is done. */
struct walk {
    limits_fn *fn;
    void *arg;
    struct err *e;
    int r;
};

static void put(struct walk *w, const char *key, const char *file, const char *text)
{
    if (w->r == 0)
        w->r = w->fn(w->arg, key, file, text, w->e);
}

static void put_number(struct walk *w, const char *key, const char *file, int64_t v)
{
    char text[32];

    snprintf(text, sizeof(text), "%lld", (long long)v);
    put(w, key, file, v < 0 ? "max" : text);
}

/* From [low, high] to cgroup v2's [1, 10000]. */
static uint64_t weight(uint64_t v, uint64_t low, uint64_t high)
{
    v = v < low ? low : v > high ? high : v;
    return 1 + (v - low) * 9999 / (high - low);
}

uint64_t limits_cpu_weight(uint64_t shares)
{
    return weight(shares, 2, 262144);
}

uint64_t limits_io_weight(uint64_t blkio)
{
    return weight(blkio, 10, 1000);
}

bool limits_quota_now(const char *text, struct limits_quota *out)
{
    char quota[24], period[24], more;

    if (sscanf(text, "%23s %23s %c", quota, period, &more) != 2 ||
        str_to_u64(period, &out->period) < 0)
        return false;
    out->quota = -1;
    return strcmp(quota, "max") == 0 || str_to_i64(quota, &out->quota) == 0;
}

void limits_keep_quota(struct spec_resources *r, const struct limits_quota *now)
{
    bool quota = r->cpu.quota.set && r->cpu.quota.v;
    bool period = r->cpu.period.set && r->cpu.period.v;

    if (quota == period)
        return;
    if (quota)
        r->cpu.period = (struct opt_u64){.set = true, .v = now->period};
    else
        r->cpu.quota = (struct opt_i64){.set = true, .v = now->quota};
}

int limits_swap(const struct spec_resources *r, int64_t *out, struct err *e)
{
    const struct opt_i64 *limit = &r->memory.limit, *swap = &r->memory.swap;

    *out = -2;
    if (!swap->set || swap->v == 0) {
        /* memory without a limit means both, as with cgroup v1 (runc) */
        if (limit->set && limit->v < 0)
            *out = -1;
        return 0;
    }
    if (swap->v < 0) {
        *out = -1;
        return 0;
    }
    if (!limit->set || limit->v == 0 || limit->v == -1)
        return err_set(e, EINVAL,
                       "linux.resources.memory.swap needs linux.resources.memory.limit as well");
    if (swap->v < limit->v)
        return err_set(e, EINVAL,
                       "linux.resources.memory.swap is memory and swap: it must not be less than "
                       "linux.resources.memory.limit");
    *out = swap->v - limit->v;
    return 0;
}

static void put_memory(struct walk *w, const struct spec_resources *r)
{
    int64_t swap = -2;

    w->r = limits_swap(r, &swap, w->e);
    if (swap != -2)
        put_number(w, "memory.swap", "memory.swap.max", swap);
    if (r->memory.limit.set && r->memory.limit.v)
        put_number(w, "memory.limit", "memory.max", r->memory.limit.v);
    if (r->memory.reservation.set && r->memory.reservation.v)
        put_number(w, "memory.reservation", "memory.low", r->memory.reservation.v);
}

static void put_quota(struct walk *w, const struct spec_resources *r)
{
    bool quota = r->cpu.quota.set && r->cpu.quota.v;
    bool period = r->cpu.period.set && r->cpu.period.v;
    char text[64], number[24], length[24];

    if (!quota && !period)
        return;
    snprintf(number, sizeof(number), "%lld", (long long)r->cpu.quota.v);
    /* a quota alone leaves the period as it is, 100 ms in a new cgroup */
    snprintf(length, sizeof(length), " %llu", (unsigned long long)r->cpu.period.v);
    snprintf(text, sizeof(text), "%s%s", quota && r->cpu.quota.v > 0 ? number : "max",
             period ? length : "");
    put(w, "cpu.quota", "cpu.max", text);
}

static void put_cpu(struct walk *w, const struct spec_resources *r)
{
    bool idle = r->cpu.idle.set && r->cpu.idle.v;

    /* the kernel refuses a weight of what is idle, and forgets the one that it had before */
    if (r->cpu.idle.set)
        put_number(w, "cpu.idle", "cpu.idle", r->cpu.idle.v);
    if (!idle && r->cpu.shares.set && r->cpu.shares.v)
        put_number(w, "cpu.shares", "cpu.weight", (int64_t)limits_cpu_weight(r->cpu.shares.v));
    put_quota(w, r);
    if (r->cpu.burst.set)
        put_number(w, "cpu.burst", "cpu.max.burst", (int64_t)r->cpu.burst.v);
    if (r->cpu.cpus && *r->cpu.cpus)
        put(w, "cpu.cpus", "cpuset.cpus", r->cpu.cpus);
    if (r->cpu.mems && *r->cpu.mems)
        put(w, "cpu.mems", "cpuset.mems", r->cpu.mems);
}

static void put_device(struct walk *w, const struct spec_dev_value *d, const char *key,
                       const char *file, const char *word, uint64_t value)
{
    char text[96], number[24];

    snprintf(number, sizeof(number), "%llu", (unsigned long long)value);
    snprintf(text, sizeof(text), "%lld:%lld %s%s", (long long)d->major, (long long)d->minor, word,
             value ? number : "max");
    put(w, key, file, text);
}

/* A rate of 0 is none: io.max calls that "max". */
static void put_rates(struct walk *w, const struct spec_dev_values *d, const char *key,
                      const char *word)
{
    for (size_t i = 0; i < d->n; i++)
        put_device(w, &d->v[i], key, "io.max", word, d->v[i].value);
}

static void put_io(struct walk *w, const struct spec_resources *r)
{
    static const char one[] = "blockIO.weight", each[] = "blockIO.weightDevice";

    if (r->block_io.weight.set && r->block_io.weight.v) {
        put_number(w, one, "io.bfq.weight", (int64_t)r->block_io.weight.v);
        put_number(w, one, "io.weight", (int64_t)limits_io_weight(r->block_io.weight.v));
    }
    for (size_t i = 0; i < r->block_io.weight_device.n; i++) {
        const struct spec_dev_value *d = &r->block_io.weight_device.v[i];

        put_device(w, d, each, "io.bfq.weight", "", d->value);
        put_device(w, d, each, "io.weight", "", limits_io_weight(d->value));
    }
    put_rates(w, &r->block_io.read_bps, "blockIO.throttleReadBpsDevice", "rbps=");
    put_rates(w, &r->block_io.write_bps, "blockIO.throttleWriteBpsDevice", "wbps=");
    put_rates(w, &r->block_io.read_iops, "blockIO.throttleReadIOPSDevice", "riops=");
    put_rates(w, &r->block_io.write_iops, "blockIO.throttleWriteIOPSDevice", "wiops=");
}

static void put_hugepages(struct walk *w, const struct spec_resources *r)
{
    char file[64];

    for (size_t i = 0; w->r == 0 && i < r->nhugepages; i++) {
        uint64_t limit = r->hugepages[i].limit;

        if (str_printf(file, sizeof(file), "hugetlb.%s.max", r->hugepages[i].size) < 0)
            w->r = err_set(w->e, EINVAL, "linux.resources.hugepageLimits[%zu].pageSize", i);
        put_number(w, "hugepageLimits", file, limit > INT64_MAX ? INT64_MAX : (int64_t)limit);
    }
}

static void put_unified(struct walk *w, const struct spec_resources *r)
{
    for (size_t i = 0; w->r == 0 && i < r->nunified; i++) {
        const char *file = r->unified[i].key;

        if (!path_is_clean_name(file) || !strchr(file, '.') || str_starts(file, "cgroup."))
            w->r =
                err_set(w->e, EINVAL,
                        "linux.resources.unified: %s is not a file of a cgroup controller", file);
        put(w, "unified", file, r->unified[i].value);
    }
}

int limits_each(const struct spec_resources *r, limits_fn *fn, void *arg, struct err *e)
{
    struct walk w = {.fn = fn, .arg = arg, .e = e};

    put_memory(&w, r);
    put_cpu(&w, r);
    /* runc leaves pids alone for 0 */
    if (r->pids_limit.set && r->pids_limit.v)
        put_number(&w, "pids.limit", "pids.max", r->pids_limit.v);
    put_io(&w, r);
    put_hugepages(&w, r);
    put_unified(&w, r);
    return w.r;
}
