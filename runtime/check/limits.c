/* Limits of this process and this machine that a VM can run into, and the clock. */
#include "lib/cleanup.h"
#include "lib/io.h"
#include "runtime/check/check.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>

#define SMALL_FILE 4096u

/* A VMM takes all it may have, up to 65536, for the files that its guest holds open. */
#define NOFILE_NEEDED 1024u
/* Not used for guest RAM; io_uring rings and the like. */
#define MEMLOCK_ENOUGH (64u * 1024)
#define MAPS_NEEDED    1024u

static void say_limit(char *text, size_t size, rlim_t v)
{
    if (v == RLIM_INFINITY)
        snprintf(text, size, "unlimited");
    else
        snprintf(text, size, "%llu", (unsigned long long)v);
}

static void check_rlimit(struct check_report *r, int resource, const struct check_found *found,
                         rlim_t enough, const char *mend)
{
    struct rlimit l;
    char hard[32];

    if (getrlimit(resource, &l) < 0) {
        check_add(r, found, CHECK_FAIL, NULL, "%s", strerror(errno));
        return;
    }
    say_limit(hard, sizeof hard, l.rlim_max);
    check_add(r, found, l.rlim_max >= enough ? CHECK_PASS : CHECK_FAIL, mend,
              "%s (at least %llu wanted)", hard, (unsigned long long)enough);
}

/* A number in a file of /proc; 0 = cannot be read. */
static uint64_t number_in(const char *path)
{
    cleanup_free char *text = NULL;
    struct err ignored = ERR_INIT;
    uint64_t v = 0;

    if (io_read_file(AT_FDCWD, path, SMALL_FILE, &text, NULL, &ignored) < 0)
        return 0;
    text[strcspn(text, "\n")] = '\0';
    return str_to_u64(text, &v) < 0 ? 0 : v;
}

static void check_maps(struct check_report *r)
{
    static const struct check_found found = {"limit-maps", "memory mappings of one process",
                                             CHECK_NEEDED, "room for memory mappings"};
    static const char path[] = "/proc/sys/vm/max_map_count";
    uint64_t n = number_in(path);

    check_add(r, &found, n >= MAPS_NEEDED ? CHECK_PASS : CHECK_FAIL,
              "sysctl vm.max_map_count=65530", "%llu (at least %u wanted)", (unsigned long long)n,
              MAPS_NEEDED);
}

/* A clock that each reading of costs an access to a device makes guests slow too. */
static void check_clock(struct check_report *r)
{
    static const struct check_found found = {"clock", "the host's clock is the processor's",
                                             CHECK_SPEED, "fast clock"};
    static const char path[] = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    cleanup_free char *text = NULL;
    struct err e = ERR_INIT;

    if (io_read_file(AT_FDCWD, path, SMALL_FILE, &text, NULL, &e) < 0) {
        check_add(r, &found, CHECK_SKIP, NULL, "%s", e.msg);
        return;
    }
    text[strcspn(text, "\n")] = '\0';
    bool slow = strcmp(text, "hpet") == 0 || strcmp(text, "acpi_pm") == 0 ||
                strcmp(text, "jiffies") == 0 || strcmp(text, "refined-jiffies") == 0;
    check_add(r, &found, slow ? CHECK_FAIL : CHECK_PASS, "see dmesg why the TSC is not used", "%s",
              text);
}

void check_limits(struct check_report *r)
{
    static const struct check_found nofile = {"limit-nofile", "open files, the hard limit",
                                              CHECK_NEEDED, "room for open files"};
    static const struct check_found memlock = {"limit-memlock", "locked memory, the hard limit",
                                               CHECK_LATER, "room for locked memory"};

    check_rlimit(r, RLIMIT_NOFILE, &nofile, NOFILE_NEEDED,
                 "raise it: ulimit -Hn, LimitNOFILE= of the unit");
    check_rlimit(r, RLIMIT_MEMLOCK, &memlock, MEMLOCK_ENOUGH,
                 "raise it: ulimit -Hl, LimitMEMLOCK= of the unit");
    check_maps(r);
    check_clock(r);
}
