/* lib/limits: every number of linux.resources, as the file and the text that it becomes. */
#include "lib/cleanup.h"
#include "lib/json.h"
#include "lib/limits.h"
#include "lib/str.h"
#include "tests/unit/cmocka_all.h"

#include <errno.h>
#include <string.h>

static void test_weight(void **state)
{
    (void)state;
    assert_int_equal(limits_cpu_weight(0), 1);
    assert_int_equal(limits_cpu_weight(2), 1);
    assert_int_equal(limits_cpu_weight(512), 20);
    assert_int_equal(limits_cpu_weight(1024), 39);
    assert_int_equal(limits_cpu_weight(262144), 10000);
    assert_int_equal(limits_cpu_weight(UINT64_MAX), 10000);
}

static void test_swap(void **state)
{
    struct spec_resources r;
    struct err e = ERR_INIT;
    int64_t out;

    (void)state;
    memset(&r, 0, sizeof(r));
    assert_int_equal(limits_swap(&r, &out, &e), 0);
    assert_int_equal(out, -2);
    r.memory.swap.set = true;
    r.memory.swap.v = -1;
    assert_int_equal(limits_swap(&r, &out, &e), 0);
    assert_int_equal(out, -1);
    r.memory.swap.v = 100;
    assert_int_equal(limits_swap(&r, &out, &e), -EINVAL);
    r.memory.limit.set = true;
    r.memory.limit.v = 60;
    assert_int_equal(limits_swap(&r, &out, &e), 0);
    assert_int_equal(out, 40);
    r.memory.limit.v = 101;
    assert_int_equal(limits_swap(&r, &out, &e), -EINVAL);
}

/* --- the whole -------------------------------------------------------------------------------- */

static int collect(void *arg, const char *key, const char *file, const char *text, struct err *e)
{
    (void)e;
    strbuf_add(arg, "%s %s=%s\n", key, file, text);
    return 0;
}

static int walk(const char *json, limits_fn *fn, void *arg, struct err *e)
{
    struct spec_resources r = {0};
    json_t *doc = NULL;
    int k;

    if (json_load_bytes(json, strlen(json), "resources", &doc, e) < 0 ||
        spec_parse_resources(doc, "resources", &r, e) < 0)
        fail_msg("%s", e->msg);
    json_decref(doc);
    k = limits_each(&r, fn, arg, e);
    spec_resources_done(&r);
    return k;
}

static void becomes(const char *json, const char *want)
{
    struct err e = ERR_INIT;
    struct strbuf b = {0};

    if (walk(json, collect, &b, &e) < 0)
        fail_msg("%s: %s", json, e.msg);
    assert_string_equal(b.s ? b.s : "", want);
    strbuf_done(&b);
}

static void test_files(void **state)
{
    (void)state;
    becomes("{}", "");
    becomes("{\"memory\":{\"limit\":100,\"reservation\":50,\"swap\":130}}",
            "memory.swap memory.swap.max=30\nmemory.limit memory.max=100\n"
            "memory.reservation memory.low=50\n");
    becomes("{\"memory\":{\"limit\":-1,\"swap\":-1}}",
            "memory.swap memory.swap.max=max\nmemory.limit memory.max=max\n");
    becomes("{\"cpu\":{\"shares\":1024,\"quota\":5000,\"burst\":10,\"idle\":1,\"cpus\":\"0-1\","
            "\"mems\":\"0\"}}",
            "cpu.shares cpu.weight=39\ncpu.quota cpu.max=5000\n"
            "cpu.burst cpu.max.burst=10\ncpu.idle cpu.idle=1\ncpu.cpus cpuset.cpus=0-1\n"
            "cpu.mems cpuset.mems=0\n");
    becomes("{\"cpu\":{\"quota\":-1,\"period\":50000}}", "cpu.quota cpu.max=max 50000\n");
    becomes("{\"pids\":{\"limit\":-1}}", "pids.limit pids.max=max\n");
    becomes("{\"hugepageLimits\":[{\"pageSize\":\"2MB\",\"limit\":4}]}",
            "hugepageLimits hugetlb.2MB.max=4\n");
    becomes("{\"unified\":{\"memory.high\":\"5\"}}", "unified memory.high=5\n");
    /* zeros that mean "as it is" */
    becomes("{\"memory\":{\"limit\":0,\"swap\":0},\"cpu\":{\"shares\":0,\"quota\":0,\"period\":0},"
            "\"pids\":{\"limit\":0},\"blockIO\":{\"weight\":0}}",
            "");
}

static void test_io(void **state)
{
    (void)state;
    becomes("{\"blockIO\":{\"weight\":1000,\"weightDevice\":[{\"major\":8,\"minor\":0,\"weight\":"
            "10}]}}",
            "blockIO.weight io.bfq.weight=1000\nblockIO.weight io.weight=10000\n"
            "blockIO.weightDevice io.bfq.weight=8:0 10\nblockIO.weightDevice io.weight=8:0 1\n");
    becomes("{\"blockIO\":{\"throttleReadBpsDevice\":[{\"major\":8,\"minor\":16,\"rate\":7}],"
            "\"throttleWriteBpsDevice\":[{\"major\":8,\"minor\":16,\"rate\":0}],"
            "\"throttleReadIOPSDevice\":[{\"major\":8,\"minor\":0,\"rate\":9}],"
            "\"throttleWriteIOPSDevice\":[{\"major\":8,\"minor\":0,\"rate\":10}]}}",
            "blockIO.throttleReadBpsDevice io.max=8:16 rbps=7\n"
            "blockIO.throttleWriteBpsDevice io.max=8:16 wbps=max\n"
            "blockIO.throttleReadIOPSDevice io.max=8:0 riops=9\n"
            "blockIO.throttleWriteIOPSDevice io.max=8:0 wiops=10\n");
    assert_int_equal(limits_io_weight(10), 1);
    assert_int_equal(limits_io_weight(1000), 10000);
}

static int fail_at_max(void *arg, const char *key, const char *file, const char *text,
                       struct err *e)
{
    (void)key;
    (void)text;
    ++*(int *)arg;
    return strcmp(file, "memory.max") == 0 ? err_set(e, EIO, "no") : 0;
}

/* The first failure is the last call. */
static void test_failure(void **state)
{
    struct err e = ERR_INIT;
    int calls = 0;

    (void)state;
    assert_int_equal(walk("{\"memory\":{\"limit\":100,\"reservation\":50},\"pids\":{\"limit\":3},"
                          "\"unified\":{\"memory.high\":\"1\"}}",
                          fail_at_max, &calls, &e),
                     -EIO);
    assert_int_equal(calls, 1);
    assert_int_equal(walk("{\"memory\":{\"swap\":100}}", fail_at_max, &calls, &e), -EINVAL);
    assert_int_equal(calls, 1);
    assert_int_equal(walk("{\"unified\":{\"cgroup.procs\":\"1\"}}", fail_at_max, &calls, &e),
                     -EINVAL);
    assert_int_equal(calls, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weight), cmocka_unit_test(test_swap),    cmocka_unit_test(test_files),
        cmocka_unit_test(test_io),     cmocka_unit_test(test_failure),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
