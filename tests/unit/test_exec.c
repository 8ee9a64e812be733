/*
 * runtime/exec with the real shim and a played agent: what the guest is asked, in which order and
 * with which process object, what is refused before anybody is asked, and that an exec which the
 * guest refuses or leaves midway, at whichever step, leaves no shim behind.
 */
#include "runtime/exec.h"
#include "tests/unit/sandbox_rig.h"

static char shim_path[4096];

static void set_up_config(struct rig *r)
{
    struct err e = ERR_INIT;
    char text[4200];

    snprintf(r->config, sizeof r->config, "%s/bulkhead.json", r->base);
    snprintf(text, sizeof text, "{\"shim\": \"%s\"}", shim_path);
    assert_int_equal(io_replace_file(AT_FDCWD, r->config, 0600, text, strlen(text), &e), 0);
    r->rt.config = r->config;
}

static const char *const args[] = {"ls", "-l", NULL};

static int run(struct rig *r, const struct exec_options *o, struct shim *out, struct err *e)
{
    struct err w = ERR_INIT;

    *out = (struct shim)SHIM_INIT;
    return container_exec(&r->rt, RIG_ID, o, out, &w, e);
}

static void refused(struct rig *r, const struct exec_options *o, int code, const char *why)
{
    struct err e = ERR_INIT;
    struct shim s;

    rig_failed(run(r, o, &s, &e), &e, code, why);
    assert_int_equal(s.pid, 0);
    assert_int_equal(r->nheard, 0);
    struct state now = rig_on_disk(r);
    assert_int_equal(now.nexecs, 0);
    state_done(&now);
}

static void what_cannot_be_is_refused_at_once(void **state)
{
    static const char *const bad_gids[] = {"5", "-1", NULL};
    struct rig *r = *state;

    set_up_config(r);
    refused(r, &(struct exec_options){.args = args, .user = "root"}, EINVAL, "--user must be UID");
    refused(r, &(struct exec_options){.args = args, .user = "1:4294967296"}, EINVAL, "--user");
    refused(r, &(struct exec_options){.args = args, .gids = bad_gids}, EINVAL, "got \"-1\"");
    refused(r, &(struct exec_options){.args = args, .terminal = true}, EINVAL,
            "needs --console-socket");
    refused(r, &(struct exec_options){.args = args, .console_socket = "/s"}, EINVAL,
            "the process has no terminal");
    refused(r, &(struct exec_options){.process_file = "/nonexistent"}, ENOENT, "/nonexistent");
    refused(r, &(struct exec_options){.args = args + 2}, EINVAL, "process.args");
}

static void only_what_lives_is_entered(void **state)
{
    const struct exec_options o = {.args = args};
    struct rig *r = *state;

    set_up_config(r);
    r->state.paused = true;
    rig_save(r);
    refused(r, &o, EBUSY, "cannot exec in a paused container");
    r->state.complete = false;
    r->state.creator = r->state.fs;
    rig_save(r);
    refused(r, &o, EINVAL, "still being created");
    r->state.complete = true;
    rig_save(r);
    rig_kill(&r->state.shim);
    refused(r, &o, EINVAL, "cannot exec in a stopped container");
}

static void a_shim_that_cannot_start_is_told(void **state)
{
    const struct exec_options o = {.args = args};
    struct rig *r = *state;
    struct err e = ERR_INIT;
    const char text[] = "{\"shim\": \"/nonexistent/shim\"}";

    set_up_config(r);
    assert_int_equal(io_replace_file(AT_FDCWD, r->config, 0600, text, strlen(text), &e), 0);
    refused(r, &o, ENOENT, "/nonexistent/shim");
}

/* The exec's shim goes, and is reaped. */
static void end_shim(struct shim *s)
{
    assert_int_equal(kill(s->pid, SIGKILL), 0);
    assert_int_equal(waitpid(s->pid, NULL, 0), s->pid);
    shim_release(s);
}

#define WANT_SHIM()                                                                                \
    do {                                                                                           \
        if (geteuid() != 0)                                                                        \
            skip_because("it wants root: the shim makes namespaces");                              \
    } while (0)

static void the_guest_is_asked_in_order(void **state)
{
    static const char *const env[] = {"B=2", NULL}, *const gids[] = {"10", NULL},
                             *const caps[] = {"CAP_KILL", NULL};
    struct rig *r = *state;
    char pid_file[128], text[16];
    const struct exec_options o = {.args = args,
                                   .env = env,
                                   .gids = gids,
                                   .caps = caps,
                                   .user = "5:6",
                                   .cwd = "/tmp",
                                   .no_new_privileges = true,
                                   .cgroup = "sub",
                                   .pid_file = pid_file};
    struct err e = ERR_INIT;
    struct shim s;

    WANT_SHIM();
    set_up_config(r);
    snprintf(pid_file, sizeof pid_file, "%s/pid", r->base);
    if (run(r, &o, &s, &e) < 0)
        fail_msg("%s", e.msg);
    const json_t *create = rig_heard(r, 0, PROTO_PROCESS_CREATE);
    const char *id = json_string_value(json_object_get(create, "process"));
    assert_int_equal(strlen(id), 16);
    assert_string_equal(json_string_value(json_object_get(create, "cgroup")), "sub");
    char *spec = json_dumps(json_object_get(create, "spec"), JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(
        spec, "{\"args\":[\"ls\",\"-l\"],\"capabilities\":{\"bounding\":[\"CAP_KILL\"],"
              "\"effective\":[\"CAP_KILL\"],\"permitted\":[\"CAP_KILL\"]},\"cwd\":\"/tmp\","
              "\"env\":[\"A=1\",\"B=2\"],\"noNewPrivileges\":true,\"terminal\":false,"
              "\"user\":{\"additionalGids\":[9,10],\"gid\":6,\"uid\":5}}");
    free(spec);
    (void)rig_heard(r, 1, PROTO_PROCESS_ATTACH);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(json_integer_value(
                             json_object_get(rig_heard(r, 2 + i, PROTO_PROCESS_STREAM), "stream")),
                         i);
    (void)rig_heard(r, 5, PROTO_PROCESS_START);
    for (unsigned i = 1; i < 6; i++)
        assert_string_equal(json_string_value(json_object_get(r->heard[i].body, "process")), id);
    struct state now = rig_on_disk(r);
    assert_int_equal(now.nexecs, 1);
    assert_string_equal(now.execs[0].id, id);
    assert_int_equal(now.execs[0].shim.pid, s.pid);
    assert_true(process_alive(&now.execs[0].shim));
    state_done(&now);
    cleanup_fd int fd = open(pid_file, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, text, sizeof text - 1);
    assert_true(n > 0);
    text[n] = '\0';
    assert_int_equal(atoi(text), s.pid);
    end_shim(&s);
}

static void a_failure_at_any_step_leaves_no_shim(void **state)
{
    static const uint16_t steps[] = {PROTO_PROCESS_CREATE, PROTO_PROCESS_ATTACH,
                                     PROTO_PROCESS_STREAM, PROTO_PROCESS_START};
    static const struct {
        enum rig_how how;
        int code;
    } misdeeds[] = {
        {RIG_ERROR, EPERM},  {RIG_HANG_UP, ECONNRESET}, {RIG_HALF, ECONNRESET},
        {RIG_EVENT, EPROTO}, {RIG_NONSENSE, EPROTO},    {RIG_WRONG_ID, EPROTO},
    };
    struct rig *r = *state;

    WANT_SHIM();
    set_up_config(r);
    for (size_t k = 0; k < ARRAY_SIZE(steps); k++)
        for (size_t i = 0; i < ARRAY_SIZE(misdeeds); i++) {
            const struct exec_options o = {.args = args};
            struct err e = ERR_INIT;
            struct shim s;

            rig_says(r, steps[k], misdeeds[i].how, misdeeds[i].code, "because");
            rig_failed(run(r, &o, &s, &e), &e, misdeeds[i].code, "");
            assert_int_equal(s.pid, 0);
            struct state now = rig_on_disk(r);
            for (size_t n = 0; n < now.nexecs; n++)
                assert_false(process_alive(&now.execs[n].shim));
            state_done(&now);
            rig_forget(r);
        }
}

static int find_shim(void **state)
{
    const char *name = getenv("BULKHEAD_SHIM");

    (void)state;
    if (realpath(name ? name : "build/bulkhead-shim", shim_path))
        return 0;
    print_error("build/bulkhead-shim is missing: make it, or set BULKHEAD_SHIM\n");
    return -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        rig_test(what_cannot_be_is_refused_at_once),    rig_test(only_what_lives_is_entered),
        rig_test(a_shim_that_cannot_start_is_told),     rig_test(the_guest_is_asked_in_order),
        rig_test(a_failure_at_any_step_leaves_no_shim),
    };

    return cmocka_run_group_tests(tests, find_shim, NULL);
}
