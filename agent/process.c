/*
 * Processes that the host asked for: their streams, signals, and the exit.
 *
 * How the child is made and reaped is in spawn.c, what the child does in child.c; a container knows
 * its processes, and not the other way round.
 */
#include "agent/process.h"
#include "agent/relay.h"
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/json.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <termios.h>
#include <unistd.h>

struct process *process_new(struct agent *a, const char *id, struct err *e)
{
    struct process *p;

    if (a->nprocesses >= AGENT_PROCESSES_MAX) {
        err_set(e, EMFILE, "the sandbox holds %d processes, which is its limit",
                AGENT_PROCESSES_MAX);
        return NULL;
    }
    p = calloc(1, sizeof(*p));
    if (!p) {
        err_set(e, ENOMEM, "out of memory for a process");
        return NULL;
    }
    p->agent = a;
    memcpy(p->id, id, strlen(id) + 1); /* its length was checked */
    p->is_init = !*id;
    p->pidfd = p->sync = p->stdio[0] = p->stdio[1] = p->stdio[2] = -1;
    p->sync_src.fd = -1;
    a->nprocesses++;
    return p;
}

void process_free(struct process *p)
{
    struct agent *a = p->agent;

    for (struct conn *conn = a->conns; conn; conn = conn->next) {
        if (conn->stream_of == p)
            conn_close(conn);
    }
    for (int i = 0; i < 3; i++) {
        relay_free(p->relays[i]);
        close_fd(&p->stdio[i]);
    }
    loop_del(&a->loop, &p->sync_src);
    close_fd(&p->sync);
    close_fd(&p->pidfd);
    if (p->spec == &p->own_spec)
        spec_process_done(&p->own_spec);
    free(p->seccomp);
    free(p->cgroup);
    a->nprocesses--;
    free(p);
}

bool process_finished(const struct process *p)
{
    if (p->state != PROCESS_EXITED || p->pid || p->attached)
        return false;
    for (int i = 0; i < 3; i++) {
        if (p->relays[i] && !relay_done(p->relays[i]))
            return false;
    }
    return true;
}

void process_kill(struct process *p)
{
    if (p->pidfd >= 0 && p->pid)
        (void)pidfd_send_signal(p->pidfd, SIGKILL, NULL, 0);
}

/* Whether a signal without a handler ends a process. */
static bool ends_by_default(int sig)
{
    switch (sig) {
    case 0: /* only asks */
    case SIGCHLD:
    case SIGURG:
    case SIGWINCH:
    case SIGCONT:
    case SIGSTOP:
    case SIGTSTP:
    case SIGTTIN:
    case SIGTTOU:
        return false;
    default:
        return true;
    }
}

/*
 * Before START there is no program that could have a handler, and the first process of a pid
 * namespace is immune to signals without one. So a signal that would end it ends it by SIGKILL, and
 * the exit is reported as that signal's.
 */
int process_signal(struct process *p, int sig, struct err *e)
{
    if (!p->pid)
        return err_set(e, ESRCH, p->is_init ? "container not running" : "no such process");
    if (p->state < PROCESS_RUNNING && ends_by_default(sig)) {
        p->posed_signal = sig;
        sig = SIGKILL;
    }
    if (pidfd_send_signal(p->pidfd, sig, NULL, 0) < 0)
        return err_errno(e, "signal %d", sig);
    return 0;
}

int process_resize(struct process *p, uint16_t rows, uint16_t cols, struct err *e)
{
    struct winsize w = {.ws_row = rows, .ws_col = cols};

    if (!p->spec->terminal)
        return err_set(e, ENOTTY, "process \"%s\" has no terminal", p->id);
    if (p->stdio[0] < 0)
        return err_set(e, ESRCH, "process \"%s\" has ended", p->id);
    if (ioctl(p->stdio[0], TIOCSWINSZ, &w) < 0)
        return err_errno(e, "resize the terminal");
    return 0;
}

int process_check_stream(const struct process *p, int index, struct err *e)
{
    if (p->state == PROCESS_EXITED)
        return err_set(e, ESRCH, p->is_init ? "container not running" : "no such process");
    if (p->state != PROCESS_CREATED)
        return err_set(e, EBUSY, "stream %d of process \"%s\" can only be attached to before START",
                       index, p->id);
    if (p->spec->terminal && index != 0)
        return err_set(e, EINVAL, "a process with a terminal has stream 0 only");
    if (p->relays[index] || p->stdio[index] < 0)
        return err_set(e, EBUSY, "stream %d of process \"%s\" has been attached to", index, p->id);
    return 0;
}

void process_take_stream(struct process *p, int index, int fd, const char *first, size_t len)
{
    bool terminal = p->spec->terminal;
    unsigned dir = terminal ? RELAY_INPUT | RELAY_OUTPUT : index == 0 ? RELAY_INPUT : RELAY_OUTPUT;
    int end = terminal ? p->stdio[0] : take_fd(&p->stdio[index]);
    struct relay *r = relay_new(p->agent, end, fd, dir, terminal);

    if (r && relay_feed(r, first, len) < 0) {
        relay_free(r);
        r = NULL;
    }
    p->relays[index] = r;
    if (!r) /* no memory: a process that would hang on its output is worth less than none */
        process_kill(p);
}

/*
 * The exit is told when all output that was there has been written to the stream connections. An
 * init process takes its container along, so its streams end; an exec may leave children that hold
 * its pipes, whose output is still relayed afterwards. A process that was killed is reported at
 * once: whoever kills it may do so because its reader hangs, and the host bounds what it still
 * drains.
 */
void process_try_exit(struct process *p)
{
    json_t *body;

    if (p->state != PROCESS_EXITED || p->exit_sent || !p->attached)
        return;
    for (int i = 0; i < 3 && !p->signal; i++) {
        if (p->relays[i] && !p->relays[i]->idle)
            return;
    }
    body = json_pack("{s:i, s:i, s:b, s:I}", "status", p->status, "signal", p->signal, "oom",
                     p->oom, "ns", (json_int_t)p->exit_ns);
    p->exit_sent = true;
    conn_send(p->attached, PROTO_EXIT, 0, body);
}

void process_exited(struct process *p, const siginfo_t *info, bool oom_kill)
{
    p->state = PROCESS_EXITED;
    p->exit_ns = monotonic_ns();
    if (info->si_code == CLD_EXITED) {
        p->status = info->si_status;
    } else {
        p->signal = p->posed_signal ? p->posed_signal : info->si_status;
        p->status = 128 + p->signal;
    }
    p->oom =
        oom_kill && (p->is_init || (info->si_code == CLD_KILLED && info->si_status == SIGKILL));
    loop_del(&p->agent->loop, &p->sync_src);
    close_fd(&p->sync);
    for (int i = 0; i < 3; i++) {
        if (p->relays[i])
            relay_settle(p->relays[i]);
        else if (i || !p->spec->terminal)
            close_fd(&p->stdio[i]);
    }
}

static int from_base64(char ch)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *p = ch ? strchr(digits, ch) : NULL;

    return p ? (int)(p - digits) : -1;
}

/* Standard base64 with padding; the number of bytes, or -1. out has room for 3/4 of len. */
static ssize_t base64_decode(const char *s, size_t len, unsigned char *out)
{
    size_t n = 0;

    if (len % 4)
        return -1;
    for (size_t i = 0; i < len; i += 4) {
        bool last = i + 4 == len;
        int pad = last ? (s[i + 3] == '=') + (s[i + 2] == '=' && s[i + 3] == '=') : 0;
        uint32_t v = 0;

        for (int k = 0; k < 4; k++) {
            int d = k >= 4 - pad ? 0 : from_base64(s[i + (size_t)k]);

            if (d < 0)
                return -1;
            v = v << 6 | (uint32_t)d;
        }
        out[n++] = (unsigned char)(v >> 16);
        if (pad < 2)
            out[n++] = (unsigned char)(v >> 8);
        if (pad < 1)
            out[n++] = (unsigned char)v;
    }
    return (ssize_t)n;
}

int process_read_seccomp(struct process *p, const json_t *body, struct err *e)
{
    cleanup_free unsigned char *bytes = NULL;
    const char *text;
    uint64_t flags = 0;
    size_t len;
    ssize_t n;
    int r = json_get_str(body, "", "seccomp", &text, e);

    if (r <= 0)
        return r;
    r = json_get_u64(body, "", "seccomp_flags", UINT32_MAX, &flags, e);
    if (r < 0)
        return r;
    len = strlen(text);
    bytes = malloc(len / 4 * 3 + 1);
    if (!bytes)
        return err_set(e, ENOMEM, "out of memory for a seccomp filter");
    n = base64_decode(text, len, bytes);
    if (n <= 0 || (size_t)n % sizeof(struct sock_filter) ||
        (size_t)n / sizeof(struct sock_filter) > BPF_MAXINSNS)
        return err_set(e, EINVAL, "seccomp is not a base64 array of at most %d BPF instructions",
                       BPF_MAXINSNS);
    p->nseccomp = (size_t)n / sizeof(struct sock_filter);
    p->seccomp = (struct sock_filter *)(void *)take_ptr(bytes);
    p->seccomp_flags = (uint32_t)flags;
    return 0;
}
