/*
 * `bulkhead events`: statistics of the container, once (--stats) or every --interval, and an event
 * whenever the guest's OOM killer took one of its processes. One JSON object a line, until the
 * container ends.
 */
#include "cmd/bulkhead/command.h"
#include "lib/cleanup.h"
#include "lib/proto.h"
#include "lib/str.h"
#include "runtime/cgroup/stats.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INTERVAL_MAX_MS (24 * 3600e3)
#define END_WAIT_MS     5000

/* Each event is read by somebody while we go on. */
static int flush(struct err *e)
{
    return fflush(stdout) == EOF ? err_errno(e, "write to stdout") : 0;
}

static int print_stats(const struct globals *g, const char *id, struct err *e)
{
    json_t *reply = NULL;

    if (container_query(&g->rt, id, PROTO_CONTAINER_STATS, NULL, &reply, e) < 0)
        return -e->code;
    int r = command_print(json_pack("{s:s, s:s, s:o}", "type", "stats", "id", id, "data",
                                    stats_shape(json_object_get(reply, "stats"))),
                          JSON_COMPACT, e);
    json_decref(reply);
    return r < 0 ? r : flush(e);
}

/* 0 = go on, 1 = the container has ended */
static int take_event(int fd, const char *id, struct err *e)
{
    struct proto_frame f;
    int r = proto_recv(fd, -1, &f, e);

    if (r < 0)
        return r == -ECONNRESET ? 1 : r;
    if (f.type == PROTO_OOM)
        r = command_print(json_pack("{s:s, s:s}", "type", "oom", "id", id), JSON_COMPACT, e);
    proto_frame_done(&f);
    return r < 0 ? r : flush(e);
}

/* The statistics were refused because the container ends just now? Then the events end too. */
static bool ends(int fd, const char *id)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    struct err ignored = ERR_INIT;
    int r = 0;

    while (r == 0 && poll(&p, 1, END_WAIT_MS) > 0)
        r = take_event(fd, id, &ignored);
    return r == 1;
}

static int stream(const struct globals *g, const char *id, unsigned interval_ms, struct err *e)
{
    cleanup_fd int fd = container_watch(&g->rt, id, e);
    uint64_t next = deadline_ns(interval_ms);

    if (fd < 0)
        return fd;
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int n = poll(&p, 1, left_ms(next));

        if (n < 0 && errno != EINTR)
            return err_errno(e, "wait for events");
        if (n > 0) {
            int r = take_event(fd, id, e);
            if (r != 0)
                return r < 0 ? r : 0;
        }
        if (monotonic_ns() < next)
            continue;
        next += interval_ms * NS_PER_MS;
        int r = print_stats(g, id, e);
        if (r < 0)
            return ends(fd, id) ? 0 : r;
    }
}

/* Go's durations: "5s", "1.5s", "1m30s", "500ms". */
static int parse_interval(const char *text, unsigned *out_ms, struct err *e)
{
    static const struct {
        const char *unit;
        double ms;
    } units[] = {{"ms", 1}, {"us", 1e-3}, {"ns", 1e-6}, {"h", 3600e3}, {"m", 60e3}, {"s", 1e3}};
    const char *p = text;
    double sum = 0;

    while (*p) {
        char *unit;
        double n = strtod(p, &unit);
        size_t i = 0;

        if (strspn(p, "0123456789.") != (size_t)(unit - p) || unit == p)
            break;
        while (i < ARRAY_SIZE(units) && !str_starts(unit, units[i].unit))
            i++;
        if (i == ARRAY_SIZE(units))
            break;
        sum += n * units[i].ms;
        p = unit + strlen(units[i].unit);
    }
    if (*p || p == text || sum < 1 || sum > INTERVAL_MAX_MS)
        return err_set(e, EINVAL,
                       "--interval must be a duration from 1ms to 24h such as 5s or 1m30s, got "
                       "\"%s\"",
                       text);
    *out_ms = (unsigned)sum;
    return 0;
}

int cmd_events(int argc, char **argv, const struct globals *g, struct err *e)
{
    const char *interval = "5s";
    bool stats = false;
    unsigned ms = 0;
    const struct option options[] = {
        {"interval", 0, OPTION_STRING, &interval, "time between statistics (default 5s)"},
        {"stats", 0, OPTION_FLAG, &stats, "print statistics once and exit"},
        OPTIONS_END,
    };
    int first = command_parse(g, argc, argv, options, e);

    if (first < 0)
        return first;
    if (parse_interval(interval, &ms, e) < 0)
        return -e->code;
    return stats ? print_stats(g, argv[first], e) : stream(g, argv[first], ms, e);
}
