/*
 * The log. Its level and file are the one piece of file-scope state in the project: set once by a
 * main. A message is one write(2), so that lines of several processes do not mix.
 */
#include "lib/log.h"

#include "lib/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOG_MESSAGE_MAX 2048

static struct {
    int fd;
    bool json;
    enum log_level level;
} state = {-1, false, LOG_LEVEL_INFO};

static const char *const level_names[] = {"error", "warning", "info", "debug"};

int log_open(const char *path, bool json, enum log_level level, struct err *e)
{
    int fd = -1;

    if (path) {
        fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        if (fd < 0)
            return err_errno(e, "open log file %s", path);
    }
    log_close();
    state.fd = fd;
    state.json = json;
    state.level = level;
    return 0;
}

void log_close(void)
{
    if (state.fd >= 0)
        close(state.fd);
    state.fd = -1;
}

/* Escapes msg as the inside of a quoted string, JSON's way (Go's %q agrees on what matters). */
static void add_quoted(struct strbuf *b, const char *msg)
{
    strbuf_add(b, "\"");
    for (const unsigned char *p = (const unsigned char *)msg; *p; p++) {
        if (*p == '"' || *p == '\\')
            strbuf_add(b, "\\%c", *p);
        else if (*p == '\n')
            strbuf_add(b, "\\n");
        else if (*p == '\t')
            strbuf_add(b, "\\t");
        else if (*p < 0x20 || *p == 0x7f)
            strbuf_add(b, "\\u%04x", *p);
        else if (str_is_c1((const char *)p))
            strbuf_add(b, "\\u%04x", *++p);
        else
            strbuf_add_bytes(b, p, 1);
    }
    strbuf_add(b, "\"");
}

static void write_line(int fd, bool json, const char *level, const char *msg)
{
    struct strbuf b = {0};
    struct timespec now;
    struct tm tm;
    char when[32];

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
    if (json)
        strbuf_add(&b, "{\"level\":\"%s\",\"msg\":", level);
    else
        strbuf_add(&b, "time=\"%s\" level=%s msg=", when, level);
    add_quoted(&b, msg);
    if (json)
        strbuf_add(&b, ",\"time\":\"%s\"}", when);
    strbuf_add(&b, "\n");
    if (!b.failed && write(fd, b.s, b.len) < 0) {
        /* there is nowhere left to say so */
    }
    strbuf_done(&b);
}

void log_at(enum log_level level, const char *fmt, ...)
{
    char msg[LOG_MESSAGE_MAX];
    int saved = errno;
    va_list ap;

    if (level > state.level)
        return;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    if (state.fd >= 0)
        write_line(state.fd, state.json, level_names[level], msg);
    if (state.fd < 0 || level <= LOG_LEVEL_WARNING)
        write_line(STDERR_FILENO, state.fd < 0 && state.json, level_names[level], msg);
    errno = saved;
}
