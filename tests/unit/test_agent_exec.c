/* A real agent in a private namespace instead of a VM (agent_rig.h). Execs, signals, and what
 * becomes of processes whose host goes away. */
#include "tests/unit/agent_rig.h"

static void test_exec(void **state)
{
    struct run r;
    int fd;
    struct err e;

    (void)state;
    NEEDS_RIG();
    rig_exec("e1", rig_exec_spec("hostname; cat; tr '\\0' ' ' </proc/1/cmdline; exit 3"), "in\n",
             &r);
    assert_string_equal(r.out, "box\nin\nsleep 1000 ");
    assert_int_equal(r.status, 3);
    rig_exec("e1", rig_exec_spec("readlink /proc/self/ns/pid >/dev/null; kill -TERM $$"), NULL,
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
           rig_exec_spec("sleep 1000"));
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
           rig_exec_spec("exit 0")); /* the name is free again */
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
           rig_exec_spec("cat /proc/self/cgroup"), "cgroup", "/sub/deeper");
    rig_finish(&rig, fd, "keeper", "c", NULL, &r);
    assert_non_null(strstr(r.out, "0::/sub/deeper\n"));
    assert_int_equal(r.status, 0);
    rig_fail(fd, PROTO_PROCESS_CREATE,
             json_pack("{s:s,s:s,s:o,s:s}", "id", "keeper", "process", "c", "spec",
                       rig_exec_spec("true"), "cgroup", "none"),
             &e);
    assert_string_equal(e.msg, "cgroup none of container keeper: No such file or directory");
    close(fd);
    assert_int_equal(rmdir(deeper), 0);
    assert_int_equal(rmdir(sub), 0);
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
               "spec", rig_exec_spec(script));
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

static void test_close_kills(void **state)
{
    int control, other, out;
    char buf[64];

    (void)state;
    NEEDS_RIG();
    control = rig_connect(&rig);
    rig_do(control, PROTO_PROCESS_CREATE, "{s:s,s:s,s:o}", "id", "keeper", "process", "k", "spec",
           rig_exec_spec("echo ready; exec sleep 1000"));
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
               rig_exec_spec("exec sleep 1000"));
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
    json_t *shared = rig_sleeper(), *namespaces;

    (void)state;
    NEEDS_RIG();
    namespaces = json_object_get(json_object_get(shared, "linux"), "namespaces");
    assert_int_equal(json_array_remove(namespaces, 0), 0); /* pid: the kernel kills none of them */
    init_and_execs(rig_sleeper());
    init_and_execs(shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exec),
        cmocka_unit_test(test_exec_abandoned),
        cmocka_unit_test(test_exec_in_a_cgroup),
        cmocka_unit_test(test_many_execs),
        cmocka_unit_test(test_close_kills),
        cmocka_unit_test(test_signals),
        cmocka_unit_test(test_execs_end_first),
    };

    return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}
