/* `bulkhead update`: new resource limits for a container, from a file or single options. */
#include "cmd/bulkhead/command.h"
#include "lib/json.h"
#include "lib/proto.h"
#include "lib/str.h"
#include "runtime/support.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

struct limits {
    const char *memory, *reservation, *swap;
    struct opt_i64 quota, period, shares, burst, idle, pids;
    const char *cpus, *mems;
};

static json_t *section(json_t *resources, const char *name)
{
    json_t *s = json_object_get(resources, name);

    if (!json_is_object(s)) {
        s = json_object();
        json_object_set_new(resources, name, s);
    }
    return s;
}

static int add_size(json_t *resources, const char *key, const char *option, const char *text,
                    struct err *e)
{
    uint64_t v;

    if (!text)
        return 0;
    if (strcmp(text, "-1") == 0) {
        json_object_set_new(section(resources, "memory"), key, json_integer(-1));
        return 0;
    }
    if (str_to_size(text, &v) < 0 || v > INT64_MAX)
        return err_set(e, EINVAL, "--%s must be a size such as 512M, or -1, got \"%s\"", option,
                       text);
    json_object_set_new(section(resources, "memory"), key, json_integer((json_int_t)v));
    return 0;
}

static void add_number(json_t *resources, const char *name, const char *key,
                       const struct opt_i64 *v)
{
    if (v->set)
        json_object_set_new(section(resources, name), key, json_integer(v->v));
}

static int add_limits(json_t *r, const struct limits *l, struct err *e)
{
    if (add_size(r, "limit", "memory", l->memory, e) < 0 ||
        add_size(r, "reservation", "memory-reservation", l->reservation, e) < 0 ||
        add_size(r, "swap", "memory-swap", l->swap, e) < 0)
        return -e->code;
    add_number(r, "cpu", "quota", &l->quota);
    add_number(r, "cpu", "period", &l->period);
    add_number(r, "cpu", "shares", &l->shares);
    add_number(r, "cpu", "burst", &l->burst);
    add_number(r, "cpu", "idle", &l->idle);
    add_number(r, "pids", "limit", &l->pids);
    if (l->cpus)
        json_object_set_new(section(r, "cpu"), "cpus", json_string(l->cpus));
    if (l->mems)
        json_object_set_new(section(r, "cpu"), "mems", json_string(l->mems));
    return 0;
}

static int read_file(const char *file, json_t **out, struct err *e)
{
    return json_load_file_at(AT_FDCWD, strcmp(file, "-") == 0 ? "/dev/stdin" : file, out, e);
}

static int check(const json_t *resources, struct err *e)
{
    struct spec_resources parsed = {0};
    int r = spec_parse_resources(resources, "resources", &parsed, e);

    if (r < 0)
        return r;
    r = support_check_resources(&parsed, "resources", e);
    spec_resources_done(&parsed);
    return r;
}

int cmd_update(int argc, char **argv, const struct globals *g, struct err *e)
{
    struct limits l = {.memory = NULL};
    const char *file = NULL;
    const struct option options[] = {
        {"resources", 'r', OPTION_STRING, &file, "file with linux.resources as JSON; - is stdin"},
        {"memory", 0, OPTION_STRING, &l.memory, "memory limit"},
        {"memory-reservation", 0, OPTION_STRING, &l.reservation, "soft memory limit"},
        {"memory-swap", 0, OPTION_STRING, &l.swap, "memory and swap together, -1 = unlimited"},
        {"cpu-quota", 0, OPTION_INT64, &l.quota, "microseconds of CPU time per period"},
        {"cpu-period", 0, OPTION_INT64, &l.period, "length of the period in microseconds"},
        {"cpu-share", 0, OPTION_INT64, &l.shares, "relative weight"},
        {"cpu-burst", 0, OPTION_INT64, &l.burst, "microseconds that may be saved up"},
        {"cpu-idle", 0, OPTION_INT64, &l.idle, "1 = run only when nothing else does"},
        {"cpuset-cpus", 0, OPTION_STRING, &l.cpus, "CPUs of the VM to use"},
        {"cpuset-mems", 0, OPTION_STRING, &l.mems, "memory nodes of the VM to use"},
        {"pids-limit", 0, OPTION_INT64, &l.pids, "number of processes, -1 = unlimited"},
        OPTIONS_END,
    };
    json_t *resources = NULL;
    int first = command_parse(argc, argv, options, 1, 1, e);

    if (first < 0)
        return first;
    if (!file)
        resources = json_object();
    else if (read_file(file, &resources, e) < 0)
        return -e->code;
    if (add_limits(resources, &l, e) < 0 || check(resources, e) < 0) {
        json_decref(resources);
        return -e->code;
    }
    return container_query(&g->rt, argv[first], PROTO_CONTAINER_UPDATE,
                           json_pack("{s:o}", "resources", resources), NULL, e);
}
