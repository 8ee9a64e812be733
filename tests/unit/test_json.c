/* lib/json: what is refused when loading, types and ranges, and integers beyond jansson's. */
#include "tests/unit/cmocka_all.h"

#include "lib/io.h"
#include "lib/json.h"
#include "lib/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static json_t *load(const char *text)
{
    struct err e = ERR_INIT;
    json_t *v = NULL;

    if (json_load_bytes(text, strlen(text), "doc", &v, &e) < 0)
        fail_msg("%s", e.msg);
    return v;
}

static void refuse(const char *text, int code, const char *beginning)
{
    struct err e = ERR_INIT;
    json_t *v = NULL;

    assert_int_equal(json_load_bytes(text, strlen(text), "doc", &v, &e), -code);
    assert_null(v);
    if (strncmp(e.msg, beginning, strlen(beginning)) != 0)
        fail_msg("expected: %s\ngot: %s", beginning, e.msg);
}

static void test_load(void **state)
{
    (void)state;
    json_decref(load("{}"));
    json_decref(load(" {\"a\": [1, -2, 3.5, \"\\u00fc\\\"x\", null, true]} \n"));
    refuse("", EINVAL, "doc is not valid JSON: line 1, column 0: ");
    refuse("{\"a\":\n 1,}", EINVAL, "doc is not valid JSON: line 2, column ");
    refuse("{} x", EINVAL, "doc is not valid JSON: line 1, column 4: end of file expected");
    refuse("[]", EINVAL, "doc must hold a JSON object, it holds an array");
    refuse("{\"a\":1,\"a\":2}", EINVAL, "doc is not valid JSON: line 1, column 10: duplicate");
    refuse("{\"a\":\"x\\u0000y\"}", EINVAL, "doc is not valid JSON: line 1, column 15: \\u0000");
    refuse("{\"a\":\"\xff\"}", EINVAL, "doc is not valid JSON: line 1, column ");
    refuse("{\"a\":18446744073709551616}", EINVAL, "doc is not valid JSON: line 1, column ");
    refuse("{\"a\":-9223372036854775809}", EINVAL, "doc is not valid JSON: line 1, column ");
}

/* Deep nesting is an error, not a stack overflow; so is a document that is too large. */
static void test_bounds(void **state)
{
    size_t n = 100000;
    char *deep = malloc(n + 6), *large = malloc(JSON_FILE_MAX + 1);
    struct err e = ERR_INIT;
    json_t *v = NULL;

    (void)state;
    snprintf(deep, 6, "{\"a\":");
    memset(deep + 5, '[', n);
    assert_int_equal(json_load_bytes(deep, n + 5, "doc", &v, &e), -EINVAL);
    memset(large, ' ', JSON_FILE_MAX + 1);
    assert_int_equal(json_load_bytes(large, JSON_FILE_MAX + 1, "doc", &v, &e), -EFBIG);
    assert_string_equal(e.msg, "doc is larger than 4194304 bytes");
    assert_null(v);
    free(deep);
    free(large);
}

static void test_file(void **state)
{
    char path[] = "/tmp/test_json.XXXXXX";
    int fd = mkstemp(path);
    struct err e = ERR_INIT;
    json_t *v = NULL;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(io_write_full(fd, "{\"a\":1}", 7), 0);
    assert_int_equal(json_load_file_at(AT_FDCWD, path, &v, &e), 0);
    json_decref(v);
    v = NULL;
    assert_int_equal(ftruncate(fd, 3), 0);
    assert_int_equal(json_load_file_at(AT_FDCWD, path, &v, &e), -EINVAL);
    assert_memory_equal(e.msg, path, strlen(path));
    assert_int_equal(ftruncate(fd, JSON_FILE_MAX + 1), 0);
    assert_int_equal(json_load_file_at(AT_FDCWD, path, &v, &e), -EFBIG);
    close(fd);
    unlink(path);
    assert_int_equal(json_load_file_at(AT_FDCWD, path, &v, &e), -ENOENT);
    assert_null(v);
}

static void test_u64(void **state)
{
    json_t *v = load("{\"max\":18446744073709551615,\"over\":[9223372036854775808, "
                     "\"18446744073709551615\"],\"i\":9223372036854775807,\"neg\":-1,"
                     "\"in \\\" 18446744073709551615\":\"18446744073709551615 \\\\\"}");
    struct err e = ERR_INIT;
    uint64_t u = 0;
    int64_t i = 0;
    const char *s = NULL;
    char **strv = NULL;

    (void)state;
    assert_int_equal(json_get_u64(v, "", "max", UINT64_MAX, &u, &e), 1);
    assert_true(u == UINT64_MAX);
    assert_int_equal(json_get_u64(v, "", "i", UINT64_MAX, &u, &e), 1);
    assert_true(u == INT64_MAX);
    assert_int_equal(json_get_u64(v, "x", "max", 5, &u, &e), -EINVAL);
    assert_string_equal(e.msg, "x.max must be at most 5, got 18446744073709551615");
    assert_int_equal(json_get_u64(v, "", "neg", 5, &u, &e), -EINVAL);
    assert_string_equal(e.msg, "neg must not be negative, got -1");
    assert_int_equal(json_get_i64(v, "", "max", -1, INT64_MAX, &i, &e), -EINVAL);
    assert_string_equal(e.msg, "max must be between -1 and 9223372036854775807, got more than "
                               "9223372036854775807");
    /* it is a number to everybody, however it is kept */
    assert_int_equal(json_get_str(v, "", "max", &s, &e), -EINVAL);
    assert_string_equal(e.msg, "max must be a string, got an integer");
    assert_int_equal(json_get_bool(v, "", "max", &(bool){0}, &e), -EINVAL);
    assert_string_equal(e.msg, "max must be a boolean, got an integer");
    assert_int_equal(json_get_strv(v, "", "over", &strv, &e), -EINVAL);
    assert_string_equal(e.msg, "over[0] must be a string, got an integer");
    /* and text is left alone */
    assert_int_equal(json_get_str(v, "", "in \" 18446744073709551615", &s, &e), 1);
    assert_string_equal(s, "18446744073709551615 \\");
    json_decref(v);
}

/* What was loaded can be sent and loaded again. */
static void test_u64_travels(void **state)
{
    json_t *v = load("{\"max\":18446744073709551615}");
    char *text = json_dumps(v, 0);
    struct err e = ERR_INIT;
    uint64_t u = 0;

    (void)state;
    json_decref(v);
    v = json_loads(text, 0, NULL);
    assert_int_equal(json_get_u64(v, "", "max", UINT64_MAX, &u, &e), 1);
    assert_true(u == UINT64_MAX);
    json_decref(v);
    free(text);
}

static void test_getters(void **state)
{
    json_t *v = load("{\"s\":\"text\",\"b\":true,\"i\":-5,\"r\":1.5,\"o\":{\"k\":\"v\"},"
                     "\"a\":[\"x\",\"\"],\"m\":[\"x\",1],\"n\":null}");
    struct err e = ERR_INIT;
    const char *s = "untouched";
    char **strv = NULL;
    bool b = false;
    int64_t i = 7;
    json_t *o = NULL;

    (void)state;
    assert_int_equal(json_get_str(v, "", "none", &s, &e), 0);
    assert_int_equal(json_get_str(v, "", "n", &s, &e), 0);
    assert_string_equal(s, "untouched");
    assert_int_equal(json_get_str(v, "", "s", &s, &e), 1);
    assert_string_equal(s, "text");
    assert_int_equal(json_get_str(v, "a.b", "i", &s, &e), -EINVAL);
    assert_string_equal(e.msg, "a.b.i must be a string, got an integer");
    assert_int_equal(json_get_bool(v, "", "b", &b, &e), 1);
    assert_true(b);
    assert_int_equal(json_get_bool(v, "", "s", &b, &e), -EINVAL);
    assert_int_equal(json_get_i64(v, "", "i", -5, 5, &i, &e), 1);
    assert_int_equal(i, -5);
    assert_int_equal(json_get_i64(v, "", "i", -4, 5, &i, &e), -EINVAL);
    assert_string_equal(e.msg, "i must be between -4 and 5, got -5");
    assert_int_equal(json_get_i64(v, "", "r", -4, 5, &i, &e), -EINVAL);
    assert_string_equal(e.msg, "r must be an integer, got a fraction");
    assert_int_equal(json_get_obj(v, "", "o", &o, &e), 1);
    assert_int_equal(json_get_obj(v, "", "a", &o, &e), -EINVAL);
    assert_string_equal(e.msg, "a must be an object, got an array");
    assert_int_equal(json_get_array(v, "", "o", &o, &e), -EINVAL);
    assert_string_equal(e.msg, "o must be an array, got an object");
    assert_int_equal(json_get_strv(v, "", "none", &strv, &e), 0);
    assert_null(strv);
    assert_int_equal(json_get_strv(v, "", "a", &strv, &e), 1);
    assert_int_equal(strv_len(strv), 2);
    assert_string_equal(strv[0], "x");
    strv_free(strv);
    strv = NULL;
    assert_int_equal(json_get_strv(v, "w", "m", &strv, &e), -EINVAL);
    assert_string_equal(e.msg, "w.m[1] must be a string, got an integer");
    assert_null(strv);
    json_decref(v);
}

static void test_only_keys(void **state)
{
    static const char *const known[] = {"a", "b", NULL};
    json_t *v = load("{\"a\":1}");
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(json_only_keys(v, "w", known, &e), 0);
    json_object_set_new(v, "vcpu", json_true());
    assert_int_equal(json_only_keys(v, "w", known, &e), -EINVAL);
    assert_string_equal(e.msg, "w.vcpu is not a known key");
    json_decref(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_load),        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_file),        cmocka_unit_test(test_u64),
        cmocka_unit_test(test_u64_travels), cmocka_unit_test(test_getters),
        cmocka_unit_test(test_only_keys),
    };

    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
