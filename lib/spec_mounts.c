/*
 * config.json, "mounts" (config.md "Mounts"), and the one table of mount options: what each name
 * means to mount(2) and mount_setattr(2). The agent mounts; `features` prints the names.
 */
#include "lib/cleanup.h"
#include "lib/spec_internal.h"
#include "lib/str.h"

#include <errno.h>
#include <linux/mount.h>
#include <stdio.h>
#include <string.h>

/* Of <sys/mount.h>, which cannot be had together with <linux/mount.h> in this C library. */
#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256
#endif

enum option_kind {
    FLAG,      /* set `flag`, or clear it when `clear` */
    RECURSIVE, /* the same with a MOUNT_ATTR_*, on the whole tree */
    PROPAGATE,
    BIND,
    TMPCOPYUP,
    IDMAP, /* known, but nothing here honours it: not listed by spec_mount_option_names */
    NOTHING,
};

struct option {
    const char *name;
    enum option_kind kind;
    bool clear;
    unsigned long flag;
};

/* Sorted by name. */
static const struct option options[] = {
    {"acl", FLAG, false, MS_POSIXACL},
    {"async", FLAG, true, MS_SYNCHRONOUS},
    {"atime", FLAG, true, MS_NOATIME},
    {"bind", BIND, false, MS_BIND},
    {"defaults", NOTHING, false, 0},
    {"dev", FLAG, true, MS_NODEV},
    {"diratime", FLAG, true, MS_NODIRATIME},
    {"dirsync", FLAG, false, MS_DIRSYNC},
    {"exec", FLAG, true, MS_NOEXEC},
    {"idmap", IDMAP, false, 0},
    {"iversion", FLAG, false, MS_I_VERSION},
    {"lazytime", FLAG, false, MS_LAZYTIME},
    {"loud", FLAG, true, MS_SILENT},
    {"mand", FLAG, false, MS_MANDLOCK},
    {"noacl", FLAG, true, MS_POSIXACL},
    {"noatime", FLAG, false, MS_NOATIME},
    {"nodev", FLAG, false, MS_NODEV},
    {"nodiratime", FLAG, false, MS_NODIRATIME},
    {"noexec", FLAG, false, MS_NOEXEC},
    {"noiversion", FLAG, true, MS_I_VERSION},
    {"nolazytime", FLAG, true, MS_LAZYTIME},
    {"nomand", FLAG, true, MS_MANDLOCK},
    {"norelatime", FLAG, true, MS_RELATIME},
    {"nostrictatime", FLAG, true, MS_STRICTATIME},
    {"nosuid", FLAG, false, MS_NOSUID},
    {"nosymfollow", FLAG, false, MS_NOSYMFOLLOW},
    {"private", PROPAGATE, false, MS_PRIVATE},
    {"ratime", RECURSIVE, true, MOUNT_ATTR_NOATIME},
    {"rbind", BIND, false, MS_BIND | MS_REC},
    {"rdev", RECURSIVE, true, MOUNT_ATTR_NODEV},
    {"rdiratime", RECURSIVE, true, MOUNT_ATTR_NODIRATIME},
    {"relatime", FLAG, false, MS_RELATIME},
    {"remount", FLAG, false, MS_REMOUNT},
    {"rexec", RECURSIVE, true, MOUNT_ATTR_NOEXEC},
    {"ridmap", IDMAP, false, 0},
    {"rnoatime", RECURSIVE, false, MOUNT_ATTR_NOATIME},
    {"rnodev", RECURSIVE, false, MOUNT_ATTR_NODEV},
    {"rnodiratime", RECURSIVE, false, MOUNT_ATTR_NODIRATIME},
    {"rnoexec", RECURSIVE, false, MOUNT_ATTR_NOEXEC},
    {"rnorelatime", RECURSIVE, true, MOUNT_ATTR_RELATIME},
    {"rnostrictatime", RECURSIVE, true, MOUNT_ATTR_STRICTATIME},
    {"rnosuid", RECURSIVE, false, MOUNT_ATTR_NOSUID},
    {"rnosymfollow", RECURSIVE, false, MOUNT_ATTR_NOSYMFOLLOW},
    {"ro", FLAG, false, MS_RDONLY},
    {"rprivate", PROPAGATE, false, MS_PRIVATE | MS_REC},
    {"rrelatime", RECURSIVE, false, MOUNT_ATTR_RELATIME},
    {"rro", RECURSIVE, false, MOUNT_ATTR_RDONLY},
    {"rrw", RECURSIVE, true, MOUNT_ATTR_RDONLY},
    {"rshared", PROPAGATE, false, MS_SHARED | MS_REC},
    {"rslave", PROPAGATE, false, MS_SLAVE | MS_REC},
    {"rstrictatime", RECURSIVE, false, MOUNT_ATTR_STRICTATIME},
    {"rsuid", RECURSIVE, true, MOUNT_ATTR_NOSUID},
    {"rsymfollow", RECURSIVE, true, MOUNT_ATTR_NOSYMFOLLOW},
    {"runbindable", PROPAGATE, false, MS_UNBINDABLE | MS_REC},
    {"rw", FLAG, true, MS_RDONLY},
    {"shared", PROPAGATE, false, MS_SHARED},
    {"silent", FLAG, false, MS_SILENT},
    {"slave", PROPAGATE, false, MS_SLAVE},
    {"strictatime", FLAG, false, MS_STRICTATIME},
    {"suid", FLAG, true, MS_NOSUID},
    {"symfollow", FLAG, true, MS_NOSYMFOLLOW},
    {"sync", FLAG, false, MS_SYNCHRONOUS},
    {"tmpcopyup", TMPCOPYUP, false, 0},
    {"unbindable", PROPAGATE, false, MS_UNBINDABLE},
};

static const struct option *find_option(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(options); i++)
        if (!strcmp(options[i].name, name))
            return &options[i];
    return NULL;
}

bool spec_mount_option_known(const char *option)
{
    return find_option(option) != NULL;
}

size_t spec_mount_option_names(const char **names, size_t max)
{
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_SIZE(options); i++)
        if (options[i].kind != IDMAP && n++ < max)
            names[n - 1] = options[i].name;
    return n;
}

/* One field of MOUNT_ATTR__ATIME holds one of three values, and the kernel wants the whole field in
 * attr_clr whenever it is set. Taking one away means the kernel's default, relatime (0). */
static void recursive(const struct option *o, struct spec_mount_flags *f)
{
    uint64_t flag = o->flag;

    if ((flag & MOUNT_ATTR__ATIME) == flag) {
        f->rec_clear |= MOUNT_ATTR__ATIME;
        f->rec_set &= ~(uint64_t)MOUNT_ATTR__ATIME;
        if (!o->clear)
            f->rec_set |= flag;
    } else if (o->clear) {
        f->rec_clear |= flag;
        f->rec_set &= ~flag;
    } else {
        f->rec_set |= flag;
        f->rec_clear &= ~flag;
    }
}

static void apply(const struct option *o, struct spec_mount_flags *f)
{
    switch (o->kind) {
    case FLAG:
        if (o->clear) {
            f->set &= ~o->flag;
            f->clear |= o->flag;
        } else {
            f->set |= o->flag;
            f->clear &= ~o->flag;
        }
        break;
    case RECURSIVE:
        recursive(o, f);
        break;
    case PROPAGATE:
        f->propagation = o->flag;
        break;
    case BIND:
        f->bind = true;
        f->recursive_bind = o->flag & MS_REC;
        break;
    case TMPCOPYUP:
        f->tmpcopyup = true;
        break;
    case IDMAP:
        f->idmap = true;
        break;
    case NOTHING:
        break;
    }
}

int spec_mount_flags(const struct spec_mount *m, struct spec_mount_flags *out, struct err *e)
{
    struct spec_mount_flags f = {0};
    struct strbuf data = {0};

    for (size_t i = 0; m->options && m->options[i]; i++) {
        const struct option *o = find_option(m->options[i]);

        if (o)
            apply(o, &f);
        else if (*m->options[i])
            strbuf_add(&data, "%s%s", data.len ? "," : "", m->options[i]);
    }
    if (data.failed) {
        strbuf_done(&data);
        return err_set(e, ENOMEM, "mount of %s: out of memory", m->destination);
    }
    if (!strcmp(m->type, "bind"))
        f.bind = true;
    f.data = data.s;
    *out = f;
    return 0;
}

void spec_mount_flags_done(struct spec_mount_flags *f)
{
    free(f->data);
    f->data = NULL;
}

bool spec_mount_has_option(const struct spec_mount *m, const char *option)
{
    for (size_t i = 0; m->options && m->options[i]; i++)
        if (!strcmp(m->options[i], option))
            return true;
    return false;
}

/* --- the section ------------------------------------------------------------------------------ */

/* A relative destination is deprecated and means: below "/". */
static int fill_destination(const json_t *obj, const char *where, struct spec_mount *m,
                            struct err *e)
{
    const char *s;
    int r = spec_need(json_get_str(obj, where, "destination", &s, e), where, "destination", e);

    if (r < 0)
        return r;
    if (!*s)
        return err_set(e, EINVAL, "%s.destination must not be empty", where);
    if (strlen(s) > SPEC_PATH_MAX - 1)
        return err_set(e, ENAMETOOLONG, "%s.destination is longer than %d bytes", where,
                       SPEC_PATH_MAX - 1);
    m->destination = spec_zalloc(strlen(s) + 2, 1);
    if (!m->destination)
        return spec_oom(where, "destination", e);
    snprintf(m->destination, strlen(s) + 2, "%s%s", *s == '/' ? "" : "/", s);
    return 0;
}

/* The type is never NULL: absent and "none" are "bind" when an option says so. */
static int fill_type(const json_t *obj, const char *where, struct spec_mount *m, struct err *e)
{
    bool bind = spec_mount_has_option(m, "bind") || spec_mount_has_option(m, "rbind");
    int r = spec_get_string(obj, where, "type", &m->type, e);
    const char *type = bind ? "bind" : "none";

    if (r < 0 || (r > 0 && *m->type && strcmp(m->type, "none") != 0))
        return r;
    free(m->type);
    m->type = spec_zalloc(strlen(type) + 1, 1);
    if (!m->type)
        return spec_oom(where, "type", e);
    memcpy(m->type, type, strlen(type));
    return 0;
}

static int parse_mount(const json_t *obj, const char *where, void *item, struct err *e)
{
    struct spec_mount *m = item;
    int r = fill_destination(obj, where, m, e);

    if (r >= 0)
        r = spec_get_strings(obj, where, "options", SPEC_OPTIONS_MAX, &m->options, e);
    if (r >= 0)
        r = fill_type(obj, where, m, e);
    if (r >= 0)
        r = spec_get_string(obj, where, "source", &m->source, e);
    if (r >= 0)
        r = spec_get_items(obj, where, "uidMappings", SPEC_ID_MAPS_MAX, sizeof(*m->uid_maps),
                           spec_parse_id_map, &m->uid_maps, &m->nuid_maps, e);
    if (r >= 0)
        r = spec_get_items(obj, where, "gidMappings", SPEC_ID_MAPS_MAX, sizeof(*m->gid_maps),
                           spec_parse_id_map, &m->gid_maps, &m->ngid_maps, e);
    if (r >= 0 && !strcmp(m->type, "bind") && (!m->source || !*m->source))
        r = err_set(e, EINVAL, "%s.source is missing: a bind mount needs one", where);
    return r;
}

int spec_fill_mounts(const json_t *doc, struct spec *s, struct err *e)
{
    return spec_get_items(doc, "", "mounts", SPEC_MOUNTS_MAX, sizeof(*s->mounts), parse_mount,
                          &s->mounts, &s->nmounts, e);
}

void spec_mounts_done(struct spec *s)
{
    for (size_t i = 0; i < s->nmounts; i++) {
        struct spec_mount *m = &s->mounts[i];

        free(m->destination);
        free(m->type);
        free(m->source);
        strv_free(m->options);
        free(m->uid_maps);
        free(m->gid_maps);
    }
    free(s->mounts);
}
