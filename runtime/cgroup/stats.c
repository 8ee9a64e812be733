/* The statistics of one container in another shape. Keeps no state. */
#include "runtime/cgroup/stats.h"

#include <stdint.h>

#define NS_PER_US 1000
#define NO_LIMIT  9223372036854771712ll /* what runc prints: the largest page-aligned number */

static json_int_t number(const json_t *o, const char *key)
{
    json_int_t v = json_integer_value(json_object_get(o, key));

    return v < 0 ? 0 : v;
}

static json_int_t limit(const json_t *o, const char *key)
{
    return json_is_integer(json_object_get(o, key)) ? number(o, key) : NO_LIMIT;
}

static json_int_t ns(const json_t *o, const char *key)
{
    json_int_t us = number(o, key);

    return us > INT64_MAX / NS_PER_US ? INT64_MAX : us * NS_PER_US;
}

static json_t *cpu_shape(const json_t *c)
{
    return json_pack("{s:{s:I, s:I, s:I}, s:{s:I, s:I, s:I}}", "usage", "total",
                     ns(c, "usage_usec"), "kernel", ns(c, "system_usec"), "user",
                     ns(c, "user_usec"), "throttling", "periods", number(c, "nr_periods"),
                     "throttledPeriods", number(c, "nr_throttled"), "throttledTime",
                     ns(c, "throttled_usec"));
}

/* Whatever numbers the kernel has; nothing else. */
static json_t *numbers(const json_t *o)
{
    json_t *out = json_object(), *v;
    const char *key;

    json_object_foreach((json_t *)(uintptr_t)o, key, v)
    {
        if (json_is_integer(v))
            json_object_set(out, key, v);
    }
    return out;
}

static json_t *memory_shape(const json_t *m)
{
    const json_t *stat = json_object_get(m, "stat"), *events = json_object_get(m, "events");
    json_int_t used = number(m, "current"), swapped = number(m, "swap_current");
    json_int_t both = used > INT64_MAX - swapped ? INT64_MAX : used + swapped;

    return json_pack("{s:I, s:{s:I, s:I, s:I, s:I}, s:{s:I, s:I, s:I}, s:{s:I, s:I}, s:o}", "cache",
                     number(stat, "file"), "usage", "limit", limit(m, "max"), "usage", used, "max",
                     number(m, "peak"), "failcnt", number(events, "max"), "swap", "limit",
                     limit(m, "swap_max"), "usage", both, "failcnt", (json_int_t)0, "kernel",
                     "usage", number(stat, "kernel"), "failcnt", (json_int_t)0, "raw",
                     numbers(stat));
}

static void add_io(json_t *list, const json_t *device, const char *key, const char *op)
{
    json_array_append_new(list, json_pack("{s:I, s:I, s:s, s:I}", "major", number(device, "major"),
                                          "minor", number(device, "minor"), "op", op, "value",
                                          number(device, key)));
}

static json_t *io_shape(const json_t *devices)
{
    json_t *bytes = json_array(), *ops = json_array(), *device;
    size_t i;

    json_array_foreach(devices, i, device)
    {
        add_io(bytes, device, "rbytes", "Read");
        add_io(bytes, device, "wbytes", "Write");
        add_io(ops, device, "rios", "Read");
        add_io(ops, device, "wios", "Write");
    }
    return json_pack("{s:o, s:o}", "ioServiceBytesRecursive", bytes, "ioServicedRecursive", ops);
}

static json_t *pids_shape(const json_t *p)
{
    json_t *out = json_pack("{s:I}", "current", number(p, "current"));

    if (json_is_integer(json_object_get(p, "max")))
        json_object_set_new(out, "limit", json_integer(number(p, "max")));
    return out;
}

json_t *stats_shape(const json_t *guest)
{
    return json_pack("{s:o, s:{}, s:o, s:o, s:o, s:{}, s:{}, s:n}", "cpu",
                     cpu_shape(json_object_get(guest, "cpu")), "cpuset", "memory",
                     memory_shape(json_object_get(guest, "memory")), "pids",
                     pids_shape(json_object_get(guest, "pids")), "blkio",
                     io_shape(json_object_get(guest, "io")), "hugetlb", "intel_rdt",
                     "network_interfaces");
}
