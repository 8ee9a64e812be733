/* config.json, "hooks" (config.md "POSIX-platform Hooks"). runtime/hooks.c and the agent run them.
 */
#include "lib/spec_internal.h"
#include "lib/str.h"

#include <errno.h>
#include <limits.h>

#define HOOK_TIMEOUT_MAX (INT_MAX / 1000) /* seconds, so that milliseconds fit an int */

const char *const spec_hook_names[HOOK_KINDS] = {
    [HOOK_PRESTART] = "prestart",
    [HOOK_CREATE_RUNTIME] = "createRuntime",
    [HOOK_CREATE_CONTAINER] = "createContainer",
    [HOOK_START_CONTAINER] = "startContainer",
    [HOOK_POSTSTART] = "poststart",
    [HOOK_POSTSTOP] = "poststop",
};

static int parse_hook(const json_t *obj, const char *where, void *item, struct err *e)
{
    struct spec_hook *h = item;
    int64_t timeout = 0;
    int r = spec_need(spec_get_path(obj, where, "path", &h->path, e), where, "path", e);

    if (r >= 0)
        r = spec_get_strings(obj, where, "args", SPEC_HOOK_ARGS_MAX, &h->args, e);
    if (r >= 0)
        r = spec_get_strings(obj, where, "env", SPEC_HOOK_ARGS_MAX, &h->env, e);
    if (r >= 0)
        r = json_get_i64(obj, where, "timeout", 1, HOOK_TIMEOUT_MAX, &timeout, e);
    h->timeout = (int)timeout;
    return r;
}

int spec_fill_hooks(const json_t *doc, struct spec_hooks *h, struct err *e)
{
    json_t *hooks;
    int r = json_get_obj(doc, "", "hooks", &hooks, e);

    for (int i = 0; r > 0 && i < HOOK_KINDS; i++) {
        r = spec_get_items(hooks, "hooks", spec_hook_names[i], SPEC_HOOKS_MAX, sizeof(*h->list[i]),
                           parse_hook, &h->list[i], &h->count[i], e);
        if (r == 0)
            r = 1; /* this kind is absent: go on */
    }
    return r;
}

void spec_hooks_done(struct spec_hooks *h)
{
    for (int i = 0; i < HOOK_KINDS; i++) {
        for (size_t j = 0; j < h->count[i]; j++) {
            free(h->list[i][j].path);
            strv_free(h->list[i][j].args);
            strv_free(h->list[i][j].env);
        }
        free(h->list[i]);
    }
}
