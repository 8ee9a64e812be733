/*
 * config.json, "linux.resources" (config-linux.md "Control groups"), also read alone for `update`:
 * form only. A struct spec_resources owns all it points to.
 */
#include "lib/cleanup.h"
#include "lib/spec_internal.h"

#include <errno.h>
#include <string.h>

/* --- devices ---------------------------------------------------------------------------------- */

static const struct spec_enum rule_types[] = {{"a", 'a'}, {"b", 'b'}, {"c", 'c'}, {NULL, 0}};

static int fill_access(const json_t *obj, const char *where, struct spec_device_rule *d,
                       struct err *e)
{
    const char *access = "rwm";
    int r = json_get_str(obj, where, "access", &access, e);

    if (r >= 0 && !*access)
        access = "rwm"; /* as absent */
    for (const char *p = access; r >= 0 && *p; p++) {
        d->read |= *p == 'r';
        d->write |= *p == 'w';
        d->mknod |= *p == 'm';
        if (!strchr("rwm", *p))
            r = err_set(e, EINVAL, "%s.access must be made of r, w and m, got \"%.100s\"", where,
                        access);
    }
    return r;
}

int spec_parse_device_rule(const json_t *obj, const char *where, void *item, struct err *e)
{
    struct spec_device_rule *d = item;
    const char *type = "a";
    int number = 'a';
    int r = spec_need(json_get_bool(obj, where, "allow", &d->allow, e), where, "allow", e);

    d->major = d->minor = -1;
    if (r >= 0)
        r = json_get_str(obj, where, "type", &type, e);
    if (r > 0 && *type)
        r = spec_enum_find(rule_types, where, "type", type, &number, e);
    d->type = (char)number;
    if (r >= 0)
        r = json_get_i64(obj, where, "major", -1, UINT32_MAX, &d->major, e);
    if (r >= 0)
        r = json_get_i64(obj, where, "minor", -1, UINT32_MAX, &d->minor, e);
    if (r >= 0)
        r = fill_access(obj, where, d, e);
    return r;
}

/* --- memory, cpu, pids ------------------------------------------------------------------------ */

static int fill_memory(const json_t *res, const char *where, struct spec_resources *r,
                       struct err *e)
{
    struct spec_where w;
    json_t *obj;
    int n = json_get_obj(res, where, "memory", &obj, e);

    if (n <= 0)
        return n;
    spec_key(&w, where, "memory");
    n = spec_get_opt_i64(obj, w.s, "limit", -1, &r->memory.limit, e);
    if (n >= 0)
        n = spec_get_opt_i64(obj, w.s, "reservation", -1, &r->memory.reservation, e);
    if (n >= 0)
        n = spec_get_opt_i64(obj, w.s, "swap", -1, &r->memory.swap, e);
    if (n >= 0)
        n = spec_get_opt_i64(obj, w.s, "kernel", -1, &r->memory.kernel, e);
    if (n >= 0)
        n = spec_get_opt_i64(obj, w.s, "kernelTCP", -1, &r->memory.kernel_tcp, e);
    if (n >= 0)
        n = spec_get_opt_u64(obj, w.s, "swappiness", 100, &r->memory.swappiness, e);
    if (n >= 0)
        n = json_get_bool(obj, w.s, "disableOOMKiller", &r->memory.disable_oom_killer, e);
    if (n >= 0)
        n = json_get_bool(obj, w.s, "useHierarchy", &r->memory.use_hierarchy, e);
    if (n >= 0)
        n = json_get_bool(obj, w.s, "checkBeforeUpdate", &r->memory.check_before_update, e);
    return n;
}

static int fill_cpu(const json_t *res, const char *where, struct spec_resources *r, struct err *e)
{
    struct spec_where w;
    json_t *obj;
    int n = json_get_obj(res, where, "cpu", &obj, e);

    if (n <= 0)
        return n;
    spec_key(&w, where, "cpu");
    n = spec_get_opt_u64(obj, w.s, "shares", UINT64_MAX, &r->cpu.shares, e);
    if (n >= 0)
        n = spec_get_opt_i64(obj, w.s, "quota", -1, &r->cpu.quota, e);
    if (n >= 0)
        n = spec_get_opt_u64(obj, w.s, "burst", UINT64_MAX, &r->cpu.burst, e);
    if (n >= 0)
        n = spec_get_opt_u64(obj, w.s, "period", UINT64_MAX, &r->cpu.period, e);
    if (n >= 0)
        n = spec_get_opt_i64(obj, w.s, "realtimeRuntime", INT64_MIN, &r->cpu.realtime_runtime, e);
    if (n >= 0)
        n = spec_get_opt_u64(obj, w.s, "realtimePeriod", UINT64_MAX, &r->cpu.realtime_period, e);
    if (n >= 0)
        n = spec_get_opt_i64(obj, w.s, "idle", 0, &r->cpu.idle, e);
    if (n > 0 && r->cpu.idle.v > 1)
        return err_set(e, EINVAL, "%s.idle must be 0 or 1, got %lld", w.s,
                       (long long)r->cpu.idle.v);
    if (n >= 0)
        n = spec_get_string(obj, w.s, "cpus", &r->cpu.cpus, e);
    if (n >= 0)
        n = spec_get_string(obj, w.s, "mems", &r->cpu.mems, e);
    return n;
}

static int fill_pids(const json_t *res, const char *where, struct spec_resources *r, struct err *e)
{
    struct spec_where w;
    json_t *obj;
    int n = json_get_obj(res, where, "pids", &obj, e);

    if (n <= 0)
        return n;
    spec_key(&w, where, "pids");
    return spec_get_opt_i64(obj, w.s, "limit", -1, &r->pids_limit, e);
}

/* --- block I/O -------------------------------------------------------------------------------- */

static int parse_device_number(const json_t *obj, const char *where, struct spec_dev_value *d,
                               struct err *e)
{
    int r = spec_need(json_get_i64(obj, where, "major", 0, UINT32_MAX, &d->major, e), where,
                      "major", e);

    if (r >= 0)
        r = spec_need(json_get_i64(obj, where, "minor", 0, UINT32_MAX, &d->minor, e), where,
                      "minor", e);
    return r;
}

static int parse_throttle(const json_t *obj, const char *where, void *item, struct err *e)
{
    struct spec_dev_value *d = item;
    int r = parse_device_number(obj, where, d, e);

    if (r >= 0)
        r = spec_need(json_get_u64(obj, where, "rate", UINT64_MAX, &d->value, e), where, "rate", e);
    return r;
}

/* Weights are 10 to 1000; 0 is written by clients for "not given". */
static int get_weight(const json_t *obj, const char *where, const char *key, struct opt_u64 *out,
                      struct err *e)
{
    int r = spec_get_opt_u64(obj, where, key, 1000, out, e);

    if (r > 0 && out->v == 0)
        out->set = false;
    else if (r > 0 && out->v < 10)
        return err_set(e, EINVAL, "%s.%s must be between 10 and 1000, got %llu", where, key,
                       (unsigned long long)out->v);
    return r;
}

static int parse_weight(const json_t *obj, const char *where, void *item, struct err *e)
{
    struct spec_dev_value *d = item;
    struct opt_u64 weight = {0}, leaf = {0};
    int r = parse_device_number(obj, where, d, e);

    if (r >= 0)
        r = get_weight(obj, where, "weight", &weight, e);
    if (r >= 0)
        r = get_weight(obj, where, "leafWeight", &leaf, e);
    if (r >= 0 && !weight.set && !leaf.set)
        r = err_set(e, EINVAL, "%s must have a weight or a leafWeight", where);
    d->value = weight.v;
    d->leaf_value = leaf.v;
    return r;
}

static int get_values(const json_t *obj, const char *where, const char *key, spec_item_fn *fn,
                      struct spec_dev_values *out, struct err *e)
{
    return spec_get_items(obj, where, key, SPEC_DEV_VALUES_MAX, sizeof(*out->v), fn, &out->v,
                          &out->n, e);
}

static int fill_block_io(const json_t *res, const char *where, struct spec_resources *r,
                         struct err *e)
{
    struct spec_where w;
    json_t *obj;
    int n = json_get_obj(res, where, "blockIO", &obj, e);

    if (n <= 0)
        return n;
    spec_key(&w, where, "blockIO");
    n = get_weight(obj, w.s, "weight", &r->block_io.weight, e);
    if (n >= 0)
        n = get_weight(obj, w.s, "leafWeight", &r->block_io.leaf_weight, e);
    if (n >= 0)
        n = get_values(obj, w.s, "weightDevice", parse_weight, &r->block_io.weight_device, e);
    if (n >= 0)
        n = get_values(obj, w.s, "throttleReadBpsDevice", parse_throttle, &r->block_io.read_bps, e);
    if (n >= 0)
        n = get_values(obj, w.s, "throttleWriteBpsDevice", parse_throttle, &r->block_io.write_bps,
                       e);
    if (n >= 0)
        n = get_values(obj, w.s, "throttleReadIOPSDevice", parse_throttle, &r->block_io.read_iops,
                       e);
    if (n >= 0)
        n = get_values(obj, w.s, "throttleWriteIOPSDevice", parse_throttle, &r->block_io.write_iops,
                       e);
    return n;
}

/* --- the rest --------------------------------------------------------------------------------- */

static int parse_hugepage(const json_t *obj, const char *where, void *item, struct err *e)
{
    struct spec_hugepage *h = item;
    const char *p;
    int r = spec_need(spec_get_string(obj, where, "pageSize", &h->size, e), where, "pageSize", e);

    if (r < 0)
        return r;
    p = h->size + strspn(h->size, "0123456789");
    if (p == h->size || *h->size == '0' ||
        (strcmp(p, "KB") != 0 && strcmp(p, "MB") != 0 && strcmp(p, "GB") != 0))
        return err_set(e, EINVAL, "%s.pageSize must be a size such as 2MB, got \"%.100s\"", where,
                       h->size);
    return spec_need(json_get_u64(obj, where, "limit", UINT64_MAX, &h->limit, e), where, "limit",
                     e);
}

static int fill_network(const json_t *res, const char *where, struct spec_resources *r,
                        struct err *e)
{
    struct spec_where w;
    uint32_t class_id = 0;
    json_t *obj, *priorities = NULL;
    int n = json_get_obj(res, where, "network", &obj, e);

    if (n <= 0)
        return n;
    spec_key(&w, where, "network");
    n = spec_get_u32(obj, w.s, "classID", &class_id, e);
    if (n > 0)
        r->network_set = true;
    if (n >= 0)
        n = json_get_array(obj, w.s, "priorities", &priorities, e);
    if (n > 0 && json_array_size(priorities) > 0)
        r->network_set = true;
    return n;
}

static int fill_rdma(const json_t *res, const char *where, struct spec_resources *r, struct err *e)
{
    json_t *obj;
    int n = json_get_obj(res, where, "rdma", &obj, e);

    r->rdma_set = n > 0 && json_object_size(obj) > 0;
    return n;
}

/* The names are files of cgroup v2: no way out of the directory. */
static int fill_unified(const json_t *res, const char *where, struct spec_resources *r,
                        struct err *e)
{
    int n = spec_get_kv(res, where, "unified", SPEC_UNIFIED_MAX, &r->unified, &r->nunified, e);

    for (size_t i = 0; n > 0 && i < r->nunified; i++)
        if (strchr(r->unified[i].key, '/') || !strchr(r->unified[i].key, '.') ||
            r->unified[i].key[0] == '.')
            return err_set(e, EINVAL,
                           "%s.unified: \"%.100s\" is not the name of a cgroup v2 file such as "
                           "memory.high",
                           where, r->unified[i].key);
    return n;
}

int spec_fill_resources(const json_t *res, const char *where, struct spec_resources *r,
                        struct err *e)
{
    int n = spec_get_items(res, where, "devices", SPEC_DEVICE_RULES_MAX, sizeof(*r->devices),
                           spec_parse_device_rule, &r->devices, &r->ndevices, e);

    r->present = true;
    if (n >= 0)
        n = fill_memory(res, where, r, e);
    if (n >= 0)
        n = fill_cpu(res, where, r, e);
    if (n >= 0)
        n = fill_pids(res, where, r, e);
    if (n >= 0)
        n = fill_block_io(res, where, r, e);
    if (n >= 0)
        n = spec_get_items(res, where, "hugepageLimits", SPEC_HUGEPAGES_MAX, sizeof(*r->hugepages),
                           parse_hugepage, &r->hugepages, &r->nhugepages, e);
    if (n >= 0)
        n = fill_network(res, where, r, e);
    if (n >= 0)
        n = fill_rdma(res, where, r, e);
    if (n >= 0)
        n = fill_unified(res, where, r, e);
    return n;
}

int spec_parse_resources(const json_t *obj, const char *where, struct spec_resources *out,
                         struct err *e)
{
    struct spec_resources r = {0};
    int n;

    if (!json_is_object(obj))
        return err_set(e, EINVAL, "%s must be an object", *where ? where : "the resources");
    n = spec_fill_resources(obj, where, &r, e);
    if (n < 0) {
        spec_resources_done(&r);
        return n;
    }
    *out = r;
    return 0;
}

void spec_resources_done(struct spec_resources *r)
{
    free(r->devices);
    free(r->cpu.cpus);
    free(r->cpu.mems);
    free(r->block_io.weight_device.v);
    free(r->block_io.read_bps.v);
    free(r->block_io.write_bps.v);
    free(r->block_io.read_iops.v);
    free(r->block_io.write_iops.v);
    for (size_t i = 0; i < r->nhugepages; i++)
        free(r->hugepages[i].size);
    free(r->hugepages);
    spec_kv_done(r->unified, r->nunified);
    memset(r, 0, sizeof(*r));
}
