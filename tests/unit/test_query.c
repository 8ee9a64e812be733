/*
 * runtime/query against a played agent: ps, stats, update and events reach the guest as written and
 * come back as it said, a container that does not live is refused before anybody is asked, limits
 * that only a cgroup on the host could keep are refused without one, and no failure of the guest
 * leaks a connection or an answer.
 */
#include "tests/unit/sandbox_rig.h"

static unsigned open_fds(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void a_question_and_its_answer(void **state)
{
    struct rig *r = *state;
    struct err e = ERR_INIT;
    json_t *reply = NULL;

    rig_says(r, PROTO_CONTAINER_STATS, RIG_OK, 0, "{\"stats\": {\"x\": 5}}");
    if (container_query(&r->rt, RIG_ID, PROTO_CONTAINER_STATS, json_pack("{s:b}", "deep", 1),
                        &reply, &e) < 0)
        fail_msg("%s", e.msg);
    const json_t *body = rig_heard(r, 0, PROTO_CONTAINER_STATS);
    assert_true(json_is_true(json_object_get(body, "deep")));
    assert_int_equal(json_integer_value(json_object_get(json_object_get(reply, "stats"), "x")), 5);
    json_decref(reply);
    /* neither a body nor a reply is a must */
    assert_int_equal(container_query(&r->rt, RIG_ID, PROTO_CONTAINER_PS, NULL, NULL, &e), 0);
    (void)rig_heard(r, 1, PROTO_CONTAINER_PS);
}

static int watch(struct rig *r, struct err *e)
{
    return container_watch(&r->rt, RIG_ID, e);
}

static int query(struct rig *r, struct err *e)
{
    json_t *reply = NULL;
    int n = container_query(&r->rt, RIG_ID, PROTO_CONTAINER_PS, json_object(), &reply, e);

    assert_null(reply);
    return n;
}

static int update_with(struct rig *r, const char *text, struct err *e)
{
    struct err warning = ERR_INIT;
    json_t *j = json_loads(text, 0, NULL);
    int n = container_update(&r->rt, RIG_ID, j, &warning, e);

    json_decref(j);
    return n;
}

static int update(struct rig *r, struct err *e)
{
    return update_with(r, "{\"memory\": {\"limit\": 67108864}}", e);
}

static int pids(struct rig *r, struct err *e)
{
    pid_t *list = NULL;
    size_t n = 0;
    int code = container_pids(&r->rt, RIG_ID, &list, &n, e);

    free(list);
    return code;
}

typedef int verb(struct rig *r, struct err *e);

static void only_what_lives_is_asked(void **state)
{
    static verb *const verbs[] = {watch, query, update, pids};
    struct rig *r = *state;

    r->state.complete = false;
    r->state.creator = r->state.fs;
    rig_save(r);
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
        struct err e = ERR_INIT;
        rig_failed(verbs[i](r, &e), &e, ESRCH, "container not running: c1 is creating");
    }
    r->state.complete = true;
    rig_save(r);
    rig_kill(&r->state.shim);
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
        struct err e = ERR_INIT;
        rig_failed(verbs[i](r, &e), &e, ESRCH, "container not running: c1 is stopped");
    }
    r->rt.root = r->base;
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
        struct err e = ERR_INIT;
        rig_failed(verbs[i](r, &e), &e, ENOENT, "container does not exist: there is no c1 in ");
    }
    assert_int_equal(r->nheard, 0);
}

static void bad_answers_are_errors(void **state)
{
    static const struct {
        verb *run;
        uint16_t type;
    } verbs[] = {
        {watch, PROTO_CONTAINER_EVENTS},
        {query, PROTO_CONTAINER_PS},
        {update, PROTO_CONTAINER_UPDATE},
    };
    static const struct {
        enum rig_how how;
        int code;
        const char *text, *why;
    } misdeeds[] = {
        {RIG_HANG_UP, ECONNRESET, NULL, ""},
        {RIG_HALF, ECONNRESET, NULL, ""},
        {RIG_WRONG_ID, EPROTO, NULL, ""},
        {RIG_EVENT, EPROTO, NULL, ""},
        {RIG_NONSENSE, EPROTO, NULL, ""},
        {RIG_ERROR, EBUSY, "line one\nline\033[2J two", "line one line [2J two"},
        {RIG_ERROR, EPROTO, "no number", ""}, /* sent as 99999: see below */
        {RIG_DIE, ECONNRESET, NULL, "the VM has ended"},
    };
    struct rig *r = *state;

    for (size_t v = 0; v < ARRAY_SIZE(verbs); v++)
        for (size_t i = 0; i < ARRAY_SIZE(misdeeds); i++) {
            struct err e = ERR_INIT;
            /* an error number that is none of Linux's is not believed */
            int said = misdeeds[i].code == EPROTO ? 99999 : misdeeds[i].code;

            if (misdeeds[i].how == RIG_DIE) {
                r->played[1].pid = 0;
                rig_kill(&r->state.vmm);
                r->state.vmm = rig_sleeper(r);
                rig_save(r);
            }
            rig_says(r, verbs[v].type, misdeeds[i].how, said, misdeeds[i].text);
            rig_failed(verbs[v].run(r, &e), &e, misdeeds[i].code, misdeeds[i].why);
            rig_forget(r);
        }
}

static void a_refused_call_leaves_no_descriptor(void **state)
{
    static const enum rig_how hows[] = {RIG_ERROR, RIG_NONSENSE, RIG_HANG_UP};
    struct rig *r = *state;
    struct err e = ERR_INIT;

    /* the machine's own ends close after ours do: what remains at its end is what counts */
    for (size_t i = 0; i < ARRAY_SIZE(hows); i++) {
        rig_says(r, PROTO_CONTAINER_EVENTS, hows[i], EPERM, "no");
        assert_true(watch(r, &e) < 0);
        while (__atomic_load_n(&r->npeers, __ATOMIC_SEQ_CST) > 0)
            poll(NULL, 0, 1);
    }
    unsigned before = open_fds();
    rig_says(r, PROTO_CONTAINER_EVENTS, RIG_OK, 0, NULL);
    int fd = watch(r, &e);
    assert_int_equal(open_fds(), before + 2); /* both ends of the connection */
    close(fd);
}

static void events_come_on_the_connection(void **state)
{
    struct rig *r = *state;
    struct err e = ERR_INIT;
    struct proto_frame f;

    rig_says(r, PROTO_CONTAINER_EVENTS, RIG_FOLLOWED, 0, NULL);
    int fd = watch(r, &e);
    if (fd < 0)
        fail_msg("%s", e.msg);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    (void)rig_heard(r, 0, PROTO_CONTAINER_EVENTS);
    assert_int_equal(proto_recv(fd, -1, &f, &e), 0);
    assert_int_equal(f.type, PROTO_OOM);
    assert_int_equal(f.id, 0);
    proto_frame_done(&f);
    close(fd);
}

static void new_limits_reach_the_guest(void **state)
{
    struct rig *r = *state;
    struct err e = ERR_INIT;

    if (update_with(r, "{\"memory\": {\"limit\": 67108864}, \"pids\": {\"limit\": 9}}", &e) < 0)
        fail_msg("%s", e.msg);
    const json_t *body = rig_heard(r, 0, PROTO_CONTAINER_UPDATE);
    const json_t *limits = json_object_get(body, "resources");
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(limits, "memory"), "limit")), 67108864);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(limits, "pids"), "limit")),
                     9);
}

static void limits_that_cannot_hold_change_nothing(void **state)
{
    struct rig *r = *state;
    struct err e = ERR_INIT;

    rig_failed(update_with(r, "{\"memory\": 5}", &e), &e, EINVAL, "resources.memory");
    /* only a cgroup on the host could, and there is none: the guest is not asked either */
    rig_failed(
        update_with(r, "{\"memory\": {\"limit\": 67108864}, \"cpu\": {\"cpus\": \"0\"}}", &e), &e,
        ENOTSUP, "linux.resources.cpu.cpus");
    assert_non_null(strstr(e.msg, "created without"));
    /* one that is said to be there and is not */
    r->state.cgroup = strdup("/bulkhead-test-query/absent");
    r->state.cgroup_made = true;
    rig_save(r);
    assert_true(update(r, &e) < 0);
    assert_int_equal(r->nheard, 0);
}

static void pids_are_of_those_who_live(void **state)
{
    struct rig *r = *state;
    struct err e = ERR_INIT;
    pid_t *list;
    size_t n;

    r->state.nexecs = 3;
    r->state.execs = calloc(3, sizeof *r->state.execs);
    for (size_t i = 0; i < 3; i++)
        snprintf(r->state.execs[i].id, sizeof r->state.execs[i].id, "e%zu", i);
    r->state.execs[0].shim = (struct process){.pid = r->state.fs.pid, .start = 1}; /* reused pid */
    r->state.execs[1].shim = rig_sleeper(r);
    r->state.execs[2].shim = r->state.vmm;
    rig_save(r);
    rig_kill(&r->state.vmm);
    assert_int_equal(container_pids(&r->rt, RIG_ID, &list, &n, &e), 0);
    assert_int_equal(n, 2);
    assert_int_equal(list[0], r->state.shim.pid);
    assert_int_equal(list[1], r->state.execs[1].shim.pid);
    free(list);
    assert_int_equal(r->nheard, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        rig_test(a_question_and_its_answer),
        rig_test(only_what_lives_is_asked),
        rig_test(bad_answers_are_errors),
        rig_test(a_refused_call_leaves_no_descriptor),
        rig_test(events_come_on_the_connection),
        rig_test(new_limits_reach_the_guest),
        rig_test(limits_that_cannot_hold_change_nothing),
        rig_test(pids_are_of_those_who_live),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
