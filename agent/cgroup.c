/*
 * cgroup v2: making, setting, killing, removing. Each limit of linux.resources is one file; errors
 * name both the key of the configuration and the file. What cgroup v2 cannot express was refused
 * before (refuse.c).
 */
#include "agent/cgroup.h"
#include "lib/cleanup.h"
#include "lib/io.h"
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
#define CPU_PERIOD_US    100000

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

static int set(int fd, const char *file, const char *text, const char *key, struct err *e)
{
    if (io_write_file(fd, file, text, e) < 0)
        return err_wrap(e, "linux.resources.%s", key);
    return 0;
}

static int set_num(int fd, const char *file, int64_t v, const char *key, struct err *e)
{
    char text[32];

    if (v < 0)
        return set(fd, file, "max", key, e);
    snprintf(text, sizeof(text), "%lld", (long long)v);
    return set(fd, file, text, key, e);
}

uint64_t cgroup_weight_of_shares(uint64_t shares)
{
    if (shares < 2)
        shares = 2;
    if (shares > 262144)
        shares = 262144;
    return 1 + ((shares - 2) * 9999) / 262142;
}

/* The OCI's swap is memory plus swap, cgroup v2's is swap alone; -1 = no limit, -2 = not given. */
int cgroup_swap_max(const struct spec_resources *r, int64_t *out, struct err *e)
{
    const struct opt_i64 *limit = &r->memory.limit, *swap = &r->memory.swap;

    *out = -2;
    if (!swap->set || swap->v == 0)
        return 0;
    if (swap->v < 0) {
        *out = -1;
        return 0;
    }
    if (!limit->set || limit->v == 0 || limit->v == -1)
        return err_set(e, EINVAL,
                       "linux.resources.memory.swap needs linux.resources.memory.limit as well");
    if (swap->v < limit->v)
        return err_set(e, EINVAL,
                       "linux.resources.memory.swap is memory and swap: it must not be less than "
                       "linux.resources.memory.limit");
    *out = swap->v - limit->v;
    return 0;
}

static int set_memory(int fd, const struct spec_resources *r, struct err *e)
{
    uint64_t used = 0;
    int64_t swap;
    int k = cgroup_swap_max(r, &swap, e);

    if (k < 0)
        return k;
    if (r->memory.limit.set && r->memory.limit.v > 0 && r->memory.check_before_update) {
        (void)cgroup_field(fd, "memory.current", NULL, &used);
        if (used > (uint64_t)r->memory.limit.v)
            return err_set(e, EBUSY,
                           "linux.resources.memory.limit is below what is in use now (%llu bytes)",
                           (unsigned long long)used);
    }
    /* the swap of a guest without swap is nothing, whatever its limit: the file may be missing */
    if (swap != -2 && faccessat(fd, "memory.swap.max", F_OK, 0) == 0)
        k = set_num(fd, "memory.swap.max", swap, "memory.swap", e);
    if (k == 0 && r->memory.limit.set && r->memory.limit.v)
        k = set_num(fd, "memory.max", r->memory.limit.v, "memory.limit", e);
    if (k == 0 && r->memory.reservation.set && r->memory.reservation.v)
        k = set_num(fd, "memory.low", r->memory.reservation.v, "memory.reservation", e);
    return k;
}

static int set_cpu(int fd, const struct spec_resources *r, struct err *e)
{
    char text[64];
    int k = 0;

    if (r->cpu.shares.set && r->cpu.shares.v)
        k = set_num(fd, "cpu.weight", (int64_t)cgroup_weight_of_shares(r->cpu.shares.v),
                    "cpu.shares", e);
    if (k == 0 &&
        ((r->cpu.quota.set && r->cpu.quota.v) || (r->cpu.period.set && r->cpu.period.v))) {
        uint64_t period = r->cpu.period.set && r->cpu.period.v ? r->cpu.period.v : CPU_PERIOD_US;

        if (r->cpu.quota.set && r->cpu.quota.v > 0)
            snprintf(text, sizeof(text), "%lld %llu", (long long)r->cpu.quota.v,
                     (unsigned long long)period);
        else
            snprintf(text, sizeof(text), "max %llu", (unsigned long long)period);
        k = set(fd, "cpu.max", text, "cpu.quota", e);
    }
    if (k == 0 && r->cpu.burst.set)
        k = set_num(fd, "cpu.max.burst", (int64_t)r->cpu.burst.v, "cpu.burst", e);
    if (k == 0 && r->cpu.idle.set)
        k = set_num(fd, "cpu.idle", r->cpu.idle.v, "cpu.idle", e);
    if (k == 0 && r->cpu.cpus && *r->cpu.cpus)
        k = set(fd, "cpuset.cpus", r->cpu.cpus, "cpu.cpus", e);
    if (k == 0 && r->cpu.mems && *r->cpu.mems)
        k = set(fd, "cpuset.mems", r->cpu.mems, "cpu.mems", e);
    return k;
}

static int set_io_values(int fd, const struct spec_dev_values *d, const char *word, const char *key,
                         struct err *e)
{
    char text[96];

    for (size_t i = 0; i < d->n; i++) {
        snprintf(text, sizeof(text), "%lld:%lld %s%llu", (long long)d->v[i].major,
                 (long long)d->v[i].minor, word, (unsigned long long)d->v[i].value);
        if (set(fd, *word ? "io.max" : "io.weight", text, key, e) < 0)
            return -e->code;
    }
    return 0;
}

static int set_io(int fd, const struct spec_resources *r, struct err *e)
{
    int k = 0;

    if (r->block_io.weight.set && r->block_io.weight.v)
        k = set_num(fd, "io.weight", (int64_t)r->block_io.weight.v, "blockIO.weight", e);
    if (k == 0)
        k = set_io_values(fd, &r->block_io.weight_device, "", "blockIO.weightDevice", e);
    if (k == 0)
        k = set_io_values(fd, &r->block_io.read_bps, "rbps=", "blockIO.throttleReadBpsDevice", e);
    if (k == 0)
        k = set_io_values(fd, &r->block_io.write_bps, "wbps=", "blockIO.throttleWriteBpsDevice", e);
    if (k == 0)
        k = set_io_values(fd, &r->block_io.read_iops, "riops=", "blockIO.throttleReadIOPSDevice",
                          e);
    if (k == 0)
        k = set_io_values(fd, &r->block_io.write_iops, "wiops=", "blockIO.throttleWriteIOPSDevice",
                          e);
    return k;
}

static int set_hugepages(int fd, const struct spec_resources *r, struct err *e)
{
    for (size_t i = 0; i < r->nhugepages; i++) {
        char file[64];

        if (str_printf(file, sizeof(file), "hugetlb.%s.max", r->hugepages[i].size) < 0)
            return err_set(e, EINVAL, "linux.resources.hugepageLimits[%zu].pageSize", i);
        /* a kernel without huge page pools keeps every limit that allows none */
        if (faccessat(fd, file, F_OK, 0) < 0) {
            if (r->hugepages[i].limit == 0)
                continue;
            return err_set(e, ENOTSUP,
                           "linux.resources.hugepageLimits[%zu] (%s): the guest kernel has no huge "
                           "pages to hand out",
                           i, r->hugepages[i].size);
        }
        if (set_num(fd, file, (int64_t)(r->hugepages[i].limit & INT64_MAX), "hugepageLimits", e) <
            0)
            return -e->code;
    }
    return 0;
}

static int set_unified(int fd, const struct spec_resources *r, struct err *e)
{
    for (size_t i = 0; i < r->nunified; i++) {
        const char *file = r->unified[i].key;

        if (!path_is_clean_name(file) || !strchr(file, '.') || str_starts(file, "cgroup."))
            return err_set(e, EINVAL,
                           "linux.resources.unified: %s is not a file of a cgroup controller",
                           file);
        if (io_write_file(fd, file, r->unified[i].value, e) < 0)
            return err_wrap(e, "linux.resources.unified");
    }
    return 0;
}

int cgroup_set(int fd, const struct spec_resources *r, struct err *e)
{
    int k = set_memory(fd, r, e);

    if (k == 0)
        k = set_cpu(fd, r, e);
    /* runc leaves pids alone for 0 */
    if (k == 0 && r->pids_limit.set && r->pids_limit.v)
        k = set_num(fd, "pids.max", r->pids_limit.v, "pids.limit", e);
    if (k == 0)
        k = set_io(fd, r, e);
    if (k == 0)
        k = set_hugepages(fd, r, e);
    return k == 0 ? set_unified(fd, r, e) : k;
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
