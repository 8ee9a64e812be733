/*
 * runtime/cgroup/limits: how much room the VM gets, whose limit a limit is, and writing them, into
 * a directory with plain files of the kernel's names. What the guest is told (runtime/guest) is the
 * other half.
 */
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/json.h"
#include "lib/path.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/guest.h"
#include "tests/unit/cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define MIB (1ll << 20)

static const struct cgroup_vm vm = {.memory_mib = 256, .vcpus = 2};

static json_t *document(const char *json)
{
    struct err e = ERR_INIT;
    json_t *doc = NULL;

    if (json_load_bytes(json, strlen(json), "resources", &doc, &e) < 0)
        fail_msg("%s", e.msg);
    return doc;
}

static struct spec_resources parse(const char *json)
{
    struct spec_resources r = {0};
    struct err e = ERR_INIT;
    json_t *doc = document(json);

    if (spec_parse_resources(doc, "resources", &r, &e) < 0)
        fail_msg("%s", e.msg);
    json_decref(doc);
    return r;
}

/* --- room ------------------------------------------------------------------------------------ */

static void test_room(void **state)
{
    struct spec_resources r = parse(
        "{\"memory\":{\"limit\":67108864,\"swap\":134217728,\"reservation\":1048576},"
        "\"cpu\":{\"quota\":50000,\"shares\":512},\"pids\":{\"limit\":20},"
        "\"hugepageLimits\":[{\"pageSize\":\"2MB\",\"limit\":0}],\"devices\":[{\"allow\":false}]}");
    struct spec_resources h;
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(cgroup_room(&r, &vm, &h, &e), 0);
    /* the VM, 64 MiB, its tables, twice the limit for files */
    assert_int_equal(h.memory.limit.v, (256 + 64 + 2 + 128) * MIB);
    assert_int_equal(h.memory.swap.v - h.memory.limit.v, 64 * MIB);
    assert_int_equal(h.memory.reservation.v, 65 * MIB);
    assert_int_equal(h.cpu.quota.v, 60000);
    assert_int_equal(h.cpu.shares.v, 512);
    assert_int_equal(h.pids_limit.v, 20 + 64 + 2);
    assert_true(h.nhugepages == 0 && h.ndevices == 0);
    spec_resources_done(&r);
}

/* No limit stays none; the room for files ends at 1 GiB, and at the VM's memory; nothing wraps. */
static void test_room_at_the_ends(void **state)
{
    const struct cgroup_vm large = {.memory_mib = 4096, .vcpus = 1};
    struct spec_resources r, h;
    struct err e = ERR_INIT;

    (void)state;
    r = parse("{\"memory\":{\"limit\":-1,\"swap\":-1,\"reservation\":-1},\"cpu\":{\"quota\":-1},"
              "\"pids\":{\"limit\":-1}}");
    assert_int_equal(cgroup_room(&r, &vm, &h, &e), 0);
    assert_true(h.memory.limit.v == -1 && h.memory.swap.v == -1 && h.memory.reservation.v == -1);
    assert_true(h.cpu.quota.v == -1 && h.pids_limit.v == -1);
    r = parse("{\"memory\":{\"limit\":9223372036854771712,\"swap\":9223372036854771712},"
              "\"cpu\":{\"quota\":9223372036854775807},\"pids\":{\"limit\":9223372036854775807}}");
    assert_int_equal(cgroup_room(&r, &vm, &h, &e), 0);
    assert_int_equal(h.memory.limit.v, (256 + 64 + 2 + 512) * MIB);
    assert_int_equal(h.memory.swap.v, h.memory.limit.v);
    assert_true(h.cpu.quota.v == INT64_MAX && h.pids_limit.v == INT64_MAX);
    assert_int_equal(cgroup_room(&r, &large, &h, &e), 0);
    assert_int_equal(h.memory.limit.v, (4096 + 64 + 32 + 1024) * MIB);
    r = parse("{\"memory\":{\"limit\":2000,\"swap\":1000}}");
    assert_int_equal(cgroup_room(&r, &vm, &h, &e), -EINVAL);
    r = parse("{}");
    assert_int_equal(cgroup_room(&r, &vm, &h, &e), 0);
    assert_false(h.memory.limit.set || h.cpu.quota.set || h.pids_limit.set);
}

/* --- whose ----------------------------------------------------------------------------------- */

static void host_only_is(const char *json, const char *want)
{
    struct spec_resources r = parse(json);
    const char *key = cgroup_host_only(&r);

    if (want)
        assert_string_equal(key, want);
    else
        assert_null(key);
    spec_resources_done(&r);
}

static void test_host_only(void **state)
{
    (void)state;
    host_only_is("{}", NULL);
    host_only_is(
        "{\"memory\":{\"limit\":5,\"swap\":6},\"cpu\":{\"shares\":5},\"pids\":{\"limit\":5},"
        "\"unified\":{\"memory.high\":\"5\"}}",
        NULL);
    host_only_is("{\"cpu\":{\"cpus\":\"0\"}}", "cpu.cpus");
    host_only_is("{\"cpu\":{\"mems\":\"0\"}}", "cpu.mems");
    host_only_is("{\"blockIO\":{\"weight\":10}}", "blockIO.weight");
    host_only_is("{\"unified\":{\"io.max\":\"8:0 rbps=1\"}}", "unified");
}

static void test_guest(void **state)
{
    json_t *doc = document(
        "{\"blockIO\":{\"weight\":10},\"cpu\":{\"cpus\":\"0\",\"mems\":\"0\",\"shares\":5},"
        "\"unified\":{\"memory.high\":\"5\",\"cpuset.cpus\":\"0\",\"io.max\":\"x\","
        "\"memory.swap.max\":\"0\",\"cpu.weight\":\"7\"},\"pids\":{\"limit\":3}}");
    json_t *want = document("{\"cpu\":{\"shares\":5},\"unified\":{\"memory.high\":\"5\","
                            "\"cpu.weight\":\"7\"},\"pids\":{\"limit\":3}}");
    json_t *before = json_deep_copy(doc), *got = guest_resources(doc);

    (void)state;
    assert_true(json_equal(got, want));
    assert_true(json_equal(doc, before));
    json_decref(doc);
    json_decref(want);
    json_decref(before);
    json_decref(got);
}

/* --- writing --------------------------------------------------------------------------------- */

static char dir_path[] = "/tmp/bulkhead-limits-XXXXXX";
static int dir = -1;

static int with_files(void **state)
{
    static const char *const files[] = {"memory.max", "memory.low", "cpu.max",    "cpu.max.burst",
                                        "cpu.weight", "pids.max",   "cpuset.cpus"};

    (void)state;
    strcpy(dir_path, "/tmp/bulkhead-limits-XXXXXX");
    assert_non_null(mkdtemp(dir_path));
    dir = open(dir_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; i < ARRAY_SIZE(files); i++)
        close(openat(dir, files[i], O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    return dir < 0;
}

static int without_files(void **state)
{
    struct err e = ERR_INIT;

    (void)state;
    close_fd(&dir);
    return path_remove_tree(AT_FDCWD, dir_path, &e);
}

static void holds(const char *file, const char *want)
{
    cleanup_free char *text = NULL;
    struct err e = ERR_INIT;

    if (io_read_file(dir, file, 4096, &text, NULL, &e) < 0)
        fail_msg("%s", e.msg);
    assert_string_equal(text, want);
}

static int limit_more(const char *json, unsigned when, struct err *warning, struct err *e)
{
    struct spec_resources r = parse(json);
    int k = cgroup_limit(dir, &r, when, warning, e);

    spec_resources_done(&r);
    return k;
}

static int limit(const char *json, unsigned when, struct err *warning, struct err *e)
{
    *warning = *e = (struct err)ERR_INIT;
    return limit_more(json, when, warning, e);
}

/* An update of a quota, in a cgroup whose cpu.max is `now`: what is in it then. */
static void update_quota(const char *now, const char *json, const char *want)
{
    struct spec_resources r = parse(json), whole, h;
    struct err w = ERR_INIT, e = ERR_INIT;

    assert_int_equal(io_replace_file(dir, "cpu.max", 0600, now, strlen(now), &e), 0);
    cgroup_keep_quota(dir, &r, &whole);
    assert_int_equal(cgroup_room(&whole, &vm, &h, &e), 0);
    assert_int_equal(io_replace_file(dir, "cpu.max", 0600, "", 0, &e), 0);
    assert_int_equal(cgroup_limit(dir, &h, CGROUP_ANY_TIME, &w, &e), 0);
    holds("cpu.max", want);
    spec_resources_done(&r);
}

/* The quota in the file has the room of its period, a tenth: a new period, another room. */
static void test_half_a_quota(void **state)
{
    (void)state;
    update_quota("30000 100000\n", "{\"cpu\":{\"period\":50000}}", "25000 50000");
    update_quota("max 100000\n", "{\"cpu\":{\"period\":50000}}", "max 50000");
    update_quota("5000 100000\n", "{\"cpu\":{\"period\":50000}}", "5001 50000");
    update_quota("30000 50000\n", "{\"cpu\":{\"quota\":10000}}", "15000 50000");
    update_quota("30000 50000\n", "{\"cpu\":{\"quota\":-1}}", "max 50000");
    update_quota("30000 50000\n", "{\"cpu\":{\"shares\":5}}", "");
    update_quota("", "{\"cpu\":{\"quota\":10000}}", "20000");
}

static void test_moments(void **state)
{
    static const char json[] =
        "{\"memory\":{\"limit\":5},\"cpu\":{\"quota\":7000,\"burst\":3,\"shares\":1024}}";
    struct err w, e;

    (void)state;
    assert_int_equal(limit(json, CGROUP_BEFORE_BOOT, &w, &e), 0);
    holds("memory.max", "5");
    holds("cpu.weight", "39");
    holds("cpu.max", "");
    assert_int_equal(limit(json, CGROUP_AFTER_BOOT, &w, &e), 0);
    holds("cpu.max", "7000");
    holds("cpu.max.burst", "3");
    assert_int_equal(w.code, 0);
}

static void test_missing_controllers(void **state)
{
    struct err w, w_before, e;

    (void)state;
    /* the guest keeps it: a warning */
    assert_int_equal(
        limit("{\"cpu\":{\"idle\":1},\"pids\":{\"limit\":3}}", CGROUP_ANY_TIME, &w, &e), 0);
    assert_string_equal(w.msg, "linux.resources.cpu.idle holds in the virtual machine alone: the "
                               "container's cgroup on the host has no cpu controller");
    holds("pids.max", "3");
    /* once for a controller, and whatever was said before */
    assert_int_equal(unlinkat(dir, "pids.max", 0), 0);
    assert_int_equal(unlinkat(dir, "cpu.weight", 0), 0);
    err_add(&w, EIO, "something else");
    w_before = w;
    assert_int_equal(limit_more("{\"cpu\":{\"idle\":0,\"shares\":5},\"pids\":{\"limit\":3}}",
                                CGROUP_ANY_TIME, &w, &e),
                     0);
    assert_true(strncmp(w.msg, w_before.msg, strlen(w_before.msg)) == 0);
    assert_string_equal(w.msg + strlen(w_before.msg),
                        "; linux.resources.pids.limit holds in the virtual machine alone: the "
                        "container's cgroup on the host has no pids controller");
    /* only the host can */
    assert_int_equal(limit("{\"cpu\":{\"mems\":\"0\"}}", CGROUP_ANY_TIME, &w, &e), -ENOTSUP);
    assert_int_equal(limit("{\"blockIO\":{\"weight\":10}}", CGROUP_ANY_TIME, &w, &e), -ENOTSUP);
    assert_non_null(strstr(e.msg, "linux.resources.blockIO.weight needs the io controller"));
    assert_null(strstr(e.msg, "o such file")); /* clients would take it for the command's */
    assert_int_equal(limit("{\"unified\":{\"io.max\":\"8:0 rbps=1\"}}", CGROUP_ANY_TIME, &w, &e),
                     -ENOTSUP);
    /* no accounting of swap: any, and none, are what there is; a number is not */
    assert_int_equal(limit("{\"memory\":{\"limit\":5,\"swap\":5}}", CGROUP_ANY_TIME, &w, &e), 0);
    assert_int_equal(limit("{\"memory\":{\"limit\":5,\"swap\":-1}}", CGROUP_ANY_TIME, &w, &e), 0);
    assert_int_equal(limit("{\"memory\":{\"limit\":5,\"swap\":9}}", CGROUP_ANY_TIME, &w, &e),
                     -ENOTSUP);
}

/* Files of the guest alone are left alone here; the scheduler's weight goes before the kernel's. */
static void test_which_file(void **state)
{
    struct err w, e;

    (void)state;
    assert_int_equal(
        limit("{\"unified\":{\"memory.max\":\"5\",\"cpu.weight\":\"70\",\"cpuset.cpus\":\"0\"}}",
              CGROUP_ANY_TIME, &w, &e),
        0);
    holds("memory.max", "");
    holds("cpu.weight", "70");
    holds("cpuset.cpus", "0");
    close(openat(dir, "io.weight", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    assert_int_equal(limit("{\"blockIO\":{\"weight\":1000}}", CGROUP_ANY_TIME, &w, &e), 0);
    holds("io.weight", "10000");
    close(openat(dir, "io.bfq.weight", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    assert_int_equal(limit("{\"blockIO\":{\"weight\":500}}", CGROUP_ANY_TIME, &w, &e), 0);
    holds("io.bfq.weight", "500");
    holds("io.weight", "10000");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_room),
        cmocka_unit_test(test_room_at_the_ends),
        cmocka_unit_test(test_host_only),
        cmocka_unit_test(test_guest),
        cmocka_unit_test_setup_teardown(test_moments, with_files, without_files),
        cmocka_unit_test_setup_teardown(test_missing_controllers, with_files, without_files),
        cmocka_unit_test_setup_teardown(test_half_a_quota, with_files, without_files),
        cmocka_unit_test_setup_teardown(test_which_file, with_files, without_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
