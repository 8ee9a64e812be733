/* A real agent in a private namespace instead of a VM (agent_rig.h). What is refused, and how it is
 * said. */
#include "tests/unit/agent_rig.h"

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

/* What was made for a CREATE that is refused is gone when that is said: two in one read. */
static void test_refused_twice(void **state)
{
    (void)state;
    NEEDS_RIG();

    json_t *c = rig_config("true");
    char *frame = NULL;
    size_t len = 0;
    struct err e;
    int fd = rig_connect(&rig);

    rig_set(c, "linux.resources.unified", rig_json("{'memory.nothing':'1'}"));
    c = rig_create_body("no", c);
    assert_int_equal(proto_encode(PROTO_CONTAINER_CREATE, 1, c, &frame, &len, &e), 0);
    json_decref(c);
    frame = realloc(frame, 2 * len);
    assert_non_null(frame);
    memcpy(frame + len, frame, len);
    assert_int_equal(io_write_full(fd, frame, 2 * len), 0);
    free(frame);
    for (int i = 0; i < 2; i++) {
        struct proto_frame f;

        assert_int_equal(proto_recv(fd, -1, &f, &e), 0);
        assert_int_equal(f.type, PROTO_ERROR);
        assert_non_null(strstr(json_string_value(json_object_get(f.body, "message")),
                               "linux.resources.unified: "));
        proto_frame_done(&f);
    }
    close(fd);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_refused_twice),
        cmocka_unit_test(test_bad_bytes),
    };

    return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}
