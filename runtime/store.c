/*
 * The state directories: names, locks, state.json as a file. What a state means is in state.c.
 * Owns nothing but the descriptors in struct store.
 */
#include "runtime/store.h"

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/json.h"
#include "lib/names.h"
#include "lib/path.h"
#include "lib/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define STATE_FILE "state.json"

int store_check_id(const char *id, struct err *e)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.";

    if (!*id)
        return err_set(e, EINVAL, "container id cannot be empty");
    if (strlen(id) > CONTAINER_ID_MAX)
        return err_set(e, ENAMETOOLONG, "container id is too long: %zu characters, %d are allowed",
                       strlen(id), CONTAINER_ID_MAX);
    if (strcmp(id, ".") == 0 || strcmp(id, "..") == 0)
        return err_set(e, EINVAL, "container id \"%s\" is not allowed: it names a directory", id);
    if (strchr(id, '/'))
        return err_set(e, EINVAL, "container id \"%s\" is not allowed: it has a '/'", id);
    if (id[strspn(id, allowed)])
        return err_set(e, EINVAL,
                       "container id \"%s\" is not allowed: only letters, digits and _ + - . are",
                       id);
    return 0;
}

static int fill(struct store *s, const char *root, const char *id, struct err *e)
{
    size_t len = strlen(root) + strlen(id) + 2;

    s->root = strdup(root);
    s->id = strdup(id);
    s->path = malloc(len);
    if (!s->root || !s->id || !s->path) {
        err_set(e, ENOMEM, "state directory: out of memory");
        return -ENOMEM;
    }
    snprintf(s->path, len, "%s/%s", root, id);
    return 0;
}

void store_close(struct store *s)
{
    close_fd(&s->dir);
    free(s->root);
    free(s->path);
    free(s->id);
    s->root = s->path = s->id = NULL;
}

static int no_container(const struct store *s, struct err *e)
{
    return err_set(e, ENOENT, "container does not exist: there is no %s in %s (--root)", s->id,
                   s->root);
}

int store_lock(struct store *s, struct err *e)
{
    struct stat st;

    while (flock(s->dir, LOCK_EX) < 0)
        if (errno != EINTR)
            return err_errno(e, "lock %s", s->path);
    /* whoever held it may have removed it */
    if (fstat(s->dir, &st) < 0 || st.st_nlink == 0) {
        flock(s->dir, LOCK_UN);
        return no_container(s, e);
    }
    return 0;
}

bool store_busy(const struct store *s)
{
    if (flock(s->dir, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK;
    flock(s->dir, LOCK_UN);
    return false;
}

void store_unlock(struct store *s)
{
    flock(s->dir, LOCK_UN);
}

/* Opens the directory at s->path, locked or not. */
static int open_dir(struct store *s, bool lock, struct err *e)
{
    int r = 0;

    s->dir = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (s->dir < 0)
        r = errno == ENOENT ? no_container(s, e) : err_errno(e, "open %s", s->path);
    return r == 0 && lock ? store_lock(s, e) : r;
}

int store_create(const char *root, const char *id, struct store *out, struct err *e)
{
    struct store s = STORE_INIT;
    int r = store_check_id(id, e);

    if (r == 0)
        r = path_mkdirs(root, 0711, e);
    if (r == 0)
        r = fill(&s, root, id, e);
    if (r == 0 && mkdir(s.path, 0700) < 0) {
        r = errno == EEXIST ? err_set(e, EEXIST,
                                      "container with given ID already exists: %s (`bulkhead "
                                      "delete` removes it)",
                                      id)
                            : err_errno(e, "mkdir %s", s.path);
    } else if (r == 0) {
        r = open_dir(&s, true, e);
        if (r < 0 && r != -ENOENT) /* that one has gone, and the name may be another's by now */
            (void)rmdir(s.path);
    }
    if (r < 0)
        store_close(&s);
    else
        *out = s;
    return r;
}

int store_open(const char *root, const char *id, bool lock, struct store *out, struct err *e)
{
    struct store s = STORE_INIT;
    int r = store_check_id(id, e);

    if (r == 0)
        r = fill(&s, root, id, e);
    if (r == 0)
        r = open_dir(&s, lock, e);
    if (r < 0)
        store_close(&s);
    else
        *out = s;
    return r;
}

/* state.json goes last: what is left of a delete that was killed can be found and deleted again. */
int store_remove(struct store *s, struct err *e)
{
    cleanup_fd int copy = openat(s->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = copy < 0 ? NULL : fdopendir(copy);
    int r = 0;

    if (!d)
        return err_errno(e, "read %s", s->path);
    (void)take_fd(&copy); /* it is d's now */
    for (struct dirent *entry; r == 0 && (entry = readdir(d));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            strcmp(entry->d_name, STATE_FILE) != 0)
            r = path_remove_tree(s->dir, entry->d_name, e);
    closedir(d);
    if (r == 0 && unlinkat(s->dir, STATE_FILE, 0) < 0 && errno != ENOENT)
        r = err_errno(e, "remove %s/" STATE_FILE, s->path);
    if (r == 0 && rmdir(s->path) < 0 && errno != ENOENT)
        r = err_errno(e, "remove %s", s->path);
    return r;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int store_list(const char *root, char ***out, struct err *e)
{
    DIR *d = opendir(root);
    char **names = calloc(1, sizeof *names);
    size_t n = 0;

    if (!names)
        goto no_memory;
    if (!d && errno != ENOENT) {
        free(names);
        return err_errno(e, "read %s", root);
    }
    for (struct dirent *entry; d && (entry = readdir(d));) {
        struct err ignored = ERR_INIT;
        if (entry->d_name[0] == '.' || store_check_id(entry->d_name, &ignored) < 0 ||
            (entry->d_type != DT_DIR && entry->d_type != DT_UNKNOWN))
            continue;
        char **grown = realloc(names, (n + 2) * sizeof *names);
        if (!grown)
            goto no_memory;
        names = grown;
        names[n + 1] = NULL;
        names[n] = strdup(entry->d_name);
        if (!names[n++])
            goto no_memory;
    }
    if (d)
        closedir(d);
    qsort(names, n, sizeof *names, by_name);
    *out = names;
    return 0;
no_memory:
    if (d)
        closedir(d);
    strv_free(names);
    return err_set(e, ENOMEM, "read %s: out of memory", root);
}
