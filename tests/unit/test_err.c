/* lib/err: messages, wrapping, cutting. */
#include "lib/err.h"
#include "tests/unit/cmocka_all.h"

#include <errno.h>
#include <string.h>

static void sets_code_and_message(void **state)
{
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(err_set(&e, EINVAL, "cwd must be absolute, got %s", "x"), -EINVAL);
    assert_int_equal(e.code, EINVAL);
    assert_string_equal(e.msg, "cwd must be absolute, got x");
}

static void errno_is_named(void **state)
{
    struct err e = ERR_INIT;

    (void)state;
    errno = ENOENT;
    assert_int_equal(err_errno(&e, "open %s", "/x"), -ENOENT);
    assert_string_equal(e.msg, "open /x: No such file or directory");
    errno = 0;
    assert_int_equal(err_errno(&e, "odd"), -EIO);
}

static void wraps_from_the_outside_in(void **state)
{
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(err_set(&e, ENOENT, "open config.json"), -ENOENT);
    assert_int_equal(err_wrap(&e, "load %s", "/b"), -ENOENT);
    assert_string_equal(e.msg, "load /b: open config.json");
}

static void a_message_may_be_built_from_itself(void **state)
{
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(err_set(&e, EIO, "inner"), -EIO);
    assert_int_equal(err_set(&e, EIO, "outer: %s", e.msg), -EIO);
    assert_string_equal(e.msg, "outer: inner");
}

static void long_messages_are_cut_inside_the_buffer(void **state)
{
    struct err e = ERR_INIT;
    char big[2000];

    (void)state;
    memset(big, 'a', sizeof(big) - 1);
    big[sizeof(big) - 1] = 0;
    assert_int_equal(err_set(&e, EIO, "%s", big), -EIO);
    assert_int_equal(strlen(e.msg), sizeof(e.msg) - 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(err_wrap(&e, "context"), -EIO);
        assert_true(strncmp(e.msg, "context: ", 9) == 0);
        assert_true(strlen(e.msg) < sizeof(e.msg));
    }
    errno = ENOSPC;
    assert_int_equal(err_errno(&e, "%s", big), -ENOSPC);
    assert_non_null(strstr(e.msg, "No space left on device"));
}

static void warnings_add_up(void **state)
{
    struct err w = ERR_INIT;

    (void)state;
    err_add(&w, EINVAL, "%s", "one");
    err_add(&w, EACCES, "the %s", "other");
    assert_int_equal(w.code, EINVAL);
    assert_string_equal(w.msg, "one; the other");
    for (int i = 0; i < 100; i++)
        err_add(&w, EINVAL, "and one more");
    assert_int_equal(strlen(w.msg), sizeof(w.msg) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(warnings_add_up),
        cmocka_unit_test(sets_code_and_message),
        cmocka_unit_test(errno_is_named),
        cmocka_unit_test(wraps_from_the_outside_in),
        cmocka_unit_test(a_message_may_be_built_from_itself),
        cmocka_unit_test(long_messages_are_cut_inside_the_buffer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
