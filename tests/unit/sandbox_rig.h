/*
 * A container whose VM is played: a state directory below /tmp, sleeping children for its shim, VMM
 * and file server, and a thread behind vsock.sock and vmm.sock that answers as the agent and the
 * VMM would, or as a test says. What was asked is kept. The rig owns all of it; rig_end looks that
 * nothing is left of what the code under test should have ended.
 */
#ifndef BULKHEAD_TESTS_SANDBOX_RIG_H
#define BULKHEAD_TESTS_SANDBOX_RIG_H

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/path.h"
#include "lib/proto.h"
#include "runtime/client.h"
#include "runtime/container.h"
#include "runtime/state.h"
#include "tests/unit/cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define RIG_ID      "c1"
#define RIG_HEARD   32
#define RIG_ANSWERS 4
#define RIG_PEERS   16

enum rig_how {
    RIG_OK,       /* with `text` as its body, NULL = {} */
    RIG_ERROR,    /* the agent's own: code and text */
    RIG_HANG_UP,  /* the connection closes instead */
    RIG_DIE,      /* the VMM ends, with all connections */
    RIG_HALF,     /* half a reply, then the connection closes */
    RIG_SILENT,   /* no answer */
    RIG_WRONG_ID, /* a reply to another request */
    RIG_EVENT,    /* an event in the reply's place */
    RIG_NONSENSE, /* no frame at all */
    RIG_FOLLOWED, /* OK, then an oom event */
};

/* The answer to one type of request; others get OK. */
struct rig_answer {
    uint16_t type;
    enum rig_how how;
    int code;
    const char *text;
};

struct rig_request {
    uint16_t type;
    json_t *body;
};

struct rig {
    char base[64], root[96], config[96];
    struct runtime rt;
    struct store store;
    struct state state; /* as rig_save writes it */
    struct rig_answer answers[RIG_ANSWERS];
    struct rig_request heard[RIG_HEARD];
    unsigned nheard;
    unsigned control_ops; /* bit n = control_op n was asked */
    struct process played[4];
    int listener, control, stop;
    int peers[RIG_PEERS];
    unsigned npeers;
    pthread_t thread;
};

/* --- what the machine says ---------------------------------------------------------------------
 */

static inline const struct rig_answer *rig_answer_to(const struct rig *r, uint16_t type)
{
    static const struct rig_answer ok = {.how = RIG_OK};

    for (unsigned i = 0; i < RIG_ANSWERS; i++)
        if (r->answers[i].type == type)
            return &r->answers[i];
    return &ok;
}

static inline void rig_send(int fd, uint16_t type, uint32_t id, json_t *body_taken, size_t cut)
{
    struct err ignored = ERR_INIT;
    cleanup_free char *bytes = NULL;
    size_t len = 0;

    if (proto_encode(type, id, body_taken, &bytes, &len, &ignored) == 0)
        (void)!io_write_full(fd, bytes, cut && cut < len ? cut : len);
    json_decref(body_taken);
}

/* false = the connection is to close. */
static inline bool rig_reply(struct rig *r, int fd, const struct proto_frame *f)
{
    const struct rig_answer *a = rig_answer_to(r, f->type);
    struct err ignored = ERR_INIT;

    switch (a->how) {
    case RIG_ERROR:
        rig_send(fd, PROTO_ERROR, f->id,
                 json_pack("{s:i, s:s}", "errno", a->code, "message", a->text), 0);
        return true;
    case RIG_HANG_UP:
        return false;
    case RIG_DIE:
        (void)!process_kill(&r->state.vmm, "the played VMM", &ignored);
        return false;
    case RIG_HALF:
        rig_send(fd, PROTO_OK, f->id, NULL, PROTO_HEAD_LEN + 1);
        return false;
    case RIG_SILENT:
        return true;
    case RIG_WRONG_ID:
        rig_send(fd, PROTO_OK, f->id + 1, NULL, 0);
        return true;
    case RIG_EVENT:
        rig_send(fd, PROTO_OOM, 0, NULL, 0);
        return true;
    case RIG_NONSENSE:
        (void)!io_write_full(fd, "HTTP/1.1 200 OK\r\n\r\n", 19);
        return true;
    case RIG_OK:
    case RIG_FOLLOWED:
        rig_send(fd, PROTO_OK, f->id, a->text ? json_loads(a->text, 0, NULL) : NULL, 0);
        if (a->how == RIG_FOLLOWED)
            rig_send(fd, PROTO_OOM, 0, json_pack("{s:s}", "id", RIG_ID), 0);
    }
    return true;
}

/* One request of a connection to the agent. false = it is over. */
static inline bool rig_serve(struct rig *r, int fd)
{
    struct err ignored = ERR_INIT;
    struct proto_frame f;

    if (proto_recv(fd, -1, &f, &ignored) < 0)
        return false;
    if (r->nheard < RIG_HEARD)
        r->heard[r->nheard++] = (struct rig_request){f.type, json_incref(f.body)};
    bool more = rig_reply(r, fd, &f);
    proto_frame_done(&f);
    return more;
}

static inline void rig_accept(struct rig *r)
{
    int fd = accept4(r->listener, NULL, NULL, SOCK_CLOEXEC);
    char line[13]; /* CONNECT 1024\n */

    if (io_read_full(fd, line, sizeof line) == sizeof line && r->npeers < RIG_PEERS &&
        io_write_full(fd, "OK 1024\n", 8) == 0)
        r->peers[r->npeers++] = fd;
    else
        close_fd(&fd);
}

static inline void rig_accept_control(struct rig *r)
{
    cleanup_fd int fd = accept4(r->control, NULL, NULL, SOCK_CLOEXEC);
    struct control_request request;
    struct control_reply reply = {.version = PLAN_VERSION};

    if (recv(fd, &request, sizeof request, 0) != sizeof request || request.op > 31)
        return;
    r->control_ops |= 1u << request.op;
    (void)!send(fd, &reply, sizeof reply, MSG_NOSIGNAL);
}

static inline void *rig_machine(void *arg)
{
    struct rig *r = arg;

    for (;;) {
        struct pollfd p[3 + RIG_PEERS] = {{.fd = r->stop, .events = POLLIN},
                                          {.fd = r->listener, .events = POLLIN},
                                          {.fd = r->control, .events = POLLIN}};
        unsigned n = r->npeers;

        for (unsigned i = 0; i < n; i++)
            p[3 + i] = (struct pollfd){.fd = r->peers[i], .events = POLLIN};
        if (poll(p, 3 + n, -1) < 0)
            continue;
        for (unsigned i = n; i-- > 0;)
            if (p[3 + i].revents && !rig_serve(r, r->peers[i])) {
                close_fd(&r->peers[i]);
                r->peers[i] = r->peers[--r->npeers];
            }
        if (p[0].revents)
            return NULL;
        if (p[1].revents)
            rig_accept(r);
        if (p[2].revents)
            rig_accept_control(r);
    }
}

/* --- for tests ---------------------------------------------------------------------------------
 */

/* A child that does nothing until it is killed. */
static inline struct process rig_sleeper(struct rig *r)
{
    struct process p = {.pid = fork()};

    if (p.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            pause();
    }
    assert_int_equal(process_identify(p.pid, &p), 0);
    for (size_t i = 0; i < ARRAY_SIZE(r->played); i++)
        if (!r->played[i].pid) {
            r->played[i] = p;
            return p;
        }
    fail_msg("too many processes");
    return p;
}

static inline void rig_kill(const struct process *p)
{
    struct err e = ERR_INIT;

    assert_int_equal(process_kill(p, "a played process", &e), 0);
}

static inline void rig_save(struct rig *r)
{
    struct err e = ERR_INIT;

    if (store_save(&r->store, &r->state, &e) < 0)
        fail_msg("%s", e.msg);
}

/* The container's config.json: `hooks` is that object's text, NULL = none. */
static inline void rig_spec(struct rig *r, const char *hooks)
{
    struct err e = ERR_INIT;
    char text[2048];

    snprintf(text, sizeof text,
             "{\"ociVersion\": \"1.0.2\", \"root\": {\"path\": \"rootfs\"}, \"hooks\": %s,"
             " \"process\": {\"cwd\": \"/\", \"args\": [\"sh\"], \"env\": [\"A=1\"],"
             " \"user\": {\"uid\": 7, \"gid\": 8, \"additionalGids\": [9]}},"
             " \"linux\": {\"namespaces\": [{\"type\": \"mount\"}, {\"type\": \"pid\"}]}}",
             hooks ? hooks : "{}");
    if (io_replace_file(r->store.dir, "config.json", 0600, text, strlen(text), &e) < 0)
        fail_msg("%s", e.msg);
}

/* A hook that writes its input to base/NAME, and ends with that status. */
static inline void rig_hook(struct rig *r, const char *kind, const char *name, int status)
{
    char text[512];

    snprintf(text, sizeof text,
             "{\"%s\": [{\"path\": \"/bin/sh\", \"args\": [\"sh\", \"-c\", \"cat >%s/%s; exit %d\"]"
             "}]}",
             kind, r->base, name, status);
    rig_spec(r, text);
}

/* What a hook was told: its "status". */
static inline void rig_hooked(struct rig *r, const char *name, const char *status)
{
    char path[128];
    json_error_t bad;

    snprintf(path, sizeof path, "%s/%s", r->base, name);
    json_t *j = json_load_file(path, 0, &bad);
    if (!j)
        fail_msg("hook %s: %s", name, bad.text);
    assert_string_equal(json_string_value(json_object_get(j, "id")), RIG_ID);
    assert_string_equal(json_string_value(json_object_get(j, "status")), status);
    json_decref(j);
}

/* A running container. */
static inline void rig_begin(struct rig *r)
{
    struct err e = ERR_INIT;
    char path[192];

    signal(SIGPIPE, SIG_IGN);
    memset(r, 0, sizeof *r);
    r->store = (struct store)STORE_INIT;
    snprintf(r->base, sizeof r->base, "/tmp/bulkhead-test-XXXXXX");
    assert_non_null(mkdtemp(r->base));
    snprintf(r->root, sizeof r->root, "%s/state", r->base);
    r->rt.root = r->root;
    if (store_create(r->root, RIG_ID, &r->store, &e) < 0)
        fail_msg("%s", e.msg);
    store_unlock(&r->store);
    rig_spec(r, NULL);
    r->state.id = strdup(RIG_ID);
    r->state.bundle = strdup(r->base);
    r->state.rootfs = strdup(r->base);
    r->state.complete = r->state.started = true;
    r->state.shim = rig_sleeper(r);
    r->state.vmm = rig_sleeper(r);
    r->state.fs = rig_sleeper(r);
    rig_save(r);
    snprintf(path, sizeof path, "%s/" CLIENT_VSOCK_SOCKET, r->store.path);
    r->listener = io_unix_listen(path, SOCK_STREAM, &e);
    snprintf(path, sizeof path, "%s/" CLIENT_CONTROL_SOCKET, r->store.path);
    r->control = io_unix_listen(path, SOCK_SEQPACKET, &e);
    r->stop = eventfd(0, EFD_CLOEXEC);
    assert_true(r->listener >= 0 && r->control >= 0 && r->stop >= 0);
    assert_int_equal(pthread_create(&r->thread, NULL, rig_machine, r), 0);
}

/* One answer for one type of request, in place of all that were set before. */
static inline void rig_says(struct rig *r, uint16_t type, enum rig_how how, int code,
                            const char *text)
{
    memset(r->answers, 0, sizeof r->answers);
    r->answers[0] = (struct rig_answer){type, how, code, text};
}

static inline void rig_forget(struct rig *r)
{
    for (unsigned i = 0; i < r->nheard; i++)
        json_decref(r->heard[i].body);
    r->nheard = 0;
}

/* The n-th request since the last rig_forget: its type and id are checked. */
static inline const json_t *rig_heard(const struct rig *r, unsigned n, uint16_t type)
{
    assert_true(n < r->nheard);
    assert_string_equal(proto_type_name(r->heard[n].type), proto_type_name(type));
    assert_string_equal(json_string_value(json_object_get(r->heard[n].body, "id")), RIG_ID);
    return r->heard[n].body;
}

/* The state as the next call will find it; state_done it. */
static inline struct state rig_on_disk(const struct rig *r)
{
    struct state s = STATE_INIT;
    struct err e = ERR_INIT;

    if (store_load(&r->store, &s, &e) < 0)
        fail_msg("%s", e.msg);
    return s;
}

static inline bool rig_exists(const struct rig *r)
{
    return access(r->store.path, F_OK) == 0;
}

static inline void rig_failed(int r, const struct err *e, int code, const char *why)
{
    assert_int_equal(e->code, code);
    assert_int_equal(r, -code);
    if (!strstr(e->msg, why))
        fail_msg("\"%s\" lacks \"%s\"", e->msg, why);
}

static inline void rig_end(struct rig *r)
{
    struct err e = ERR_INIT;

    assert_int_equal(eventfd_write(r->stop, 1), 0);
    pthread_join(r->thread, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(r->played); i++)
        if (r->played[i].pid) {
            rig_kill(&r->played[i]);
            waitpid(r->played[i].pid, NULL, 0);
        }
    while (r->npeers > 0)
        close_fd(&r->peers[--r->npeers]);
    close_fd(&r->listener);
    close_fd(&r->control);
    close_fd(&r->stop);
    rig_forget(r);
    state_done(&r->state);
    store_close(&r->store);
    if (path_remove_tree(AT_FDCWD, r->base, &e) < 0)
        fail_msg("%s", e.msg);
}

/* cmocka's set-up and tear-down. */
static inline int rig_set_up(void **state)
{
    struct rig *r = malloc(sizeof *r);

    rig_begin(r);
    *state = r;
    return 0;
}

static inline int rig_tear_down(void **state)
{
    rig_end(*state);
    free(*state);
    return 0;
}

#define rig_test(f) cmocka_unit_test_setup_teardown(f, rig_set_up, rig_tear_down)

#endif
