/* runtime/store and runtime/state: ids, claiming, locks, state.json there and back, listing. */
#include "runtime/state.h"
#include "runtime/store.h"
#include "tests/unit/cmocka_all.h"

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/path.h"
#include "lib/str.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct fixture {
    char base[64], root[96];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    snprintf(f->base, sizeof f->base, "/tmp/test-store-XXXXXX");
    if (!mkdtemp(f->base))
        return -1;
    snprintf(f->root, sizeof f->root, "%s/run/state", f->base);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    int r = path_remove_tree(AT_FDCWD, f->base, &e);

    free(f);
    return r;
}

static void bad_id(const char *id, const char *why)
{
    struct err e = ERR_INIT;

    assert_true(store_check_id(id, &e) < 0);
    if (!strstr(e.msg, why))
        fail_msg("\"%s\": \"%s\" lacks \"%s\"", id, e.msg, why);
}

static void ids_are_names(void **state)
{
    struct err e = ERR_INIT;
    char longest[300];

    (void)state;
    bad_id("", "cannot be empty");
    bad_id(".", "names a directory");
    bad_id("..", "names a directory");
    bad_id("a/b", "'/'");
    bad_id("../x", "'/'");
    bad_id("a b", "only letters");
    bad_id("a\n", "only letters");
    memset(longest, 'x', sizeof longest);
    longest[256] = '\0';
    bad_id(longest, "too long: 256");
    longest[255] = '\0';
    assert_int_equal(store_check_id(longest, &e), 0);
    assert_int_equal(store_check_id("a..b_C+9.-", &e), 0);
}

static struct store claim(const char *root, const char *id)
{
    struct err e = ERR_INIT;
    struct store s = STORE_INIT;

    if (store_create(root, id, &s, &e) < 0)
        fail_msg("%s", e.msg);
    return s;
}

static void an_id_is_claimed_once(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct store a = claim(f->root, "c1"), b = STORE_INIT;
    char text[256];

    assert_int_equal(store_create(f->root, "c1", &b, &e), -EEXIST);
    assert_string_equal(e.msg, "container with given ID already exists: c1 (`bulkhead delete` "
                               "removes it)");
    assert_int_equal(b.dir, -1);
    assert_int_equal(store_open(f->root, "c2", false, &b, &e), -ENOENT);
    snprintf(text, sizeof text, "container does not exist: there is no c2 in %s (--root)", f->root);
    assert_string_equal(e.msg, text);
    /* -ENOENT says just that: not that the way there is barred, nor that it ends in a file */
    cleanup_free char *file = NULL;
    assert_true(asprintf(&file, "%s/file", f->root) > 0);
    assert_int_equal(close(open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)), 0);
    assert_int_equal(store_open(f->root, "file", false, &b, &e), -ENOTDIR);
    assert_int_equal(store_open(file, "c1", false, &b, &e), -ENOTDIR);
    assert_int_equal(store_remove(&a, &e), 0);
    store_close(&a);
    b = claim(f->root, "c1");
    store_close(&b);
}

static void state_survives_the_disk(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct store s = claim(f->root, "c1");
    struct state in = STATE_INIT, out = STATE_INIT;

    in.id = strdup("c1");
    in.bundle = strdup("/b \"x\"");
    in.rootfs = strdup("/b/rootfs");
    in.cgroup = strdup("/bulkhead/c1");
    in.cgroup_made = in.complete = in.started = true;
    in.cgroup_scope = true;
    in.memory_mib = 320;
    in.vcpus = 3;
    in.created_s = 1795375634;
    in.created_ns = 909109504;
    in.owner = 4294967294u;
    in.shim = (struct process){.pid = 30760, .start = 123456789};
    in.vmm = (struct process){.pid = 30761, .start = 5};
    in.annotations = json_pack("{s:s}", "k", "v");
    in.phase[PHASE_READY] = 77;
    in.execs = calloc(1, sizeof *in.execs);
    in.nexecs = 1;
    snprintf(in.execs[0].id, sizeof in.execs[0].id, "e1");
    in.execs[0].shim.pid = 9;

    assert_int_equal(store_save(&s, &in, &e), 0);
    if (store_load(&s, &out, &e) < 0)
        fail_msg("%s", e.msg);
    assert_string_equal(out.id, "c1");
    assert_string_equal(out.bundle, in.bundle);
    assert_string_equal(out.cgroup, in.cgroup);
    assert_true(out.cgroup_scope && out.memory_mib == 320 && out.vcpus == 3);
    assert_true(out.cgroup_made && out.complete && out.started && !out.paused);
    assert_int_equal(out.owner, in.owner);
    assert_int_equal(out.shim.pid, 30760);
    assert_int_equal(out.shim.start, 123456789);
    assert_int_equal(out.nexecs, 1);
    assert_string_equal(out.execs[0].id, "e1");
    assert_int_equal(out.phase[PHASE_READY], 77);
    assert_string_equal(json_string_value(json_object_get(out.annotations, "k")), "v");
    state_done(&in);
    state_done(&out);
    store_close(&s);
}

static void bad_state_is_named(const struct store *s, const char *text, const char *why)
{
    struct err e = ERR_INIT;
    struct state out = STATE_INIT;

    assert_int_equal(io_replace_file(s->dir, "state.json", 0600, text, strlen(text), &e), 0);
    assert_true(store_load(s, &out, &e) < 0);
    assert_null(out.id);
    if (!strstr(e.msg, why) || !strstr(e.msg, "state.json"))
        fail_msg("\"%s\" lacks \"%s\"", e.msg, why);
}

static void broken_state_is_an_error(void **state)
{
    struct fixture *f = *state;
    struct store s = claim(f->root, "c1");

    bad_state_is_named(&s, "{", "not valid JSON");
    bad_state_is_named(&s, "{\"version\": 2}", "another version");
    bad_state_is_named(&s, "{\"version\": 1, \"shim\": 3}", "shim must be an object");
    bad_state_is_named(&s, "{\"version\": 1, \"vmm\": {\"pid\": -4}}", "vmm.pid");
    store_close(&s);
}

static struct err forced(const struct store *s, const char *text, struct state *out)
{
    struct err damage = ERR_INIT, e = ERR_INIT;

    assert_int_equal(io_replace_file(s->dir, "state.json", 0600, text, strlen(text), &e), 0);
    assert_int_equal(store_load_forced(s, out, &damage, &e), 0);
    assert_string_equal(out->id, s->id);
    return damage;
}

/* delete --force takes what there is: each identity counts, whatever the next one looks like. */
static void broken_state_is_read_by_force(void **state)
{
    struct fixture *f = *state;
    struct store s = claim(f->root, "c1");
    struct state out = STATE_INIT;
    struct err damage = forced(&s, "{", &out);

    assert_non_null(strstr(damage.msg, "delete --force removes"));
    assert_int_equal(out.vmm.pid, 0);
    assert_null(out.cgroup);
    state_done(&out);

    damage =
        forced(&s,
               "{\"version\": 2, \"bundle\": 5, \"cgroup\": \"/a/b\", \"cgroup_made\": true,"
               " \"shim\": 3, \"vmm\": {\"pid\": 7, \"start\": 8},"
               " \"execs\": [{\"id\": \"x\", \"shim\": {\"pid\": 9, \"start\": 1}}, {\"id\": 5}]}",
               &out);
    assert_non_null(strstr(damage.msg, "another version"));
    assert_string_equal(out.cgroup, "/a/b");
    assert_true(out.cgroup_made);
    assert_int_equal(out.shim.pid, 0);
    assert_int_equal(out.vmm.pid, 7);
    assert_int_equal(out.vmm.start, 8);
    assert_int_equal(out.nexecs, 1);
    assert_int_equal(out.execs[0].shim.pid, 9);
    state_done(&out);

    damage = forced(&s, "{\"version\": 1, \"complete\": true}", &out);
    assert_int_equal(damage.code, 0);
    assert_true(out.complete);
    state_done(&out);
    store_close(&s);
}

static void a_directory_without_state_is_a_stopped_container(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct store s = claim(f->root, "c1");
    struct state out = STATE_INIT;

    assert_int_equal(store_load(&s, &out, &e), 0);
    assert_int_equal(state_status(&out), STATUS_STOPPED);
    state_done(&out);
    store_close(&s);
}

/* A second opener waits for the lock, and sees that the container went meanwhile. */
static void a_removed_container_is_gone_for_those_who_waited(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct store s = claim(f->root, "c1");
    int ready[2], status;
    char byte;

    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        struct store mine = STORE_INIT;
        store_close(&s); /* its copy of the locked descriptor */
        if (store_open(f->root, "c1", false, &mine, &e) < 0 || write(ready[1], "r", 1) != 1)
            _exit(1);
        _exit(store_lock(&mine, &e) == -ENOENT ? 0 : 2);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(store_remove(&s, &e), 0);
    store_close(&s);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    close(ready[0]);
    close(ready[1]);
}

static void remove_takes_everything(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct store s = claim(f->root, "c1");

    assert_int_equal(mkdirat(s.dir, "sub", 0700), 0);
    assert_int_equal(io_replace_file(s.dir, "sub/x", 0600, "x", 1, &e), 0);
    assert_int_equal(symlinkat("/etc", s.dir, "link"), 0);
    assert_int_equal(store_remove(&s, &e), 0);
    assert_int_equal(access(s.path, F_OK), -1);
    assert_int_equal(access("/etc", F_OK), 0);
    store_close(&s);
}

static void list_is_sorted_and_skips_strangers(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    char **ids;

    assert_int_equal(store_list(f->root, &ids, &e), 0);
    assert_null(ids[0]);
    strv_free(ids);
    struct store b = claim(f->root, "b"), a = claim(f->root, "a");
    char odd[128];
    snprintf(odd, sizeof odd, "%s/not an id", f->root);
    assert_int_equal(mkdir(odd, 0700), 0);
    assert_int_equal(store_list(f->root, &ids, &e), 0);
    assert_int_equal(strv_len(ids), 2);
    assert_string_equal(ids[0], "a");
    assert_string_equal(ids[1], "b");
    strv_free(ids);
    store_close(&a);
    store_close(&b);
}

static void status_follows_the_shim(void **state)
{
    struct state s = {.id = NULL, .complete = true};
    pid_t child = fork();

    (void)state;
    if (child == 0) {
        pause();
        _exit(0);
    }
    assert_int_equal(process_identify(child, &s.shim), 0);
    assert_int_equal(state_status(&s), STATUS_CREATED);
    s.started = true;
    assert_int_equal(state_status(&s), STATUS_RUNNING);
    s.paused = true;
    assert_int_equal(state_status(&s), STATUS_PAUSED);
    s.shim.start++; /* the pid of another process by now */
    assert_int_equal(state_status(&s), STATUS_STOPPED);
    s.shim.start--;
    s.complete = false;
    s.creator = s.shim;
    assert_int_equal(state_status(&s), STATUS_CREATING);
    s.complete = true;
    /* a zombie has ended, too */
    kill(child, SIGKILL);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
    assert_int_equal(state_status(&s), STATUS_STOPPED);
    waitpid(child, NULL, 0);
    assert_int_equal(state_status(&s), STATUS_STOPPED);
}

static void the_state_has_runcs_shape(void **state)
{
    struct state s = {
        .id = strdup("x1"),
        .bundle = strdup("/b"),
        .rootfs = strdup("/b/rootfs"),
        .created_s = 1795375634,
        .created_ns = 909109500,
        .shim = {.pid = 30760},
        .annotations = json_object(),
    };

    (void)state;
    json_t *j = state_json(&s, STATUS_CREATED, "");
    char *text = json_dumps(j, JSON_COMPACT);
    assert_string_equal(text, "{\"ociVersion\":\"1.0.2\",\"id\":\"x1\",\"pid\":30760,"
                              "\"status\":\"created\",\"bundle\":\"/b\",\"rootfs\":\"/b/rootfs\","
                              "\"created\":\"2026-11-22T19:27:14.9091095Z\",\"owner\":\"\"}");
    free(text);
    json_decref(j);
    j = state_json(&s, STATUS_STOPPED, NULL);
    assert_int_equal(json_integer_value(json_object_get(j, "pid")), 0);
    assert_null(json_object_get(j, "owner"));
    json_decref(j);
    state_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_names),
        cmocka_unit_test_setup_teardown(an_id_is_claimed_once, setup, teardown),
        cmocka_unit_test_setup_teardown(state_survives_the_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(broken_state_is_an_error, setup, teardown),
        cmocka_unit_test_setup_teardown(broken_state_is_read_by_force, setup, teardown),
        cmocka_unit_test_setup_teardown(a_directory_without_state_is_a_stopped_container, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_removed_container_is_gone_for_those_who_waited, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(remove_takes_everything, setup, teardown),
        cmocka_unit_test_setup_teardown(list_is_sorted_and_skips_strangers, setup, teardown),
        cmocka_unit_test(status_follows_the_shim),
        cmocka_unit_test(the_state_has_runcs_shape),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
