/* A real agent in a private namespace instead of a VM (agent_rig.h). The program itself: how it is
 * found, as whom and under which limits it runs, what runs before it. */
#include "tests/unit/agent_rig.h"

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
        rig_run_ok(c, NULL, &r);
        assert_string_equal(r.out, cases[i].want);
    }
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
    rig_run_ok(c, NULL, &r);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_program_not_found),
        cmocka_unit_test(test_exec_format_error),
        cmocka_unit_test(test_user_and_caps),
        cmocka_unit_test(test_scheduler),
        cmocka_unit_test(test_hook),
        cmocka_unit_test(test_hook_timeout),
        cmocka_unit_test(test_hook_before_seccomp),
        cmocka_unit_test(test_seccomp),
    };

    return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}
