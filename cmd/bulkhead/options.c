/*
 * The option parser of the command line: a table per verb, read as runc's parser reads it (one dash
 * or two, "--k v" and "--k=v", nothing after the first argument is an option). It keeps no state.
 */
#include "cmd/bulkhead/command.h"
#include "lib/str.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool takes_value(const struct option *o)
{
    return o->kind != OPTION_FLAG && o->kind != OPTION_VOID;
}

static const struct option *find(const struct option *table, const char *name, size_t len)
{
    for (const struct option *o = table; o->name; o++) {
        if (strlen(o->name) == len && memcmp(o->name, name, len) == 0)
            return o;
        if (len == 1 && o->letter == name[0])
            return o;
    }
    return NULL;
}

static int set_flag(const struct option *o, const char *value, struct err *e)
{
    bool on = true;

    if (value && strcmp(value, "false") == 0)
        on = false;
    else if (value && strcmp(value, "true") != 0)
        return err_set(e, EINVAL, "option --%s is a switch and takes no value, got \"%s\"", o->name,
                       value);
    if (o->kind == OPTION_FLAG)
        *(bool *)o->out = on;
    return 0;
}

static int set_value(const struct option *o, const char *value, struct err *e)
{
    uint64_t u;

    switch (o->kind) {
    case OPTION_STRING:
        *(const char **)o->out = value;
        return 0;
    case OPTION_UINT:
        if (str_to_u64(value, &u) < 0 || u > INT32_MAX)
            return err_set(e, EINVAL, "option --%s must be a whole number, got \"%s\"", o->name,
                           value);
        *(unsigned *)o->out = (unsigned)u;
        return 0;
    case OPTION_LIST: {
        struct option_list *l = o->out;
        if (l->n == OPTION_LIST_MAX)
            return err_set(e, E2BIG, "option --%s is given more than %d times", o->name,
                           OPTION_LIST_MAX);
        l->v[l->n++] = value;
        return 0;
    }
    default:
        return 0;
    }
}

static void print_help(const struct option *table, const char *usage)
{
    size_t len = strlen(usage);

    while (len && usage[len - 1] == '\n') /* a list of lines ends with one */
        len--;
    printf("usage: bulkhead %.*s\n\noptions:\n", (int)len, usage);
    for (const struct option *o = table; o->name; o++) {
        char name[64];
        snprintf(name, sizeof name, "--%s%s%.1s%s", o->name, o->letter ? ", -" : "", &o->letter,
                 takes_value(o) ? " VALUE" : "");
        printf("  %-28s %s\n", name, o->help);
    }
    printf("  %-28s %s\n", "--help, -h", "print this");
}

int options_parse(int argc, char **argv, const struct option *table, const char *usage,
                  struct err *e)
{
    int i = 1;

    for (; i < argc; i++) {
        const char *name = argv[i];
        if (name[0] != '-' || name[1] == '\0')
            break;
        if (strcmp(name, "--") == 0) {
            i++;
            break;
        }
        name += name[1] == '-' ? 2 : 1;
        size_t len = strcspn(name, "=");
        const char *value = name[len] == '=' ? name + len + 1 : NULL;
        const struct option *o = find(table, name, len);
        if (!o && (strcmp(name, "help") == 0 || strcmp(name, "h") == 0)) {
            print_help(table, usage);
            exit(0);
        }
        if (!o)
            return err_set(e, EINVAL, "unknown option %s (--help lists them)", argv[i]);
        if (!takes_value(o)) {
            if (set_flag(o, value, e) < 0)
                return -e->code;
            continue;
        }
        if (!value && ++i == argc)
            return err_set(e, EINVAL, "option --%s needs a value", o->name);
        if (set_value(o, value ? value : argv[i], e) < 0)
            return -e->code;
    }
    return i;
}
