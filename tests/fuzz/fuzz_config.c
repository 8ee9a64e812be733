/*
 * config.json: parsed, refused or accepted, its filter compiled, its numbers made cgroup files, the
 * guest's copy of it made and then read as the agent reads it. The same document as a process
 * (exec --process) and as resources (update --resources).
 */
#include "tests/fuzz/fuzz.h"

#include "agent/container.h"
#include "agent/devfilter.h"
#include "lib/json.h"
#include "lib/limits.h"
#include "runtime/config.h"
#include "runtime/guest.h"
#include "runtime/support.h"

static int see_limit(void *arg, const char *key, const char *file, const char *text, struct err *e)
{
    (void)arg;
    (void)e;
    assert_true(key[0] && file[0]);
    assert_non_null(text);
    return 0;
}

/* A failure has a reason in words. */
static bool fine(int r, const struct err *e)
{
    if (r < 0)
        assert_true(e->code == -r && e->msg[0]);
    return r >= 0;
}

static void try_mounts(const struct spec *s)
{
    for (size_t i = 0; i < s->nmounts; i++) {
        struct spec_mount_flags flags;
        struct err e = ERR_INIT;

        if (fine(spec_mount_flags(&s->mounts[i], &flags, &e), &e))
            spec_mount_flags_done(&flags);
    }
}

static void try_device_rules(const struct spec_resources *r)
{
    struct bpf_insn *program = NULL;
    struct err e = ERR_INIT;

    (void)fine(devfilter_build(r->devices, r->ndevices, &program, &e), &e);
    free(program);
}

/* What the agent makes of it. */
static void try_guest(const struct spec *s)
{
    json_t *filter = NULL, *mounts = json_object_get(s->doc, "mounts"), *body = NULL;
    struct spec *guests = NULL;
    struct err e = ERR_INIT;

    mounts = mounts ? json_incref(mounts) : json_array();
    if (fine(guest_filter(s, &filter, &e), &e) &&
        fine(guest_create_body(s, "id", "/bundle", mounts, filter, &body, &e), &e) &&
        fine(spec_parse(json_object_get(body, "config"), &guests, &e), &e))
        (void)fine(config_check(guests, json_object_get(filter, "seccomp") != NULL, &e), &e);
    spec_free(guests);
    json_decref(body);
    json_decref(filter);
    json_decref(mounts);
}

static void try_document(json_t *doc)
{
    struct strbuf warnings = {0};
    struct err e = ERR_INIT;
    struct config c = {.vcpus = CONFIG_VCPUS, .memory_mib = CONFIG_MEMORY_MIB};
    struct spec *s;

    if (!fine(spec_parse(doc, &s, &e), &e))
        return;
    try_mounts(s);
    (void)fine(limits_each(&s->linux_.resources, see_limit, NULL, &e), &e);
    try_device_rules(&s->linux_.resources);
    if (fine(support_check(s, &warnings, &e), &e)) {
        try_guest(s);
        c.kernel_parameters = strdup(CONFIG_KERNEL_PARAMETERS);
        (void)fine(config_apply_spec(&c, s, "id", &e), &e);
        config_done(&c);
    }
    strbuf_done(&warnings);
    spec_free(s);
}

static void try_process(const json_t *doc)
{
    struct spec_process p = {0};
    struct strbuf warnings = {0};
    struct err e = ERR_INIT;

    if (!fine(spec_parse_process(doc, "process", &p, &e), &e))
        return;
    (void)fine(support_check_process(&p, "process", &warnings, &e), &e);
    (void)fine(config_check_process(&p, "process", &e), &e);
    strbuf_done(&warnings);
    spec_process_done(&p);
}

static void try_resources(const json_t *doc)
{
    struct spec_resources r = {0};
    struct err e = ERR_INIT;

    if (!fine(spec_parse_resources(doc, "resources", &r, &e), &e))
        return;
    (void)fine(support_check_resources(&r, "resources", &e), &e);
    (void)fine(limits_each(&r, see_limit, NULL, &e), &e);
    (void)fine(config_check_resources(&r, &e), &e);
    try_device_rules(&r);
    spec_resources_done(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err e = ERR_INIT;
    json_t *doc;

    if (!fine(json_load_bytes((const char *)data, size, "config.json", &doc, &e), &e))
        return 0;
    try_document(doc);
    try_process(doc);
    try_resources(doc);
    json_decref(doc);
    return 0;
}
