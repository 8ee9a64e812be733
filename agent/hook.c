/*
 * startContainer hooks (config.md "POSIX-platform Hooks"): run inside the container, with the
 * credentials of its process, between START and execve. The host runs all the other kinds.
 */
#include "agent/child.h"
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/str.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define SAID_MAX 160 /* of what a failing hook wrote, the end */

/* The state of the container as the OCI defines it, seen from inside: pid is our own. */
static int write_state(const struct child *c, int fd, struct err *e)
{
    json_t *notes = json_object_get(c->spec->doc, "annotations");
    json_t *state =
        json_pack("{s:s, s:s, s:s, s:i, s:s}", "ociVersion", OCI_VERSION, "id", c->id, "status",
                  "created", "pid", (int)getpid(), "bundle", c->bundle ? c->bundle : "");
    char *text;
    int r = 0;

    if (state && json_is_object(notes) && json_object_size(notes))
        (void)json_object_set(state, "annotations", notes);
    text = state ? json_dumps(state, JSON_COMPACT) : NULL;
    if (!text || io_write_full(fd, text, strlen(text)) < 0)
        r = err_set(e, ENOMEM, "the container's state for a hook");
    free(text);
    json_decref(state);
    return r;
}

static _Noreturn void exec_hook(const struct spec_hook *h, int in, int out)
{
    char *no_args[] = {h->path, NULL}, *no_env[] = {NULL};

    setpgid(0, 0); /* what it starts goes with it when its time is over */
    if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
        _exit(127);
    execve(h->path, h->args && h->args[0] ? h->args : no_args, h->env ? h->env : no_env);
    dprintf(2, "%s", strerror(errno));
    _exit(127);
}

/* Waits for the hook, or kills it and its process group when its time is over. */
static int wait_hook(const struct spec_hook *h, pid_t pid, int *status, struct err *e)
{
    cleanup_fd int pidfd = pidfd_open(pid, 0);
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    int r = 1;

    if (h->timeout > 0 && pidfd >= 0)
        r = poll(&p, 1, h->timeout * 1000);
    if (r == 0)
        kill(-pid, SIGKILL);
    while (waitpid(pid, status, 0) < 0) {
        if (errno != EINTR)
            return err_errno(e, "wait for the hook");
    }
    return r == 0 ? err_set(e, ETIMEDOUT, "did not end within %d seconds", h->timeout) : 0;
}

static int judge(int status, int said_fd, struct err *e)
{
    char said[SAID_MAX + 1];
    off_t len = lseek(said_fd, 0, SEEK_END);
    ssize_t n = pread(said_fd, said, SAID_MAX, len > SAID_MAX ? len - SAID_MAX : 0);

    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    n = n < 0 ? 0 : n;
    while (n > 0 && said[n - 1] == '\n')
        n--;
    said[n] = '\0';
    if (WIFSIGNALED(status))
        return err_set(e, EIO, "killed by signal %d: %s", WTERMSIG(status), said);
    return err_set(e, EIO, "exit status %d: %s", WEXITSTATUS(status), said);
}

static int run_hook(const struct child *c, const struct spec_hook *h, struct err *e)
{
    cleanup_fd int in = memfd_create("state", MFD_CLOEXEC);
    cleanup_fd int out = memfd_create("output", MFD_CLOEXEC);
    int status = 0, r;
    pid_t pid;

    if (in < 0 || out < 0)
        return err_errno(e, "memory for the hook's input and output");
    r = write_state(c, in, e);
    if (r < 0)
        return r;
    if (lseek(in, 0, SEEK_SET) < 0)
        return err_errno(e, "the hook's input");
    pid = fork();
    if (pid < 0)
        return err_errno(e, "fork");
    if (pid == 0)
        exec_hook(h, in, out);
    setpgid(pid, pid); /* whoever comes first */
    r = wait_hook(h, pid, &status, e);
    return r < 0 ? r : judge(status, out, e);
}

int hooks_start_container(const struct child *c, struct err *e)
{
    const struct spec_hooks *h = &c->spec->hooks;

    for (size_t i = 0; i < h->count[HOOK_START_CONTAINER]; i++) {
        if (run_hook(c, &h->list[HOOK_START_CONTAINER][i], e) < 0)
            return err_wrap(e, "startContainer hook #%zu (%s)", i,
                            h->list[HOOK_START_CONTAINER][i].path);
    }
    return 0;
}
