/*
 * A real agent without a VM: it runs as PID 1 of a private pid and mount namespace, serves a Unix
 * socket, and makes real containers of a busybox rootfs. Needs root, busybox and a cgroup2 mount.
 */
#ifndef BULKHEAD_TESTS_AGENT_RIG_H
#define BULKHEAD_TESTS_AGENT_RIG_H

#include "agent/agent.h"
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/path.h"
#include "lib/proto.h"
#include "tests/unit/cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct rig {
    pid_t agent;
    char dir[64];     /* tmpfs of our own mount namespace */
    char cgroup[128]; /* where the agent makes its containers' */
    char socket[96];
    bool controllers; /* memory, pids and cpu can be limited here */
    bool kept;        /* the container `keeper` runs */
};

static inline void rig_write(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

    assert_true(fd >= 0);
    assert_int_equal(io_write_full(fd, text, strlen(text)), 0);
    fchmod(fd, mode);
    close(fd);
}

static inline void rig_make_rootfs(const struct rig *r)
{
    static const char *const dirs[] = {"",     "/bin", "/proc", "/sys", "/dev",
                                       "/etc", "/tmp", "/root", "/var"};
    char path[256], cmd[512];

    snprintf(path, sizeof(path), "%s/share", r->dir);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof(path), "%s/share/s", r->dir);
    assert_int_equal(mkdir(path, 0755), 0);
    for (size_t i = 0; i < sizeof(dirs) / sizeof(*dirs); i++) {
        snprintf(path, sizeof(path), "%s/share/s/rootfs%s", r->dir, dirs[i]);
        assert_int_equal(mkdir(path, 0755), 0);
    }
    snprintf(cmd, sizeof(cmd),
             "b=$(command -v busybox); [ -f \"$b\" ] || b=/bin/busybox; "
             "cp \"$b\" %s/share/s/rootfs/bin/busybox && "
             "%s/share/s/rootfs/bin/busybox --install -s %s/share/s/rootfs/bin/ && "
             "for i in %s/share/s/rootfs/bin/*; do [ -L $i ] && ln -sf busybox $i; done; true",
             r->dir, r->dir, r->dir, r->dir);
    assert_int_equal(system(cmd), 0);
    snprintf(path, sizeof(path), "%s/share/s/rootfs/etc/passwd", r->dir);
    rig_write(path, "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000:Ann:/home/ann:/bin/sh\n", 0644);
    snprintf(path, sizeof(path), "%s/share/s/rootfs/etc/plain", r->dir);
    rig_write(path, "not a program\n", 0644);
    snprintf(path, sizeof(path), "%s/share/s/rootfs/bin/garbage", r->dir);
    rig_write(path, "\001\002\003", 0755);
}

/* Hands the controllers that there are on to the containers' cgroups. */
static inline void rig_enable_controllers(struct rig *r)
{
    char path[192], text[256] = "", *rest = text, *name;
    int fd;

    snprintf(path, sizeof(path), "%s/cgroup.controllers", r->cgroup);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && read(fd, text, sizeof(text) - 1) >= 0);
    close(fd);
    r->controllers = strstr(text, "memory") && strstr(text, "pids") && strstr(text, "cpu");
    snprintf(path, sizeof(path), "%s/cgroup.subtree_control", r->cgroup);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    while ((name = strsep(&rest, " \n"))) {
        char word[64];
        int n = snprintf(word, sizeof(word), "+%s", name);

        if (*name)
            (void)!write(fd, word, (size_t)n);
    }
    close(fd);
}

/* Why the rig cannot stand here, or NULL. */
static inline const char *rig_obstacle(struct rig *r)
{
    static const char *const places[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
    char path[160];

    if (geteuid() != 0)
        return "needs root";
    if (system("command -v busybox >/dev/null") != 0)
        return "needs busybox";
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s/cgroup.procs", places[i]);
        if (access(path, W_OK) == 0) {
            snprintf(r->cgroup, sizeof(r->cgroup), "%s/bulkhead-test-%d", places[i], getpid());
            if (mkdir(r->cgroup, 0755) < 0)
                return "cannot make a cgroup";
            rig_enable_controllers(r);
            return NULL;
        }
    }
    return "needs a cgroup v2 mount";
}

static inline void rig_agent(const struct rig *r, int listener)
{
    static struct agent a;
    struct err e = ERR_INIT;
    char share[96];
    struct agent_config cfg = {.share_dir = share, .cgroup_dir = r->cgroup, .ends = true};

    snprintf(share, sizeof(share), "%s/share", r->dir);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (mount("proc", "/proc", "proc", 0, NULL) < 0)
        _exit(90);
    if (agent_init(&a, &cfg, listener, &e) < 0 || agent_run(&a, &e) < 0) {
        fprintf(stderr, "agent: %s\n", e.msg);
        _exit(91);
    }
    agent_done(&a);
    exit(0); /* not _exit: here the sanitizer looks for what the agent has leaked */
}

static inline void rig_start(struct rig *r)
{
    struct err e = ERR_INIT;
    int listener, own;

    strcpy(r->dir, "/tmp/bulkhead-agent-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    assert_int_equal(mount("tmpfs", r->dir, "tmpfs", 0, "mode=0755"), 0);
    rig_make_rootfs(r);
    snprintf(r->socket, sizeof(r->socket), "%s/agent.sock", r->dir);
    listener = io_unix_listen(r->socket, SOCK_STREAM, &e);
    if (listener < 0)
        fail_msg("%s", e.msg);
    io_set_nonblock(listener, 1);
    fflush(NULL);
    own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
    assert_int_equal(unshare(CLONE_NEWPID), 0);
    r->agent = fork();
    assert_true(r->agent >= 0);
    if (r->agent == 0) {
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0)
            _exit(92);
        rig_agent(r, listener);
    }
    close(listener);
    assert_int_equal(setns(own, CLONE_NEWPID), 0);
    close(own);
}

/* The agent's exit status; -1 when it had to be killed. */
static inline int rig_end(struct rig *r)
{
    int status;

    waitpid(r->agent, &status, 0);
    umount2(r->dir, MNT_DETACH);
    rmdir(r->dir);
    rmdir(r->cgroup);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static inline int rig_connect(const struct rig *r)
{
    struct err e = ERR_INIT;
    int fd = io_unix_connect(r->socket, SOCK_STREAM, &e);

    if (fd < 0)
        fail_msg("%s", e.msg);
    return fd;
}

/* A request that must succeed. */
static inline json_t *rig_call(int fd, uint16_t type, json_t *body)
{
    struct err e = ERR_INIT;
    json_t *reply = NULL;

    if (proto_call(fd, type, body, -1, &reply, &e) < 0)
        fail_msg("%s: %s", proto_type_name(type), e.msg);
    return reply;
}
#define rig_do(fd, type, ...) json_decref(rig_call(fd, type, json_pack(__VA_ARGS__)))

/* One that must fail; the message is in *e. */
static inline void rig_fail(int fd, uint16_t type, json_t *body, struct err *e)
{
    json_t *reply = NULL;

    memset(e, 0, sizeof(*e));
    if (proto_call(fd, type, body, -1, &reply, e) >= 0)
        fail_msg("%s succeeded", proto_type_name(type));
}

/* JSON with single quotes, to be legible here. */
static inline json_t *rig_json(const char *text)
{
    char *copy = strdup(text);
    json_error_t je;
    json_t *j;

    for (char *p = copy; *p; p++) {
        if (*p == '\'')
            *p = '"';
    }
    j = json_loads(copy, 0, &je);
    if (!j)
        fail_msg("%s in %s", je.text, copy);
    free(copy);
    return j;
}

/* What `runc spec` makes, running sh -c script. */
static inline json_t *rig_config(const char *script)
{
    json_t *c =
        rig_json("{'ociVersion':'1.0.2','root':{'path':'rootfs'},'hostname':'box',"
                 "'process':{'user':{'uid':0,'gid':0},'cwd':'/','env':['PATH=/bin','TERM=xterm'],"
                 "'args':['sh','-c'],'capabilities':{"
                 "'bounding':['CAP_KILL','CAP_AUDIT_WRITE','CAP_CHOWN'],"
                 "'effective':['CAP_KILL','CAP_CHOWN'],'permitted':['CAP_KILL','CAP_CHOWN']}},"
                 "'mounts':[{'destination':'/proc','type':'proc','source':'proc'},"
                 "{'destination':'/dev','type':'tmpfs','source':'tmpfs',"
                 "'options':['nosuid','strictatime','mode=755','size=65536k']},"
                 "{'destination':'/dev/pts','type':'devpts','source':'devpts',"
                 "'options':['nosuid','noexec','newinstance','ptmxmode=0666','mode=0620','gid=5']},"
                 "{'destination':'/dev/shm','type':'tmpfs','source':'shm',"
                 "'options':['nosuid','noexec','nodev','mode=1777','size=65536k']},"
                 "{'destination':'/dev/mqueue','type':'mqueue','source':'mqueue',"
                 "'options':['nosuid','noexec','nodev']},"
                 "{'destination':'/sys','type':'sysfs','source':'sysfs',"
                 "'options':['nosuid','noexec','nodev','ro']},"
                 "{'destination':'/sys/fs/cgroup','type':'cgroup','source':'cgroup',"
                 "'options':['nosuid','noexec','nodev','relatime','ro']}],"
                 "'linux':{'resources':{'devices':[{'allow':false,'access':'rwm'}]},"
                 "'namespaces':[{'type':'pid'},{'type':'network'},{'type':'ipc'},{'type':'uts'},"
                 "{'type':'mount'},{'type':'cgroup'}],"
                 "'maskedPaths':['/proc/kcore','/proc/keys','/proc/timer_list','/sys/firmware'],"
                 "'readonlyPaths':['/proc/bus','/proc/irq','/proc/sys','/proc/sysrq-trigger']}}");

    json_array_append_new(json_object_get(json_object_get(c, "process"), "args"),
                          json_string(script));
    return c;
}

/* Sets the value (owned) at a path of keys like "linux.sysctl". */
static inline void rig_set(json_t *c, const char *path, json_t *value)
{
    char copy[128], *rest = copy, *key;

    snprintf(copy, sizeof(copy), "%s", path);
    while ((key = strsep(&rest, "."))) {
        if (!rest) {
            json_object_set_new(c, key, value);
            return;
        }
        if (!json_object_get(c, key))
            json_object_set_new(c, key, json_object());
        c = json_object_get(c, key);
    }
}

struct run {
    int status, signal;
    bool oom;
    char out[65536], err[8192];
};

/* All bytes of a stream until its end. */
static inline void rig_drain(int fd, char *buf, size_t size)
{
    ssize_t n = io_read_full(fd, buf, size - 1);

    assert_true(n >= 0);
    buf[n] = '\0';
}

static inline int rig_stream(const struct rig *r, const char *id, const char *process, int index)
{
    int fd = rig_connect(r);

    rig_do(fd, PROTO_PROCESS_STREAM, "{s:s,s:s,s:i}", "id", id, "process", process, "stream",
           index);
    return fd;
}

static inline void rig_wait_exit(int control, struct run *run)
{
    struct proto_frame f;
    struct err e = ERR_INIT;

    if (proto_recv(control, -1, &f, &e) < 0)
        fail_msg("waiting for EXIT: %s", e.msg);
    assert_int_equal(f.type, PROTO_EXIT);
    run->status = (int)json_integer_value(json_object_get(f.body, "status"));
    run->signal = (int)json_integer_value(json_object_get(f.body, "signal"));
    run->oom = json_is_true(json_object_get(f.body, "oom"));
    proto_frame_done(&f);
}

/* Attaches to a created process, starts it, gives it `input`, collects all until its exit. */
static inline void rig_finish(const struct rig *r, int control, const char *id, const char *process,
                              const char *input, struct run *run)
{
    int in = input ? rig_stream(r, id, process, 0) : -1, out = rig_stream(r, id, process, 1),
        err = rig_stream(r, id, process, 2);

    rig_do(control, PROTO_PROCESS_ATTACH, "{s:s,s:s}", "id", id, "process", process);
    rig_do(control, PROTO_PROCESS_START, "{s:s,s:s}", "id", id, "process", process);
    if (input) {
        assert_int_equal(io_write_full(in, input, strlen(input)), 0);
        close(in);
    }
    rig_drain(out, run->out, sizeof(run->out));
    rig_drain(err, run->err, sizeof(run->err));
    close(out);
    close(err);
    rig_wait_exit(control, run);
}

static inline json_t *rig_create_body(const char *id, json_t *config)
{
    return json_pack("{s:s, s:s, s:o}", "id", id, "share", "s", "config", config);
}

/* A whole container, deleted afterwards. */
static inline void rig_run(const struct rig *r, json_t *config, const char *input, struct run *run)
{
    int control = rig_connect(r), other = rig_connect(r);

    json_decref(rig_call(control, PROTO_CONTAINER_CREATE, rig_create_body("c", config)));
    rig_finish(r, control, "c", "", input, run);
    rig_do(other, PROTO_CONTAINER_DELETE, "{s:s}", "id", "c");
    close(control);
    close(other);
}

/* --- a program of tests, all with one agent --------------------------------------------------- */

static struct rig rig;

#define NEEDS_RIG()                                                                                \
    if (!rig.agent)                                                                                \
    skip_because("no agent here: it wants root and a cgroup hierarchy")

static inline json_t *rig_sleeper(void)
{
    json_t *c = rig_config("");

    rig_set(c, "process.args", rig_json("['sleep','1000']"));
    return c;
}

/* One container lives through all tests: without any, the agent would end. */
static inline int rig_setup(void **state)
{
    const char *why = rig_obstacle(&rig);
    int keeper;

    (void)state;
    if (why) {
        print_message("%s\n", why);
        return 0;
    }
    rig_start(&rig);
    keeper = rig_connect(&rig); /* left open: it deletes nothing, but keeps the container */
    json_decref(rig_call(keeper, PROTO_CONTAINER_CREATE, rig_create_body("keeper", rig_sleeper())));
    rig_do(keeper, PROTO_PROCESS_ATTACH, "{s:s,s:s}", "id", "keeper", "process", "");
    rig_do(keeper, PROTO_PROCESS_START, "{s:s,s:s}", "id", "keeper", "process", "");
    rig.kept = true;
    return 0;
}

static inline int rig_teardown(void **state)
{
    (void)state;
    if (!rig.agent)
        return 0;
    if (!rig.kept)
        kill(rig.agent, SIGKILL);
    io_close_from(3); /* kills the last container (and a failed test's): the sandbox ends itself */
    assert_int_equal(rig_end(&rig), rig.kept ? 0 : -1);
    return 0;
}

static inline void rig_run_ok(json_t *config, const char *input, struct run *run)
{
    memset(run, 0, sizeof(*run));
    rig_run(&rig, config, input, run);
    assert_string_equal(run->err, "");
    assert_int_equal(run->status, 0);
}

static inline json_t *rig_exec_spec(const char *script)
{
    return json_pack("{s:[s,s,s], s:s, s:[s], s:{s:i,s:i}}", "args", "sh", "-c", script, "cwd", "/",
                     "env", "PATH=/bin", "user", "uid", 0, "gid", 0);
}

/* An exec in the container that is always there. */
static inline void rig_exec(const char *id, json_t *spec, const char *input, struct run *run)
{
    int control = rig_connect(&rig);

    rig_do(control, PROTO_PROCESS_CREATE, "{s:s,s:s,s:o}", "id", "keeper", "process", id, "spec",
           spec);
    rig_finish(&rig, control, "keeper", id, input, run);
    close(control);
}

#endif
