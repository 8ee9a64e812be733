/*
 * runtime/hostgroup: a container without a cgroup on the host is told which limits nobody keeps,
 * one with a cgroup has it on record before it exists and loses it again, and systemd's absence is
 * an error with a reason. What wants a writable cgroup v2 hierarchy says SKIP without one.
 */
#include "runtime/cgroup/hostgroup.h"
#include "tests/unit/sandbox_rig.h"

#include "runtime/cgroup/cgroup.h"
#include "runtime/cgroup/systemd.h"

#define TOP "/bulkhead-test-hostgroup"

static struct spec_linux linux_with(const char *path, const char *resources)
{
    struct spec_linux l = {.cgroups_path = (char *)(uintptr_t)path};
    struct err e = ERR_INIT;
    json_t *j = json_loads(resources, 0, NULL);

    if (spec_parse_resources(j, "resources", &l.resources, &e) < 0)
        fail_msg("%s", e.msg);
    json_decref(j);
    return l;
}

static int make_in(struct rig *r, struct spec_linux *l, struct hostgroup *g, struct err *w,
                   struct err *e)
{
    return hostgroup_make(&r->rt, l, &r->store, &r->state, g, w, e);
}

static void without_a_cgroup(void **state)
{
    struct rig *r = *state;
    struct hostgroup g = HOSTGROUP_INIT;
    struct err w = ERR_INIT, e = ERR_INIT;
    struct spec_linux plain = linux_with(NULL, "{\"memory\": {\"limit\": 67108864}}");
    struct spec_linux cpus = linux_with(NULL, "{\"cpu\": {\"cpus\": \"0\"}}");

    r->rt.no_cgroup = true;
    assert_int_equal(make_in(r, &plain, &g, &w, &e), 0);
    assert_int_equal(g.fd, -1);
    assert_null(r->state.cgroup);
    assert_false(r->state.cgroup_made);
    rig_failed(make_in(r, &cpus, &g, &w, &e), &e, ENOTSUP, "linux.resources.cpu.cpus");
    assert_non_null(strstr(e.msg, "--cgroup-manager=disabled"));
    /* later calls know of it from the state alone */
    assert_int_equal(hostgroup_booted(&cpus, &r->state, &w, &e), 0);
    assert_int_equal(hostgroup_update(&plain.resources, &r->state, &w, &e), 0);
    rig_failed(hostgroup_update(&cpus.resources, &r->state, &w, &e), &e, ENOTSUP,
               "created without");
    assert_int_equal(hostgroup_remove(&r->state, &e), 0);
    assert_int_equal(w.code, 0);
    hostgroup_done(&g);
    spec_resources_done(&plain.resources);
    spec_resources_done(&cpus.resources);
}

/* Who names a cgroup wants it: no warning takes its place. */
static void a_bad_name_is_an_error(void **state)
{
    struct rig *r = *state;
    struct hostgroup g = HOSTGROUP_INIT;
    struct err w = ERR_INIT, e = ERR_INIT;
    struct spec_linux l = linux_with("/a/../b", "{}");

    rig_failed(make_in(r, &l, &g, &w, &e), &e, EINVAL, "cgroup: ");
    assert_int_equal(w.code, 0);
    assert_null(r->state.cgroup);
    assert_int_equal(g.fd, -1);
    hostgroup_done(&g);
}

static void made_recorded_limited_and_removed(void **state)
{
    struct rig *r = *state;
    struct hostgroup g = HOSTGROUP_INIT;
    struct err w = ERR_INIT, e = ERR_INIT;
    struct spec_linux l = linux_with(TOP "/a", "{\"pids\": {\"limit\": 20}}");
    struct spec_linux quota = linux_with(TOP "/a", "{\"cpu\": {\"quota\": 50000}}");
    int fd = -1;

    if (cgroup_create(TOP, &fd, &e) < 0)
        skip_because("no writable cgroup v2 hierarchy: %s", e.msg);
    close_fd(&fd);
    r->state.memory_mib = 64;
    r->state.vcpus = 1;
    if (make_in(r, &l, &g, &w, &e) < 0)
        fail_msg("%s", e.msg);
    assert_true(g.fd >= 0);
    struct state now = rig_on_disk(r);
    assert_string_equal(now.cgroup, TOP "/a");
    assert_true(now.cgroup_made && !now.cgroup_scope);
    state_done(&now);
    /* no quota in the configuration: nothing waits for the boot */
    assert_int_equal(hostgroup_booted(&l, &r->state, &w, &e), 0);
    if (hostgroup_booted(&quota, &r->state, &w, &e) < 0)
        fail_msg("%s", e.msg);
    hostgroup_done(&g);
    assert_int_equal(hostgroup_remove(&r->state, &e), 0);
    assert_int_equal(cgroup_open(TOP "/a", &fd, &e), -ENOENT);
    assert_int_equal(hostgroup_remove(&r->state, &e), 0);
    /* one that is gone cannot be limited any more */
    assert_true(hostgroup_update(&l.resources, &r->state, &w, &e) < 0);
    /* a killed create: named in the state, empty, not known to be made */
    assert_int_equal(cgroup_create(TOP "/a", &fd, &e), 0);
    close_fd(&fd);
    r->state.cgroup_made = false;
    assert_int_equal(hostgroup_remove(&r->state, &e), 0);
    assert_int_equal(cgroup_open(TOP "/a", &fd, &e), -ENOENT);
    assert_int_equal(cgroup_destroy(TOP, &e), 0);
    spec_resources_done(&l.resources);
    spec_resources_done(&quota.resources);
}

/* No bus: each call says so, and what must not fail without systemd does not. */
static void a_bus_that_is_not_there(void **state)
{
    const struct spec_resources none = {0};
    struct err e = ERR_INIT;

    (void)state;
    setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus", 1);
    assert_true(systemd_scope_start("/a.slice/b.scope", "b", getpid(), &none, &e) < 0);
    assert_non_null(strstr(e.msg, "systemd"));
    e = (struct err)ERR_INIT;
    assert_true(systemd_scope_update("/a.slice/b.scope", &none, &e) < 0);
    assert_non_null(strstr(e.msg, "systemd"));
    e = (struct err)ERR_INIT;
    assert_true(systemd_scope_stop("/a.slice/b.scope", &e) < 0);
    assert_non_null(strstr(e.msg, "systemd"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        rig_test(without_a_cgroup),
        rig_test(a_bad_name_is_an_error),
        rig_test(made_recorded_limited_and_removed),
        cmocka_unit_test(a_bus_that_is_not_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
