/* config.json as the guest gets it. Keeps no state. */
#include "runtime/guest.h"

#include "lib/cleanup.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/seccomp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static char *base64(const unsigned char *p, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = malloc((len + 2) / 3 * 4 + 1), *o = text;

    for (size_t i = 0; text && i < len; i += 3) {
        unsigned v = (unsigned)p[i] << 16;
        v |= i + 1 < len ? (unsigned)p[i + 1] << 8 : 0;
        v |= i + 2 < len ? p[i + 2] : 0u;
        *o++ = digits[v >> 18];
        *o++ = digits[v >> 12 & 63];
        *o++ = i + 1 < len ? digits[v >> 6 & 63] : '=';
        *o++ = i + 2 < len ? digits[v & 63] : '=';
    }
    if (text)
        *o = '\0';
    return text;
}

int guest_filter(const struct spec *s, json_t **out, struct err *e)
{
    cleanup_free char *text = NULL;
    cleanup_free void *bpf = NULL;
    uint32_t flags = 0;
    size_t len = 0;
    json_t *filter;

    if (s->linux_.seccomp.present && seccomp_compile(&s->linux_.seccomp, &bpf, &len, &flags, e) < 0)
        return -e->code;
    text = bpf ? base64(bpf, len) : NULL;
    filter = text ? json_pack("{s:s, s:I}", "seccomp", text, "seccomp_flags", (json_int_t)flags)
                  : json_object();
    if (!filter || (bpf && !text)) {
        json_decref(filter);
        return err_set(e, ENOMEM, "linux.seccomp: out of memory");
    }
    *out = filter;
    return 0;
}

/* The network namespace is the host's affair: the guest makes its own. */
static json_t *guest_namespaces(const json_t *written)
{
    json_t *list = json_array(), *item;
    size_t i;

    json_array_foreach(written, i, item)
    {
        json_t *copy = json_copy(item);
        json_object_del(copy, "path");
        json_array_append_new(list, copy);
    }
    return list;
}

/* linux.resources without what only the host can do: its disks, its CPUs and memory nodes. */
json_t *guest_resources(const json_t *written)
{
    json_t *r = json_copy((json_t *)(uintptr_t)written), *cpu, *unified;
    const char *file;
    void *next;

    json_object_del(r, "blockIO");
    cpu = json_copy(json_object_get(r, "cpu"));
    if (cpu) {
        json_object_del(cpu, "cpus");
        json_object_del(cpu, "mems");
        json_object_set_new(r, "cpu", cpu);
    }
    unified = json_copy(json_object_get(r, "unified"));
    if (unified) {
        json_t *value;
        json_object_foreach_safe(unified, next, file, value)
        {
            if (!cgroup_unified_in_guest(file))
                json_object_del(unified, file);
        }
        json_object_set_new(r, "unified", unified);
    }
    return r;
}

static json_t *guest_linux(const json_t *written)
{
    static const char *const host_only[] = {"cgroupsPath", "seccomp", "intelRdt"};
    json_t *l = written ? json_copy((json_t *)(uintptr_t)written) : json_object();

    for (size_t i = 0; i < ARRAY_SIZE(host_only); i++)
        json_object_del(l, host_only[i]);
    json_t *resources = json_object_get(l, "resources");
    if (resources)
        json_object_set_new(l, "resources", guest_resources(resources));
    json_t *namespaces = json_object_get(l, "namespaces");
    if (namespaces)
        json_object_set_new(l, "namespaces", guest_namespaces(namespaces));
    return l;
}

static json_t *guest_config(const struct spec *s, json_t *mounts)
{
    json_t *config = json_copy(s->doc);
    json_t *start = json_object_get(json_object_get(s->doc, "hooks"), "startContainer");

    if (!config)
        return NULL;
    json_object_del(config, "vm");
    json_object_del(config, "hooks");
    if (start)
        json_object_set_new(config, "hooks", json_pack("{s:O}", "startContainer", start));
    json_object_set_new(config, "root",
                        json_pack("{s:s, s:b}", "path", "rootfs", "readonly", s->root_readonly));
    json_object_set(config, "mounts", mounts);
    json_object_set_new(config, "linux", guest_linux(json_object_get(s->doc, "linux")));
    return config;
}

int guest_create_body(const struct spec *s, const char *id, const char *bundle, json_t *mounts,
                      json_t *filter, json_t **out, struct err *e)
{
    json_t *body = json_pack("{s:s, s:s, s:s, s:o}", "id", id, "share", id, "bundle", bundle,
                             "config", guest_config(s, mounts));

    if (!body || json_object_update(body, filter) < 0) {
        json_decref(body);
        return err_set(e, ENOMEM, "the guest's configuration: out of memory");
    }
    *out = body;
    return 0;
}

int guest_exec_body(const struct spec *s, const char *id, const char *exec_id, json_t *process,
                    json_t **out, struct err *e)
{
    json_t *filter = NULL, *body;

    if (guest_filter(s, &filter, e) < 0)
        return -e->code;
    body = json_pack("{s:s, s:s, s:O}", "id", id, "process", exec_id, "spec", process);
    if (!body || json_object_update(body, filter) < 0) {
        json_decref(body);
        body = NULL;
    }
    json_decref(filter);
    if (!body)
        return err_set(e, ENOMEM, "the process for the guest: out of memory");
    *out = body;
    return 0;
}
