/*
 * Numbers of a container for STATS and PS, straight from the kernel's files. STATS answers
 *
 *   {"cpu": {<cpu.stat>}, "memory": {"current", "peak", "max", "swap_current", "swap_max",
 *    "stat": {<memory.stat>}, "events": {<memory.events>}}, "pids": {"current", "max"},
 *    "io": [{"major", "minor", <io.stat>}...], "ns": guest monotonic time}
 *
 * with a file's own names; what the kernel does not have, and a limit of "max", is left out.
 */
#include "agent/cgroup.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/str.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#define STAT_FILE_MAX 16384
#define CMDLINE_MAX   4096
#define CMDLINES_MAX  (1024 * 1024) /* of all processes in one list; the rest are cut short */
#define CMDLINE_SHORT 32

static void add_number(json_t *obj, const char *key, int fd, const char *file)
{
    uint64_t v;

    if (cgroup_field(fd, file, NULL, &v) == 0)
        json_object_set_new(obj, key, json_integer((json_int_t)v));
}

/* A file of "name value" lines. */
static json_t *flat_keyed(int fd, const char *file)
{
    cleanup_free char *text = malloc(STAT_FILE_MAX);
    json_t *obj = json_object();
    char *rest = text, *line;

    if (!text || cgroup_read(fd, file, text, STAT_FILE_MAX) <= 0)
        return obj;
    while ((line = strsep(&rest, "\n"))) {
        char *value = strchr(line, ' ');
        uint64_t v;

        if (!value)
            continue;
        *value++ = '\0';
        if (str_to_u64(value, &v) == 0)
            json_object_set_new(obj, line, json_integer((json_int_t)v));
    }
    return obj;
}

/* "8:0 rbytes=1 wbytes=2 ..." a line */
static json_t *io_stat(int fd)
{
    cleanup_free char *text = malloc(STAT_FILE_MAX);
    json_t *list = json_array();
    char *rest = text, *line, *word;

    if (!text || cgroup_read(fd, "io.stat", text, STAT_FILE_MAX) <= 0)
        return list;
    while ((line = strsep(&rest, "\n"))) {
        unsigned major, minor;
        json_t *dev;

        if (!(word = strsep(&line, " ")) || sscanf(word, "%u:%u", &major, &minor) != 2)
            continue;
        dev = json_pack("{s:i, s:i}", "major", (int)major, "minor", (int)minor);
        while ((word = strsep(&line, " "))) {
            char *value = strchr(word, '=');
            uint64_t v;

            if (!value)
                continue;
            *value++ = '\0';
            if (str_to_u64(value, &v) == 0)
                json_object_set_new(dev, word, json_integer((json_int_t)v));
        }
        json_array_append_new(list, dev);
    }
    return list;
}

json_t *cgroup_stats(int fd)
{
    json_t *memory = json_object(), *pids = json_object();

    add_number(memory, "current", fd, "memory.current");
    add_number(memory, "peak", fd, "memory.peak");
    add_number(memory, "max", fd, "memory.max");
    add_number(memory, "swap_current", fd, "memory.swap.current");
    add_number(memory, "swap_max", fd, "memory.swap.max");
    json_object_set_new(memory, "stat", flat_keyed(fd, "memory.stat"));
    json_object_set_new(memory, "events", flat_keyed(fd, "memory.events"));
    add_number(pids, "current", fd, "pids.current");
    add_number(pids, "max", fd, "pids.max");
    return json_pack("{s:o, s:o, s:o, s:o, s:I}", "cpu", flat_keyed(fd, "cpu.stat"), "memory",
                     memory, "pids", pids, "io", io_stat(fd), "ns", (json_int_t)monotonic_ns());
}

/* cmdline with blanks for NULs, or the kernel's name in brackets; only ASCII, to be valid JSON. */
static void command_of(int dir, const char *comm, char *out, size_t size)
{
    cleanup_fd int fd = openat(dir, "cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, out, size - 1);

    if (n <= 0) {
        snprintf(out, size, "[%s]", comm);
        n = (ssize_t)strlen(out);
    }
    while (n > 0 && out[n - 1] == '\0')
        n--;
    out[n] = '\0';
    for (ssize_t i = 0; i < n; i++) {
        unsigned char ch = (unsigned char)out[i];

        if (ch < ' ' || ch > '~')
            out[i] = ch ? '?' : ' ';
    }
}

static int64_t boot_epoch(void)
{
    struct timespec real, boot;

    clock_gettime(CLOCK_REALTIME, &real);
    clock_gettime(CLOCK_BOOTTIME, &boot);
    return (int64_t)real.tv_sec - (int64_t)boot.tv_sec;
}

/* stime: seconds since the epoch; time: CPU seconds; tty: "pts/N" or "?" */
static json_t *describe(pid_t pid)
{
    char path[32], stat_text[1024], comm[64] = "?", tty[24] = "?", cmd[CMDLINE_MAX], *close_paren;
    unsigned long utime = 0, stime = 0;
    unsigned long long start = 0;
    int ppid = 0, tty_nr = 0, hz = (int)sysconf(_SC_CLK_TCK);
    cleanup_fd int dir = -1;
    struct stat st;

    snprintf(path, sizeof(path), "/proc/%d", (int)pid);
    dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || fstat(dir, &st) < 0 ||
        cgroup_read(dir, "stat", stat_text, sizeof(stat_text)) <= 0)
        return NULL; /* it has ended meanwhile */
    close_paren = strrchr(stat_text, ')');
    if (!close_paren ||
        sscanf(close_paren + 1,
               " %*c %d %*d %*d %d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %*d %*d %llu",
               &ppid, &tty_nr, &utime, &stime, &start) != 5)
        return NULL;
    *close_paren = '\0';
    if (strchr(stat_text, '('))
        snprintf(comm, sizeof(comm), "%.60s", strchr(stat_text, '(') + 1);
    if (major((unsigned)tty_nr) >= 136 && major((unsigned)tty_nr) <= 143)
        snprintf(tty, sizeof(tty), "pts/%u",
                 minor((unsigned)tty_nr) + (major((unsigned)tty_nr) - 136) * 256);
    command_of(dir, comm, cmd, sizeof(cmd));
    return json_pack("{s:i, s:i, s:i, s:s, s:I, s:I, s:s}", "pid", (int)pid, "ppid", ppid, "uid",
                     (int)st.st_uid, "tty", tty, "stime",
                     (json_int_t)boot_epoch() + (json_int_t)(start / (unsigned)hz), "time",
                     (json_int_t)((utime + stime) / (unsigned long)hz), "cmd", cmd);
}

json_t *process_list(const pid_t *pids, size_t n)
{
    json_t *list = json_array();
    size_t text = 0; /* bytes of command lines so far */

    for (size_t i = 0; i < n; i++) {
        json_t *p = describe(pids[i]);
        json_t *cmd = json_object_get(p, "cmd");

        /* a container with many long command lines does not get its list over PROTO_BODY_MAX */
        text += json_string_length(cmd);
        if (text > CMDLINES_MAX && json_string_length(cmd) > CMDLINE_SHORT)
            json_string_setn(cmd, json_string_value(cmd), CMDLINE_SHORT);
        if (p)
            json_array_append_new(list, p);
    }
    return list;
}
