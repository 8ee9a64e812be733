/* `bulkhead list`: all containers below --root, as a table or JSON, in runc's shapes. */
#include "cmd/bulkhead/command.h"
#include "lib/cleanup.h"
#include "lib/str.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#define COLUMNS      6
#define COLUMN_MIN   12
#define COLUMN_SPACE 3

static const char *const titles[COLUMNS] = {"ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"};

static json_t *describe(const struct state *s)
{
    const struct passwd *pw = getpwuid(s->owner);
    char number[16];

    snprintf(number, sizeof number, "%u", s->owner);
    return state_json(s, state_status(s), pw ? pw->pw_name : number);
}

/* Those that can be read; one that is deleted meanwhile is no error. */
static int collect(const struct globals *g, json_t *list, struct err *e)
{
    char **ids;

    if (store_list(g->rt.root, &ids, e) < 0)
        return -e->code;
    for (char **id = ids; *id; id++) {
        struct store store = STORE_INIT;
        struct state state = STATE_INIT;
        struct err why = ERR_INIT;
        int r = container_load(&g->rt, *id, &store, &state, &why);
        if (r < 0) {
            if (r != -ENOENT)
                command_warn(&why);
            continue;
        }
        json_array_append_new(list, describe(&state));
        state_done(&state);
        store_close(&store);
    }
    strv_free(ids);
    return 0;
}

static const char *cell(const json_t *item, unsigned column, char number[16])
{
    static const char *const keys[COLUMNS] = {"id", "pid", "status", "bundle", "created", "owner"};
    const json_t *v = json_object_get(item, keys[column]);

    if (!json_is_integer(v))
        return json_string_value(v);
    snprintf(number, 16, "%d", (int)json_integer_value(v));
    return number;
}

static void print_table(const json_t *list)
{
    size_t width[COLUMNS], i;
    char number[16];
    json_t *item;

    for (unsigned c = 0; c < COLUMNS; c++) {
        width[c] = strlen(titles[c]) + COLUMN_SPACE;
        json_array_foreach(list, i, item)
        {
            size_t n = strlen(cell(item, c, number)) + COLUMN_SPACE;
            width[c] = n > width[c] ? n : width[c];
        }
        width[c] = width[c] < COLUMN_MIN ? COLUMN_MIN : width[c];
    }
    for (unsigned c = 0; c < COLUMNS - 1; c++)
        printf("%-*s", (int)width[c], titles[c]);
    printf("%s\n", titles[COLUMNS - 1]);
    json_array_foreach(list, i, item)
    {
        for (unsigned c = 0; c < COLUMNS - 1; c++)
            printf("%-*s", (int)width[c], cell(item, c, number));
        printf("%s\n", cell(item, COLUMNS - 1, number));
    }
}

int cmd_list(int argc, char **argv, const struct globals *g, struct err *e)
{
    const char *format = "table";
    bool quiet = false;
    const struct option options[] = {
        {"format", 'f', OPTION_STRING, &format, "table (default) or json"},
        {"quiet", 'q', OPTION_FLAG, &quiet, "print ids alone"},
        OPTIONS_END,
    };
    int first = command_parse(g, argc, argv, options, e);

    if (first < 0)
        return first;
    bool json = strcmp(format, "json") == 0;
    if (!json && strcmp(format, "table") != 0)
        return err_set(e, EINVAL, "--format must be table or json, got \"%s\"", format);

    json_t *list = json_array(), *item;
    size_t i;
    int r = collect(g, list, e);
    if (r < 0) {
        json_decref(list);
        return r;
    }
    if (json && !quiet)
        return command_print(json_array_size(list) ? list : (json_decref(list), json_null()),
                             JSON_COMPACT | JSON_ENCODE_ANY, e);
    if (!quiet)
        print_table(list);
    else
        json_array_foreach(list, i, item)
        {
            printf("%s\n", json_string_value(json_object_get(item, "id")));
        }
    json_decref(list);
    return 0;
}
