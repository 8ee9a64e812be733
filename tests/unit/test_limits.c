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
    r.memory.swap.v = 0;
    assert_int_equal(limits_swap(&r, &out, &e), 0);
    assert_int_equal(out, -2);
    r.memory.limit.v = -1; /* both */
    assert_int_equal(limits_swap(&r, &out, &e), 0);
    assert_int_equal(out, -1);
    r.memory.limit.v = 60;
    r.memory.swap.v = 100;
    r.memory.limit.v = 101;
    assert_int_equal(limits_swap(&r, &out, &e), -EINVAL);
}

static void kept(struct opt_i64 quota, struct opt_u64 period, const char *now, int64_t quota_then,
                 uint64_t period_then)
{
    struct spec_resources r = {.cpu = {.quota = quota, .period = period}};
    struct limits_quota q;

    assert_true(limits_quota_now(now, &q));
    limits_keep_quota(&r, &q);
    assert_int_equal(r.cpu.quota.v, quota_then);
    assert_int_equal(r.cpu.period.v, period_then);
}

static void test_quota_kept(void **state)
{
    const struct opt_i64 no_quota = {0}, quota = {.set = true, .v = 7000};
    const struct opt_u64 no_period = {0}, period = {.set = true, .v = 50000};
    struct limits_quota q;

    (void)state;
    kept(no_quota, period, "5000 100000\n", 5000, 50000);
    kept((struct opt_i64){.set = true, .v = 0}, period, "5000 100000\n", 5000, 50000);
    kept(no_quota, period, "max 100000\n", -1, 50000);
    kept(quota, no_period, "max 20000\n", 7000, 20000);
    kept(quota, (struct opt_u64){.set = true, .v = 0}, "5000 20000", 7000, 20000);
    kept(quota, period, "5000 100000\n", 7000, 50000);
    kept(no_quota, no_period, "5000 100000\n", 0, 0);
    assert_false(limits_quota_now("", &q));
    assert_false(limits_quota_now("max", &q));
    assert_false(limits_quota_now("some 5", &q));
    assert_false(limits_quota_now("5 -5", &q));
    assert_false(limits_quota_now("5 5 5", &q));
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
            "cpu.idle cpu.idle=1\ncpu.quota cpu.max=5000\n"
            "cpu.burst cpu.max.burst=10\ncpu.cpus cpuset.cpus=0-1\n"
            "cpu.mems cpuset.mems=0\n");
    /* an idle cgroup takes no weight: it ends being idle first */
    becomes("{\"cpu\":{\"shares\":1024,\"idle\":0}}",
            "cpu.idle cpu.idle=0\ncpu.shares cpu.weight=39\n");
    becomes("{\"memory\":{\"limit\":-1}}",
            "memory.swap memory.swap.max=max\nmemory.limit memory.max=max\n");
    becomes("{\"hugepageLimits\":[{\"pageSize\":\"2MB\",\"limit\":9223372036854775807}]}",
            "hugepageLimits hugetlb.2MB.max=9223372036854775807\n");
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

static void test_huge_limit(void **state)
{
    char size[] = "2MB";
    struct spec_hugepage page = {.size = size, .limit = 1ull << 63};
    struct spec_resources r = {.hugepages = &page, .nhugepages = 1};
    struct err e = ERR_INIT;
    struct strbuf b = {0};

    (void)state;
    assert_int_equal(limits_each(&r, collect, &b, &e), 0);
    assert_string_equal(b.s, "hugepageLimits hugetlb.2MB.max=9223372036854775807\n");
    strbuf_done(&b);
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
        cmocka_unit_test(test_weight),     cmocka_unit_test(test_swap),
        cmocka_unit_test(test_files),      cmocka_unit_test(test_io),
        cmocka_unit_test(test_quota_kept), cmocka_unit_test(test_huge_limit),
        cmocka_unit_test(test_failure),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
