/*
 * Which cgroup a container gets: linux.cgroupsPath (config-linux.md "Cgroups Path") in cgroupfs and
 * in systemd form. Names only; runtime/cgroup/cgroup.c touches the hierarchy.
 */
#include "runtime/cgroup/cgroup.h"

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/str.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define PROC_CGROUP_MAX (1u << 16)

int cgroup_own(char **out, struct err *e)
{
    cleanup_free char *text = NULL;
    char *line, *save = NULL;
    int r = io_read_file(AT_FDCWD, "/proc/self/cgroup", PROC_CGROUP_MAX, &text, NULL, e);

    if (r < 0)
        return r;
    for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        if (!str_starts(line, "0::"))
            continue;
        line = str_starts(line + 3, "/..") ? line + 3 + strlen(line + 3) : line + 3;
        *out = strdup(*line ? line : "/");
        return *out ? 0 : err_set(e, ENOMEM, "out of memory");
    }
    return err_set(e, ENOENT, "this process is in no cgroup of the v2 hierarchy");
}

/* Appends `text` to b as clean components, each with a slash before it. */
static int add_clean(struct strbuf *b, const char *text, struct err *e)
{
    cleanup_free char *copy = strdup(text);
    char *save = NULL;

    if (!copy)
        return err_set(e, ENOMEM, "out of memory");
    for (char *c = strtok_r(copy, "/", &save); c; c = strtok_r(NULL, "/", &save)) {
        if (strcmp(c, ".") == 0)
            continue;
        if (strcmp(c, "..") == 0)
            return err_set(e, EINVAL, "cgroup path %s must not contain \"..\"", text);
        strbuf_add(b, "/%s", c);
    }
    return 0;
}

/* Our own cgroup's parent: our own holds processes, so it can have no controlled children. */
static int add_parent_of_own(struct strbuf *b, struct err *e)
{
    cleanup_free char *own = NULL;
    char *slash;
    int r = cgroup_own(&own, e);

    if (r < 0)
        return r;
    slash = own ? strrchr(own, '/') : NULL;
    if (slash)
        *slash = '\0';
    return slash ? add_clean(b, own, e) : 0;
}

/*
 * The directories of a systemd slice: "a-b.slice" is a.slice/a-b.slice, "-.slice" the root
 * (systemd.slice(5)).
 */
static int add_slice(struct strbuf *b, const char *slice, struct err *e)
{
    size_t len = strlen(slice), suffix = strlen(".slice");

    if (strcmp(slice, "-.slice") == 0)
        return 0;
    if (len <= suffix || strcmp(slice + len - suffix, ".slice") != 0 || strchr(slice, '/') ||
        slice[0] == '-' || slice[0] == '.' || slice[len - suffix - 1] == '-' || strstr(slice, "--"))
        return err_set(e, EINVAL, "linux.cgroupsPath: \"%s\" is not the name of a systemd slice",
                       slice);
    for (const char *dash = strchr(slice, '-'); dash; dash = strchr(dash + 1, '-'))
        strbuf_add(b, "/%.*s.slice", (int)(dash - slice), slice);
    strbuf_add(b, "/%s", slice);
    return 0;
}

/*
 * "slice:prefix:name": the scope prefix-name.scope in that slice. Where systemd runs it is asked
 * for the scope (systemd.c), since it owns the tree: a directory made behind its back loses its
 * limits at the next daemon-reload. Where it does not run, the directory is the scope.
 */
static int systemd_path(struct strbuf *b, const char *spec, struct err *e)
{
    cleanup_free char *copy = strdup(spec);
    char *prefix = copy ? strchr(copy, ':') : NULL;
    char *name = prefix ? strchr(prefix + 1, ':') : NULL;
    int r;

    if (!copy)
        return err_set(e, ENOMEM, "out of memory");
    if (!name || strchr(name + 1, ':') || !name[1] || strchr(prefix, '/'))
        return err_set(e, EINVAL,
                       "linux.cgroupsPath must be \"slice:prefix:name\" with --systemd-cgroup, got "
                       "\"%s\"",
                       spec);
    *prefix++ = '\0';
    *name++ = '\0';
    r = add_slice(b, *copy ? copy : "system.slice", e);
    if (r < 0)
        return r;
    if (strlen(name) > strlen(".slice") && strcmp(name + strlen(name) - 6, ".slice") == 0)
        return add_slice(b, name, e);
    strbuf_add(b, "/%s%s%s.scope", prefix, *prefix ? "-" : "", name);
    return 0;
}

int cgroup_path(const char *cgroups_path, const char *id, bool systemd, char **out, struct err *e)
{
    struct strbuf b = {0};
    int r = 0;

    if (cgroups_path && !*cgroups_path)
        cgroups_path = NULL;
    if (systemd && cgroups_path) {
        r = systemd_path(&b, cgroups_path, e);
    } else if (cgroups_path) {
        if (cgroups_path[0] != '/')
            r = add_parent_of_own(&b, e);
        if (r == 0)
            r = add_clean(&b, cgroups_path, e);
    } else {
        if (geteuid() != 0)
            r = add_parent_of_own(&b, e);
        if (r == 0)
            strbuf_add(&b, "%s/%s", CGROUP_DEFAULT_PARENT, id);
    }
    if (r == 0 && b.failed)
        r = err_set(e, ENOMEM, "out of memory");
    if (r == 0 && !b.len)
        r = err_set(e, EINVAL, "linux.cgroupsPath %s is the root of the hierarchy", cgroups_path);
    if (r == 0)
        *out = take_ptr(b.s);
    strbuf_done(&b);
    return r;
}
