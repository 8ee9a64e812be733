/*
 * cgroup v2: making, setting, killing, removing. Each limit of linux.resources is one file; errors
 * name both the key of the configuration and the file. What cgroup v2 cannot express was refused
 * before (refuse.c).
 */
#include "agent/cgroup.h"
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/limits.h"
#include "lib/path.h"
#include "lib/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CGROUP_DEPTH_MAX 32

int cgroup_make(const char *dir, const char *name, struct err *e)
{
    cleanup_fd int parent = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cleanup_fd int fd = -1;
    char depth[16];

    if (parent < 0)
        return err_errno(e, "open %s", dir);
    if (mkdirat(parent, name, 0755) < 0)
        return err_errno(e, "make the cgroup %s/%s", dir, name);
    fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, "open the cgroup %s/%s", dir, name);
    /* what the container makes below stays within the reach of walk, or it could not be removed */
    snprintf(depth, sizeof(depth), "%d", CGROUP_DEPTH_MAX);
    if (io_write_file(fd, "cgroup.max.depth", depth, e) < 0) {
        (void)unlinkat(parent, name, AT_REMOVEDIR);
        return err_wrap(e, "limit the depth of the cgroup %s/%s", dir, name);
    }
    return take_fd(&fd);
}

static bool exists(int fd, const char *file)
{
    return faccessat(fd, file, F_OK, 0) == 0;
}

static int set(void *arg, const char *key, const char *file, const char *text, struct err *e)
{
    int fd = *(const int *)arg;

    /* the swap of a guest without swap is nothing, whatever its limit: the file may be missing */
    if (strcmp(key, "memory.swap") == 0 && !exists(fd, file))
        return 0;
    /* a kernel without huge page pools keeps every limit that allows none */
    if (strcmp(key, "hugepageLimits") == 0 && !exists(fd, file))
        return strcmp(text, "0") == 0 ? 0
                                      : err_set(e, ENOTSUP,
                                                "linux.resources.hugepageLimits: the guest kernel "
                                                "has no huge pages to hand out (%s)",
                                                file);
    if (io_write_file(fd, file, text, e) < 0)
        return err_wrap(e, "linux.resources.%s", key);
    return 0;
}

int cgroup_set(int fd, const struct spec_resources *r, struct err *e)
{
    struct spec_resources whole = *r;
    struct limits_quota now;
    uint64_t used = 0;
    char cpu_max[64];

    if (r->memory.limit.set && r->memory.limit.v > 0 && r->memory.check_before_update) {
        (void)cgroup_field(fd, "memory.current", NULL, &used);
        if (used > (uint64_t)r->memory.limit.v)
            return err_set(e, EBUSY,
                           "linux.resources.memory.limit is below what is in use now (%llu bytes)",
                           (unsigned long long)used);
    }
    if (cgroup_read(fd, "cpu.max", cpu_max, sizeof(cpu_max)) > 0 && limits_quota_now(cpu_max, &now))
        limits_keep_quota(&whole, &now);
    return limits_each(&whole, set, &fd, e);
}

int cgroup_kill(int fd)
{
    struct err e = ERR_INIT;

    return io_write_file(fd, "cgroup.kill", "1", &e);
}

ssize_t cgroup_read(int fd, const char *file, char *buf, size_t size)
{
    cleanup_fd int f = openat(fd, file, O_RDONLY | O_CLOEXEC);
    ssize_t n = f < 0 ? -errno : io_read_full(f, buf, size - 1);

    if (n < 0)
        return n;
    buf[n] = '\0';
    return n;
}

/* key NULL: the file is one number. */
int cgroup_field(int fd, const char *file, const char *key, uint64_t *out)
{
    char text[8192], *rest = text, *line;

    if (cgroup_read(fd, file, text, sizeof(text)) <= 0)
        return -ENOENT;
    while ((line = strsep(&rest, "\n"))) {
        char *value = key ? strchr(line, ' ') : line;

        if (!value)
            continue;
        if (key)
            *value++ = '\0';
        if (!key || strcmp(line, key) == 0)
            return str_to_u64(value, out) < 0 ? -ENOENT : 0;
    }
    return -ENOENT;
}

/* Calls fn for every directory below fd, children first. */
typedef int dir_fn(int parent, const char *name, int fd, void *arg);
static int walk(int fd, unsigned depth, dir_fn *fn, void *arg)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
    DIR *d = copy < 0 ? NULL : fdopendir(copy);

    if (!d) {
        close_fd(&copy);
        return -errno;
    }
    for (struct dirent *entry; r == 0 && depth && (entry = readdir(d));) {
        cleanup_fd int child = -1;

        /* a container may call a cgroup ".x" */
        if (entry->d_type != DT_DIR || !path_is_clean_name(entry->d_name))
            continue;
        child = openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (child < 0)
            continue;
        r = walk(child, depth - 1, fn, arg);
        if (r == 0)
            r = fn(fd, entry->d_name, child, arg);
    }
    closedir(d);
    return r;
}

static int remove_dir(int parent, const char *name, int fd, void *arg)
{
    (void)fd;
    (void)arg;
    return unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}

int cgroup_remove(const char *dir, const char *name)
{
    cleanup_fd int parent = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = -1;
    int r;

    if (parent < 0)
        return -errno;
    fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    r = walk(fd, CGROUP_DEPTH_MAX, remove_dir, NULL);
    return r < 0 ? r : remove_dir(parent, name, fd, NULL);
}

struct pids {
    pid_t *v;
    size_t n, cap;
    bool failed;
};

static int collect(int parent, const char *name, int fd, void *arg)
{
    cleanup_fd int f = openat(fd, "cgroup.procs", O_RDONLY | O_CLOEXEC);
    struct pids *p = arg;
    char line[32];
    FILE *in = f < 0 ? NULL : fdopen(f, "re");

    (void)parent;
    (void)name;
    if (!in)
        return 0; /* a threaded cgroup has none to tell */
    (void)take_fd(&f);
    while (fgets(line, sizeof(line), in) && p->n < CGROUP_PIDS_MAX) {
        if (p->n == p->cap) {
            size_t cap = p->cap ? p->cap * 2 : 64;
            pid_t *v = realloc(p->v, cap * sizeof(*v));

            if (!v) {
                p->failed = true;
                break;
            }
            p->v = v;
            p->cap = cap;
        }
        p->v[p->n] = (pid_t)strtol(line, NULL, 10);
        if (p->v[p->n] > 0)
            p->n++;
    }
    fclose(in);
    return 0;
}

int cgroup_processes(int fd, pid_t **out, size_t *n_out, struct err *e)
{
    struct pids p = {0};
    int r = collect(fd, ".", fd, &p);

    if (r == 0)
        r = walk(fd, CGROUP_DEPTH_MAX, collect, &p);
    if (r < 0 || p.failed) {
        free(p.v);
        return err_set(e, r < 0 ? -r : ENOMEM, "list the container's processes");
    }
    *out = p.v;
    *n_out = p.n;
    return 0;
}
