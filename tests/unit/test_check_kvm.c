/* How the checks of bulkhead-vmm --check judge: every value of every check, right and wrong. */
#include "tests/unit/cmocka_all.h"

#include "lib/cleanup.h"
#include "vmm/check/family.h"

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>

/* A value that is as expected. */
static uint64_t right(const struct expectation *x)
{
    uint64_t bit = 0;

    if (x->rule != ONE_OF)
        return x->want;
    while (!(x->want >> bit & 1))
        bit++;
    return bit;
}

/* Values that are not; how many. */
static unsigned wrong(const struct expectation *x, uint64_t out[3])
{
    unsigned n = 0;

    if (x->rule == ONE_OF) {
        for (uint64_t bit = 0; bit < 64 && n < 2; bit++)
            if (!(x->want >> bit & 1))
                out[n++] = bit;
        out[n++] = 1000;
        return n;
    }
    if (x->rule != AT_MOST && x->want > 0)
        out[n++] = x->want - 1;
    if (x->rule != AT_LEAST && x->want < UINT64_MAX)
        out[n++] = x->want + 1;
    if (x->rule == IS)
        out[n++] = x->want ^ 0x100000000ull;
    return n;
}

static struct observation all_right(const struct check *c)
{
    struct observation o = {.noted = 0};

    for (unsigned i = 0; i < c->nexpect; i++)
        if (c->expect[i].what)
            check_note(&o, i, right(&c->expect[i]));
    return o;
}

static void test_right(void **state)
{
    struct check_result r;

    (void)state;
    for (size_t i = 0; i < nchecks; i++) {
        struct observation o = all_right(checks[i]);
        check_judge(checks[i], &o, &r);
        assert_int_equal(r.verdict, CHECK_PASS);
        assert_string_equal(r.expected, "");
        assert_string_equal(r.seen, "");
    }
}

static void test_each_wrong(void **state)
{
    struct check_result r;
    uint64_t bad[3];

    (void)state;
    for (size_t i = 0; i < nchecks; i++) {
        const struct check *c = checks[i];
        for (unsigned k = 0; k < c->nexpect; k++) {
            if (c->expect[k].what == NULL)
                continue;
            unsigned n = wrong(&c->expect[k], bad);
            assert_true(n > 0); /* an expectation that cannot fail is none */
            while (n-- > 0) {
                struct observation o = all_right(c);
                check_note(&o, k, bad[n]);
                check_judge(c, &o, &r);
                assert_int_equal(r.verdict, CHECK_FAIL);
                assert_non_null(strstr(r.expected, c->expect[k].what));
                assert_true(*r.seen);
            }
        }
    }
}

static void test_each_absent(void **state)
{
    struct check_result r;

    (void)state;
    for (size_t i = 0; i < nchecks; i++) {
        const struct check *c = checks[i];
        for (unsigned k = 0; k < c->nexpect; k++) {
            struct observation o = all_right(c);
            if (c->expect[k].what == NULL)
                continue;
            o.noted &= ~(1ull << k);
            check_judge(c, &o, &r);
            assert_int_equal(r.verdict, CHECK_FAIL);
            assert_string_equal(r.seen, "nothing");
        }
    }
}

static void test_failure_and_skip(void **state)
{
    struct check_result r;

    (void)state;
    for (size_t i = 0; i < nchecks; i++) {
        struct observation o = {.failure = "KVM_RUN: Bad address"};
        check_judge(checks[i], &o, &r);
        assert_int_equal(r.verdict, CHECK_FAIL);
        assert_string_equal(r.seen, "KVM_RUN: Bad address");

        o = all_right(checks[i]);
        strcpy(o.failure, "KVM_RUN: Bad address");
        check_judge(checks[i], &o, &r);
        assert_int_equal(r.verdict, CHECK_FAIL);

        o = (struct observation){.noted = 0};
        assert_int_equal(check_skip(&o, "no %s", "capability"), 0);
        check_judge(checks[i], &o, &r);
        assert_int_equal(r.verdict, CHECK_SKIP);
        assert_string_equal(r.seen, "no capability");
    }
}

/* What a user reads. */
static void test_words(void **state)
{
    enum { TRIPLE_FAULT, NOWHERE, NOWHERE_WHY, BAD_ENTRY };
    struct observation o = all_right(&check_ends);
    struct check_result r;

    (void)state;
    check_note(&o, BAD_ENTRY, KVM_EXIT_HLT);
    check_judge(&check_ends, &o, &r);
    assert_string_equal(r.expected, "the exit at an impossible state (CS with L and D): "
                                    "KVM_EXIT_FAIL_ENTRY or KVM_EXIT_INTERNAL_ERROR");
    assert_string_equal(r.seen, "KVM_EXIT_HLT");

    o = all_right(&check_modes);
    check_note(&o, 1, 41);
    check_judge(&check_modes, &o, &r);
    assert_string_equal(r.expected, "RAX in real mode: 42");
    assert_string_equal(r.seen, "41");

    o = all_right(&check_ports);
    check_note(&o, 0, 0x0a35);
    check_judge(&check_ports, &o, &r);
    assert_string_equal(r.expected, "2 + 2 as the guest prints it to port 0x3f8: \"4\\n\"");
    assert_string_equal(r.seen, "\"5\\n\"");

    o = all_right(&check_kick);
    check_note(&o, 0, 0);
    check_judge(&check_kick, &o, &r);
    assert_string_equal(r.expected, "KVM_RUN with immediate_exit set: EINTR");
    assert_string_equal(r.seen, "success");

    o = all_right(&check_dirty_log);
    check_note(&o, 1, 0x13);
    check_judge(&check_dirty_log, &o, &r);
    assert_string_equal(r.expected, "dirty pages 64 to 127: 0x3");
    assert_string_equal(r.seen, "0x13");
}

/* The list itself: what the documentation and the table rely on. */
static void test_list(void **state)
{
    uint64_t numbers = 0;

    (void)state;
    for (size_t i = 0; i < nchecks; i++) {
        const struct check *c = checks[i];
        assert_in_range(c->number, 1, 20);
        numbers |= 1ull << c->number;
        assert_in_range(c->nexpect, 1, CHECK_VALUES_MAX);
        assert_true(*c->id && *c->name && *c->interface && *c->without);
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(c->id, checks[k]->id);
    }
    assert_int_equal(numbers, 0x1ffffe); /* 1 to 20, each */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_right),       cmocka_unit_test(test_each_wrong),
        cmocka_unit_test(test_each_absent), cmocka_unit_test(test_failure_and_skip),
        cmocka_unit_test(test_words),       cmocka_unit_test(test_list),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
