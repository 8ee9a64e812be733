/* `bulkhead update`: new resource limits for a container, from a file or single options. */
#include "cmd/bulkhead/command.h"
#include "lib/cleanup.h"
#include "lib/json.h"
#include "lib/str.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* An option, and the member of linux.resources that it stands for. */
enum limit_kind { SIZE, NUMBER, TEXT };
static const struct limit {
    const char *option, *section, *key;
    enum limit_kind kind;
    const char *help;
} limits[] = {
    {"memory", "memory", "limit", SIZE, "memory limit, -1 = unlimited"},
    {"memory-reservation", "memory", "reservation", SIZE, "soft memory limit"},
    {"memory-swap", "memory", "swap", SIZE, "memory and swap together, -1 = unlimited"},
    {"cpu-quota", "cpu", "quota", NUMBER, "microseconds of CPU time per period"},
    {"cpu-period", "cpu", "period", NUMBER, "length of the period in microseconds"},
    {"cpu-share", "cpu", "shares", NUMBER, "relative weight"},
    {"cpu-burst", "cpu", "burst", NUMBER, "microseconds that may be saved up"},
    {"cpu-idle", "cpu", "idle", NUMBER, "1 = run only when nothing else does"},
    {"cpuset-cpus", "cpu", "cpus", TEXT, "CPUs of the host to use"},
    {"cpuset-mems", "cpu", "mems", TEXT, "memory nodes of the host to use"},
    {"pids-limit", "pids", "limit", NUMBER, "number of processes, -1 = unlimited"},
    {"blkio-weight", "blockIO", "weight", NUMBER, "relative weight of block I/O, on the host"},
    /* what follows is refused by name as in config.json (support.c) */
    {"kernel-memory", "memory", "kernel", SIZE, "refused: cgroup v2 has none"},
    {"kernel-memory-tcp", "memory", "kernelTCP", SIZE, "refused: cgroup v2 has none"},
    {"cpu-rt-period", "cpu", "realtimePeriod", NUMBER, "refused: cgroup v2 has none"},
    {"cpu-rt-runtime", "cpu", "realtimeRuntime", NUMBER, "refused: cgroup v2 has none"},
};

/* "64M", or -1 = unlimited */
static int parse_size(const char *text, int64_t *out)
{
    uint64_t size;

    if (strcmp(text, "-1") == 0)
        size = UINT64_MAX;
    else if (str_to_size(text, &size) < 0 || size > INT64_MAX)
        return -EINVAL;
    *out = (int64_t)size;
    return 0;
}

static int parse_limit(const struct limit *l, const char *text, json_t **out, struct err *e)
{
    int64_t n = 0;

    if (l->kind == NUMBER && str_to_i64(text, &n) < 0)
        return err_set(e, EINVAL, "--%s must be a whole number, got \"%s\"", l->option, text);
    if (l->kind == SIZE && parse_size(text, &n) < 0)
        return err_set(e, EINVAL, "--%s must be a size such as 512M, or -1, got \"%s\"", l->option,
                       text);
    *out = l->kind == TEXT ? json_string(text) : json_integer((json_int_t)n);
    return *out ? 0 : err_set(e, EINVAL, "--%s is not UTF-8", l->option);
}

static int add_limits(json_t *resources, const char *const *values, struct err *e)
{
    for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
        json_t *section = json_object_get(resources, limits[i].section), *v;

        if (!values[i])
            continue;
        if (parse_limit(&limits[i], values[i], &v, e) < 0)
            return -e->code;
        if (!json_is_object(section)) {
            section = json_object();
            json_object_set_new(resources, limits[i].section, section);
        }
        json_object_set_new(section, limits[i].key, v);
    }
    return 0;
}

static int read_file(const char *file, json_t **out, struct err *e)
{
    return json_load_file_at(AT_FDCWD, strcmp(file, "-") == 0 ? "/dev/stdin" : file, out, e);
}

int cmd_update(int argc, char **argv, const struct globals *g, struct err *e)
{
    const char *values[ARRAY_SIZE(limits)] = {NULL}, *file = NULL, *cache = NULL, *bandwidth = NULL;
    struct option options[ARRAY_SIZE(limits) + 4] = {
        {"resources", 'r', OPTION_STRING, &file, "file with linux.resources as JSON; - is stdin"},
        {"l3-cache-schema", 0, OPTION_STRING, &cache, "refused: a VM has no Intel RDT"},
        {"mem-bw-schema", 0, OPTION_STRING, &bandwidth, "refused: a VM has no Intel RDT"},
    };
    struct err warning = ERR_INIT;
    json_t *resources = NULL;

    for (size_t i = 0; i < ARRAY_SIZE(limits); i++)
        options[3 + i] =
            (struct option){limits[i].option, 0, OPTION_STRING, &values[i], limits[i].help};
    int first = command_parse(g, argc, argv, options, e);
    if (first < 0)
        return first;
    if (cache || bandwidth)
        return err_set(e, ENOTSUP, "update --%s: a virtual machine has no Intel RDT",
                       cache ? "l3-cache-schema" : "mem-bw-schema");
    if (!file)
        resources = json_object();
    else if (read_file(file, &resources, e) < 0)
        return -e->code;
    int r = add_limits(resources, values, e);
    if (r == 0)
        r = container_update(&g->rt, argv[first], resources, &warning, e);
    json_decref(resources);
    if (r == 0)
        command_warn(&warning);
    return r;
}
