/*
 * config.json, "linux.seccomp" (config-linux.md "Seccomp"): form only. runtime/seccomp.c compiles
 * it. The numbers of the operators are libseccomp's, which lib does not link.
 */
#include "lib/spec_internal.h"
#include "lib/str.h"

#include <errno.h>

static const struct spec_enum actions[] = {
    {"SCMP_ACT_KILL", 0},        {"SCMP_ACT_KILL_PROCESS", 0},
    {"SCMP_ACT_KILL_THREAD", 0}, {"SCMP_ACT_TRAP", 0},
    {"SCMP_ACT_ERRNO", 0},       {"SCMP_ACT_TRACE", 0},
    {"SCMP_ACT_ALLOW", 0},       {"SCMP_ACT_LOG", 0},
    {"SCMP_ACT_NOTIFY", 0},      {NULL, 0},
};
/* enum scmp_compare */
static const struct spec_enum operators[] = {
    {"SCMP_CMP_NE", 1}, {"SCMP_CMP_LT", 2}, {"SCMP_CMP_LE", 3},        {"SCMP_CMP_EQ", 4},
    {"SCMP_CMP_GE", 5}, {"SCMP_CMP_GT", 6}, {"SCMP_CMP_MASKED_EQ", 7}, {NULL, 0},
};

static int get_action(const json_t *obj, const char *where, const char *key, char **out,
                      struct err *e)
{
    int any, r = spec_get_enum(obj, where, key, actions, &any, e);

    if (r > 0)
        r = spec_get_string(obj, where, key, out, e);
    return spec_need(r, where, key, e);
}

static int parse_arg(const json_t *obj, const char *where, void *item, struct err *e)
{
    struct spec_seccomp_arg *a = item;
    uint64_t index = 0;
    int r = spec_need(json_get_u64(obj, where, "index", 5, &index, e), where, "index", e);

    a->index = (uint32_t)index;
    if (r >= 0)
        r = spec_need(json_get_u64(obj, where, "value", UINT64_MAX, &a->value, e), where, "value",
                      e);
    if (r >= 0)
        r = json_get_u64(obj, where, "valueTwo", UINT64_MAX, &a->value_two, e);
    if (r >= 0)
        r = spec_need(spec_get_enum(obj, where, "op", operators, &a->op, e), where, "op", e);
    return r;
}

static int parse_rule(const json_t *obj, const char *where, void *item, struct err *e)
{
    struct spec_seccomp_rule *rule = item;
    int r = spec_get_strings(obj, where, "names", SPEC_RULE_NAMES_MAX, &rule->names, e);

    r = spec_need(r, where, "names", e);
    if (r >= 0 && !rule->names[0])
        r = err_set(e, EINVAL, "%s.names must not be empty", where);
    if (r >= 0)
        r = get_action(obj, where, "action", &rule->action, e);
    if (r >= 0)
        r = spec_get_u32(obj, where, "errnoRet", &rule->errno_ret, e);
    rule->errno_set = r > 0;
    if (r >= 0)
        r = spec_get_items(obj, where, "args", SPEC_RULE_ARGS_MAX, sizeof(*rule->args), parse_arg,
                           &rule->args, &rule->nargs, e);
    return r;
}

int spec_fill_seccomp(const json_t *linux_obj, const char *where, struct spec_seccomp *s,
                      struct err *e)
{
    struct spec_where w;
    json_t *obj;
    int r = json_get_obj(linux_obj, where, "seccomp", &obj, e);

    if (r <= 0)
        return r;
    s->present = true;
    spec_key(&w, where, "seccomp");
    r = get_action(obj, w.s, "defaultAction", &s->default_action, e);
    if (r >= 0)
        r = spec_get_u32(obj, w.s, "defaultErrnoRet", &s->default_errno, e);
    s->default_errno_set = r > 0;
    if (r >= 0)
        r = spec_get_strings(obj, w.s, "architectures", SPEC_NAMES_MAX, &s->architectures, e);
    if (r >= 0)
        r = spec_get_strings(obj, w.s, "flags", SPEC_NAMES_MAX, &s->flags, e);
    if (r >= 0)
        r = spec_get_string(obj, w.s, "listenerPath", &s->listener_path, e);
    if (r >= 0)
        r = spec_get_string(obj, w.s, "listenerMetadata", &s->listener_metadata, e);
    if (r >= 0)
        r = spec_get_items(obj, w.s, "syscalls", SPEC_RULES_MAX, sizeof(*s->rules), parse_rule,
                           &s->rules, &s->nrules, e);
    return r;
}

void spec_seccomp_done(struct spec_seccomp *s)
{
    for (size_t i = 0; i < s->nrules; i++) {
        strv_free(s->rules[i].names);
        free(s->rules[i].action);
        free(s->rules[i].args);
    }
    free(s->rules);
    free(s->default_action);
    strv_free(s->architectures);
    strv_free(s->flags);
    free(s->listener_path);
    free(s->listener_metadata);
}
