/*
 * `bulkhead events`: statistics of the container, once (--stats) or every --interval, and an event
 * whenever the guest's OOM killer took one of its processes. One JSON object a line, until the
 * container ends.
 */
#include "cmd/bulkhead/command.h"
#include "lib/cleanup.h"
#include "lib/proto.h"
#include "lib/str.h"
#include "runtime/stats.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

static int print_stats(const struct globals *g, const char *id, struct err *e)
{
    json_t *reply = NULL;

    if (container_query(&g->rt, id, PROTO_CONTAINER_STATS, NULL, &reply, e) < 0)
        return -e->code;
    int r = command_print(json_pack("{s:s, s:s, s:o}", "type", "stats", "id", id, "data",
                                    stats_shape(json_object_get(reply, "stats"))),
                          JSON_COMPACT, e);
    json_decref(reply);
    return r < 0 ? r : fflush(stdout);
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
    fflush(stdout);
    proto_frame_done(&f);
    return r;
}

static int stream(const struct globals *g, const char *id, unsigned interval_ms, struct err *e)
{
    cleanup_fd int fd = container_watch(&g->rt, id, e);
    uint64_t next = monotonic_ns();

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
            return r == -ESRCH || r == -ENOENT ? 0 : r;
    }
}

/* "5s", "500ms", "1m" */
static int parse_interval(const char *text, unsigned *out_ms, struct err *e)
{
    size_t digits = strspn(text, "0123456789");
    const char *unit = text + digits;
    char number[12];
    uint64_t n = 0;
    unsigned scale = strcmp(unit, "s") == 0    ? 1000
                     : strcmp(unit, "ms") == 0 ? 1
                     : strcmp(unit, "m") == 0  ? 60000
                                               : 0;

    if (!scale || str_printf(number, sizeof number, "%.*s", (int)digits, text) < 0 ||
        str_to_u64(number, &n) < 0 || n == 0 || n > 86400)
        return err_set(e, EINVAL, "--interval must be a duration such as 5s, got \"%s\"", text);
    *out_ms = (unsigned)n * scale;
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
    int first = command_parse(argc, argv, options, 1, 1, e);

    if (first < 0)
        return first;
    if (parse_interval(interval, &ms, e) < 0)
        return -e->code;
    return stats ? print_stats(g, argv[first], e) : stream(g, argv[first], ms, e);
}
