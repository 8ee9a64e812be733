/* runtime/cgroup/systemd_properties: limits as properties of a unit, and the names in a path; and a
 * bus that takes the connection and then says nothing. One that answers is in
 * tests/bats/kvm/cgroup.bats. */
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "lib/json.h"
#include "lib/str.h"
#include "runtime/cgroup/systemd.h"
#include "tests/unit/cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int properties(const char *json, struct systemd_properties *out, struct err *e)
{
    struct spec_resources r = {0};
    json_t *doc = NULL;
    int k;

    *e = (struct err)ERR_INIT;
    if (json_load_bytes(json, strlen(json), "resources", &doc, e) < 0 ||
        spec_parse_resources(doc, "resources", &r, e) < 0)
        fail_msg("%s", e->msg);
    json_decref(doc);
    k = systemd_properties(&r, out, e);
    spec_resources_done(&r);
    return k;
}

static void become(const char *json, const char *want)
{
    struct systemd_properties p;
    struct strbuf b = {0};
    struct err e;

    if (properties(json, &p, &e) < 0)
        fail_msg("%s: %s", json, e.msg);
    for (size_t i = 0; i < p.n; i++) {
        strbuf_add(&b, "%s=", p.v[i].name);
        if (p.v[i].type == 't')
            strbuf_add(&b, p.v[i].number == UINT64_MAX ? "infinity" : "%llu",
                       (unsigned long long)p.v[i].number);
        for (size_t k = 0; p.v[i].type == 'y' && k < p.v[i].nbytes; k++)
            strbuf_add(&b, "%02x", p.v[i].bytes[k]);
        strbuf_add(&b, " ");
    }
    systemd_properties_done(&p);
    assert_string_equal(b.s ? b.s : "", want);
    strbuf_done(&b);
}

static void test_numbers(void **state)
{
    (void)state;
    become("{}", "");
    become("{\"memory\":{\"limit\":100,\"reservation\":50,\"swap\":130},\"pids\":{\"limit\":7}}",
           "MemoryMax=100 MemoryLow=50 MemorySwapMax=30 TasksMax=7 ");
    become("{\"memory\":{\"limit\":-1,\"swap\":-1},\"pids\":{\"limit\":-1}}",
           "MemoryMax=infinity MemorySwapMax=infinity TasksMax=infinity ");
    become("{\"cpu\":{\"shares\":1024},\"blockIO\":{\"weight\":10}}", "CPUWeight=39 IOWeight=1 ");
    become("{\"cpu\":{\"shares\":1024,\"idle\":1}}", "CPUWeight=0 ");
}

/* systemd takes only whole hundredths of a CPU: rounded up, the file has the exact number. */
static void test_quota(void **state)
{
    (void)state;
    become("{\"cpu\":{\"quota\":50000}}", "CPUQuotaPerSecUSec=500000 ");
    become("{\"cpu\":{\"quota\":50000,\"period\":200000}}",
           "CPUQuotaPeriodUSec=200000 CPUQuotaPerSecUSec=250000 ");
    become("{\"cpu\":{\"quota\":1001}}", "CPUQuotaPerSecUSec=20000 ");
    become("{\"cpu\":{\"quota\":-1,\"period\":100000}}",
           "CPUQuotaPeriodUSec=100000 CPUQuotaPerSecUSec=infinity ");
    /* the largest of all neither wraps nor becomes "no limit" */
    become("{\"cpu\":{\"quota\":9223372036854775807,\"period\":1000}}",
           "CPUQuotaPeriodUSec=1000 CPUQuotaPerSecUSec=9223372036854780000 ");
}

static void test_lists(void **state)
{
    struct systemd_properties p;
    struct err e;
    static const char *const bad[] = {
        "x", "1-", "-1", "3-1", "0,,1", "0,", "8192", "0-99999999999", "1 2"};

    (void)state;
    become("{\"cpu\":{\"cpus\":\"0-2,7,9\",\"mems\":\"1\"}}",
           "AllowedCPUs=8702 AllowedMemoryNodes=02 ");
    become("{\"cpu\":{\"cpus\":\"16\"}}", "AllowedCPUs=000001 ");
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        char json[128];

        str_printf(json, sizeof(json), "{\"cpu\":{\"cpus\":\"%s\"}}", bad[i]);
        if (properties(json, &p, &e) != -EINVAL)
            fail_msg("%s was taken", bad[i]);
        assert_non_null(strstr(e.msg, "linux.resources.cpu.cpus must be a list such as 0-2,7"));
    }
}

static void names_are(const char *path, const char *want_scope, const char *want_slice)
{
    char scope[SYSTEMD_NAME_MAX], slice[SYSTEMD_NAME_MAX];
    struct err e = ERR_INIT;

    if (systemd_names(path, scope, slice, &e) < 0)
        fail_msg("%s: %s", path, e.msg);
    assert_string_equal(scope, want_scope);
    assert_string_equal(slice, want_slice);
}

static void test_names(void **state)
{
    char scope[SYSTEMD_NAME_MAX], slice[SYSTEMD_NAME_MAX], path[2 * SYSTEMD_NAME_MAX];
    struct err e = ERR_INIT;

    (void)state;
    names_are("/a.slice/a-b.slice/x.scope", "x.scope", "a-b.slice");
    names_are("/system.slice/bulkhead-c1.scope", "bulkhead-c1.scope", "system.slice");
    names_are("/x.scope", "x.scope", "-.slice");
    assert_int_equal(systemd_names("/a.slice/q.slice", scope, slice, &e), -EINVAL);
    assert_non_null(strstr(e.msg, "only a scope"));
    assert_int_equal(systemd_names("/a.slice/.scope", scope, slice, &e), -EINVAL);
    str_printf(path, sizeof(path), "/a.slice/%0300d.scope", 1);
    assert_int_equal(systemd_names(path, scope, slice, &e), -ENAMETOOLONG);
}

/* delete waits for its leave of systemd as long as it says, also where the bus itself hangs. */
static void test_silent_bus(void **state)
{
    struct err e = ERR_INIT;
    char address[64], path[] = "/tmp/test-systemd-XXXXXX";
    cleanup_fd int file = mkstemp(path);

    (void)state;
    assert_true(file >= 0 && unlink(path) == 0);
    cleanup_fd int bus = io_unix_listen(path, SOCK_STREAM, &e);
    assert_true(bus >= 0);
    snprintf(address, sizeof address, "unix:path=%s", path);
    assert_int_equal(setenv("DBUS_SYSTEM_BUS_ADDRESS", address, 1), 0);
    uint64_t begun = monotonic_ns();
    int r = systemd_scope_stop("/a.slice/x.scope", &e);
    assert_int_equal(unlink(path), 0);
    if (e.code == ENOPKG)
        skip_because("libsystemd is not installed");
    assert_int_equal(r, -ETIMEDOUT);
    assert_non_null(strstr(e.msg, "the system bus does not answer"));
    assert_in_range((monotonic_ns() - begun) / 1000000000, 4, 20); /* sd-bus itself: 90 s */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),    cmocka_unit_test(test_quota),
        cmocka_unit_test(test_lists),      cmocka_unit_test(test_names),
        cmocka_unit_test(test_silent_bus),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
