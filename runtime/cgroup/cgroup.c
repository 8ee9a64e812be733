/*
 * The container's cgroup on the host: creation, killing and removal. cgroup v2 only; on a
 * host with both hierarchies (v2 at /sys/fs/cgroup/unified) grouping and killing work there, and
 * limits do not, since v1 holds the controllers. No state: the file system
 * has it.
 *
 * Names are resolved one component at a time below an open descriptor of the hierarchy, with
 * O_NOFOLLOW, so a path means what it says.
 */
#include "runtime/cgroup/cgroup.h"

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "lib/path.h"
#include "lib/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>

#define CGROUP_FILE_MAX (1u << 20) /* cgroup.procs of a hundred thousand processes */
#define KILL_WAIT_MS    10000      /* a killed process that is this slow hangs in the kernel */
#define CREATE_TRIES    8

static const char *const mounts[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};

/* Opens the root of the v2 hierarchy. */
static int open_root(struct err *e)
{
    for (size_t i = 0; i < ARRAY_SIZE(mounts); i++) {
        cleanup_fd int fd = open(mounts[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct statfs fs;

        if (fd >= 0 && fstatfs(fd, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC)
            return take_fd(&fd);
    }
    return err_set(
        e, ENOENT,
        "no cgroup v2 hierarchy at %s: mount one (mount -t cgroup2 none %s) or boot with "
        "systemd.unified_cgroup_hierarchy=1",
        mounts[0], mounts[0]);
}

/* Opens the cgroup `path`; -ENOENT (without a message of note) when it is not there. */
static int open_path(const char *path, struct err *e)
{
    cleanup_fd int root = open_root(e);
    const char *p = path;
    int fd;

    if (root < 0)
        return root;
    while (*p == '/')
        p++;
    if (!*p)
        return take_fd(&root);
    fd = path_open_in(root, p, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW, 0);
    if (fd < 0)
        return err_set(e, -fd, "cgroup %s: %s", path, strerror(-fd));
    return fd;
}

/* --- creation --------------------------------------------------------------------------------- */

/* Is `word` one of the blank-separated words of text? */
static bool has_word(const char *text, const char *word)
{
    size_t len = strlen(word);

    for (const char *p = strstr(text, word); p; p = strstr(p + 1, word)) {
        if ((p == text || p[-1] == ' ') && (p[len] == ' ' || p[len] == '\n' || !p[len]))
            return true;
    }
    return false;
}

/* Does a cgroup other than the root hold processes itself? */
static bool is_inhabited(int dir)
{
    cleanup_fd int fd = openat(dir, "cgroup.procs", O_RDONLY | O_CLOEXEC);
    char c;

    return faccessat(dir, "cgroup.type", F_OK, 0) == 0 && (fd < 0 || read(fd, &c, 1) != 0);
}

/*
 * Lets the children of a cgroup have the controllers that limits need, one by one: each may be
 * absent. Not where processes live in it: then some controllers are barred, and the others (cpu,
 * pids) would make it a threaded one, whose children can hold no processes. What cannot be had is
 * missed by whoever sets a limit with it.
 */
static void enable_controllers(int dir)
{
    static const char *const wanted[] = {"cpu", "cpuset", "io", "memory", "pids", "hugetlb"};
    cleanup_free char *have = NULL, *on = NULL;
    struct err ignored = ERR_INIT;

    if (is_inhabited(dir) ||
        io_read_file(dir, "cgroup.controllers", CGROUP_FILE_MAX, &have, NULL, &ignored) < 0 ||
        io_read_file(dir, "cgroup.subtree_control", CGROUP_FILE_MAX, &on, NULL, &ignored) < 0)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
        char word[16];

        if (!has_word(have, wanted[i]) || has_word(on, wanted[i]) ||
            str_printf(word, sizeof(word), "+%s", wanted[i]) < 0)
            continue;
        if (io_write_file(dir, "cgroup.subtree_control", word, &ignored) < 0)
            continue;
    }
}

/* Makes (or finds) one component below *dir and moves there. */
static int descend(int *dir, const char *name, struct err *e)
{
    int fd;

    if (mkdirat(*dir, name, 0755) < 0 && errno != EEXIST)
        return err_errno(e, "create it at \"%s\"", name);
    fd = openat(*dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return err_errno(e, "open it at \"%s\"", name);
    close(*dir);
    *dir = fd;
    return 0;
}

/* Another container's removal may take an empty parent away under us: -ENOENT. */
static int try_create(const char *path, int *fd_out, struct err *e)
{
    cleanup_free char *copy = strdup(path);
    cleanup_fd int dir = open_root(e);
    char *save = NULL;
    int r = 0;

    if (dir < 0)
        return dir;
    if (!copy)
        return err_set(e, ENOMEM, "out of memory");
    for (char *c = strtok_r(copy, "/", &save); c && r == 0; c = strtok_r(NULL, "/", &save)) {
        enable_controllers(dir);
        r = descend(&dir, c, e);
    }
    if (r == 0)
        *fd_out = take_fd(&dir);
    return r;
}

/* The value of `key` in a flat keyed file such as cgroup.events; -errno. */
static int read_event(int fd, const char *key)
{
    char text[256], *at;
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

    if (n < 0)
        return -errno;
    text[n] = '\0';
    at = strstr(text, key);
    return at ? at[strlen(key)] == '1' : -ENODATA;
}

static int populated(int dir)
{
    cleanup_fd int fd = openat(dir, "cgroup.events", O_RDONLY | O_CLOEXEC);

    return fd < 0 ? -errno : read_event(fd, "populated ");
}

int cgroup_create(const char *path, int *fd_out, struct err *e)
{
    cleanup_fd int fd = -1;
    int r = -ENOENT;

    for (int i = 0; i < CREATE_TRIES && r == -ENOENT; i++)
        r = try_create(path, &fd, e);
    if (r < 0)
        return err_wrap(e, "cgroup %s", path);
    r = populated(fd);
    if (r < 0)
        return err_set(e, -r, "cgroup %s: cannot tell whether it is empty: %s", path, strerror(-r));
    if (r > 0)
        return err_set(e, EBUSY, "cgroup %s exists and holds processes", path);
    *fd_out = take_fd(&fd);
    return 0;
}

int cgroup_open(const char *path, int *fd_out, struct err *e)
{
    int fd = open_path(path, e);

    if (fd < 0)
        return fd;
    *fd_out = fd;
    return 0;
}

/* --- removal ---------------------------------------------------------------------------------- */

/* Waits until nobody is in it. A cgroup that vanishes meanwhile is -ENODEV, the deadline
 * -ETIMEDOUT. */
static int wait_empty(int dir, int64_t deadline)
{
    cleanup_fd int fd = openat(dir, "cgroup.events", O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return errno == ENOENT ? -ENODEV : -errno;
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLPRI};
        int64_t left = deadline - monotonic_ms();
        int v = read_event(fd, "populated ");

        if (v <= 0)
            return v;
        if (left <= 0)
            return -ETIMEDOUT;
        if (poll(&p, 1, (int)left) < 0 && errno != EINTR)
            return -errno;
    }
}

/* Removes all cgroups below dir, children first. */
static int remove_below(int dir, struct err *e)
{
    int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = copy < 0 ? NULL : fdopendir(copy);
    const struct dirent *entry;
    int r = 0;

    if (!d) {
        r = err_errno(e, "read the cgroup");
        if (copy >= 0)
            close(copy);
        return r;
    }
    while (r == 0 && (entry = readdir(d))) {
        cleanup_fd int child = -1;

        if (entry->d_type != DT_DIR || !path_is_clean_name(entry->d_name))
            continue;
        child = openat(dir, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (child < 0)
            continue; /* gone meanwhile */
        r = remove_below(child, e);
        if (r == 0 && unlinkat(dir, entry->d_name, AT_REMOVEDIR) < 0 && errno != ENOENT)
            r = err_errno(e, "remove \"%s\"", entry->d_name);
    }
    closedir(d);
    return r;
}

/* Kills, waits, and removes all below dir; -EBUSY when something came in meanwhile. */
static int empty(int dir, int64_t deadline, struct err *e)
{
    int r = io_write_file(dir, "cgroup.kill", "1", e);

    if (r == -ENOENT && faccessat(dir, "cgroup.procs", F_OK, 0) == 0)
        return err_set(e, ENOTSUP,
                       "it has no cgroup.kill: the host's kernel must be 5.14 or newer");
    if (r == -ENOENT || r == -ENODEV)
        return 0; /* removed by someone else */
    if (r < 0)
        return r;
    r = wait_empty(dir, deadline);
    if (r == -ENODEV)
        return 0;
    if (r == -ETIMEDOUT)
        return err_set(e, ETIMEDOUT, "processes in it were killed and do not end");
    if (r < 0)
        return err_set(e, -r, "wait until it is empty: %s", strerror(-r));
    return remove_below(dir, e);
}

/* Are we in the cgroup `path`, or below it? Killing it would kill the killer. */
static int holds_us(const char *path, struct err *e)
{
    cleanup_free char *own = NULL;
    struct err ignored = ERR_INIT;
    size_t len = strlen(path);

    if (cgroup_own(&own, &ignored) < 0)
        return 0;
    if (strncmp(own, path, len) == 0 && (own[len] == '/' || !own[len]))
        return err_set(e, EBUSY, "cgroup %s holds the calling process", path);
    return 0;
}

/* The parent that all containers without a cgroupsPath share goes with the last of them. */
static void remove_default_parent(const char *path, int root)
{
    if (str_starts(path, CGROUP_DEFAULT_PARENT "/") &&
        unlinkat(root, CGROUP_DEFAULT_PARENT + 1, AT_REMOVEDIR) < 0)
        return; /* others are in it */
}

static int destroy(const char *path, int root, struct err *e)
{
    int64_t deadline = monotonic_ms() + KILL_WAIT_MS;
    const struct timespec pause = {0, 1000000};

    for (;;) {
        cleanup_fd int dir = open_path(path, e);
        int r = dir < 0 ? dir : empty(dir, deadline, e);

        if (r == -ENOENT)
            return 0;
        if (r == 0 && unlinkat(root, path + strspn(path, "/"), AT_REMOVEDIR) < 0)
            r = err_errno(e, "remove it");
        if (r != -EBUSY || monotonic_ms() >= deadline)
            return r == -ENOENT ? 0 : r;
        nanosleep(&pause, NULL); /* a process or a child came in between: once more */
    }
}

int cgroup_empty(const char *path, struct err *e)
{
    cleanup_fd int dir = -1;
    int r = holds_us(path, e);

    if (r < 0)
        return r;
    dir = open_path(path, e);
    if (dir == -ENOENT)
        return 0;
    r = dir < 0 ? dir : empty(dir, monotonic_ms() + KILL_WAIT_MS, e);
    return r < 0 ? err_wrap(e, "cgroup %s", path) : 0;
}

int cgroup_destroy(const char *path, struct err *e)
{
    cleanup_fd int root = open_root(e);
    int r;

    if (root < 0)
        return root;
    if (!path[strspn(path, "/")])
        return err_set(e, EINVAL, "the root of the cgroup hierarchy is not ours to remove");
    r = holds_us(path, e);
    if (r < 0)
        return r;
    r = destroy(path, root, e);
    if (r < 0)
        return err_wrap(e, "cgroup %s", path);
    remove_default_parent(path, root);
    return 0;
}

void cgroup_remove_empty(const char *path)
{
    struct err ignored = ERR_INIT;
    const char *below = path + strspn(path, "/");
    cleanup_fd int root = open_root(&ignored);

    /* it may have got no further than the parent */
    if (root >= 0 && *below && (unlinkat(root, below, AT_REMOVEDIR) == 0 || errno == ENOENT))
        remove_default_parent(path, root);
}
