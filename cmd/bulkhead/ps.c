/*
 * `bulkhead ps`. As JSON: the host's pids that stand for the container's processes, which is what
 * clients compare with the pids they know. As a table: the processes as the guest sees them.
 */
#include "cmd/bulkhead/command.h"
#include "lib/proto.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TEXT_MAX 4096 /* of a guest's word that we print */

/* A member of the guest's answer as printable text. */
static const char *text(const json_t *process, const char *key, char buf[TEXT_MAX])
{
    const json_t *v = json_object_get(process, key);

    if (json_is_integer(v))
        snprintf(buf, TEXT_MAX, "%lld", (long long)json_integer_value(v));
    else
        snprintf(buf, TEXT_MAX, "%s", json_is_string(v) ? json_string_value(v) : "?");
    for (char *p = buf; *p; p++)
        if ((unsigned char)*p < 0x20 || (unsigned char)*p > 0x7e) /* the agent sends ASCII */
            *p = '?';
    return buf;
}

/* When it began, as ps -ef has it: the time today, else the day. */
static const char *began(const json_t *process, char buf[TEXT_MAX])
{
    time_t t = (time_t)json_integer_value(json_object_get(process, "stime")), now = time(NULL);
    struct tm then, today;

    if (!localtime_r(&t, &then) || !localtime_r(&now, &today))
        return "?";
    bool same = then.tm_year == today.tm_year && then.tm_yday == today.tm_yday;
    strftime(buf, TEXT_MAX, same ? "%H:%M" : "%b%d", &then);
    return buf;
}

/* CPU seconds as HH:MM:SS */
static const char *used(const json_t *process, char buf[TEXT_MAX])
{
    json_int_t s = json_integer_value(json_object_get(process, "time"));

    if (s < 0)
        s = 0;
    snprintf(buf, TEXT_MAX, "%02lld:%02d:%02d", (long long)(s / 3600), (int)(s / 60 % 60),
             (int)(s % 60));
    return buf;
}

static int print_table(const struct globals *g, const char *id, struct err *e)
{
    char uid[TEXT_MAX], pid[TEXT_MAX], ppid[TEXT_MAX], stime[TEXT_MAX], tty[TEXT_MAX],
        time[TEXT_MAX], cmd[TEXT_MAX];
    json_t *reply = NULL, *item;
    size_t i;

    if (container_query(&g->rt, id, PROTO_CONTAINER_PS, NULL, &reply, e) < 0)
        return -e->code;
    printf("UID        PID  PPID  C STIME TTY          TIME CMD\n");
    json_array_foreach(json_object_get(reply, "processes"), i, item)
    {
        printf("%-8s %5s %5s  0 %5s %-8s %8s %s\n", text(item, "uid", uid), text(item, "pid", pid),
               text(item, "ppid", ppid), began(item, stime), text(item, "tty", tty),
               used(item, time), text(item, "cmd", cmd));
    }
    json_decref(reply);
    return 0;
}

static int print_pids(const struct globals *g, const char *id, struct err *e)
{
    json_t *list = json_array();
    pid_t *pids = NULL;
    size_t n = 0;

    if (container_pids(&g->rt, id, &pids, &n, e) < 0) {
        json_decref(list);
        return -e->code;
    }
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_integer(pids[i]));
    free(pids);
    return command_print(list, JSON_COMPACT, e);
}

int cmd_ps(int argc, char **argv, const struct globals *g, struct err *e)
{
    const char *format = "table";
    const struct option options[] = {
        {"format", 'f', OPTION_STRING, &format,
         "table (default): the guest's processes; json: "
         "their pids on the host"},
        OPTIONS_END,
    };
    int first = command_parse(argc, argv, options, 1, -1, e);

    if (first < 0)
        return first;
    if (first + 1 < argc && strcmp(argv[first + 1], "-ef") != 0)
        return err_set(e, ENOTSUP, "ps option \"%s\" is not supported: the table is that of ps -ef",
                       argv[first + 1]);
    if (strcmp(format, "json") == 0)
        return print_pids(g, argv[first], e);
    if (strcmp(format, "table") != 0)
        return err_set(e, EINVAL, "--format must be table or json, got \"%s\"", format);
    return print_table(g, argv[first], e);
}
