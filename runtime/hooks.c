/*
 * Hooks of config.json that run on the host: one after the other, each in a process group of its
 * own with nothing inherited but the three standard descriptors. The state goes in as a sealed
 * memory file on stdin, so that neither a hook that does not read it nor one that is slow can block
 * us or raise SIGPIPE. Both outputs come back through one pipe of which the tail is kept for the
 * error. Which hooks run when is the caller's affair; that createContainer's run in namespaces of
 * the container, as far as those are on the host, is ours. No state.
 */
#include "runtime/hooks.h"

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "lib/str.h"
#include "runtime/cancel.h"
#include "runtime/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define TAIL_MAX    256 /* bytes of a hook's output shown in the error */
#define DRAIN_READS 32  /* at one go, so that a flood cannot keep us from the clock */

struct tail {
    char s[TAIL_MAX];
    size_t len;
};

static void tail_add(struct tail *t, const char *p, size_t len)
{
    if (len > sizeof(t->s)) {
        p += len - sizeof(t->s);
        len = sizeof(t->s);
    }
    if (t->len + len > sizeof(t->s)) {
        size_t drop = t->len + len - sizeof(t->s);

        memmove(t->s, t->s + drop, t->len - drop);
        t->len -= drop;
    }
    memcpy(t->s + t->len, p, len);
    t->len += len;
}

/* The tail as one printable line. */
static void tail_text(const struct tail *t, char out[TAIL_MAX + 1])
{
    size_t n = 0, end = t->len, start = 0;

    while (end > 0 && (t->s[end - 1] == '\n' || t->s[end - 1] == ' '))
        end--;
    while (start < end && (t->s[start] == '\n' || t->s[start] == ' '))
        start++;
    for (size_t i = start; i < end; i++) {
        unsigned char c = (unsigned char)t->s[i];

        out[n++] = c == '\n' ? '|' : (c < 0x20 || c == 0x7f) ? '?' : (char)c;
    }
    out[n] = 0;
}

/* --- the child -------------------------------------------------------------------------------- */

struct child_setup {
    const struct spec_hook *hook;
    const char *cwd;
    int state, output, report;
    pid_t parent, inside; /* inside: of createContainer, whose namespaces; 0 = ours */
};

/* What the child was doing when it failed. */
enum step { STEP_EXEC, STEP_CHDIR, STEP_NAMESPACES };

/* Makes `fds[i]` descriptor i, for all three at once; the sources are all above 2. */
static int child_stdio(const struct child_setup *c)
{
    if (dup2(c->state, 0) < 0 || dup2(c->output, 1) < 0 || dup2(c->output, 2) < 0)
        return -1;
    return 0;
}

/* The container's mounts are in the virtual machine: what the hook mounts is seen by nobody else.
 * Mounts that the host makes meanwhile are seen by the hook. */
static int enter_namespaces(pid_t pid)
{
    cleanup_fd int net = -1;
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
    net = open(path, O_RDONLY | O_CLOEXEC);
    if (net < 0 || setns(net, CLONE_NEWNET) < 0 || unshare(CLONE_NEWNS) < 0)
        return -1;
    return mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL);
}

/* Never returns. Reports errno, and where, by the pipe that exec closes. */
static void child_run(const struct child_setup *c)
{
    static char *const none[] = {NULL};
    char *const only_path[] = {c->hook->path, NULL};
    char *const *args = c->hook->args && c->hook->args[0] ? c->hook->args : only_path;
    int code[2] = {0, STEP_EXEC}; /* errno, enum step */

    setpgid(0, 0);
    spawn_reset_signals();
    /* a hook does not outlive the call that runs it */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != c->parent)
        _exit(127);
    if (child_stdio(c) == 0 && dup2(c->report, 3) == 3) {
        io_close_from(4);
        (void)io_set_cloexec(3, 1);
        if (c->inside && enter_namespaces(c->inside) < 0)
            code[1] = STEP_NAMESPACES;
        else if (chdir(c->cwd) < 0)
            code[1] = STEP_CHDIR;
        else
            execve(c->hook->path, args, c->hook->env ? c->hook->env : none);
        code[0] = errno;
        (void)!write(3, code, sizeof(code));
    }
    _exit(127);
}

/* --- the parent ------------------------------------------------------------------------------- */

/* A descriptor above 3, so that the child can dup2 onto 0..3 in any order. */
static int lift(int *fd)
{
    int high = fcntl(*fd, F_DUPFD_CLOEXEC, 4);

    close_fd(fd);
    *fd = high;
    return high < 0 ? -errno : 0;
}

static int make_state(const char *state_json, int *out, struct err *e)
{
    cleanup_fd int fd = memfd_create("state", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int r;

    if (fd < 0)
        return err_errno(e, "memfd_create");
    r = io_write_full(fd, state_json, strlen(state_json));
    if (r < 0)
        return err_set(e, -r, "writing the state: %s", strerror(-r));
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0 ||
        lseek(fd, 0, SEEK_SET) < 0)
        return err_errno(e, "sealing the state");
    r = lift(&fd);
    if (r < 0)
        return err_set(e, -r, "%s", strerror(-r));
    *out = take_fd(&fd);
    return 0;
}

/* Both ends above 3, both CLOEXEC. */
static int make_pipe(int out[2], struct err *e)
{
    int r;

    if (pipe2(out, O_CLOEXEC) < 0) {
        out[0] = out[1] = -1;
        return err_errno(e, "pipe");
    }
    r = lift(&out[0]);
    if (r == 0)
        r = lift(&out[1]);
    if (r < 0) {
        close_fd(&out[0]);
        close_fd(&out[1]);
        return err_set(e, -r, "%s", strerror(-r));
    }
    return 0;
}

/* Takes what is in the pipe without waiting, within bounds. Closes it at its end. */
static void drain(int *fd, struct tail *tail)
{
    char buf[4096];

    for (int i = 0; *fd >= 0 && i < DRAIN_READS; i++) {
        ssize_t n = read(*fd, buf, sizeof(buf));

        if (n > 0)
            tail_add(tail, buf, (size_t)n);
        else if (n < 0 && errno == EAGAIN)
            return;
        else if (n == 0 || errno != EINTR)
            close_fd(fd);
    }
}

/*
 * Waits for the hook's process, not for whatever it left behind with our pipe. Returns its wait
 * status, or -1 after a timeout, with the whole process group killed.
 */
static int wait_for(pid_t pid, int pidfd, int *output, int timeout_s, struct tail *tail)
{
    int64_t end = timeout_s ? monotonic_ms() + (int64_t)timeout_s * 1000 : 0;
    bool late = false;
    int status;

    for (;;) {
        struct pollfd p[2] = {{pidfd, POLLIN, 0}, {*output, POLLIN, 0}};
        int64_t left = timeout_s ? end - monotonic_ms() : -1;

        if (timeout_s && left <= 0) {
            late = true;
            kill(-pid, SIGKILL);
            kill(pid, SIGKILL);
            break;
        }
        if (poll(p, 2, (int)left) < 0)
            continue; /* EINTR */
        if (p[1].revents)
            drain(output, tail);
        if (p[0].revents)
            break;
    }
    cancel_group(0);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    drain(output, tail);
    return late ? -1 : status;
}

static int judge(int status, const struct spec_hook *h, const struct tail *tail, struct err *e)
{
    char said[TAIL_MAX + 1];
    const char *colon;

    tail_text(tail, said);
    colon = *said ? ": " : "";
    if (status < 0)
        return err_set(e, ETIMEDOUT, "did not end within %d s and was killed%s%s", h->timeout,
                       colon, said);
    if (WIFSIGNALED(status))
        return err_set(e, EINTR, "was killed by signal %d%s%s", WTERMSIG(status), colon, said);
    if (WEXITSTATUS(status) != 0)
        return err_set(e, ECANCELED, "ended with status %d%s%s", WEXITSTATUS(status), colon, said);
    return 0;
}

/* Whether the child got as far as running the hook. */
static int exec_result(int report, const struct child_setup *c, struct err *e)
{
    int code[2];

    if (io_read_full(report, code, sizeof(code)) != (ssize_t)sizeof(code))
        return 0; /* closed by exec; or the child died, which its status tells */
    if (code[1] == STEP_NAMESPACES)
        return err_set(e, code[0], "cannot enter the container's namespaces on the host: %s",
                       strerror(code[0]));
    if (code[1] == STEP_CHDIR)
        return err_set(e, code[0], "cannot enter %.200s: %s", c->cwd, strerror(code[0]));
    return err_set(e, code[0], "cannot be run: %s", strerror(code[0]));
}

static int spawn_and_wait(struct child_setup *c, int *output, int *report, struct err *e)
{
    cleanup_fd int pidfd = -1;
    struct tail tail = {.len = 0};
    int r, status;
    pid_t pid = fork();

    if (pid < 0)
        return err_errno(e, "fork");
    if (pid == 0)
        child_run(c);
    close_fd(&c->output);
    close_fd(&c->report);
    setpgid(pid, pid); /* whoever is first, so that a timeout surely finds the group */
    cancel_group(pid);
    pidfd = pidfd_open(pid, 0);
    if (pidfd < 0) {
        r = err_errno(e, "pidfd_open");
        kill(pid, SIGKILL);
        cancel_group(0);
        waitpid(pid, NULL, 0);
        return r;
    }
    (void)io_set_cloexec(pidfd, 1);
    r = exec_result(*report, c, e);
    status = wait_for(pid, pidfd, output, c->hook->timeout, &tail);
    return r < 0 ? r : judge(status, c->hook, &tail, e);
}

static int run_one(const struct spec_hook *h, const char *cwd, int state, pid_t inside,
                   struct err *e)
{
    struct child_setup c = {
        .hook = h, .cwd = cwd, .state = state, .parent = getpid(), .inside = inside};
    int output[2], report[2] = {-1, -1};
    int r = make_pipe(output, e);

    if (r < 0)
        return r;
    r = make_pipe(report, e);
    if (r == 0) {
        c.output = take_fd(&output[1]);
        c.report = take_fd(&report[1]);
        r = io_set_nonblock(output[0], 1);
        r = r < 0 ? err_set(e, -r, "%s", strerror(-r))
                  : spawn_and_wait(&c, &output[0], &report[0], e);
        close_fd(&c.output);
        close_fd(&c.report);
    }
    for (int i = 0; i < 2; i++) {
        close_fd(&output[i]);
        close_fd(&report[i]);
    }
    return r;
}

/* The container runs, or is gone: such a hook's failure is told, but neither the other hooks nor
 * the caller can do anything about it (runtime.md "Lifecycle"). */
static bool comes_after(enum spec_hook_kind kind)
{
    return kind == HOOK_POSTSTART || kind == HOOK_POSTSTOP;
}

int hooks_run(const struct spec_hooks *h, enum spec_hook_kind kind, pid_t inside, const char *cwd,
              const char *state_json, struct err *e)
{
    struct err all = ERR_INIT;

    for (size_t i = 0; i < h->count[kind] && (all.code == 0 || comes_after(kind)); i++) {
        struct err one = ERR_INIT;
        cleanup_fd int state = -1;
        int r = make_state(state_json, &state, &one);

        if (r == 0)
            r = run_one(&h->list[kind][i], cwd, state, inside, &one);
        if (r < 0)
            err_add(&all, -r, "%s hook %.150s: %s", spec_hook_names[kind], h->list[kind][i].path,
                    one.msg);
    }
    if (all.code)
        *e = all;
    return -all.code;
}

int hooks_run_for(const struct spec_hooks *h, enum spec_hook_kind kind, const struct state *state,
                  enum status status, struct err *e)
{
    /* a damaged state names none */
    bool there = state->bundle && access(state->bundle, X_OK) == 0;
    const char *cwd = there ? state->bundle : "/";
    pid_t inside = kind == HOOK_CREATE_CONTAINER ? state->shim.pid : 0;
    json_t *j = state_json(state, status, NULL);
    cleanup_free char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;

    json_decref(j);
    return text ? hooks_run(h, kind, inside, cwd, text, e)
                : err_set(e, ENOMEM, "hooks: out of memory");
}
