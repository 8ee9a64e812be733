/* A real agent in a private namespace instead of a VM (agent_rig.h). The container's cgroup:
 * numbers, freezing, limits, OOM kills. */
#include "tests/unit/agent_rig.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ps_pause_stats),
        cmocka_unit_test(test_controllers_limits),
        cmocka_unit_test(test_controllers_oom),
    };

    /* some alone: tests/bats/kvm/cgroup.bats */
    cmocka_set_test_filter(getenv("TEST_FILTER"));
    return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}
