/* A table of signal names; no state. Numbers are Linux's on x86-64, the same in the guest. */
#include "runtime/signals.h"

#include "lib/cleanup.h"
#include "lib/str.h"

#include <errno.h>
#include <signal.h>
#include <strings.h>

#define KERNEL_RTMIN 34 /* as libc counts: two below are its own */
#define KERNEL_RTMAX 64

static const struct {
    const char *name;
    int number;
} names[] = {
    {"HUP", SIGHUP},       {"INT", SIGINT},     {"QUIT", SIGQUIT},       {"ILL", SIGILL},
    {"TRAP", SIGTRAP},     {"ABRT", SIGABRT},   {"IOT", SIGABRT},        {"BUS", SIGBUS},
    {"FPE", SIGFPE},       {"KILL", SIGKILL},   {"USR1", SIGUSR1},       {"SEGV", SIGSEGV},
    {"USR2", SIGUSR2},     {"PIPE", SIGPIPE},   {"ALRM", SIGALRM},       {"TERM", SIGTERM},
    {"STKFLT", SIGSTKFLT}, {"CHLD", SIGCHLD},   {"CLD", SIGCHLD},        {"CONT", SIGCONT},
    {"STOP", SIGSTOP},     {"TSTP", SIGTSTP},   {"TTIN", SIGTTIN},       {"TTOU", SIGTTOU},
    {"URG", SIGURG},       {"XCPU", SIGXCPU},   {"XFSZ", SIGXFSZ},       {"VTALRM", SIGVTALRM},
    {"PROF", SIGPROF},     {"WINCH", SIGWINCH}, {"IO", SIGIO},           {"POLL", SIGIO},
    {"PWR", SIGPWR},       {"SYS", SIGSYS},     {"RTMIN", KERNEL_RTMIN}, {"RTMAX", KERNEL_RTMAX},
};

/* RTMIN+n, RTMAX-n */
static int parse_realtime(const char *text)
{
    uint64_t n;

    if (strncasecmp(text, "RTMIN+", 6) == 0 && str_to_u64(text + 6, &n) == 0 &&
        n <= KERNEL_RTMAX - KERNEL_RTMIN)
        return KERNEL_RTMIN + (int)n;
    if (strncasecmp(text, "RTMAX-", 6) == 0 && str_to_u64(text + 6, &n) == 0 &&
        n <= KERNEL_RTMAX - KERNEL_RTMIN)
        return KERNEL_RTMAX - (int)n;
    return -EINVAL;
}

int signal_parse(const char *text)
{
    uint64_t n;

    if (str_to_u64(text, &n) == 0)
        return n <= KERNEL_RTMAX ? (int)n : -EINVAL;
    if (strncasecmp(text, "SIG", 3) == 0)
        text += 3;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (strcasecmp(names[i].name, text) == 0)
            return names[i].number;
    return parse_realtime(text);
}
