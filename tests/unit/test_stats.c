/* runtime/stats: runc's shape from the guest's numbers, and nothing else from the guest. */
#include "runtime/cgroup/stats.h"
#include "tests/unit/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

static void numbers_take_their_places(void **state)
{
    json_t *guest = json_loads(
        "{\"cpu\": {\"usage_usec\": 5, \"user_usec\": 3, \"system_usec\": 2, \"nr_periods\": 9},"
        "\"memory\": {\"current\": 100, \"peak\": 150, \"swap_current\": 7, \"max\": 1000,"
        "\"stat\": {\"file\": 60, \"anon\": 40}, \"events\": {\"max\": 4}},"
        "\"pids\": {\"current\": 2, \"max\": 64},"
        "\"io\": [{\"major\": 254, \"minor\": 0, \"rbytes\": 4096}]}",
        0, NULL);
    json_t *s = stats_shape(guest);
    int total, kernel, user, periods, cache, usage, max, failcnt, swap, current, pids, bytes;
    json_int_t no_limit;

    (void)state;
    assert_int_equal(
        json_unpack(s,
                    "{s:{s:{s:i, s:i, s:i}, s:{s:i}}, s:{s:i, s:{s:i, s:i, s:i}, s:{s:i, s:I}},"
                    "s:{s:i, s:i}}",
                    "cpu", "usage", "total", &total, "kernel", &kernel, "user", &user, "throttling",
                    "periods", &periods, "memory", "cache", &cache, "usage", "usage", &usage, "max",
                    &max, "failcnt", &failcnt, "swap", "usage", &swap, "limit", &no_limit, "pids",
                    "current", &current, "limit", &pids),
        0);
    assert_int_equal(total, 5000);
    assert_int_equal(kernel, 2000);
    assert_int_equal(user, 3000);
    assert_int_equal(periods, 9);
    assert_int_equal(cache, 60);
    assert_int_equal(usage, 100);
    assert_int_equal(max, 150);
    assert_int_equal(failcnt, 4);
    assert_int_equal(swap, 107);
    assert_true(no_limit == 9223372036854771712ll);
    assert_int_equal(current, 2);
    assert_int_equal(pids, 64);
    assert_int_equal(
        json_unpack(s, "{s:{s:[{s:i}*]}}", "blkio", "ioServiceBytesRecursive", "value", &bytes), 0);
    assert_int_equal(bytes, 4096);
    json_decref(s);
    json_decref(guest);
}

static void a_guest_that_lies_changes_no_shape(void **state)
{
    static const char *const lies[] = {
        "null",
        "[]",
        "{\"cpu\": 5, \"memory\": [], \"io\": {\"a\": 1}, \"pids\": \"x\"}",
        "{\"cpu\": {\"usage_usec\": -4, \"user_usec\": \"x\", \"system_usec\": 1e9}}",
        "{\"cpu\": {\"usage_usec\": 9223372036854775807}, \"memory\": {\"current\": "
        "9223372036854775807, \"swap_current\": 9223372036854775807}}",
        "{\"io\": [1, null, {\"major\": {}}], \"memory\": {\"stat\": {\"x\": [[[]]], \"y\": 1}}}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        json_t *guest = json_loads(lies[i], JSON_DECODE_ANY, NULL);
        json_t *s = stats_shape(guest);
        int current;
        json_int_t total;
        assert_non_null(guest);
        assert_non_null(s);
        assert_int_equal(json_unpack(s, "{s:{s:{s:I}}, s:{s:i}}", "cpu", "usage", "total", &total,
                                     "pids", "current", &current),
                         0);
        assert_true(total >= 0);
        assert_null(json_object_get(json_object_get(json_object_get(s, "memory"), "raw"), "x"));
        json_decref(s);
        json_decref(guest);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_take_their_places),
        cmocka_unit_test(a_guest_that_lies_changes_no_shape),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
