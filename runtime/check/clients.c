/*
 * Whether podman and containerd are set up to call us. Their files are TOML; what is looked for is
 * one kind of line in one kind of section, so lines are read, not the language. Never more than
 * information: containers run without.
 */
#include "lib/cleanup.h"
#include "lib/io.h"
#include "runtime/check/check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#define CONF_MAX (1u << 20)

/* --- reading ---------------------------------------------------------------------------------- */

/* Does a quoted string in [p, end) end in /bulkhead (or is just that)? */
static bool names_us(const char *p, const char *end)
{
    static const char us[] = "bulkhead";

    while (p < end && (p = memchr(p, '"', (size_t)(end - p))) != NULL) {
        const char *close = memchr(p + 1, '"', (size_t)(end - p - 1));
        if (close == NULL)
            return false;
        size_t len = (size_t)(close - p - 1);
        if (len >= sizeof us - 1 && memcmp(close - (sizeof us - 1), us, sizeof us - 1) == 0 &&
            (len == sizeof us - 1 || close[-(ptrdiff_t)sizeof us] == '/'))
            return true;
        p = close + 1;
    }
    return false;
}

static const char *line_end(const char *p)
{
    return p + strcspn(p, "\n");
}

static const char *skip_blanks(const char *p)
{
    return p + strspn(p, " \t");
}

/* The name before a '=', if there is one in the line. */
static size_t key_length(const char *p, const char *end)
{
    size_t n = strspn(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
    const char *after = skip_blanks(p + n);

    return n && after < end && *after == '=' ? n : 0;
}

bool check_podman_conf(const char *text, char *name, size_t size)
{
    bool inside = false;

    if (size)
        *name = '\0';
    for (const char *p = text; *p; p += *p == '\n') {
        const char *end = line_end(p);
        const char *word = skip_blanks(p);
        size_t key = key_length(word, end);
        p = end;
        if (*word == '#' || word == end)
            continue;
        if (*word == '[') {
            inside = str_starts(word, "[engine.runtimes]");
            continue;
        }
        if (!inside)
            continue;
        if (key)
            snprintf(name, size, "%.*s", (int)key, word);
        if (*name && names_us(word, end))
            return true;
    }
    return false;
}

bool check_containerd_conf(const char *text)
{
    for (const char *p = text; *p; p += *p == '\n') {
        const char *end = line_end(p);
        const char *word = skip_blanks(p);
        size_t key = key_length(word, end);
        p = end;
        if (key == strlen("BinaryName") && strncmp(word, "BinaryName", key) == 0 &&
            names_us(word, end))
            return true;
    }
    return false;
}

/* --- looking ---------------------------------------------------------------------------------- */

static bool installed(const char *program)
{
    static const char *const dirs[] = {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin",
                                       "/usr/bin",        "/sbin",          "/bin"};
    char path[PATH_MAX];

    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
        snprintf(path, sizeof path, "%s/%s", dirs[i], program);
        if (access(path, X_OK) == 0)
            return true;
    }
    return false;
}

static bool podman_file(const char *path, char *name, size_t size)
{
    cleanup_free char *text = NULL;
    struct err ignored = ERR_INIT;

    return io_read_file(AT_FDCWD, path, CONF_MAX, &text, NULL, &ignored) >= 0 &&
           check_podman_conf(text, name, size);
}

/* *.conf of a directory. */
static bool podman_dir(const char *path, char *name, size_t size)
{
    DIR *dir = opendir(path);
    bool found = false;
    char file[PATH_MAX];
    const struct dirent *d;

    while (dir && !found && (d = readdir(dir)) != NULL) {
        size_t len = strlen(d->d_name);
        if (len > 5 && strcmp(d->d_name + len - 5, ".conf") == 0 &&
            str_printf(file, sizeof file, "%s/%s", path, d->d_name) == 0)
            found = podman_file(file, name, size);
    }
    if (dir)
        closedir(dir);
    return found;
}

struct advice {
    char text[PATH_MAX + 128];
};

/* Names this very program, wherever it is installed. */
static const char *advise(struct advice *a, const char *before, const char *after)
{
    char path[PATH_MAX] = {0};
    bool known = readlink("/proc/self/exe", path, sizeof path - 1) > 0;

    snprintf(a->text, sizeof a->text, "%s\"%s\"%s", before, known ? path : "PATH", after);
    return a->text;
}

static void check_podman(struct check_report *r)
{
    static const struct check_found found = {"podman", "podman is set up to call us", CHECK_INFO,
                                             ""};
    const char *own = getenv("CONTAINERS_CONF");
    struct advice mend = {.text = ""};
    char name[64];

    if (!installed("podman")) {
        check_add(r, &found, CHECK_SKIP, NULL, "podman is not installed");
        return;
    }
    if ((own && *own && podman_file(own, name, sizeof name)) ||
        podman_dir("/etc/containers/containers.conf.d", name, sizeof name) ||
        podman_file("/etc/containers/containers.conf", name, sizeof name) ||
        podman_file("/usr/share/containers/containers.conf", name, sizeof name))
        check_add(r, &found, CHECK_PASS, NULL, "podman --runtime %s", name);
    else
        check_add(r, &found, CHECK_SKIP,
                  advise(&mend,
                         "in /etc/containers/containers.conf: [engine.runtimes] bulkhead = [", "]"),
                  "no containers.conf names bulkhead; podman --runtime PATH works without");
}

static void check_containerd(struct check_report *r)
{
    static const struct check_found found = {"containerd", "containerd is set up to call us",
                                             CHECK_INFO, ""};
    cleanup_free char *text = NULL;
    struct err ignored = ERR_INIT;
    struct advice mend = {.text = ""};
    int n = io_read_file(AT_FDCWD, "/etc/containerd/config.toml", CONF_MAX, &text, NULL, &ignored);

    if (!installed("containerd"))
        check_add(r, &found, CHECK_SKIP, NULL, "containerd is not installed");
    else if (n >= 0 && check_containerd_conf(text))
        check_add(r, &found, CHECK_PASS, NULL, "/etc/containerd/config.toml names bulkhead");
    else
        check_add(
            r, &found, CHECK_SKIP,
            advise(&mend,
                   "for CRI: a runtime of type io.containerd.runc.v2 with options.BinaryName = ",
                   " in /etc/containerd/config.toml"),
            "its configuration does not name bulkhead; ctr run --runc-binary PATH works "
            "without");
}

void check_clients(struct check_report *r)
{
    check_podman(r);
    check_containerd(r);
}
