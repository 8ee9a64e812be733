/*
 * config.json, "linux" (config-linux.md) without its two large parts, resources and seccomp: form
 * only.
 */
#include "lib/cleanup.h"
#include "lib/spec_internal.h"
#include "lib/str.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/personality.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

const char *const spec_ns_names[NS_KINDS] = {
    [NS_PID] = "pid", [NS_NETWORK] = "network", [NS_MOUNT] = "mount",   [NS_IPC] = "ipc",
    [NS_UTS] = "uts", [NS_USER] = "user",       [NS_CGROUP] = "cgroup", [NS_TIME] = "time",
};
const int spec_ns_flags[NS_KINDS] = {
    [NS_PID] = CLONE_NEWPID,       [NS_NETWORK] = CLONE_NEWNET, [NS_MOUNT] = CLONE_NEWNS,
    [NS_IPC] = CLONE_NEWIPC,       [NS_UTS] = CLONE_NEWUTS,     [NS_USER] = CLONE_NEWUSER,
    [NS_CGROUP] = CLONE_NEWCGROUP, [NS_TIME] = CLONE_NEWTIME,
};

/* --- namespaces ------------------------------------------------------------------------------- */

static const struct spec_enum ns_types[] = {
    {"pid", NS_PID},       {"network", NS_NETWORK}, {"mount", NS_MOUNT},
    {"ipc", NS_IPC},       {"uts", NS_UTS},         {"user", NS_USER},
    {"cgroup", NS_CGROUP}, {"time", NS_TIME},       {NULL, 0},
};

static int parse_namespace(const json_t *obj, const char *where, struct spec_linux *l,
                           struct err *e)
{
    struct spec_namespace *ns;
    int type,
        r = spec_need(spec_get_enum(obj, where, "type", ns_types, &type, e), where, "type", e);

    if (r < 0)
        return r;
    ns = &l->ns[type];
    if (ns->present)
        return err_set(e, EINVAL, "%s: a namespace of type \"%s\" is in the list twice", where,
                       spec_ns_names[type]);
    ns->present = true;
    r = spec_get_string(obj, where, "path", &ns->path, e);
    if (r > 0 && !*ns->path) { /* as absent */
        free(ns->path);
        ns->path = NULL;
        return 0;
    }
    if (r > 0 && ns->path[0] != '/')
        return err_set(e, EINVAL, "%s.path must be absolute, got \"%.100s\"", where, ns->path);
    return r;
}

static int fill_namespaces(const json_t *obj, const char *where, struct spec_linux *l,
                           struct err *e)
{
    struct spec_where w;
    json_t *array, *v;
    size_t i;
    int r = json_get_array(obj, where, "namespaces", &array, e);

    if (r <= 0)
        return r;
    json_array_foreach(array, i, v)
    {
        spec_item(&w, where, "namespaces", i);
        if (!json_is_object(v))
            return err_set(e, EINVAL, "%s must be an object", w.s);
        r = parse_namespace(v, w.s, l, e);
        if (r < 0)
            return r;
    }
    return 0;
}

static int fill_offset(const json_t *offsets, const char *where, const char *key,
                       struct spec_time_offset *o, struct err *e)
{
    struct spec_where w;
    uint64_t ns = 0;
    json_t *obj;
    int r = json_get_obj(offsets, where, key, &obj, e);

    if (r <= 0)
        return r;
    o->set = true;
    spec_key(&w, where, key);
    r = json_get_i64(obj, w.s, "secs", INT64_MIN, INT64_MAX, &o->secs, e);
    if (r >= 0)
        r = json_get_u64(obj, w.s, "nanosecs", 999999999, &ns, e);
    o->nanosecs = (uint32_t)ns;
    return r;
}

static int fill_time_offsets(const json_t *obj, const char *where, struct spec_linux *l,
                             struct err *e)
{
    struct spec_where w;
    json_t *offsets;
    int r = json_get_obj(obj, where, "timeOffsets", &offsets, e);

    if (r <= 0)
        return r;
    spec_key(&w, where, "timeOffsets");
    r = fill_offset(offsets, w.s, "boottime", &l->boottime_offset, e);
    if (r >= 0)
        r = fill_offset(offsets, w.s, "monotonic", &l->monotonic_offset, e);
    return r;
}

/* --- devices ---------------------------------------------------------------------------------- */

static const struct spec_enum device_types[] = {
    {"c", 'c'}, {"b", 'b'}, {"u", 'c'}, {"p", 'p'}, {NULL, 0}};

static int parse_device(const json_t *obj, const char *where, void *item, struct err *e)
{
    struct spec_device *d = item;
    int type = 0, r, major, minor;
    uint32_t mode = 0;

    r = spec_need(spec_get_enum(obj, where, "type", device_types, &type, e), where, "type", e);
    d->type = (char)type;
    if (r >= 0)
        r = spec_need(spec_get_path(obj, where, "path", &d->path, e), where, "path", e);
    if (r < 0)
        return r;
    major = json_get_i64(obj, where, "major", 0, UINT32_MAX, &d->major, e);
    if (major < 0 || (major == 0 && type != 'p'))
        return spec_need(major, where, "major", e);
    minor = json_get_i64(obj, where, "minor", 0, UINT32_MAX, &d->minor, e);
    if (minor < 0 || (minor == 0 && type != 'p'))
        return spec_need(minor, where, "minor", e);
    r = spec_get_u32(obj, where, "fileMode", &mode, e);
    d->mode_set = r > 0;
    d->mode = (mode_t)(mode & 07777u);
    if (r >= 0)
        r = spec_get_u32(obj, where, "uid", &d->uid, e);
    if (r >= 0)
        r = spec_get_u32(obj, where, "gid", &d->gid, e);
    return r;
}

/* --- the rest --------------------------------------------------------------------------------- */

static const struct spec_enum propagations[] = {
    {"private", MS_PRIVATE},
    {"rprivate", MS_PRIVATE | MS_REC},
    {"shared", MS_SHARED},
    {"rshared", MS_SHARED | MS_REC},
    {"slave", MS_SLAVE},
    {"rslave", MS_SLAVE | MS_REC},
    {"unbindable", MS_UNBINDABLE},
    {"runbindable", MS_UNBINDABLE | MS_REC},
    {NULL, 0},
};

static int fill_propagation(const json_t *obj, const char *where, struct spec_linux *l,
                            struct err *e)
{
    const char *s;
    int flags, r = json_get_str(obj, where, "rootfsPropagation", &s, e);

    if (r <= 0 || !*s)
        return r;
    r = spec_enum_find(propagations, where, "rootfsPropagation", s, &flags, e);
    if (r > 0)
        l->rootfs_propagation = (unsigned long)flags;
    return r;
}

static int get_paths(const json_t *obj, const char *where, const char *key, char ***out,
                     struct err *e)
{
    int r = spec_get_strings(obj, where, key, SPEC_PATHS_MAX, out, e);

    for (size_t i = 0; r > 0 && (*out)[i]; i++)
        if ((*out)[i][0] != '/')
            return err_set(e, EINVAL, "%s.%s[%zu] must be absolute, got \"%.100s\"", where, key, i,
                           (*out)[i]);
    return r;
}

static const struct spec_enum personalities[] = {
    {"LINUX", PER_LINUX}, {"LINUX32", PER_LINUX32}, {NULL, 0}};

static int fill_personality(const json_t *obj, const char *where, struct spec_linux *l,
                            struct err *e)
{
    struct spec_where w;
    json_t *personality, *flags = NULL;
    int domain = 0, r = json_get_obj(obj, where, "personality", &personality, e);

    if (r <= 0)
        return r;
    spec_key(&w, where, "personality");
    r = spec_need(spec_get_enum(personality, w.s, "domain", personalities, &domain, e), w.s,
                  "domain", e);
    if (r >= 0)
        r = json_get_array(personality, w.s, "flags", &flags, e);
    if (r > 0 && json_array_size(flags) > 0)
        return err_set(e, EINVAL, "%s.flags must be empty: the specification defines none", w.s);
    l->personality_set = r >= 0;
    l->personality = (unsigned long)domain;
    return r;
}

static int fill_sections(const json_t *obj, const char *where, struct spec_linux *l, struct err *e)
{
    struct spec_where w;
    json_t *resources, *rdt;
    int r = json_get_obj(obj, where, "resources", &resources, e);

    if (r > 0)
        r = spec_fill_resources(resources, spec_key(&w, where, "resources"), &l->resources, e);
    if (r >= 0)
        r = spec_get_kv(obj, where, "sysctl", SPEC_SYSCTL_MAX, &l->sysctl, &l->nsysctl, e);
    if (r >= 0)
        r = spec_fill_seccomp(obj, where, &l->seccomp, e);
    if (r >= 0)
        r = fill_propagation(obj, where, l, e);
    if (r >= 0)
        r = get_paths(obj, where, "maskedPaths", &l->masked_paths, e);
    if (r >= 0)
        r = get_paths(obj, where, "readonlyPaths", &l->readonly_paths, e);
    if (r >= 0)
        r = spec_get_string(obj, where, "mountLabel", &l->mount_label, e);
    if (r > 0 && !*l->mount_label) { /* as absent */
        free(l->mount_label);
        l->mount_label = NULL;
    }
    if (r >= 0)
        r = fill_personality(obj, where, l, e);
    if (r >= 0)
        r = json_get_obj(obj, where, "intelRdt", &rdt, e);
    l->intel_rdt_set = r > 0;
    return r;
}

int spec_fill_linux(const json_t *doc, struct spec_linux *l, struct err *e)
{
    const char *where = "linux";
    json_t *obj;
    int r = json_get_obj(doc, "", "linux", &obj, e);

    if (r <= 0)
        return r;
    r = fill_namespaces(obj, where, l, e);
    if (r >= 0)
        r = spec_get_items(obj, where, "uidMappings", SPEC_ID_MAPS_MAX, sizeof(*l->uid_maps),
                           spec_parse_id_map, &l->uid_maps, &l->nuid_maps, e);
    if (r >= 0)
        r = spec_get_items(obj, where, "gidMappings", SPEC_ID_MAPS_MAX, sizeof(*l->gid_maps),
                           spec_parse_id_map, &l->gid_maps, &l->ngid_maps, e);
    if (r >= 0)
        r = fill_time_offsets(obj, where, l, e);
    if (r >= 0)
        r = spec_get_items(obj, where, "devices", SPEC_DEVICES_MAX, sizeof(*l->devices),
                           parse_device, &l->devices, &l->ndevices, e);
    if (r >= 0)
        r = spec_get_string(obj, where, "cgroupsPath", &l->cgroups_path, e);
    if (r >= 0)
        r = fill_sections(obj, where, l, e);
    return r;
}

void spec_linux_done(struct spec_linux *l)
{
    for (int i = 0; i < NS_KINDS; i++)
        free(l->ns[i].path);
    free(l->uid_maps);
    free(l->gid_maps);
    for (size_t i = 0; i < l->ndevices; i++)
        free(l->devices[i].path);
    free(l->devices);
    free(l->cgroups_path);
    spec_resources_done(&l->resources);
    spec_kv_done(l->sysctl, l->nsysctl);
    spec_seccomp_done(&l->seccomp);
    strv_free(l->masked_paths);
    strv_free(l->readonly_paths);
    free(l->mount_label);
}

enum spec_ns spec_sysctl_ns(const char *name)
{
    static const struct {
        const char *path; /* one that ends in '/': what is below it */
        enum spec_ns ns;
    } known[] = {
        {"net/", NS_NETWORK},          {"fs/mqueue/", NS_IPC},
        {"kernel/msgmax", NS_IPC},     {"kernel/msgmnb", NS_IPC},
        {"kernel/msgmni", NS_IPC},     {"kernel/sem", NS_IPC},
        {"kernel/shmall", NS_IPC},     {"kernel/shmmax", NS_IPC},
        {"kernel/shmmni", NS_IPC},     {"kernel/shm_rmid_forced", NS_IPC},
        {"kernel/domainname", NS_UTS}, {"kernel/hostname", NS_UTS},
    };
    char path[128];

    /* what is cut off, or "..", may lead away */
    if (str_printf(path, sizeof(path), "%s", name) < 0 || strstr(name, ".."))
        return NS_KINDS;
    if (!strchr(path, '/'))
        for (char *p = path; *p; p++)
            if (*p == '.')
                *p = '/';
    for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
        size_t n = strlen(known[i].path);
        bool below = known[i].path[n - 1] == '/';

        if (below ? str_starts(path, known[i].path) && path[n] : !strcmp(path, known[i].path))
            return known[i].ns;
    }
    return NS_KINDS;
}
