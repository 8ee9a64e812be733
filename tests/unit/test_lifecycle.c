/*
 * runtime/lifecycle against a played agent and a played VMM: each verb asks the guest what it
 * should, records what came of it and nothing else; a guest that refuses, lies, dies midway or does
 * not answer changes no state, and delete leaves neither processes nor files, whatever it finds.
 */
#include "tests/unit/sandbox_rig.h"

#include <dirent.h>

/* All that a hostile or dying guest can do to a request, and what the caller is told. */
static const struct {
    enum rig_how how;
    int code;
    const char *why;
} misdeeds[] = {
    {RIG_HANG_UP, ECONNRESET, ""}, {RIG_HALF, ECONNRESET, ""}, {RIG_WRONG_ID, EPROTO, ""},
    {RIG_EVENT, EPROTO, ""},       {RIG_NONSENSE, EPROTO, ""}, {RIG_ERROR, EPERM, "because"},
};

/* --- start -------------------------------------------------------------------------------------
 */

static void start_is_asked_and_recorded(void **state)
{
    struct rig *r = *state;
    struct err w = ERR_INIT, e = ERR_INIT;

    r->state.started = false;
    rig_save(r);
    rig_hook(r, "poststart", "hook", 0);
    if (container_start(&r->rt, RIG_ID, &w, &e) < 0)
        fail_msg("%s", e.msg);
    assert_int_equal(w.code, 0);
    const json_t *body = rig_heard(r, 0, PROTO_PROCESS_START);
    assert_string_equal(json_string_value(json_object_get(body, "process")), "");
    assert_int_equal(r->nheard, 1);
    struct state now = rig_on_disk(r);
    assert_true(now.started && now.phase[PHASE_STARTED] > 0);
    assert_int_equal(state_status(&now), STATUS_RUNNING);
    state_done(&now);
    rig_hooked(r, "hook", "running");
}

static void a_failing_poststart_hook_is_a_warning(void **state)
{
    struct rig *r = *state;
    struct err w = ERR_INIT, e = ERR_INIT;

    r->state.started = false;
    rig_save(r);
    rig_hook(r, "poststart", "hook", 3);
    assert_int_equal(container_start(&r->rt, RIG_ID, &w, &e), 0);
    assert_non_null(strstr(w.msg, "poststart"));
    struct state now = rig_on_disk(r);
    assert_true(now.started);
    state_done(&now);
}

static void start_refused(struct rig *r, const char *why)
{
    struct err w = ERR_INIT, e = ERR_INIT;

    rig_save(r);
    rig_failed(container_start(&r->rt, RIG_ID, &w, &e), &e, EINVAL, why);
    assert_int_equal(r->nheard, 0);
}

static void start_wants_a_created_container(void **state)
{
    struct rig *r = *state;
    struct err w = ERR_INIT, e = ERR_INIT;

    start_refused(r, "cannot start an already running container: c1");
    r->state.paused = true;
    start_refused(r, "cannot start a paused container: c1");
    r->state.complete = false;
    r->state.creator = r->state.fs;
    start_refused(r, "cannot start a container that is still being created: c1");
    r->state.complete = true;
    r->state.paused = r->state.started = false;
    rig_kill(&r->state.shim);
    start_refused(r, "cannot start a container that has stopped: c1");
    rig_failed(container_start(&r->rt, "other", &w, &e), &e, ENOENT,
               "container does not exist: there is no other in ");
}

static void a_start_that_fails_has_not_started(void **state)
{
    struct rig *r = *state;

    r->state.started = false;
    rig_save(r);
    rig_hook(r, "poststart", "hook", 0);
    for (size_t i = 0; i < ARRAY_SIZE(misdeeds); i++) {
        struct err w = ERR_INIT, e = ERR_INIT;

        rig_says(r, PROTO_PROCESS_START, misdeeds[i].how, misdeeds[i].code, misdeeds[i].why);
        rig_failed(container_start(&r->rt, RIG_ID, &w, &e), &e, misdeeds[i].code, misdeeds[i].why);
        struct state now = rig_on_disk(r);
        assert_int_equal(state_status(&now), STATUS_CREATED);
        assert_int_equal(now.phase[PHASE_STARTED], 0);
        state_done(&now);
    }
    assert_int_equal(faccessat(r->store.dir, "../../hook", F_OK, 0), -1);
    assert_true(process_alive(&r->state.vmm)); /* start ends nothing */
}

static void a_vm_that_dies_at_start_is_told(void **state)
{
    struct rig *r = *state;
    struct err w = ERR_INIT, e = ERR_INIT;

    r->state.started = false;
    rig_save(r);
    rig_says(r, PROTO_PROCESS_START, RIG_DIE, 0, NULL);
    rig_failed(container_start(&r->rt, RIG_ID, &w, &e), &e, ECONNRESET, "the VM has ended");
}

/* --- kill --------------------------------------------------------------------------------------
 */

static void kill_is_the_guests(void **state)
{
    struct rig *r = *state;
    struct err e = ERR_INIT;

    assert_int_equal(container_kill(&r->rt, RIG_ID, SIGUSR1, false, &e), 0);
    assert_int_equal(container_kill(&r->rt, RIG_ID, SIGKILL, true, &e), 0);
    const json_t *one = rig_heard(r, 0, PROTO_PROCESS_SIGNAL);
    assert_int_equal(json_integer_value(json_object_get(one, "signal")), SIGUSR1);
    assert_true(json_is_false(json_object_get(one, "all")));
    assert_string_equal(json_string_value(json_object_get(one, "process")), "");
    const json_t *all = rig_heard(r, 1, PROTO_PROCESS_SIGNAL);
    assert_int_equal(json_integer_value(json_object_get(all, "signal")), SIGKILL);
    assert_true(json_is_true(json_object_get(all, "all")));
    /* the guest obeyed: nothing on the host was signalled */
    assert_true(process_alive(&r->state.shim) && process_alive(&r->state.vmm));
}

static void who_is_gone_cannot_be_killed(void **state)
{
    struct rig *r = *state;
    struct err e = ERR_INIT;

    /* the guest knows first */
    rig_says(r, PROTO_PROCESS_SIGNAL, RIG_ERROR, ESRCH, "no such process");
    rig_failed(container_kill(&r->rt, RIG_ID, SIGTERM, false, &e), &e, ESRCH,
               "container not running: c1 has ended");
    assert_int_equal(container_kill(&r->rt, RIG_ID, SIGTERM, true, &e), 0);
    assert_int_equal(r->nheard, 2);
    /* the host knows: the guest is not asked */
    rig_kill(&r->state.shim);
    rig_failed(container_kill(&r->rt, RIG_ID, SIGTERM, false, &e), &e, ESRCH,
               "container not running: c1 has ended");
    assert_int_equal(container_kill(&r->rt, RIG_ID, SIGTERM, true, &e), 0);
    r->state.complete = false;
    r->state.creator = r->state.fs;
    rig_save(r);
    rig_failed(container_kill(&r->rt, RIG_ID, SIGTERM, false, &e), &e, EAGAIN, "being created");
    assert_int_equal(r->nheard, 2);
}

static void a_signal_that_the_guest_refuses_is_an_error(void **state)
{
    struct rig *r = *state;

    for (size_t i = 0; i < ARRAY_SIZE(misdeeds); i++) {
        struct err e = ERR_INIT;

        rig_says(r, PROTO_PROCESS_SIGNAL, misdeeds[i].how, misdeeds[i].code, misdeeds[i].why);
        rig_failed(container_kill(&r->rt, RIG_ID, SIGTERM, false, &e), &e, misdeeds[i].code,
                   misdeeds[i].why);
        assert_true(process_alive(&r->state.vmm) && process_alive(&r->state.shim));
    }
}

static void a_vm_that_dies_of_a_signal_is_not_running(void **state)
{
    struct rig *r = *state;
    struct err e = ERR_INIT;

    rig_says(r, PROTO_PROCESS_SIGNAL, RIG_DIE, 0, NULL);
    rig_failed(container_kill(&r->rt, RIG_ID, SIGTERM, false, &e), &e, ECONNRESET,
               "container not running: ");
}

/* Whatever the guest does with it, SIGKILL kills. */
static void sigkill_is_not_refused(void **state)
{
    struct rig *r = *state;

    for (size_t i = 0; i < ARRAY_SIZE(misdeeds); i++) {
        struct err e = ERR_INIT;

        rig_says(r, PROTO_PROCESS_SIGNAL, misdeeds[i].how, misdeeds[i].code, misdeeds[i].why);
        assert_int_equal(container_kill(&r->rt, RIG_ID, SIGKILL, false, &e), 0);
        assert_false(process_alive(&r->state.vmm));
        assert_false(process_alive(&r->state.fs));
        waitpid(r->state.shim.pid, NULL, 0);
        for (size_t k = 0; k < 3; k++)
            r->played[k].pid = 0;
        r->state.shim = rig_sleeper(r);
        r->state.vmm = rig_sleeper(r);
        r->state.fs = rig_sleeper(r);
        rig_save(r);
    }
}

static void a_guest_that_hangs_is_killed_from_outside(void **state)
{
    struct rig *r = *state;
    struct err e = ERR_INIT;

    rig_says(r, PROTO_PROCESS_SIGNAL, RIG_SILENT, 0, NULL);
    assert_int_equal(container_kill(&r->rt, RIG_ID, SIGKILL, false, &e), 0);
    assert_false(process_alive(&r->state.vmm));
    assert_int_equal(waitpid(r->state.shim.pid, NULL, 0), r->state.shim.pid);
}

/* --- pause -------------------------------------------------------------------------------------
 */

static void check_paused(const struct rig *r, bool want)
{
    struct state now = rig_on_disk(r);

    assert_int_equal(now.paused, want);
    state_done(&now);
}

static void the_end_is_noted_for_run(void **state)
{
    struct rig *r = *state;
    struct err e = ERR_INIT;
    struct store store = STORE_INIT;
    struct state now = STATE_INIT;

    assert_int_equal(container_note_exit(&r->rt, RIG_ID, &e), 0);
    assert_int_equal(container_load(&r->rt, RIG_ID, &store, &now, &e), 0);
    assert_true(now.phase[PHASE_EXITED] > 0);
    assert_int_equal(r->nheard, 0);
    state_done(&now);
    store_close(&store);
    rig_failed(container_note_exit(&r->rt, "other", &e), &e, ENOENT,
               "container does not exist: there is no other in ");
}

static void pause_and_resume_are_recorded(void **state)
{
    struct rig *r = *state;
    struct err e = ERR_INIT;

    rig_failed(container_pause(&r->rt, RIG_ID, false, &e), &e, EINVAL,
               "container not paused: c1 is running");
    assert_int_equal(container_pause(&r->rt, RIG_ID, true, &e), 0);
    (void)rig_heard(r, 0, PROTO_CONTAINER_PAUSE);
    check_paused(r, true);
    rig_failed(container_pause(&r->rt, RIG_ID, true, &e), &e, EINVAL,
               "container not running: c1 is paused");
    assert_int_equal(container_pause(&r->rt, RIG_ID, false, &e), 0);
    (void)rig_heard(r, 1, PROTO_CONTAINER_RESUME);
    check_paused(r, false);
    rig_kill(&r->state.shim);
    rig_failed(container_pause(&r->rt, RIG_ID, true, &e), &e, EINVAL, "c1 is stopped");
    assert_int_equal(r->nheard, 2);
}

static void a_pause_that_fails_is_none(void **state)
{
    struct rig *r = *state;

    for (size_t i = 0; i < ARRAY_SIZE(misdeeds); i++) {
        struct err e = ERR_INIT;

        rig_says(r, PROTO_CONTAINER_PAUSE, misdeeds[i].how, misdeeds[i].code, misdeeds[i].why);
        rig_failed(container_pause(&r->rt, RIG_ID, true, &e), &e, misdeeds[i].code,
                   misdeeds[i].why);
        check_paused(r, false);
    }
    r->state.paused = true;
    rig_save(r);
    for (size_t i = 0; i < ARRAY_SIZE(misdeeds); i++) {
        struct err e = ERR_INIT;

        rig_says(r, PROTO_CONTAINER_RESUME, misdeeds[i].how, misdeeds[i].code, misdeeds[i].why);
        rig_failed(container_pause(&r->rt, RIG_ID, false, &e), &e, misdeeds[i].code,
                   misdeeds[i].why);
        check_paused(r, true);
    }
}

/* --- delete ------------------------------------------------------------------------------------
 */

static void check_gone(const struct rig *r)
{
    assert_false(rig_exists(r));
    for (size_t i = 0; i < ARRAY_SIZE(r->played); i++)
        assert_false(process_alive(&r->played[i]));
}

static void delete_takes_only_what_has_stopped(void **state)
{
    struct rig *r = *state;
    struct err w = ERR_INIT, e = ERR_INIT;

    rig_failed(container_delete(&r->rt, RIG_ID, false, &w, &e), &e, EBUSY,
               "cannot delete container c1 that is not stopped: running (delete --force kills it)");
    r->state.paused = true;
    rig_save(r);
    rig_failed(container_delete(&r->rt, RIG_ID, false, &w, &e), &e, EBUSY, "paused");
    assert_true(rig_exists(r) && process_alive(&r->state.shim) && process_alive(&r->state.vmm));

    r->state.paused = false;
    rig_save(r);
    rig_hook(r, "poststop", "hook", 0);
    rig_kill(&r->state.shim);
    assert_int_equal(container_delete(&r->rt, RIG_ID, false, &w, &e), 0);
    assert_int_equal(w.code, 0);
    check_gone(r);
    rig_hooked(r, "hook", "stopped");
    rig_failed(container_delete(&r->rt, RIG_ID, false, &w, &e), &e, ENOENT,
               "container does not exist: there is no c1 in ");
}

static void a_created_one_goes_without_force(void **state)
{
    struct rig *r = *state;
    struct err w = ERR_INIT, e = ERR_INIT;

    r->state.started = false;
    rig_save(r);
    assert_int_equal(container_delete(&r->rt, RIG_ID, false, &w, &e), 0);
    check_gone(r);
}

static void force_takes_all_and_none(void **state)
{
    struct rig *r = *state;
    struct err w = ERR_INIT, e = ERR_INIT;

    r->state.execs = calloc(1, sizeof *r->state.execs);
    r->state.nexecs = 1;
    snprintf(r->state.execs[0].id, sizeof r->state.execs[0].id, "e1");
    r->state.execs[0].shim = rig_sleeper(r);
    rig_save(r);
    rig_hook(r, "poststop", "hook", 1);
    assert_int_equal(container_delete(&r->rt, RIG_ID, true, &w, &e), 0);
    assert_non_null(strstr(w.msg, "poststop")); /* it failed, and holds up nothing */
    check_gone(r);
    rig_hooked(r, "hook", "stopped");
    assert_int_equal(container_delete(&r->rt, RIG_ID, true, &w, &e), 0);
}

/* Nothing names the VM: its own socket is asked. What is named goes by name. */
static void force_reads_what_is_left_of_a_state(void **state)
{
    struct rig *r = *state;
    struct err w = ERR_INIT, e = ERR_INIT;
    char text[128];

    snprintf(text, sizeof text,
             "{\"version\": 1, \"shim\": {\"pid\": %d, \"start\": %llu}, \"vmm\"",
             r->state.shim.pid, (unsigned long long)r->state.shim.start);
    assert_int_equal(io_replace_file(r->store.dir, "state.json", 0600, text, strlen(text), &e), 0);
    assert_true(container_delete(&r->rt, RIG_ID, false, &w, &e) < 0);
    assert_true(rig_exists(r));
    assert_int_equal(container_delete(&r->rt, RIG_ID, true, &w, &e), 0);
    assert_non_null(strstr(w.msg, "deleted without a whole state"));
    assert_int_equal(r->control_ops, 1u << CONTROL_STOP);
    assert_false(rig_exists(r));
}

static void force_does_without_a_config(void **state)
{
    struct rig *r = *state;
    struct err w = ERR_INIT, e = ERR_INIT;

    assert_int_equal(unlinkat(r->store.dir, "config.json", 0), 0);
    assert_int_equal(container_delete(&r->rt, RIG_ID, true, &w, &e), 0);
    check_gone(r);
}

/* A call at work in a process of its own: holds the lock until the signal, or, without one, until
 * the VMM is gone. */
static struct process hold_lock(struct rig *r, bool deaf)
{
    struct process vmm = r->state.vmm, p;
    struct err e = ERR_INIT;
    int ready[2];
    char byte;

    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct store mine = STORE_INIT;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGTERM, deaf ? SIG_IGN : SIG_DFL);
        if (store_open(r->root, RIG_ID, true, &mine, &e) < 0 || write(ready[1], "r", 1) != 1)
            _exit(1);
        while (process_alive(&vmm))
            poll(NULL, 0, 10);
        _exit(0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    assert_int_equal(process_identify(pid, &p), 0);
    r->played[3] = p;
    return p;
}

static void force_calls_off_a_create(void **state)
{
    struct rig *r = *state;
    struct err w = ERR_INIT, e = ERR_INIT;

    r->state.complete = false;
    r->state.creator = hold_lock(r, false);
    rig_save(r);
    assert_int_equal(container_delete(&r->rt, RIG_ID, true, &w, &e), 0);
    check_gone(r);
}

static void force_kills_a_create_that_does_not_hear(void **state)
{
    struct rig *r = *state;
    struct err w = ERR_INIT, e = ERR_INIT;

    r->state.complete = false;
    r->state.creator = hold_lock(r, true);
    rig_save(r);
    assert_int_equal(container_delete(&r->rt, RIG_ID, true, &w, &e), 0);
    check_gone(r);
}

/* A start that waits for a guest that hangs: its VM goes, then the lock is free. */
static void force_interrupts_a_call_into_the_guest(void **state)
{
    struct rig *r = *state;
    struct err w = ERR_INIT, e = ERR_INIT;

    (void)hold_lock(r, true);
    assert_int_equal(container_delete(&r->rt, RIG_ID, true, &w, &e), 0);
    assert_false(rig_exists(r));
    assert_false(process_alive(&r->state.vmm));
}

/* What killed pids mean later: a process that got the same pid is left alone. */
static void delete_knows_its_own_processes(void **state)
{
    struct rig *r = *state;
    struct err w = ERR_INIT, e = ERR_INIT;
    struct process stranger = r->state.fs;

    r->state.fs.start++;
    rig_save(r);
    assert_int_equal(container_delete(&r->rt, RIG_ID, true, &w, &e), 0);
    assert_false(rig_exists(r));
    assert_true(process_alive(&stranger));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        rig_test(start_is_asked_and_recorded),
        rig_test(a_failing_poststart_hook_is_a_warning),
        rig_test(start_wants_a_created_container),
        rig_test(a_start_that_fails_has_not_started),
        rig_test(a_vm_that_dies_at_start_is_told),
        rig_test(kill_is_the_guests),
        rig_test(who_is_gone_cannot_be_killed),
        rig_test(a_signal_that_the_guest_refuses_is_an_error),
        rig_test(a_vm_that_dies_of_a_signal_is_not_running),
        rig_test(sigkill_is_not_refused),
        rig_test(a_guest_that_hangs_is_killed_from_outside),
        rig_test(the_end_is_noted_for_run),
        rig_test(pause_and_resume_are_recorded),
        rig_test(a_pause_that_fails_is_none),
        rig_test(delete_takes_only_what_has_stopped),
        rig_test(a_created_one_goes_without_force),
        rig_test(force_takes_all_and_none),
        rig_test(force_reads_what_is_left_of_a_state),
        rig_test(force_does_without_a_config),
        rig_test(force_calls_off_a_create),
        rig_test(force_kills_a_create_that_does_not_hear),
        rig_test(force_interrupts_a_call_into_the_guest),
        rig_test(delete_knows_its_own_processes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
