/*
 * Finding args[0] inside the container as runc (Go's exec.LookPath) does and with its words, which
 * clients match to choose exit status 126 or 127; and a user's home from /etc/passwd.
 */
#include "agent/child.h"
#include "lib/io.h"
#include "lib/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PASSWD_MAX (1u << 20)

const char *program_env(char *const *env, const char *key)
{
    size_t len = strlen(key);

    for (; env && *env; env++) {
        if (strncmp(*env, key, len) == 0 && (*env)[len] == '=')
            return *env + len + 1;
    }
    return NULL;
}

/* 0, or the errno why this is not a program we may run. */
static int executable(const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return errno;
    if (S_ISDIR(st.st_mode) || !(st.st_mode & 0111))
        return EACCES;
    return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0 ? errno : 0;
}

/* Go's words for the errors that matter here. */
static const char *reason(int code)
{
    switch (code) {
    case ENOENT:
        return "no such file or directory";
    case EACCES:
        return "permission denied";
    case ENOTDIR:
        return "not a directory";
    default:
        return strerror(code);
    }
}

int program_find(const char *arg0, const char *path_env, char *out, size_t size, struct err *e)
{
    int code;

    if (strchr(arg0, '/')) {
        code = executable(arg0);
        if (code == EACCES)
            return err_set(e, EACCES, "exec: \"%s\": permission denied", arg0);
        if (code)
            return err_set(e, code, "exec: \"%s\": stat %s: %s", arg0, arg0, reason(code));
        return str_printf(out, size, "%s", arg0) < 0
                   ? err_set(e, ENAMETOOLONG, "exec: name too long")
                   : 0;
    }
    for (const char *p = path_env; p && *arg0; p++) {
        size_t len = strcspn(p, ":");

        /* an empty element is the current directory */
        if (str_printf(out, size, "%.*s%s%s", len ? (int)len : 1, len ? p : ".", "/", arg0) == 0) {
            if (executable(out) == 0)
                return 0;
        }
        p += len;
        if (!*p)
            break;
    }
    return err_set(e, ENOENT, "exec: \"%s\": executable file not found in $PATH", arg0);
}

/* name:password:uid:gid:gecos:home:shell */
static bool home_of_line(char *line, uint32_t uid, char *out, size_t size)
{
    char *field[7] = {0};
    uint64_t n;

    for (int i = 0; i < 7; i++)
        field[i] = strsep(&line, ":");
    if (!field[5] || str_to_u64(field[2], &n) < 0 || n != uid || field[5][0] != '/')
        return false;
    return str_printf(out, size, "%s", field[5]) == 0;
}

int passwd_home(int fd, uint32_t uid, char *out, size_t size)
{
    char *text = malloc(PASSWD_MAX + 1), *rest = text, *line;
    ssize_t n = text ? io_read_full(fd, text, PASSWD_MAX) : -1;
    int r = -ENOENT;

    if (n >= 0) {
        text[n] = '\0';
        while (r < 0 && (line = strsep(&rest, "\n"))) {
            if (home_of_line(line, uid, out, size))
                r = 0;
        }
    }
    free(text);
    return r;
}
