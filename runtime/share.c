/* Clones of host trees for bulkhead-fs. Owns the descriptors in struct share, nothing else. */
#include "runtime/share.h"

#include "lib/cleanup.h"
#include "lib/names.h"
#include "lib/str.h"
#include "runtime/overlay.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>

#define DEVPTS_MAGIC 0x1cd1
#define MQUEUE_MAGIC 0x19800202
#define SHM_PATH     "/dev/shm"

/* File systems whose files are doors into the host's kernel. */
static const struct {
    long magic;
    const char *name;
} kernel_files[] = {
    {PROC_SUPER_MAGIC, "proc"},       {SYSFS_MAGIC, "sysfs"},     {CGROUP_SUPER_MAGIC, "cgroup"},
    {CGROUP2_SUPER_MAGIC, "cgroup2"}, {DEVPTS_MAGIC, "devpts"},   {DEBUGFS_MAGIC, "debugfs"},
    {TRACEFS_MAGIC, "tracefs"},       {NSFS_MAGIC, "namespaces"}, {BPF_FS_MAGIC, "bpf"},
    {SECURITYFS_MAGIC, "securityfs"}, {MQUEUE_MAGIC, "mqueue"},
};

void share_done(struct share *s)
{
    for (size_t i = 0; i < s->n; i++) {
        close_fd(&s->trees[i].fd);
        free(s->trees[i].name);
    }
    free(s->trees);
    for (size_t i = 0; i < s->nviews; i++) {
        free(s->views[i].destination);
        free(s->views[i].tree);
    }
    free(s->views);
    *s = (struct share){0};
}

/* How a mount is to be cloned. */
struct clone {
    bool recursive, readonly, slave;
};

static int limit_tree(int fd, const char *path, const struct clone *c, struct err *e)
{
    struct mount_attr attr = {
        .attr_set = MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | (c->readonly ? MOUNT_ATTR_RDONLY : 0u),
        .propagation = c->slave ? MS_SLAVE : MS_PRIVATE,
    };

    if (syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH | (c->recursive ? AT_RECURSIVE : 0), &attr,
                sizeof attr) < 0)
        return err_errno(e, "share %s: set its mount attributes", path);
    return 0;
}

/* What lies at `at`, an O_PATH descriptor that has been looked at; path is for messages. */
static int clone_tree(int at, const char *path, const struct clone *c, struct err *e)
{
    unsigned flags =
        OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | (c->recursive ? AT_RECURSIVE : 0u);
    cleanup_fd int fd = (int)syscall(SYS_open_tree, at, "", flags);

    if (fd < 0 && errno == EPERM)
        return err_set(e, EPERM,
                       "share %s: no right to clone a mount (run bulkhead as root, with "
                       "CAP_SYS_ADMIN)",
                       path);
    if (fd < 0)
        return err_errno(e, "share %s", path);
    return limit_tree(fd, path, c, e) < 0 ? -e->code : take_fd(&fd);
}

static int add_tree(struct share *s, int fd, const char *name, bool readonly, struct err *e)
{
    struct share_tree *grown;
    char *copy;

    if (s->n == SHARE_TREES_MAX) {
        close(fd);
        return err_set(e, E2BIG, "mounts: more than %d trees of the host", SHARE_TREES_MAX);
    }
    grown = realloc(s->trees, (s->n + 1) * sizeof *grown);
    if (grown)
        s->trees = grown;
    copy = strdup(name);
    if (!grown || !copy) {
        free(copy);
        close(fd);
        return err_set(e, ENOMEM, "share: out of memory");
    }
    s->trees[s->n++] = (struct share_tree){.fd = fd, .name = copy, .readonly = readonly};
    return 0;
}

static int add_view(struct share *s, const char *destination, const char *tree, struct err *e)
{
    struct share_view *grown = realloc(s->views, (s->nviews + 1) * sizeof *grown);
    struct share_view view = {strdup(destination), tree ? strdup(tree) : NULL};

    if (grown)
        s->views = grown;
    if (!grown || !view.destination || (tree && !view.tree)) {
        free(view.destination);
        free(view.tree);
        return err_set(e, ENOMEM, "share: out of memory");
    }
    s->views[s->nviews++] = view;
    return 0;
}

static int add_root(struct share *s, const struct spec *spec, int bundle_fd, const char *id,
                    struct err *e)
{
    const struct clone c = {.recursive = true};
    char name[CONTAINER_ID_MAX + 16];
    struct stat st;

    if (!spec->root_path)
        return err_set(e, EINVAL, "root.path is missing");
    cleanup_fd int at = openat(bundle_fd, spec->root_path, O_PATH | O_CLOEXEC);
    if (at < 0 || fstat(at, &st) < 0)
        return err_errno(e, "root.path %s", spec->root_path);
    if (!S_ISDIR(st.st_mode))
        return err_set(e, ENOTDIR, "root.path %s is not a directory", spec->root_path);
    int fd = clone_tree(at, spec->root_path, &c, e);
    if (fd < 0)
        return err_wrap(e, "root.path");
    snprintf(name, sizeof name, "%s/rootfs", id);
    return add_tree(s, fd, name, false, e);
}

/* --- one mount -------------------------------------------------------------------------------- */

static int check_source(int fd, const char *source, struct err *e)
{
    struct statfs fs;
    struct stat st;

    if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
        return err_errno(e, "%s", source);
    if (S_ISSOCK(st.st_mode))
        return err_set(e, ENOTSUP,
                       "source %s is a Unix socket: the other end would be in another "
                       "kernel (use a network or vsock connection)",
                       source);
    if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
        return err_set(e, ENOTSUP, "source %s is a device of the host, which the VM does not have",
                       source);
    if (S_ISFIFO(st.st_mode))
        return err_set(e, ENOTSUP, "source %s is a fifo: its other end would be in another kernel",
                       source);
    for (size_t i = 0; i < ARRAY_SIZE(kernel_files); i++)
        if (fs.f_type == kernel_files[i].magic)
            return err_set(e, ENOTSUP,
                           "source %s belongs to the host's kernel (%s): the container "
                           "has a kernel of its own",
                           source, kernel_files[i].name);
    return 0;
}

/* The mount with another type and source; options as given (new reference taken). */
static json_t *rewritten(const struct spec_mount *m, const char *type, const char *source,
                         json_t *options)
{
    return json_pack("{s:s, s:s, s:s, s:o}", "destination", m->destination, "type", type, "source",
                     source, "options", options);
}

static json_t *copy_options(const struct spec_mount *m, bool (*keep)(const char *option))
{
    json_t *list = json_array();

    for (char **o = m->options; o && *o && list; o++)
        if (!keep || keep(*o))
            json_array_append_new(list, json_string(*o));
    return list;
}

static bool is_access_option(const char *o)
{
    static const char *const names[] = {"ro",    "rw",  "nosuid", "suid",
                                        "nodev", "dev", "noexec", "exec"};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (strcmp(o, names[i]) == 0)
            return true;
    return false;
}

/* A tmpfs of the guest in place of the host's. */
static json_t *guest_shm(const struct spec_mount *m, const struct statfs *fs)
{
    json_t *options = copy_options(m, is_access_option);
    char size[64];

    json_array_append_new(options, json_string("mode=1777"));
    if (fs->f_blocks) {
        snprintf(size, sizeof size, "size=%llu",
                 (unsigned long long)fs->f_blocks * (unsigned long long)fs->f_bsize);
        json_array_append_new(options, json_string(size));
    }
    return rewritten(m, "tmpfs", "shm", options);
}

static bool same_path(const char *path, const char *clean)
{
    for (; *clean; clean++) {
        while (path[0] == '/' && path[1] == '/')
            path++;
        if (*path++ != *clean)
            return false;
    }
    while (*path == '/')
        path++;
    return *path == '\0';
}

/* Where container mounts are shared from. */
struct bundle {
    const char *id, *path;
    int fd;
};

static struct clone clone_of(const struct spec_mount_flags *f)
{
    return (struct clone){
        .recursive = f->recursive_bind,
        .readonly = (f->set & MS_RDONLY) != 0,
        .slave = (f->propagation & MS_SLAVE) != 0,
    };
}

/* The tree `fd` (taken) as the guest's bind mount with these options (new reference taken). */
static int add_shared(struct share *s, const struct spec_mount *m, int fd, bool readonly,
                      json_t *options, const char *id, json_t **out, struct err *e)
{
    char name[CONTAINER_ID_MAX + 32], source[sizeof SHARE_DIR + sizeof name];
    int r;

    snprintf(name, sizeof name, "%s/mounts/%zu", id, s->n);
    snprintf(source, sizeof source, SHARE_DIR "/%s", name);
    r = add_tree(s, fd, name, readonly, e);
    if (r == 0)
        r = add_view(s, m->destination, name, e);
    if (r < 0)
        json_decref(options);
    else
        *out = rewritten(m, "bind", source, options);
    return r;
}

static int add_overlay(struct share *s, const struct spec_mount *m,
                       const struct spec_mount_flags *f, const struct bundle *b, json_t **out,
                       struct err *e)
{
    const struct clone c = clone_of(f);
    cleanup_fd int fd = overlay_mount(f->data, b->path, e);

    if (fd < 0 || limit_tree(fd, "the overlay", &c, e) < 0)
        return -e->code;
    return add_shared(s, m, take_fd(&fd), c.readonly, copy_options(m, spec_mount_option_known),
                      b->id, out, e);
}

static int add_bind(struct share *s, const struct spec_mount *m, const struct spec_mount_flags *f,
                    const struct bundle *b, json_t **out, struct err *e)
{
    const struct clone c = clone_of(f);
    struct statfs fs;

    if (!m->source || !*m->source)
        return err_set(e, EINVAL, "source is missing");
    cleanup_fd int at = openat(b->fd, m->source, O_PATH | O_CLOEXEC);
    if (at < 0)
        return err_errno(e, "source %s", m->source);
    if (same_path(m->destination, SHM_PATH) && fstatfs(at, &fs) == 0 && fs.f_type == TMPFS_MAGIC) {
        *out = guest_shm(m, &fs);
        return add_view(s, m->destination, NULL, e);
    }
    int r = check_source(at, m->source, e);
    if (r < 0)
        return r;
    int fd = clone_tree(at, m->source, &c, e);
    if (fd < 0)
        return fd;
    return add_shared(s, m, fd, c.readonly, copy_options(m, NULL), b->id, out, e);
}

static int add_mount(struct share *s, const struct spec_mount *m, const json_t *as_written,
                     const struct bundle *b, json_t **out, struct err *e)
{
    struct spec_mount_flags f = {0};
    int r = spec_mount_flags(m, &f, e);

    if (r < 0)
        return r;
    if (f.bind) {
        r = add_bind(s, m, &f, b, out, e);
    } else if (strcmp(m->type, "overlay") == 0) {
        r = add_overlay(s, m, &f, b, out, e);
    } else { /* made in the guest */
        *out = json_deep_copy(as_written);
        /* the shim has a /proc of its own */
        if (strcmp(m->type, "proc") != 0)
            r = add_view(s, m->destination, NULL, e);
    }
    spec_mount_flags_done(&f);
    return r;
}

int share_open(const struct spec *spec, const char *bundle, const char *id, struct share *out,
               json_t **mounts_out, struct err *e)
{
    cleanup_fd int bundle_fd = open(bundle, O_PATH | O_DIRECTORY | O_CLOEXEC);
    const struct bundle b = {.id = id, .path = bundle, .fd = bundle_fd};
    json_t *written = json_object_get(spec->doc, "mounts"), *mounts = json_array();
    struct share s = {0};
    int r;

    if (bundle_fd < 0) {
        r = err_errno(e, "open bundle %s", bundle);
        goto fail;
    }
    r = add_root(&s, spec, bundle_fd, id, e);
    for (size_t i = 0; r == 0 && i < spec->nmounts; i++) {
        json_t *mount = NULL;
        r = add_mount(&s, &spec->mounts[i], json_array_get(written, i), &b, &mount, e);
        if (r < 0)
            err_wrap(e, "mounts[%zu] (%s)", i, spec->mounts[i].destination);
        else if (!mount || json_array_append_new(mounts, mount) < 0)
            r = err_set(e, ENOMEM, "mounts: out of memory");
    }
    if (r < 0)
        goto fail;
    *out = s;
    *mounts_out = mounts;
    return 0;
fail:
    json_decref(mounts);
    share_done(&s);
    return r;
}
