/* A sandbox that runs, or should: waiting for its agent, saying why it died, ending it. */
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/json.h"
#include "lib/proto.h"
#include "runtime/sandbox.h"
#include "runtime/shim/lastwords.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>

#define WORDS_SHOWN  200
#define VMM_GRACE_MS 500 /* for a VMM that closed its sockets to be gone */

/* --- why it died ------------------------------------------------------------------------------ */

static void read_words(int dir, const char *name, char out[LASTWORDS_MAX])
{
    cleanup_fd int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    lastwords(fd, out);
}

/* Of `time="..." level=error msg="TEXT"` the TEXT. */
static const char *message_of(char *line)
{
    char *msg = strstr(line, " msg=\"");

    if (!msg)
        return line;
    msg += strlen(" msg=\"");
    size_t n = strlen(msg);
    if (n && msg[n - 1] == '"')
        msg[n - 1] = '\0';
    return msg;
}

static void explain(const struct store *store, struct err *e)
{
    char log[LASTWORDS_MAX], guest[LASTWORDS_MAX];

    read_words(store->dir, "vmm.log", log);
    read_words(store->dir, "console.log", guest);
    const char *vmm = message_of(log);
    err_set(e, e->code, "%s: the VM has ended%s%.*s%s%.*s%s", e->msg, *vmm ? ": " : "", WORDS_SHOWN,
            vmm, *guest ? "; the guest's last words: " : "", WORDS_SHOWN, guest,
            *vmm || *guest ? "" : " without a word (is its memory enough for the guest kernel?)");
}

int sandbox_explain(const struct store *store, const struct process *vmm, struct err *e)
{
    cleanup_fd int fd = process_open(vmm);

    /* an answer of the agent's needs no explanation; a cut connection may be a VMM that dies now */
    if (e->code != ECONNRESET && e->code != ECONNREFUSED && e->code != EPIPE)
        return -e->code;
    if (fd < 0 || process_wait(fd, VMM_GRACE_MS, NULL) == 0)
        explain(store, e);
    return -e->code;
}

/* --- waiting for the agent -------------------------------------------------------------------- */

static int take_connection(struct sandbox *s, struct err *e)
{
    unsigned nfds = 0;
    char byte;
    int fd = -1;
    ssize_t n = io_recv_fds(s->ready, &byte, 1, &fd, 1, &nfds);

    if (n < 0)
        return err_set(e, (int)-n, "wait for the VM: %s", strerror((int)-n));
    if (n == 0 || nfds != 1)
        return err_set(e, ECONNRESET, "the VM did not start");
    return fd;
}

/* Until the VMM sends the agent's connection, or one of the two programs ends. */
static int wait_connection(struct sandbox *s, uint64_t end, int timeout_ms, struct err *e)
{
    struct pollfd p[] = {
        {.fd = s->ready, .events = POLLIN},
        {.fd = s->vmm.pidfd, .events = POLLIN},
        {.fd = s->fs.pidfd, .events = POLLIN},
    };

    for (;;) {
        int n = poll(p, ARRAY_SIZE(p), left_ms(end));

        if (n < 0 && errno != EINTR)
            return err_errno(e, "wait for the VM");
        if (n == 0)
            return err_set(e, ETIMEDOUT, "the VM's agent was not ready within %d s",
                           timeout_ms / 1000);
        if (n < 0)
            continue;
        if (p[0].revents & POLLIN)
            return take_connection(s, e);
        if (p[2].revents)
            return err_set(e, ECONNRESET, "the VM's file server did not start");
        return err_set(e, ECONNRESET, "the VM did not start");
    }
}

int sandbox_wait(struct sandbox *s, const struct store *store, int timeout_ms, json_t **hello_out,
                 struct err *e)
{
    uint64_t end = deadline_ns((unsigned)timeout_ms);
    cleanup_fd int fd = wait_connection(s, end, timeout_ms, e);
    struct proto_frame f = {0};
    int r = fd;

    if (fd >= 0) {
        r = proto_recv(fd, left_ms(end), &f, e);
        if (r < 0)
            err_wrap(e, "the VM's agent");
        else if (f.type != PROTO_HELLO)
            r = err_set(e, EPROTO, "the VM's agent began with %s instead of hello",
                        proto_type_name(f.type));
    }
    if (r < 0) {
        proto_frame_done(&f);
        /* whichever of the two ended, its reason is in the log */
        if (s->fs.pidfd >= 0 && process_wait(s->fs.pidfd, 0, NULL) == 0) {
            explain(store, e);
            return -e->code;
        }
        return sandbox_explain(store, &s->vmm.process, e);
    }
    *hello_out = f.body;
    return take_fd(&fd);
}

int sandbox_stop(const struct state *state, int grace_ms, struct err *e)
{
    cleanup_fd int fd = process_open(&state->vmm);

    if (fd >= 0 && grace_ms > 0)
        (void)process_wait(fd, grace_ms, NULL);
    if (process_kill(&state->vmm, "the VM", e) < 0)
        return -e->code;
    return process_kill(&state->fs, "the VM's file server", e);
}
