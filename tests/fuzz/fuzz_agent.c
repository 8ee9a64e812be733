/*
 * The agent and what comes over the host's connections: any bytes, any frames, in any order, from
 * several connections that come and go; and what the children say on their sockets. No container is
 * made: clone_process is played here, its children die when the input says so, and a cgroup is a
 * directory of plain files.
 */
#include "tests/fuzz/scratch.h"
#include "tests/unit/agent_rig.h"

#include "agent/child.h"
#include "agent/container.h"
#include "agent/devfilter.h"

#include <sys/socket.h>
#include <sys/stat.h>

#define CONNS    4u
#define CHILDREN 8u
#define NOBODY   0x40000000 /* larger than any pid */

enum step {
    DIAL,
    BYTES,
    FRAME,
    TARGET,
    CREATE,
    EXEC,
    HEAR,
    LEAVE,
    CHILD_SAYS,
    CHILD_DIES,
    TURN,
    STEPS
};

static struct {
    struct agent a;
    struct agent_config cfg;
    char share[96], cgroups[96];
    int fd[CONNS]; /* the host's ends; -1 = none */
    struct {
        struct process *process;
        int sync; /* its end */
        int stdio[3];
    } child[CHILDREN];
    unsigned nchildren;
    bool fails; /* the next one cannot be made */
} target;

/* --- children --------------------------------------------------------------------------------- */

int __wrap_clone_process(struct process *p, struct err *e);
int __wrap_devfilter_attach(int cgroup_fd, const struct spec_device_rule *rules, size_t n,
                            int old_prog, struct err *e);

/* What the real one leaves behind: a socket, pipes, a pid; and nobody with that pid. */
int __wrap_clone_process(struct process *p, struct err *e)
{
    unsigned k = target.nchildren;
    int pair[2];

    if (target.fails || k == CHILDREN)
        return err_set(e, EAGAIN, "no child");
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair),
                     0);
    for (int i = 0; i < 3 && !p->spec->terminal; i++) {
        int fds[2];
        assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
        p->stdio[i] = fds[i == 0];
        target.child[k].stdio[i] = fds[i != 0];
    }
    p->sync = pair[0];
    p->pid = NOBODY;
    target.child[k].process = p;
    target.child[k].sync = pair[1];
    target.nchildren++;
    return 0;
}

int __wrap_devfilter_attach(int cgroup_fd, const struct spec_device_rule *rules, size_t n,
                            int old_prog, struct err *e)
{
    struct bpf_insn *program;
    int r = devfilter_build(rules, n, &program, e);

    (void)cgroup_fd;
    (void)old_prog;
    if (r < 0)
        return r;
    free(program);
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* --- cgroups ---------------------------------------------------------------------------------- */

int __wrap_cgroup_make(const char *dir, const char *name, struct err *e);
int __wrap_cgroup_remove(const char *dir, const char *name);

/* Without the files that are watched, since plain ones cannot be; and without cgroup.procs: nobody
 * is to be signalled by a number that stands in a file. */
int __wrap_cgroup_make(const char *dir, const char *name, struct err *e)
{
    static const char *const files[] = {
        "cgroup.freeze",   "cgroup.kill",  "cpu.max",    "cpu.weight", "cpu.stat",
        "memory.current",  "memory.high",  "memory.low", "pids.max",   "memory.max",
        "pids.peak",       "pids.current", "cpu.idle",   "io.weight",  "io.stat",
        "memory.swap.max", "memory.stat"};
    char path[PATH_MAX];
    int fd;

    assert_true(path_is_clean_name(name));
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (mkdir(path, 0755) < 0)
        return err_errno(e, "make the cgroup %s", path);
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        int file = openat(fd, files[i], O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        assert_int_equal(write(file, "7\nanon 7\n", 9), 9);
        close(file);
    }
    return fd;
}

int __wrap_cgroup_remove(const char *dir, const char *name)
{
    struct err e = ERR_INIT;
    char path[PATH_MAX];

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    assert_int_equal(path_remove_tree(AT_FDCWD, path, &e), 0);
    return 0;
}

/* --- the children's words and ends -------------------------------------------------------------
 */

/* Is the process that this child was made for still the agent's? */
static bool is_known(const struct process *p)
{
    for (const struct container *c = target.a.containers; c; c = c->next) {
        for (const struct process *q = c->processes; q; q = q->next) {
            if (q == p)
                return true;
        }
    }
    return false;
}

static void say(unsigned k, struct fuzz *f)
{
    struct child_message m = {.event = fuzz_u8(f) % 5};
    uint8_t how = fuzz_u8(f);
    int fd = how & 1 ? target.child[k].stdio[0] : -1;

    fuzz_take(f, &m.err, how % 16);
    (void)!io_send_fds(target.child[k].sync, &m, how & 2 ? sizeof(m) - 1 : sizeof(m), &fd, fd >= 0);
}

/* A real child that has ended takes its place, for the agent to reap. */
static void die(unsigned k, int status)
{
    struct process *p = target.child[k].process;

    close_fd(&target.child[k].sync);
    for (int i = 0; i < 3; i++)
        close_fd(&target.child[k].stdio[i]);
    if (!p || !is_known(p) || p->pid != NOBODY)
        return;
    p->pid = vfork();
    if (p->pid == 0)
        _exit(status);
    assert_true(p->pid > 0);
    target.child[k].process = NULL;
}

/* --- the host --------------------------------------------------------------------------------- */

static void turn(void)
{
    assert_int_equal(loop_once(&target.a.loop, 0), 0);
    container_sweep(&target.a);
    conn_sweep(&target.a);
}

static void dial(int *fd, bool hello)
{
    struct err e = ERR_INIT;
    int pair[2];

    close_fd(fd);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    *fd = pair[0];
    assert_int_equal(agent_add_conn(&target.a, pair[1], hello, &e), 0);
}

static void send_bytes(int fd, const void *bytes, size_t len)
{
    if (len > 0)
        (void)!send(fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void send_frame(int fd, uint16_t type, const void *body, size_t len)
{
    char head[PROTO_HEAD_LEN];

    frame_put(head, type, 7, (uint32_t)len);
    send_bytes(fd, head, sizeof(head));
    send_bytes(fd, body, len);
}

static void send_json(int fd, uint16_t type, json_t *body)
{
    char *text = json_dumps(body, 0);

    send_frame(fd, type, text, strlen(text));
    free(text);
    json_decref(body);
}

static uint16_t some_type(struct fuzz *f)
{
    uint8_t v = fuzz_u8(f);

    return v & 1 ? PROTO_CONTAINER_CREATE + v / 2 % 8 : PROTO_PROCESS_CREATE + v / 2 % 6;
}

/* A request about a process that may be there, with all that any of them wants. */
static void send_target(int fd, struct fuzz *f)
{
    static const char *const ids[] = {"c", "c", "c2", ""}, *const processes[] = {"", "e", "e2", ""};
    uint16_t type = some_type(f);
    uint8_t who = fuzz_u8(f);

    send_json(fd, type,
              json_pack("{s:s, s:s, s:i, s:i, s:b, s:i, s:i, s:{}}", "id", ids[who & 3], "process",
                        processes[who >> 2 & 3], "signal", fuzz_u8(f) % 70, "stream", who >> 6,
                        "all", who >> 4 & 1, "rows", 24, "cols", 80, "resources"));
}

static void send_create(int fd, uint8_t how)
{
    json_t *config = rig_config("true");

    if (how & 1)
        rig_set(config, "process.terminal", json_true());
    target.fails = how & 2;
    send_json(fd, PROTO_CONTAINER_CREATE, rig_create_body(how & 4 ? "c2" : "c", config));
}

static void send_exec(int fd, uint8_t how)
{
    json_t *config = rig_config("true"), *spec = json_object_get(config, "process");

    json_object_set_new(spec, "terminal", json_boolean(how & 1));
    target.fails = how & 2;
    send_json(fd, PROTO_PROCESS_CREATE,
              json_pack("{s:s, s:s, s:O, s:s}", "id", how & 4 ? "c2" : "c", "process",
                        how & 8 ? "e2" : "e", "spec", spec, how & 16 ? "seccomp" : "cgroup",
                        "AAAAAAAAAAA="));
    json_decref(config);
}

static void hear(int fd)
{
    char sink[4096];

    for (int i = 0; i < 16 && recv(fd, sink, sizeof(sink), MSG_DONTWAIT) > 0; i++)
        ;
}

static void take_step(struct fuzz *f)
{
    uint8_t step = fuzz_u8(f);
    int *fd = &target.fd[step / STEPS % CONNS];
    unsigned k = target.nchildren ? step / STEPS % target.nchildren : 0;
    uint16_t type;
    size_t len;
    const uint8_t *bytes;

    switch ((enum step)(step % STEPS)) {
    case DIAL:
        dial(fd, step & 1);
        break;
    case BYTES:
        bytes = fuzz_bytes(f, fuzz_u8(f), &len);
        send_bytes(*fd, bytes, len);
        break;
    case FRAME:
        type = some_type(f);
        bytes = fuzz_bytes(f, fuzz_u16(f), &len);
        send_frame(*fd, type, bytes, len);
        break;
    case TARGET:
        send_target(*fd, f);
        break;
    case CREATE:
        send_create(*fd, fuzz_u8(f));
        break;
    case EXEC:
        send_exec(*fd, fuzz_u8(f));
        break;
    case HEAR:
        hear(*fd);
        break;
    case LEAVE:
        close_fd(fd);
        break;
    case CHILD_SAYS:
        if (target.nchildren)
            say(k, f);
        break;
    case CHILD_DIES:
        if (target.nchildren)
            die(k, fuzz_u8(f));
        break;
    default:
        break;
    }
    turn();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct err e = ERR_INIT;
    sigset_t set;
    char path[160];

    (void)argc;
    (void)argv;
    scratch_open();
    (void)snprintf(target.share, sizeof(target.share), "%s/share", scratch_dir);
    (void)snprintf(target.cgroups, sizeof(target.cgroups), "%s/cgroups", scratch_dir);
    (void)snprintf(path, sizeof(path), "%s/s/rootfs", target.share);
    assert_int_equal(path_mkdirs(path, 0755, &e), 0);
    assert_int_equal(path_mkdirs(target.cgroups, 0755, &e), 0);
    /* in libFuzzer's own threads as well, or one of them would swallow it */
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    assert_int_equal(sigprocmask(SIG_BLOCK, &set, NULL), 0);
    target.cfg = (struct agent_config){.share_dir = target.share, .cgroup_dir = target.cgroups};
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};
    struct err e = ERR_INIT;

    assert_int_equal(agent_init(&target.a, &target.cfg, -1, &e), 0);
    memset(target.child, 0, sizeof(target.child));
    target.nchildren = 0;
    for (unsigned i = 0; i < CHILDREN; i++)
        target.child[i].sync = target.child[i].stdio[0] = target.child[i].stdio[1] =
            target.child[i].stdio[2] = -1;
    for (unsigned i = 0; i < CONNS; i++)
        target.fd[i] = -1;
    while (f.left > 0)
        take_step(&f);
    for (unsigned i = 0; i < CONNS; i++)
        close_fd(&target.fd[i]);
    turn();
    for (unsigned k = 0; k < target.nchildren; k++)
        die(k, 0);
    turn();
    agent_done(&target.a);
    assert_null(target.a.containers);
    return 0;
}
