/* lib/str: numbers, sizes, growing strings. */
#include "lib/str.h"
#include "tests/unit/cmocka_all.h"

#include <errno.h>
#include <string.h>

static void decimal_numbers(void **state)
{
    uint64_t u = 7;
    int64_t i = 7;

    (void)state;
    assert_int_equal(str_to_u64("18446744073709551615", &u), 0);
    assert_true(u == UINT64_MAX);
    assert_int_equal(str_to_u64("18446744073709551616", &u), -ERANGE);
    assert_int_equal(str_to_u64("", &u), -EINVAL);
    assert_int_equal(str_to_u64("12x", &u), -EINVAL);
    assert_int_equal(str_to_u64(" 1", &u), -EINVAL);
    assert_int_equal(str_to_u64("-1", &u), -EINVAL);
    assert_true(u == UINT64_MAX); /* untouched by failures */
    assert_int_equal(str_to_i64("-9223372036854775808", &i), 0);
    assert_true(i == INT64_MIN);
    assert_int_equal(str_to_i64("9223372036854775808", &i), -ERANGE);
    assert_int_equal(str_to_i64("-9223372036854775809", &i), -ERANGE);
    assert_int_equal(str_to_i64("-", &i), -EINVAL);
    assert_int_equal(str_to_i64("--1", &i), -EINVAL);
}

static void sizes_with_units(void **state)
{
    static const struct {
        const char *text;
        int result;
        uint64_t value;
    } cases[] = {
        {"4096", 0, 4096},           {"64K", 0, 65536},     {"256M", 0, 256ull << 20},
        {"256MiB", 0, 256ull << 20}, {"1g", 0, 1ull << 30}, {"2GB", 0, 2ull << 30},
        {"1T", 0, 1ull << 40},       {"", -EINVAL, 0},      {"M", -EINVAL, 0},
        {"5X", -EINVAL, 0},          {"5MBx", -EINVAL, 0},  {"17179869184G", -ERANGE, 0},
        {"-1M", -EINVAL, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t v = 0;

        assert_int_equal(str_to_size(cases[i].text, &v), cases[i].result);
        assert_true(v == cases[i].value);
    }
}

static void printf_reports_truncation(void **state)
{
    char b[4];

    (void)state;
    assert_int_equal(str_printf(b, sizeof(b), "%s", "abc"), 0);
    assert_int_equal(str_printf(b, sizeof(b), "%s", "abcd"), -ENAMETOOLONG);
}

static void strings_grow(void **state)
{
    struct strbuf b = {0};

    (void)state;
    for (int i = 0; i < 1000; i++)
        strbuf_add(&b, "%d,", i);
    strbuf_add_bytes(&b, "\0x", 2);
    assert_false(b.failed);
    assert_int_equal(b.len, 3890 + 2);
    assert_int_equal(b.s[b.len], 0);
    assert_true(str_starts(b.s, "0,1,2,"));
    strbuf_done(&b);
    assert_null(b.s);
}

static void strangers_text_is_for_people(void **state)
{
    char buf[32] = "a\x1b[2J\x7f\n", cut[4];

    (void)state;
    assert_int_equal(str_printable(buf, sizeof(buf), buf), 7);
    assert_string_equal(buf, "a [2J  ");
    /* U+009B and U+0080 are two bytes each; U+00A9 and U+0159 stay, and so does a lone 0x9b */
    str_printable(buf, sizeof(buf), "\xc2\x9b\xc2\x80 \xc2\xa9\xc5\x99\x9b");
    assert_string_equal(buf, "     \xc2\xa9\xc5\x99\x9b");
    assert_int_equal(str_printable(cut, sizeof(cut), "abcdef"), 3);
    assert_string_equal(cut, "abc");
    assert_int_equal(str_printable(cut, sizeof(cut), "ab\xc2\x9b"), 3);
    assert_string_equal(cut, "ab ");
    assert_int_equal(str_printable(cut, sizeof(cut), ""), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decimal_numbers),
        cmocka_unit_test(sizes_with_units),
        cmocka_unit_test(printf_reports_truncation),
        cmocka_unit_test(strings_grow),
        cmocka_unit_test(strangers_text_is_for_people),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
