/* Guest RAM: layout around the MMIO hole, and that memory_range admits exactly what is RAM. */
#include "vmm/memory.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MIB (1ull << 20)

static void test_small(void **state)
{
    (void)state;
    struct memory m;
    struct err e = ERR_INIT;
    assert_int_equal(memory_init(&m, 8 * MIB, &e), 0);
    assert_int_equal(m.nregions, 1);
    assert_int_equal(m.size, 8 * MIB);
    assert_int_equal(m.region[0].gpa, 0);
    assert_int_equal((uintptr_t)m.region[0].host % (2 * MIB), 0);

    uint8_t *p = memory_range(&m, 0, 8 * MIB);
    assert_ptr_equal(p, m.region[0].host);
    assert_int_equal(p[0] | p[8 * MIB - 1], 0);
    p[8 * MIB - 1] = 7;
    assert_int_equal(*(uint8_t *)memory_range(&m, 8 * MIB - 1, 1), 7);

    assert_null(memory_range(&m, 0, 0));
    assert_null(memory_range(&m, 0, 8 * MIB + 1));
    assert_null(memory_range(&m, 8 * MIB, 1));
    assert_null(memory_range(&m, 8 * MIB - 1, 2));
    assert_null(memory_range(&m, 1, UINT64_MAX));
    assert_null(memory_range(&m, UINT64_MAX, 1));
    assert_null(memory_range(&m, UINT64_MAX - 3, 8));
    memory_done(&m);
    assert_int_equal(m.nregions, 0);
    assert_null(memory_range(&m, 0, 1));
    memory_done(&m);
    memory_done(NULL);
}

static void test_hole(void **state)
{
    (void)state;
    struct memory m;
    struct err e = ERR_INIT;
    assert_int_equal(memory_init(&m, MEMORY_HOLE_START + 16 * MIB, &e), 0);
    assert_int_equal(m.nregions, 2);
    assert_int_equal(m.size, MEMORY_HOLE_START + 16 * MIB);

    assert_non_null(memory_range(&m, MEMORY_HOLE_START - 1, 1));
    assert_null(memory_range(&m, MEMORY_HOLE_START - 1, 2));
    assert_null(memory_range(&m, MEMORY_HOLE_START, 1));
    assert_null(memory_range(&m, MEMORY_HOLE_END - 1, 1));
    assert_null(memory_range(&m, MEMORY_HOLE_END - 1, 2));
    assert_non_null(memory_range(&m, MEMORY_HOLE_END, 16 * MIB));
    assert_null(memory_range(&m, MEMORY_HOLE_END, 16 * MIB + 1));
    assert_null(memory_range(&m, 0, MEMORY_HOLE_END));
    memory_done(&m);
}

/* Whether the mapping that holds p is barred from huge pages (proc(5), smaps: VmFlags "nh"). */
static bool huge_pages_forbidden(const void *p)
{
    FILE *f = fopen("/proc/self/smaps", "re");
    char line[512];
    unsigned long from, to;
    bool here = false, found = false;

    assert_non_null(f);
    while (fgets(line, sizeof(line), f)) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            here = from <= (uintptr_t)p && (uintptr_t)p < to;
        else if (here && strncmp(line, "VmFlags:", 8) == 0)
            found = strstr(line, " nh") != NULL;
    }
    assert_int_equal(fclose(f), 0);
    return found;
}

static void test_huge_pages(void **state)
{
    (void)state;
    bool host_has_them = access("/sys/kernel/mm/transparent_hugepage", F_OK) == 0;
    struct memory m;
    struct err e = ERR_INIT;

    assert_int_equal(memory_init(&m, MEMORY_HUGE_PAGES_MIN - 4096, &e), 0);
    assert_int_equal(huge_pages_forbidden(m.region[0].host), host_has_them);
    assert_int_equal(huge_pages_forbidden(m.region[0].host + m.size - 1), host_has_them);
    memory_done(&m);
    assert_int_equal(memory_init(&m, MEMORY_HUGE_PAGES_MIN, &e), 0);
    assert_false(huge_pages_forbidden(m.region[0].host));
    memory_done(&m);
}

static void test_exactly_the_hole(void **state)
{
    (void)state;
    struct memory m;
    struct err e = ERR_INIT;
    assert_int_equal(memory_init(&m, MEMORY_HOLE_START, &e), 0);
    assert_int_equal(m.nregions, 1);
    assert_null(memory_range(&m, MEMORY_HOLE_END, 1));
    memory_done(&m);
}

static void test_bad_sizes(void **state)
{
    (void)state;
    struct memory m;
    memset(&m, 0x5a, sizeof(m));
    struct memory before = m;
    struct err e = ERR_INIT;
    assert_int_equal(memory_init(&m, 0, &e), -EINVAL);
    assert_int_equal(memory_init(&m, 4097, &e), -EINVAL);
    assert_non_null(strstr(e.msg, "4097"));
    assert_int_equal(memory_init(&m, UINT64_MAX & ~4095ull, &e), -EINVAL);
    assert_int_equal(memory_init(&m, 1ull << 61, &e), -ENOMEM);
    assert_memory_equal(&m, &before, sizeof(m));
}

static void test_address_bits(void **state)
{
    const uint64_t gib = 1ull << 30, most = (1ull << 40) - gib; /* the hole is one GiB */
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(memory_check_bits(256ull << 20, 36, &e), 0);
    assert_int_equal(memory_check_bits(3 * gib, 32, &e), 0);
    assert_int_equal(memory_check_bits(most, 40, &e), 0);
    assert_int_equal(memory_check_bits(most + 4096, 40, &e), -ERANGE);
    assert_int_equal(memory_check_bits(1ull << 40, 40, &e), -ERANGE);
    assert_string_equal(e.msg, "1048576 MiB of memory: this processor's physical addresses have 40 "
                               "bits, which is room for 1047552 MiB");
    assert_int_equal(memory_check_bits(1ull << 40, 46, &e), 0);
    assert_int_equal(memory_check_bits(1ull << 40, 255, &e), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small),
        cmocka_unit_test(test_hole),
        cmocka_unit_test(test_exactly_the_hole),
        cmocka_unit_test(test_huge_pages),
        cmocka_unit_test(test_bad_sizes),
        cmocka_unit_test(test_address_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
