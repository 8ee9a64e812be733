/*
 * `bulkhead ps`. As JSON: the host's pids that stand for the container's processes, which is what
 * clients compare with the pids they know. As a table: the processes as the guest sees them.
 */
#include "cmd/bulkhead/command.h"
#include "lib/cleanup.h"
#include "lib/proto.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TEXT_MAX    4096 /* of a guest's word that we print */
#define COLUMNS_MAX 32

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

/* --- the table -------------------------------------------------------------------------------- */

typedef const char *show_fn(const json_t *process, char buf[TEXT_MAX]);

static const char *show_uid(const json_t *process, char buf[TEXT_MAX])
{
    return text(process, "uid", buf);
}

/* Other names are the image's, which is not read here. */
static const char *show_user(const json_t *process, char buf[TEXT_MAX])
{
    const json_t *uid = json_object_get(process, "uid");

    return json_is_integer(uid) && json_integer_value(uid) == 0 ? "root" : show_uid(process, buf);
}

static const char *show_pid(const json_t *process, char buf[TEXT_MAX])
{
    return text(process, "pid", buf);
}

static const char *show_ppid(const json_t *process, char buf[TEXT_MAX])
{
    return text(process, "ppid", buf);
}

static const char *show_c(const json_t *process, char buf[TEXT_MAX])
{
    (void)process, (void)buf;
    return "0";
}

static const char *show_tty(const json_t *process, char buf[TEXT_MAX])
{
    return text(process, "tty", buf);
}

static const char *show_cmd(const json_t *process, char buf[TEXT_MAX])
{
    return text(process, "cmd", buf);
}

/* What ps -o calls it; those of ps -ef come first, in its order. width < 0: to the left. */
#define COLUMNS_EF 8
static const struct column {
    const char *name, *title;
    int width;
    show_fn *show;
} columns[] = {
    {"user", "UID", -8, show_user},    {"pid", "PID", 5, show_pid},
    {"ppid", "PPID", 5, show_ppid},    {"c", "C", 2, show_c},
    {"stime", "STIME", 5, began},      {"tty", "TTY", -8, show_tty},
    {"time", "TIME", 8, used},         {"cmd", "CMD", -1, show_cmd},
    {"args", "COMMAND", -1, show_cmd}, {"command", "COMMAND", -1, show_cmd},
    {"uid", "UID", 5, show_uid},       {"tname", "TTY", -8, show_tty},
    {"cputime", "TIME", 8, used},      {"start", "STIME", 5, began},
};

struct layout {
    const struct column *v[COLUMNS_MAX];
    unsigned n;
};

static int add_columns(struct layout *l, const char *list, struct err *e)
{
    for (const char *p = list; *p; p += p[strcspn(p, ", ")] ? strcspn(p, ", ") + 1 : strlen(p)) {
        size_t len = strcspn(p, ", "), i = 0;

        while (i < ARRAY_SIZE(columns) &&
               (strlen(columns[i].name) != len || strncmp(columns[i].name, p, len) != 0))
            i++;
        if (i == ARRAY_SIZE(columns))
            return err_set(e, ENOTSUP,
                           "ps -o %.*s is not supported: there are user, uid, pid, ppid, c, stime, "
                           "tty, time, cmd and args",
                           (int)len, p);
        if (l->n == COLUMNS_MAX)
            return err_set(e, E2BIG, "ps -o: more than %d columns", COLUMNS_MAX);
        l->v[l->n++] = &columns[i];
    }
    return 0;
}

/* The options of ps(1) that choose columns; those that choose processes choose all of them here. */
static int read_options(char **argv, struct layout *l, struct err *e)
{
    for (; *argv; argv++) {
        const char *p = *argv;

        if (*p++ != '-')
            return err_set(e, ENOTSUP, "ps option \"%s\" is not supported: -ef and -o are", *argv);
        p += strspn(p, "eAfw");
        if (*p && *p != 'o')
            return err_set(e, ENOTSUP, "ps option \"%s\" is not supported: -ef and -o are", *argv);
        if (!*p)
            continue;
        if (!*++p && !*++argv)
            return err_set(e, EINVAL, "ps -o needs a list of columns");
        if (add_columns(l, *p ? p : *argv, e) < 0)
            return -e->code;
    }
    if (l->n == 0)
        for (; l->n < COLUMNS_EF; l->n++)
            l->v[l->n] = &columns[l->n];
    return 0;
}

/* process NULL = the titles */
static void print_row(const struct layout *l, const json_t *process)
{
    char buf[TEXT_MAX];

    for (unsigned i = 0; i < l->n; i++) {
        const struct column *c = l->v[i];
        bool last = i + 1 == l->n;

        printf("%*s%s", last && c->width < 0 ? 0 : c->width,
               process ? c->show(process, buf) : c->title, last ? "\n" : " ");
    }
}

static int print_table(const struct globals *g, const char *id, char **ps_options, struct err *e)
{
    struct layout l = {.n = 0};
    json_t *reply = NULL, *item;
    size_t i;

    if (read_options(ps_options, &l, e) < 0 ||
        container_query(&g->rt, id, PROTO_CONTAINER_PS, NULL, &reply, e) < 0)
        return -e->code;
    print_row(&l, NULL);
    json_array_foreach(json_object_get(reply, "processes"), i, item)
    {
        print_row(&l, item);
    }
    json_decref(reply);
    return 0;
}

/* --- the pids --------------------------------------------------------------------------------- */

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
    int first = command_parse(g, argc, argv, options, e);

    if (first < 0)
        return first;
    if (strcmp(format, "json") == 0)
        return print_pids(g, argv[first], e);
    if (strcmp(format, "table") != 0)
        return err_set(e, EINVAL, "--format must be table or json, got \"%s\"", format);
    return print_table(g, argv[first], argv + first + 1, e);
}
