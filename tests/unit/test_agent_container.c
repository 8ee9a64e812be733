/*
 * Real containers by a real agent, in a private namespace instead of a VM: what the process sees,
 * how it ends, what is refused.
 */
#include "tests/unit/agent_rig.h"

#include <sys/sysmacros.h>

static struct rig rig;
static bool kept;  /* the keeper runs */
static int keeper; /* a connection that has deleted nothing but keeps a container: see setup */

static json_t *sleeper(void)
{
    json_t *c = rig_config("");

    rig_set(c, "process.args", rig_json("['sleep','1000']"));
    return c;
}

/* One container lives through all tests: without any, the agent would end. */
static int setup(void **state)
{
    const char *why = rig_obstacle(&rig);

    (void)state;
    if (why) {
        print_message("%s\n", why);
        return 0;
    }
    rig_start(&rig);
    keeper = rig_connect(&rig);
    json_decref(rig_call(keeper, PROTO_CONTAINER_CREATE, rig_create_body("keeper", sleeper())));
    rig_do(keeper, PROTO_PROCESS_ATTACH, "{s:s,s:s}", "id", "keeper", "process", "");
    rig_do(keeper, PROTO_PROCESS_START, "{s:s,s:s}", "id", "keeper", "process", "");
    kept = true;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (!rig.agent)
        return 0;
    if (!kept)
        kill(rig.agent, SIGKILL);
    io_close_from(3); /* kills the last container (and a failed test's): the sandbox ends itself */
    assert_int_equal(rig_end(&rig), kept ? 0 : -1);
    return 0;
}

#define NEEDS_RIG()                                                                                \
    if (!rig.agent)                                                                                \
    skip_because("no agent here: it wants root and a cgroup hierarchy")

static void run_ok(json_t *config, const char *input, struct run *run)
{
    memset(run, 0, sizeof(*run));
    rig_run(&rig, config, input, run);
    assert_string_equal(run->err, "");
    assert_int_equal(run->status, 0);
}

static void test_output_and_status(void **state)
{
    struct run r;

    (void)state;
    NEEDS_RIG();
    rig_run(&rig, rig_config("echo out; echo err >&2; hostname; exit 42"), NULL, &r);
    assert_string_equal(r.out, "out\nbox\n");
    assert_string_equal(r.err, "err\n");
    assert_int_equal(r.status, 42);
    assert_int_equal(r.signal, 0);
    rig_run(&rig, rig_config("sh -c 'kill -9 $$'; exit $?"), NULL, &r);
    assert_int_equal(r.status, 137);
}

static void test_stdin(void **state)
{
    struct run r;

    (void)state;
    NEEDS_RIG();
    run_ok(rig_config("cat; echo end"), "some\ninput\n", &r);
    assert_string_equal(r.out, "some\ninput\nend\n");
    run_ok(rig_config("readlink /proc/self/fd/0; cat"), NULL, &r); /* nobody attached to stdin */
    assert_string_equal(r.out, "/dev/null\n");
    run_ok(rig_config("echo again >/dev/stdout; echo x >/proc/self/fd/1"), NULL, &r);
    assert_string_equal(r.out, "again\nx\n");
}

/* Far more than any buffer on the way, both ways at once. */
static void test_bulk(void **state)
{
    enum { BULK = 8 << 20 };
    int control, in, out;
    struct run r;
    char *buf;
    size_t got = 0;

    (void)state;
    NEEDS_RIG();
    control = rig_connect(&rig);
    buf = malloc(BULK);
    assert_non_null(buf);
    for (size_t i = 0; i < BULK; i++)
        buf[i] = (char)(i * 31 + (i >> 12));
    json_decref(
        rig_call(control, PROTO_CONTAINER_CREATE, rig_create_body("bulk", rig_config("cat"))));
    in = rig_stream(&rig, "bulk", "", 0);
    out = rig_stream(&rig, "bulk", "", 1);
    rig_do(control, PROTO_PROCESS_ATTACH, "{s:s,s:s}", "id", "bulk", "process", "");
    rig_do(control, PROTO_PROCESS_START, "{s:s,s:s}", "id", "bulk", "process", "");
    io_set_nonblock(in, 1);
    for (size_t put = 0; got < BULK;) {
        char chunk[65536];
        ssize_t n;

        if (put < BULK && (n = write(in, buf + put, BULK - put)) > 0) {
            put += (size_t)n;
            if (put == BULK)
                shutdown(in, SHUT_WR);
        }
        io_set_nonblock(out, 1);
        n = read(out, chunk, sizeof(chunk));
        if (n > 0) {
            assert_memory_equal(chunk, buf + got, (size_t)n);
            got += (size_t)n;
        }
        assert_int_not_equal(n, 0);
    }
    rig_wait_exit(control, &r);
    assert_int_equal(r.status, 0);
    rig_do(control, PROTO_CONTAINER_DELETE, "{s:s}", "id", "bulk");
    close(control);
    close(in);
    close(out);
    free(buf);
}

static void test_namespaces_and_mounts(void **state)
{
    struct run r;

    (void)state;
    NEEDS_RIG();
    run_ok(rig_config("echo $$; ls /proc | grep -c '^[0-9]'; ls / ; ls /dev; ls -l /dev/ptmx | "
                      "sed 's/.*-> //'; cat /proc/1/comm; ip addr show lo | grep -c LOOPBACK,UP"),
           NULL, &r);
    assert_non_null(strstr(r.out, "1\n"));
    assert_non_null(strstr(r.out, "\nbin\ndev\netc\n"));
    assert_non_null(strstr(r.out, "full\nmqueue\nnull\nptmx\npts\nrandom\nshm\n"));
    assert_non_null(strstr(r.out, "pts/ptmx\nsh\n1\n"));
    run_ok(rig_config("cat /proc/self/cgroup; [ -s /proc/keys ] || echo masked; "
                      "echo 1 2>/dev/null >/proc/sys/kernel/hostname || echo readonly; "
                      "[ -w /sys ] ; touch /sys/x 2>/dev/null || echo sysro; umask; pwd; "
                      "echo $HOME"),
           NULL, &r);
    assert_string_equal(strstr(r.out, "::/"), "::/\nmasked\nreadonly\nsysro\n0022\n/\n/root\n");
}

static void test_device_filter(void **state)
{
    (void)state;
    NEEDS_RIG();

    struct run r;
    json_t *c = rig_config("head -c 3 /dev/zero | wc -c; mknod /dev/ram9 c 7 77; "
                           "cat /dev/ram9 2>&1 | sed 's/.*: //'; mknod /dev/loopy c 1 5 && "
                           "head -c 2 /dev/loopy | wc -c");

    for (int i = 0; i < 3; i++) {
        static const char *const sets[] = {"bounding", "effective", "permitted"};

        json_array_append_new(
            json_object_get(json_object_get(json_object_get(c, "process"), "capabilities"),
                            sets[i]),
            json_string("CAP_MKNOD"));
    }
    run_ok(c, NULL, &r);
    assert_string_equal(r.out, "3\nOperation not permitted\n2\n");
}

static void test_user_and_caps(void **state)
{
    json_t *c =
        rig_config("id; umask; grep -E '^(Cap|NoNew|Groups)' /proc/self/status; echo $HOME; "
                   "pwd; ulimit -n; echo hi >/dev/stderr");
    struct run r;

    (void)state;
    NEEDS_RIG();
    rig_set(c, "process.user",
            rig_json("{'uid':1000,'gid':1001,'umask':18,'additionalGids':[5,7]}"));
    rig_set(c, "process.cwd", json_string("/made/here"));
    rig_set(c, "process.noNewPrivileges", json_true());
    rig_set(c, "process.rlimits", rig_json("[{'type':'RLIMIT_NOFILE','soft':77,'hard':99}]"));
    rig_set(c, "process.capabilities",
            rig_json("{'bounding':['CAP_KILL','CAP_CHOWN'],'permitted':['CAP_KILL'],"
                     "'effective':['CAP_KILL'],'inheritable':['CAP_KILL'],"
                     "'ambient':['CAP_KILL']}"));
    memset(&r, 0, sizeof(r));
    rig_run(&rig, c, NULL, &r);
    assert_string_equal(r.err, "hi\n");
    assert_string_equal(r.out,
                        "uid=1000(ann) gid=1001 groups=5,7\n0022\nGroups:\t5 7 \n"
                        "CapInh:\t0000000000000020\nCapPrm:\t0000000000000020\n"
                        "CapEff:\t0000000000000020\nCapBnd:\t0000000000000021\n"
                        "CapAmb:\t0000000000000020\nNoNewPrivs:\t1\n/home/ann\n/made/here\n77\n");
}

static void test_program_not_found(void **state)
{
    static const struct {
        const char *arg, *says;
    } cases[] = {
        {"nope", "exec: \"nope\": executable file not found in $PATH"},
        {"/x", "exec: \"/x\": stat /x: no such file or directory"},
        {"/etc/plain", "exec: \"/etc/plain\": permission denied"},
        {"/etc", "exec: \"/etc\": permission denied"},
        {"plain", "exec: \"plain\": executable file not found in $PATH"},
    };

    (void)state;
    NEEDS_RIG();
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        json_t *c = rig_config("");
        int fd = rig_connect(&rig);
        struct err e;

        rig_set(c, "process.args", json_pack("[s]", cases[i].arg));
        rig_fail(fd, PROTO_CONTAINER_CREATE, rig_create_body("nf", c), &e);
        assert_string_equal(e.msg, cases[i].says);
        close(fd);
    }
}

static void test_exec_format_error(void **state)
{
    (void)state;
    NEEDS_RIG();

    json_t *c = rig_config("");
    int fd;
    struct err e;

    fd = rig_connect(&rig);
    rig_set(c, "process.args", rig_json("['garbage']"));
    json_decref(rig_call(fd, PROTO_CONTAINER_CREATE, rig_create_body("g", c)));
    rig_fail(fd, PROTO_PROCESS_START, json_pack("{s:s,s:s}", "id", "g", "process", ""), &e);
    assert_string_equal(e.msg, "exec /bin/garbage: Exec format error");
    rig_do(fd, PROTO_CONTAINER_DELETE, "{s:s}", "id", "g");
    close(fd);
}

static void exec_in_keeper(const char *id, json_t *spec, const char *input, struct run *run)
{
    int control = rig_connect(&rig);

    rig_do(control, PROTO_PROCESS_CREATE, "{s:s,s:s,s:o}", "id", "keeper", "process", id, "spec",
           spec);
    rig_finish(&rig, control, "keeper", id, input, run);
    close(control);
}

static json_t *exec_spec(const char *script)
{
    return json_pack("{s:[s,s,s], s:s, s:[s], s:{s:i,s:i}}", "args", "sh", "-c", script, "cwd", "/",
                     "env", "PATH=/bin", "user", "uid", 0, "gid", 0);
}

static void test_exec(void **state)
{
    struct run r;
    int fd;
    struct err e;

    (void)state;
    NEEDS_RIG();
    exec_in_keeper("e1", exec_spec("hostname; cat; tr '\\0' ' ' </proc/1/cmdline; exit 3"), "in\n",
                   &r);
    assert_string_equal(r.out, "box\nin\nsleep 1000 ");
    assert_int_equal(r.status, 3);
    exec_in_keeper("e1", exec_spec("readlink /proc/self/ns/pid >/dev/null; kill -TERM $$"), NULL,
                   &r); /* the name is free again */
    assert_int_equal(r.status, 143);
    assert_int_equal(r.signal, 15);
    fd = rig_connect(&rig);
    rig_fail(fd, PROTO_PROCESS_CREATE,
             json_pack("{s:s,s:s,s:{s:[s],s:s,s:{s:i,s:i}}}", "id", "keeper", "process", "e2",
                       "spec", "args", "gone", "cwd", "/", "user", "uid", 0, "gid", 0),
             &e);
    assert_string_equal(e.msg, "exec: \"gone\": executable file not found in $PATH");
    rig_fail(fd, PROTO_PROCESS_START, json_pack("{s:s,s:s}", "id", "keeper", "process", ""), &e);
    assert_string_equal(e.msg, "cannot start an already running container");
    close(fd);
}

/* Whoever asks for a process and goes away before anybody has attached takes it along. */
static void test_exec_abandoned(void **state)
{
    int fd, other;
    struct err e;

    (void)state;
    NEEDS_RIG();
    fd = rig_connect(&rig);
    other = rig_connect(&rig);
    rig_do(fd, PROTO_PROCESS_CREATE, "{s:s,s:s,s:o}", "id", "keeper", "process", "left", "spec",
           exec_spec("sleep 1000"));
    rig_do(other, PROTO_PROCESS_SIGNAL, "{s:s,s:s,s:i}", "id", "keeper", "process", "left",
           "signal", 0);
    usleep(100 * 1000); /* to ask is not to kill */
    rig_do(other, PROTO_PROCESS_SIGNAL, "{s:s,s:s,s:i}", "id", "keeper", "process", "left",
           "signal", 0);
    close(fd);
    do {
        json_t *reply = NULL;

        memset(&e, 0, sizeof(e));
        usleep(10 * 1000);
        (void)!proto_call(
            other, PROTO_PROCESS_SIGNAL,
            json_pack("{s:s,s:s,s:i}", "id", "keeper", "process", "left", "signal", 0), -1, &reply,
            &e);
        json_decref(reply);
    } while (e.code == 0);
    assert_int_equal(e.code, ESRCH);
    rig_do(other, PROTO_PROCESS_CREATE, "{s:s,s:s,s:o}", "id", "keeper", "process", "left", "spec",
           exec_spec("exit 0")); /* the name is free again */
    close(other);
}

static void test_exec_in_a_cgroup(void **state)
{
    char sub[192], deeper[224];
    struct run r;
    struct err e;
    int fd;

    (void)state;
    NEEDS_RIG();
    snprintf(sub, sizeof(sub), "%s/keeper/sub", rig.cgroup);
    snprintf(deeper, sizeof(deeper), "%s/deeper", sub);
    assert_int_equal(mkdir(sub, 0755), 0);
    assert_int_equal(mkdir(deeper, 0755), 0);
    fd = rig_connect(&rig);
    rig_do(fd, PROTO_PROCESS_CREATE, "{s:s,s:s,s:o,s:s}", "id", "keeper", "process", "c", "spec",
           exec_spec("cat /proc/self/cgroup"), "cgroup", "/sub/deeper");
    rig_finish(&rig, fd, "keeper", "c", NULL, &r);
    assert_non_null(strstr(r.out, "0::/sub/deeper\n"));
    assert_int_equal(r.status, 0);
    rig_fail(fd, PROTO_PROCESS_CREATE,
             json_pack("{s:s,s:s,s:o,s:s}", "id", "keeper", "process", "c", "spec",
                       exec_spec("true"), "cgroup", "none"),
             &e);
    assert_string_equal(e.msg, "cgroup none of container keeper: No such file or directory");
    close(fd);
    assert_int_equal(rmdir(deeper), 0);
    assert_int_equal(rmdir(sub), 0);
}

/* A background child holds the pipe: the exit is told all the same, its output is still relayed. */
static void test_exec_background(void **state)
{
    int control, out;
    struct run r;
    char buf[64];

    (void)state;
    NEEDS_RIG();
    control = rig_connect(&rig);
    rig_do(control, PROTO_PROCESS_CREATE, "{s:s,s:s,s:o}", "id", "keeper", "process", "bg", "spec",
           exec_spec("echo now; (sleep 1; echo later) & exit 5"));
    out = rig_stream(&rig, "keeper", "bg", 1);
    rig_do(control, PROTO_PROCESS_ATTACH, "{s:s,s:s}", "id", "keeper", "process", "bg");
    rig_do(control, PROTO_PROCESS_START, "{s:s,s:s}", "id", "keeper", "process", "bg");
    rig_wait_exit(control, &r);
    assert_int_equal(r.status, 5);
    rig_drain(out, buf, sizeof(buf));
    assert_string_equal(buf, "now\nlater\n");
    close(out);
    close(control);
}

/* Killing must work though the reader of the output hangs. */
static void test_kill_with_a_stuck_reader(void **state)
{
    int control, out;
    struct run r;
    char buf[2];

    (void)state;
    NEEDS_RIG();
    control = rig_connect(&rig);
    rig_do(control, PROTO_PROCESS_CREATE, "{s:s,s:s,s:o}", "id", "keeper", "process", "k", "spec",
           exec_spec("exec yes"));
    out = rig_stream(&rig, "keeper", "k", 1);
    rig_do(control, PROTO_PROCESS_ATTACH, "{s:s,s:s}", "id", "keeper", "process", "k");
    rig_do(control, PROTO_PROCESS_START, "{s:s,s:s}", "id", "keeper", "process", "k");
    assert_int_equal(io_read_full(out, buf, 2), 2);
    usleep(200 * 1000); /* all buffers on the way fill up */
    rig_do(control, PROTO_PROCESS_SIGNAL, "{s:s,s:s,s:i}", "id", "keeper", "process", "k", "signal",
           SIGKILL);
    rig_wait_exit(control, &r);
    assert_int_equal(r.status, 137);
    close(control);
    close(out);
}

/* Init is killed while execs run: when its exit is told, theirs have been. */
static void init_and_execs(json_t *config)
{
    int control = rig_connect(&rig), execs[8], other;
    struct run r;
    char id[8];

    json_decref(rig_call(control, PROTO_CONTAINER_CREATE, rig_create_body("c", config)));
    rig_do(control, PROTO_PROCESS_ATTACH, "{s:s,s:s}", "id", "c", "process", "");
    rig_do(control, PROTO_PROCESS_START, "{s:s,s:s}", "id", "c", "process", "");
    for (unsigned i = 0; i < 8; i++) {
        snprintf(id, sizeof(id), "e%u", i);
        execs[i] = rig_connect(&rig);
        rig_do(execs[i], PROTO_PROCESS_CREATE, "{s:s,s:s,s:o}", "id", "c", "process", id, "spec",
               exec_spec("exec sleep 1000"));
        rig_do(execs[i], PROTO_PROCESS_ATTACH, "{s:s,s:s}", "id", "c", "process", id);
        rig_do(execs[i], PROTO_PROCESS_START, "{s:s,s:s}", "id", "c", "process", id);
    }
    other = rig_connect(&rig);
    rig_do(other, PROTO_PROCESS_SIGNAL, "{s:s,s:s,s:i}", "id", "c", "process", "", "signal",
           SIGKILL);
    rig_wait_exit(control, &r);
    assert_int_equal(r.status, 137);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(recv(execs[i], id, 1, MSG_PEEK | MSG_DONTWAIT), 1);
        rig_wait_exit(execs[i], &r);
        assert_int_equal(r.status, 137);
        close(execs[i]);
    }
    rig_do(other, PROTO_CONTAINER_DELETE, "{s:s}", "id", "c");
    close(control);
    close(other);
}

static void test_execs_end_first(void **state)
{
    json_t *shared = sleeper(), *namespaces;

    (void)state;
    NEEDS_RIG();
    namespaces = json_object_get(json_object_get(shared, "linux"), "namespaces");
    assert_int_equal(json_array_remove(namespaces, 0), 0); /* pid: the kernel kills none of them */
    init_and_execs(sleeper());
    init_and_execs(shared);
}

static void test_close_kills(void **state)
{
    int control, other, out;
    char buf[64];

    (void)state;
    NEEDS_RIG();
    control = rig_connect(&rig);
    rig_do(control, PROTO_PROCESS_CREATE, "{s:s,s:s,s:o}", "id", "keeper", "process", "k", "spec",
           exec_spec("echo ready; exec sleep 1000"));
    out = rig_stream(&rig, "keeper", "k", 1);
    rig_do(control, PROTO_PROCESS_ATTACH, "{s:s,s:s}", "id", "keeper", "process", "k");
    rig_do(control, PROTO_PROCESS_START, "{s:s,s:s}", "id", "keeper", "process", "k");
    assert_int_equal(io_read_full(out, buf, 6), 6);
    close(control);
    assert_int_equal(io_read_full(out, buf, 1), 0); /* its pipe ended, so it is dead */
    close(out);
    /* and a container that nobody has started yet */
    control = rig_connect(&rig);
    other = rig_connect(&rig);
    json_decref(
        rig_call(control, PROTO_CONTAINER_CREATE, rig_create_body("k", rig_config("true"))));
    rig_do(control, PROTO_PROCESS_ATTACH, "{s:s,s:s}", "id", "k", "process", "");
    close(control);
    rig_do(other, PROTO_CONTAINER_DELETE, "{s:s}", "id", "k");
    close(other);
}

static void test_terminal(void **state)
{
    (void)state;
    NEEDS_RIG();

    json_t *c = rig_config("tty; stty size; [ -c /dev/console ] && echo console; read x; echo got "
                           "$x; stty size; exit 9");
    char buf[512] = "";
    size_t len = 0;
    int control, tty;
    struct run r;
    bool typed = false;

    rig_set(c, "process.terminal", json_true());
    rig_set(c, "process.consoleSize", rig_json("{'height':33,'width':111}"));
    control = rig_connect(&rig);
    json_decref(rig_call(control, PROTO_CONTAINER_CREATE, rig_create_body("t", c)));
    tty = rig_stream(&rig, "t", "", 0);
    rig_do(control, PROTO_PROCESS_ATTACH, "{s:s,s:s}", "id", "t", "process", "");
    rig_do(control, PROTO_PROCESS_START, "{s:s,s:s}", "id", "t", "process", "");
    for (;;) {
        ssize_t n = read(tty, buf + len, sizeof(buf) - 1 - len);

        assert_true(n >= 0);
        if (n == 0)
            break;
        len += (size_t)n;
        buf[len] = '\0';
        if (!typed && strstr(buf, "console\r\n")) {
            typed = true;
            rig_do(control, PROTO_PROCESS_RESIZE, "{s:s,s:s,s:i,s:i}", "id", "t", "process", "",
                   "rows", 44, "cols", 55);
            assert_int_equal(write(tty, "word\n", 5), 5);
        }
    }
    assert_string_equal(buf, "/dev/pts/0\r\n33 111\r\nconsole\r\nword\r\ngot word\r\n44 55\r\n");
    rig_wait_exit(control, &r);
    assert_int_equal(r.status, 9);
    rig_do(control, PROTO_CONTAINER_DELETE, "{s:s}", "id", "t");
    close(control);
    close(tty);
}

static void test_signals(void **state)
{
    int control;
    struct run r;
    struct err e;

    (void)state;
    NEEDS_RIG();
    /* before START: the first process of a pid namespace ignores it, the container ends by it */
    control = rig_connect(&rig);
    json_decref(
        rig_call(control, PROTO_CONTAINER_CREATE, rig_create_body("sig", rig_config("true"))));
    rig_do(control, PROTO_PROCESS_ATTACH, "{s:s,s:s}", "id", "sig", "process", "");
    rig_do(control, PROTO_PROCESS_SIGNAL, "{s:s,s:s,s:i}", "id", "sig", "process", "", "signal",
           15);
    rig_wait_exit(control, &r);
    assert_int_equal(r.status, 143);
    rig_fail(control, PROTO_PROCESS_SIGNAL,
             json_pack("{s:s,s:s,s:i}", "id", "sig", "process", "", "signal", 15), &e);
    assert_string_equal(e.msg, "container not running");
    assert_int_equal(e.code, ESRCH);
    rig_do(control, PROTO_CONTAINER_DELETE, "{s:s}", "id", "sig");
    close(control);
    /* all processes */
    control = rig_connect(&rig);
    json_decref(rig_call(control, PROTO_CONTAINER_CREATE,
                         rig_create_body("sig", rig_config("sleep 1000 & wait $!; echo $?"))));
    rig_do(control, PROTO_PROCESS_ATTACH, "{s:s,s:s}", "id", "sig", "process", "");
    rig_do(control, PROTO_PROCESS_START, "{s:s,s:s}", "id", "sig", "process", "");
    rig_do(control, PROTO_PROCESS_SIGNAL, "{s:s,s:s,s:i,s:b}", "id", "sig", "process", "", "signal",
           9, "all", 1);
    rig_wait_exit(control, &r);
    assert_int_equal(r.status, 137);
    rig_do(control, PROTO_CONTAINER_DELETE, "{s:s}", "id", "sig");
    close(control);
}

static void test_ps_pause_stats(void **state)
{
    int fd;
    json_t *reply;
    struct err e;

    (void)state;
    NEEDS_RIG();
    fd = rig_connect(&rig);
    reply = rig_call(fd, PROTO_CONTAINER_PS, json_pack("{s:s}", "id", "keeper"));
    assert_int_equal(json_array_size(json_object_get(reply, "processes")), 1);
    assert_string_equal(json_string_value(json_object_get(
                            json_array_get(json_object_get(reply, "processes"), 0), "cmd")),
                        "sleep 1000");
    json_decref(reply);
    rig_do(fd, PROTO_CONTAINER_PAUSE, "{s:s}", "id", "keeper");
    rig_fail(fd, PROTO_CONTAINER_PAUSE, json_pack("{s:s}", "id", "keeper"), &e);
    assert_string_equal(e.msg, "container keeper is already paused");
    rig_do(fd, PROTO_CONTAINER_RESUME, "{s:s}", "id", "keeper");
    reply = rig_call(fd, PROTO_CONTAINER_STATS, json_pack("{s:s}", "id", "keeper"));
    assert_true(json_is_integer(
        json_object_get(json_object_get(json_object_get(reply, "stats"), "cpu"), "usage_usec")));
    json_decref(reply);
    close(fd);
}

#define DOTS         "./././././././././././././././././././././"
#define LONG_WAY_OUT "net/" DOTS DOTS DOTS "../vm/swappiness"

static void test_refusals(void **state)
{
    static const struct {
        const char *path, *value, *says;
    } cases[] = {
        {"process.apparmorProfile", "'x'", "process.apparmorProfile is not supported: "},
        {"process.selinuxLabel", "'x'", "process.selinuxLabel is not supported: "},
        {"linux.mountLabel", "'x'", "linux.mountLabel is not supported: "},
        {"linux.intelRdt", "{'closID':'x'}", "linux.intelRdt is not supported: "},
        {"linux.namespaces", "[{'type':'pid'}]", "linux.namespaces has no mount namespace"},
        {"linux.namespaces", "[{'type':'mount'},{'type':'ipc','path':'/proc/9/ns/ipc'}]",
         "linux.namespaces: joining the ipc namespace /proc/9/ns/ipc is not supported"},
        {"linux.sysctl", "{'vm.swappiness':'1'}",
         "linux.sysctl.vm.swappiness is not in a separate kernel namespace"},
        {"linux.sysctl", "{'net/../vm/swappiness':'1'}",
         "linux.sysctl.net/../vm/swappiness is not in a separate kernel namespace"},
        {"linux.sysctl", "{'" LONG_WAY_OUT "':'1'}",
         "linux.sysctl." LONG_WAY_OUT " is not in a separate kernel namespace"},
        {"linux.resources.memory", "{'swappiness':10}",
         "linux.resources.memory.swappiness is not supported: "},
        {"linux.resources.unified", "{'memory.nothing':'1'}", "linux.resources.unified: "},
        {"linux.seccomp", "{'defaultAction':'SCMP_ACT_ALLOW'}",
         "linux.seccomp came without its compiled filter"},
        {"hooks", "{'poststop':[{'path':'/x'}]}", "hooks.poststop are the host's to run"},
        {"mounts", "[{'destination':'/x','type':'nofs','source':'x'}]",
         "mounts[0] (nofs on /x): nofs: the guest kernel has no such file system"},
        {"mounts", "[{'destination':'/x','type':'tmpfs','source':'x','options':['bogus=1']}]",
         "mounts[0] (tmpfs on /x): "},
        {"mounts", "[{'destination':'/x','type':'bind','source':'/not/there','options':['bind']}]",
         "mounts[0] (bind on /x): clone the mount /not/there: No such file or directory"},
        {"process.cwd", "'/etc/passwd'", "chdir to process.cwd /etc/passwd: Not a directory"},
    };

    (void)state;
    NEEDS_RIG();
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        json_t *c = rig_config("true"), *wrap;
        int fd = rig_connect(&rig);
        char text[256];
        struct err e;

        snprintf(text, sizeof(text), "[%s]", cases[i].value);
        wrap = rig_json(text);
        rig_set(c, cases[i].path, json_incref(json_array_get(wrap, 0)));
        json_decref(wrap);
        rig_fail(fd, PROTO_CONTAINER_CREATE, rig_create_body("no", c), &e);
        if (strncmp(e.msg, cases[i].says, strlen(cases[i].says)) != 0)
            fail_msg("expected: %s\n     got: %s", cases[i].says, e.msg);
        close(fd);
    }
}

static int cgroup_text(const char *id, const char *file, char *out, size_t size)
{
    char path[256];
    int fd;

    snprintf(path, sizeof(path), "%s/%s/%s", rig.cgroup, id, file);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    rig_drain(fd, out, size);
    close(fd);
    out[strcspn(out, "\n")] = '\0';
    return 0;
}

static void test_controllers_limits(void **state)
{
    (void)state;
    NEEDS_RIG();
    if (!rig.controllers)
        skip_because("no cgroup v2 controllers here");

    static const struct {
        const char *file, *want;
    } made[] = {{"memory.max", "67108864"}, {"memory.low", "1048576"},
                {"cpu.weight", "20"},       {"cpu.max", "50000 100000"},
                {"pids.max", "33"},         {"memory.high", "50331648"}};
    json_t *c = rig_config("true");
    char text[64];
    int fd;

    rig_set(c, "linux.resources",
            rig_json("{'memory':{'limit':67108864,'reservation':1048576},"
                     "'cpu':{'shares':512,'quota':50000,'period':100000},'pids':{'limit':33},"
                     "'unified':{'memory.high':'50331648'}}"));
    fd = rig_connect(&rig);
    json_decref(rig_call(fd, PROTO_CONTAINER_CREATE, rig_create_body("lim", c)));
    for (size_t i = 0; i < ARRAY_SIZE(made); i++) {
        assert_int_equal(cgroup_text("lim", made[i].file, text, sizeof(text)), 0);
        assert_string_equal(text, made[i].want);
    }
    rig_do(fd, PROTO_CONTAINER_UPDATE, "{s:s,s:o}", "id", "lim", "resources",
           rig_json("{'memory':{'limit':33554432},'pids':{'limit':-1}}"));
    assert_int_equal(cgroup_text("lim", "memory.max", text, sizeof(text)), 0);
    assert_string_equal(text, "33554432");
    assert_int_equal(cgroup_text("lim", "pids.max", text, sizeof(text)), 0);
    assert_string_equal(text, "max");
    rig_do(fd, PROTO_CONTAINER_DELETE, "{s:s}", "id", "lim");
    close(fd);
}

/* A container that runs `args` until the OOM killer comes; its exit status. */
static void oom_case(const char *args, int status)
{
    json_t *c = rig_config("");
    struct proto_frame f;
    struct run r;
    struct err e;
    int control, events;

    rig_set(c, "process.args", rig_json(args));
    rig_set(c, "linux.resources", rig_json("{'memory':{'limit':16777216}}"));
    control = rig_connect(&rig);
    events = rig_connect(&rig);
    json_decref(rig_call(control, PROTO_CONTAINER_CREATE, rig_create_body("oom", c)));
    rig_do(events, PROTO_CONTAINER_EVENTS, "{s:s}", "id", "oom");
    rig_do(control, PROTO_PROCESS_ATTACH, "{s:s,s:s}", "id", "oom", "process", "");
    rig_do(control, PROTO_PROCESS_START, "{s:s,s:s}", "id", "oom", "process", "");
    rig_wait_exit(control, &r);
    assert_int_equal(r.status, status);
    assert_true(r.oom);
    assert_int_equal(proto_recv(events, -1, &f, &e), 0);
    assert_int_equal(f.type, PROTO_OOM);
    proto_frame_done(&f);
    rig_do(control, PROTO_CONTAINER_DELETE, "{s:s}", "id", "oom");
    close(control);
    close(events);
}

static void test_controllers_oom(void **state)
{
    (void)state;
    NEEDS_RIG();
    if (!rig.controllers)
        skip_because("no cgroup v2 controllers here");
    oom_case("['tail','/dev/zero']", 137);
    oom_case("['sh','-c','tail /dev/zero; exit 3']", 3);
}

/* A user namespace: ids mapped, devices bound, the exec inside as well. */
static void test_user_namespace(void **state)
{
    (void)state;
    NEEDS_RIG();

    json_t *c = rig_config("id -u; cat /proc/self/uid_map; head -c 2 /dev/zero | wc -c; "
                           "ls -ld /proc/1 | cut -d' ' -f5- | grep -c root; stat -c %u /tmp");
    struct run r;

    rig_set(c, "linux.uidMappings", rig_json("[{'containerID':0,'hostID':0,'size':50000}]"));
    rig_set(c, "linux.gidMappings", rig_json("[{'containerID':0,'hostID':0,'size':50000}]"));
    json_array_append_new(json_object_get(json_object_get(c, "linux"), "namespaces"),
                          rig_json("{'type':'user'}"));
    run_ok(c, NULL, &r);
    assert_string_equal(r.out, "0\n         0          0      50000\n2\n1\n0\n");
}

/* Ids of its own, and an exec that joins. */
static void test_user_namespace_exec(void **state)
{
    (void)state;
    NEEDS_RIG();

    json_t *c = rig_config(""), *spec = exec_spec("id -u; id -g; echo x >/dev/stdout; tty; "
                                                  "head -c1 /dev/zero | wc -c; hostname");
    struct run r;
    int control = rig_connect(&rig), exec = rig_connect(&rig);

    rig_set(c, "process.args", rig_json("['sleep','1000']"));
    rig_set(c, "linux.uidMappings", rig_json("[{'containerID':0,'hostID':100000,'size':5000}]"));
    rig_set(c, "linux.gidMappings", rig_json("[{'containerID':0,'hostID':200000,'size':5000}]"));
    json_array_append_new(json_object_get(json_object_get(c, "linux"), "namespaces"),
                          rig_json("{'type':'user'}"));
    rig_set(spec, "user", rig_json("{'uid':1000,'gid':1001}"));
    json_decref(rig_call(control, PROTO_CONTAINER_CREATE, rig_create_body("u", c)));
    rig_do(control, PROTO_PROCESS_START, "{s:s}", "id", "u");
    rig_do(exec, PROTO_PROCESS_CREATE, "{s:s,s:s,s:o}", "id", "u", "process", "e", "spec", spec);
    rig_finish(&rig, exec, "u", "e", NULL, &r);
    assert_string_equal(r.err, "");
    assert_string_equal(r.out, "1000\n1001\nx\nnot a tty\n1\nbox\n");
    rig_do(control, PROTO_CONTAINER_DELETE, "{s:s}", "id", "u");
    close(control);
    close(exec);
}

static void test_time_namespace(void **state)
{
    (void)state;
    NEEDS_RIG();

    json_t *c = rig_config("cut -d. -f1 /proc/uptime");
    struct run r;

    json_array_append_new(json_object_get(json_object_get(c, "linux"), "namespaces"),
                          rig_json("{'type':'time'}"));
    rig_set(c, "linux.timeOffsets", rig_json("{'boottime':{'secs':7000000,'nanosecs':0}}"));
    run_ok(c, NULL, &r);
    assert_true(atol(r.out) >= 7000000);
}

static void test_read_only_root(void **state)
{
    (void)state;
    NEEDS_RIG();

    json_t *c = rig_config("touch /x 2>&1 | sed 's/.*: //'; touch /tmp/y && ls /tmp; "
                           "cat /etc/passwd | wc -l; stat -c %a /tmp");
    struct run r;

    rig_set(c, "root.readonly", json_true());
    json_array_append_new(
        json_object_get(c, "mounts"),
        rig_json("{'destination':'/tmp','type':'tmpfs','source':'t','options':['mode=1777']}"));
    json_array_append_new(json_object_get(c, "mounts"),
                          rig_json("{'destination':'/etc','type':'tmpfs','source':'t',"
                                   "'options':['tmpcopyup','ro']}"));
    run_ok(c, NULL, &r);
    assert_string_equal(r.out, "Read-only file system\ny\n2\n1777\n");
}

/* A tmpfs is as open as the directory it covers; where there was none, to everyone; or as it was
 * told. */
static void test_tmpfs_mode(void **state)
{
    (void)state;
    NEEDS_RIG();

    json_t *c = rig_config("stat -c '%n %a' /etc /new /copied /told"), *mounts;
    struct run r;

    mounts = json_object_get(c, "mounts");
    json_array_append_new(mounts, rig_json("{'destination':'/etc','type':'tmpfs'}"));
    json_array_append_new(mounts, rig_json("{'destination':'/new','type':'tmpfs'}"));
    json_array_append_new(mounts, rig_json("{'destination':'/copied','type':'tmpfs',"
                                           "'options':['tmpcopyup']}"));
    json_array_append_new(mounts, rig_json("{'destination':'/told','type':'tmpfs',"
                                           "'options':['tmpcopyup','size=1m','mode=751']}"));
    run_ok(c, NULL, &r);
    assert_string_equal(r.out, "/etc 755\n/new 1777\n/copied 1777\n/told 751\n");
}

static void test_hook(void **state)
{
    (void)state;
    NEEDS_RIG();

    json_t *c = rig_config("cat /tmp/hook");
    char path[256];
    struct run r;
    struct err e;
    int fd;

    snprintf(path, sizeof(path), "%s/share/s/rootfs/bin/hook", rig.dir);
    rig_write(path,
              "#!/bin/sh\n[ \"$1\" = fail ] && { echo sorry >&2; exit 3; }\n"
              "{ echo $0 $1 $V; grep -o '\"status\":\"[a-z]*\"'; } >/tmp/hook\n",
              0755);
    rig_set(c, "hooks.startContainer",
            rig_json("[{'path':'/bin/hook','args':['hook','arg'],'env':['V=1','PATH=/bin']}]"));
    run_ok(c, NULL, &r);
    assert_string_equal(r.out, "/bin/hook arg 1\n\"status\":\"created\"\n");

    c = rig_config("true");
    rig_set(c, "hooks.startContainer",
            rig_json("[{'path':'/bin/hook','args':['hook','fail'],'env':['PATH=/bin']}]"));
    fd = rig_connect(&rig);
    json_decref(rig_call(fd, PROTO_CONTAINER_CREATE, rig_create_body("hook", c)));
    rig_fail(fd, PROTO_PROCESS_START, json_pack("{s:s}", "id", "hook"), &e);
    assert_string_equal(e.msg, "startContainer hook #0 (/bin/hook): exit status 3: sorry");
    rig_do(fd, PROTO_CONTAINER_DELETE, "{s:s}", "id", "hook");
    close(fd);
}

/* A startContainer hook with a child that it waits for: both end with its time. */
static void test_hook_timeout(void **state)
{
    (void)state;
    NEEDS_RIG();

    json_t *c = rig_config("true");
    struct err e;
    int fd = rig_connect(&rig);

    rig_set(c, "hooks.startContainer",
            rig_json("[{'path':'/bin/sh','args':['sh','-c','sleep 1000 & wait'],"
                     "'env':['PATH=/bin'],'timeout':1}]"));
    json_decref(rig_call(fd, PROTO_CONTAINER_CREATE, rig_create_body("late", c)));
    rig_fail(fd, PROTO_PROCESS_START, json_pack("{s:s}", "id", "late"), &e);
    assert_string_equal(e.msg, "startContainer hook #0 (/bin/sh): did not end within 1 seconds");
    rig_do(fd, PROTO_CONTAINER_DELETE, "{s:s}", "id", "late");
    close(fd);
}

/* mkdir is answered with an error by a filter that lets all else pass:
 * ld [0]; jeq #mkdir,0,1; ret ERRNO|42; ret ALLOW */
static const char filter[] = "IAAAAAAAAAAVAAABUwAAAAYAAAAqAAUABgAAAAAA/38=";

/* The filter is for the container's process: its hooks are the operator's. */
static void test_hook_before_seccomp(void **state)
{
    (void)state;
    NEEDS_RIG();

    json_t *c = rig_config("ls -d /tmp/by-*; mkdir /tmp/by-us 2>/dev/null || echo filtered"), *body;
    struct run r;
    int control = rig_connect(&rig);

    rig_set(c, "hooks.startContainer",
            rig_json("[{'path':'/bin/mkdir','args':['mkdir','/tmp/by-hook']}]"));
    body = rig_create_body("sec", c);
    json_object_set_new(body, "seccomp", json_string(filter));
    json_decref(rig_call(control, PROTO_CONTAINER_CREATE, body));
    rig_finish(&rig, control, "sec", "", NULL, &r);
    assert_string_equal(r.out, "/tmp/by-hook\nfiltered\n");
    rig_do(control, PROTO_CONTAINER_DELETE, "{s:s}", "id", "sec");
    close(control);
}

static void test_seccomp(void **state)
{
    json_t *body;
    struct run r;
    int control;

    (void)state;
    NEEDS_RIG();
    for (int nnp = 0; nnp < 2; nnp++) {
        json_t *c =
            rig_config("mkdir /tmp/q 2>/dev/null || echo filtered; grep CapEff /proc/self/status");

        rig_set(c, "process.noNewPrivileges", json_boolean(nnp));
        body = rig_create_body("sec", c);
        json_object_set_new(body, "seccomp", json_string(filter));
        control = rig_connect(&rig);
        json_decref(rig_call(control, PROTO_CONTAINER_CREATE, body));
        rig_finish(&rig, control, "sec", "", NULL, &r);
        /* root gains its bounding set by execve, but not under no_new_privs; and the one that
         * loading the filter needed is gone either way */
        assert_string_equal(r.out, nnp ? "filtered\nCapEff:\t0000000000000021\n"
                                       : "filtered\nCapEff:\t0000000020000021\n");
        rig_do(control, PROTO_CONTAINER_DELETE, "{s:s}", "id", "sec");
        close(control);
    }
}

/* Many execs at once, all exits told. */
static void test_many_execs(void **state)
{
    enum { N = 40 };
    int control[N];
    struct run r;

    (void)state;
    NEEDS_RIG();
    for (int i = 0; i < N; i++) {
        char id[16], script[32];

        snprintf(id, sizeof(id), "m%d", i);
        snprintf(script, sizeof(script), "exit %d", i);
        control[i] = rig_connect(&rig);
        rig_do(control[i], PROTO_PROCESS_CREATE, "{s:s,s:s,s:o}", "id", "keeper", "process", id,
               "spec", exec_spec(script));
        rig_do(control[i], PROTO_PROCESS_ATTACH, "{s:s,s:s}", "id", "keeper", "process", id);
    }
    for (int i = 0; i < N; i++) {
        json_t *body = json_pack("{s:s,s:o}", "id", "keeper", "process", json_sprintf("m%d", i));
        struct err e;

        assert_int_equal(proto_send(control[i], PROTO_PROCESS_START, 1, body, &e), 0);
        json_decref(body);
    }
    for (int i = 0; i < N; i++) {
        struct proto_frame f;
        struct err e;

        assert_int_equal(proto_recv(control[i], -1, &f, &e), 0);
        assert_int_equal(f.type, PROTO_OK);
        proto_frame_done(&f);
        rig_wait_exit(control[i], &r);
        assert_int_equal(r.status, i);
        close(control[i]);
    }
}

/* Bytes that are no protocol end their connection and nothing else. */
static void test_bad_bytes(void **state)
{
    char buf[256];
    int fd;
    struct err e;

    (void)state;
    NEEDS_RIG();
    fd = rig_connect(&rig);
    assert_int_equal(write(fd, "GET / HTTP/1.0\r\n\r\n", 18), 18);
    while (read(fd, buf, sizeof(buf)) > 0)
        ;
    close(fd);
    fd = rig_connect(&rig);
    rig_fail(fd, 999, json_object(), &e);
    assert_string_equal(e.msg, "the agent knows no request of type 999");
    rig_fail(fd, PROTO_PROCESS_START, rig_json("{'id':'ghost'}"), &e);
    assert_string_equal(e.msg, "container ghost does not exist in the sandbox");
    rig_fail(fd, PROTO_CONTAINER_CREATE, rig_json("{'id':'../x'}"), &e);
    assert_int_equal(e.code, EINVAL);
    close(fd);
}

/* Symlinks of the image that point out of the root mean what they mean inside. */
static void test_escape(void **state)
{
    (void)state;
    NEEDS_RIG();

    char path[256];
    struct run r;
    json_t *c = rig_config("cat /here/file; ls /here; mount | grep -c /here");

    snprintf(path, sizeof(path), "%s/share/s/mounts", rig.dir);
    mkdir(path, 0755);
    snprintf(path, sizeof(path), "%s/share/s/mounts/0", rig.dir);
    mkdir(path, 0755);
    snprintf(path, sizeof(path), "%s/share/s/mounts/0/file", rig.dir);
    rig_write(path, "shared\n", 0644);
    snprintf(path, sizeof(path), "%s/share/s/rootfs/here", rig.dir);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof(path), "%s/share/s/rootfs/link", rig.dir);
    assert_int_equal(symlink("../../../../../../../here", path), 0);
    snprintf(path, sizeof(path), "%s/share/s/mounts/0", rig.dir);
    json_array_append_new(json_object_get(c, "mounts"),
                          json_pack("{s:s,s:s,s:s,s:[s,s]}", "destination", "/link", "type", "bind",
                                    "source", path, "options", "rbind", "ro"));
    run_ok(c, NULL, &r);
    assert_string_equal(r.out, "shared\nfile\n1\n");
    assert_int_equal(access("/here", F_OK), -1);
}

/* Policies that take a priority, a nice value, or three times; flags. What of stat tells of it: 19
 * is the nice value, 40 the priority, 41 the policy. */
static void test_scheduler(void **state)
{
    static const struct {
        const char *scheduler, *fields, *want;
    } cases[] = {
        {"{'policy':'SCHED_FIFO','priority':7}", "40,41", "7 1\n"},
        {"{'policy':'SCHED_RR','priority':9,'flags':['SCHED_FLAG_RESET_ON_FORK']}", "40,41",
         "9 2\n"},
        {"{'policy':'SCHED_OTHER','nice':11}", "19,40,41", "11 0 0\n"},
        {"{'policy':'SCHED_IDLE'}", "40,41", "0 5\n"},
        {"{'policy':'SCHED_DEADLINE','runtime':1000000,'deadline':20000000,'period':30000000}",
         "40,41", "0 6\n"},
    };

    (void)state;
    NEEDS_RIG();
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        json_t *c = rig_config("");
        struct run r;

        /* by no child of a shell: a flag says that children start anew */
        rig_set(
            c, "process.args",
            json_pack("[s,s,s,s,s,s]", "cut", "-d", " ", "-f", cases[i].fields, "/proc/self/stat"));
        rig_set(c, "process.scheduler", rig_json(cases[i].scheduler));
        run_ok(c, NULL, &r);
        assert_string_equal(r.out, cases[i].want);
    }
}

/* What the image has in place of a device would be taken for it. */
static void test_no_device(void **state)
{
    (void)state;
    NEEDS_RIG();

    json_t *c = rig_config("head -c 3 /dev/zero | wc -c"), *mounts = json_object_get(c, "mounts");
    char path[256];
    struct run r;
    struct err e;
    int fd = rig_connect(&rig);

    assert_string_equal(
        json_string_value(json_object_get(json_array_get(mounts, 1), "destination")), "/dev");
    json_array_remove(mounts, 1);
    snprintf(path, sizeof(path), "%s/share/s/rootfs/dev/zero", rig.dir);
    rig_write(path, "000", 0644);
    rig_fail(fd, PROTO_CONTAINER_CREATE, rig_create_body("nodev", json_deep_copy(c)), &e);
    assert_non_null(strstr(e.msg, "device /dev/zero: something else is in its place"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mknod(path, S_IFCHR | 0666, makedev(1, 7)), 0);
    rig_fail(fd, PROTO_CONTAINER_CREATE, rig_create_body("nodev", json_deep_copy(c)), &e);
    assert_non_null(strstr(e.msg, "something else"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mknod(path, S_IFCHR | 0666, makedev(1, 5)), 0);
    close(fd);
    run_ok(c, NULL, &r);
    assert_string_equal(r.out, "3\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_output_and_status),
        cmocka_unit_test(test_stdin),
        cmocka_unit_test(test_bulk),
        cmocka_unit_test(test_namespaces_and_mounts),
        cmocka_unit_test(test_device_filter),
        cmocka_unit_test(test_user_and_caps),
        cmocka_unit_test(test_program_not_found),
        cmocka_unit_test(test_exec_format_error),
        cmocka_unit_test(test_exec),
        cmocka_unit_test(test_exec_abandoned),
        cmocka_unit_test(test_exec_in_a_cgroup),
        cmocka_unit_test(test_exec_background),
        cmocka_unit_test(test_kill_with_a_stuck_reader),
        cmocka_unit_test(test_execs_end_first),
        cmocka_unit_test(test_close_kills),
        cmocka_unit_test(test_terminal),
        cmocka_unit_test(test_signals),
        cmocka_unit_test(test_ps_pause_stats),
        cmocka_unit_test(test_controllers_limits),
        cmocka_unit_test(test_controllers_oom),
        cmocka_unit_test(test_user_namespace),
        cmocka_unit_test(test_user_namespace_exec),
        cmocka_unit_test(test_time_namespace),
        cmocka_unit_test(test_read_only_root),
        cmocka_unit_test(test_tmpfs_mode),
        cmocka_unit_test(test_hook),
        cmocka_unit_test(test_hook_timeout),
        cmocka_unit_test(test_hook_before_seccomp),
        cmocka_unit_test(test_seccomp),
        cmocka_unit_test(test_scheduler),
        cmocka_unit_test(test_no_device),
        cmocka_unit_test(test_many_execs),
        cmocka_unit_test(test_bad_bytes),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_escape),
    };

    /* some alone: tests/bats/kvm/cgroup.bats */
    cmocka_set_test_filter(getenv("TEST_FILTER"));
    return cmocka_run_group_tests(tests, setup, teardown);
}
