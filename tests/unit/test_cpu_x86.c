/* CPUID tables: what each vCPU is told about itself and its neighbours, for both vendors. */
#include "vmm/cpu_x86.h"
#include "vmm/kvm.h"

#include "cmocka_all.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define INDEXED KVM_CPUID_FLAG_SIGNIFCANT_INDEX

static void add(struct kvm_cpuid2 *c, struct kvm_cpuid_entry2 entry)
{
    assert_true(c->nent < KVM_CPUID_MAX);
    c->entries[c->nent++] = entry;
}

static struct kvm_cpuid2 *table(bool intel)
{
    struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + KVM_CPUID_MAX * sizeof(struct kvm_cpuid_entry2));

    assert_non_null(c);
    add(c, (struct kvm_cpuid_entry2){
               .function = 0, .eax = 0x1f, .ecx = intel ? 0x6c65746e : 0x444d4163});
    add(c, (struct kvm_cpuid_entry2){.function = 1,
                                     .ebx = 0x63100800,
                                     .ecx = intel ? 1u << 5 | 1u << 15 | 1u << 2 : 0,
                                     .edx = 1u << 21});
    for (uint32_t i = 0; i < 4; i++) /* L1d, L1i, L2, L3 */
        add(c,
            (struct kvm_cpuid_entry2){.function = intel ? 4 : 0x8000001d,
                                      .index = i,
                                      .flags = INDEXED,
                                      .eax = 0xfc000000u | 0x3fc000u | 1 | (i < 2 ? 1u : i) << 5});
    add(c, (struct kvm_cpuid_entry2){
               .function = intel ? 4 : 0x8000001d, .index = 4, .flags = INDEXED, .eax = 0});
    add(c, (struct kvm_cpuid_entry2){.function = 0xa, .eax = 0x07300402, .edx = 3});
    add(c, (struct kvm_cpuid_entry2){.function = 0xb, .flags = INDEXED, .edx = 99});
    add(c, (struct kvm_cpuid_entry2){.function = 0x1f, .flags = INDEXED, .edx = 99});
    add(c, (struct kvm_cpuid_entry2){.function = 0x80000001,
                                     .ecx = intel ? 1 : 1 | 1u << 2 | 1u << 23});
    add(c, (struct kvm_cpuid_entry2){.function = 0x80000008, .eax = 0x3030, .ecx = 0x707f});
    if (!intel) {
        add(c, (struct kvm_cpuid_entry2){.function = 0x8000000a, .eax = 1});
        add(c, (struct kvm_cpuid_entry2){.function = 0x8000001e, .eax = 77, .ebx = 0x177});
    }
    return c;
}

static const struct kvm_cpuid_entry2 *leaf(const struct kvm_cpuid2 *c, uint32_t function,
                                           uint32_t index)
{
    for (uint32_t i = 0; i < c->nent; i++) {
        if (c->entries[i].function == function && c->entries[i].index == index)
            return &c->entries[i];
    }
    return NULL;
}

static void check_vcpu(struct kvm_cpuid2 *c, bool intel, unsigned id, unsigned n, unsigned bits)
{
    const struct kvm_cpuid_entry2 *l = leaf(c, 1, 0);

    assert_int_equal(l->ebx >> 24, id);
    assert_int_equal(l->ebx >> 16 & 0xff, n);
    assert_int_equal(l->ebx & 0xffff, 0x0800);
    assert_true(l->ecx & 1u << 31);
    assert_true(l->ecx & 1u << 24);
    assert_false(l->ecx & (1u << 5 | 1u << 15 | 1u << 2));
    assert_false(l->edx & 1u << 21);
    assert_int_equal(l->edx >> 28 & 1, n > 1);
    for (uint32_t i = 0; i < 4; i++) {
        l = leaf(c, intel ? 4 : 0x8000001d, i);
        assert_int_equal(l->eax >> 14 & 0xfff, i == 3 ? (1u << bits) - 1 : 0);
        if (intel)
            assert_int_equal(l->eax >> 26, (1u << bits) - 1);
    }
    l = leaf(c, 0xb, 0);
    assert_int_equal(l->ebx, 1);
    assert_int_equal(l->eax, 0);
    assert_int_equal(l->edx, id);
    l = leaf(c, 0xb, 1);
    assert_int_equal(l->eax, bits);
    assert_int_equal(l->ebx, n);
    assert_int_equal(l->ecx, 0x201);
    assert_int_equal(l->edx, id);
    assert_int_equal(leaf(c, 0xb, 2)->ebx, 0);
    assert_null(leaf(c, 0x1f, 0));
    assert_null(leaf(c, 0x8000000a, 0));
    assert_int_equal(leaf(c, 0xa, 0)->eax, 0);
    assert_false(leaf(c, 0x80000001, 0)->ecx & (1u << 2 | 1u << 23));
    if (intel) {
        assert_int_equal(leaf(c, 0x80000008, 0)->ecx, 0x707f);
        return;
    }
    assert_int_equal(leaf(c, 0x80000001, 0)->ecx >> 1 & 1, n > 1);
    assert_int_equal(leaf(c, 0x80000008, 0)->ecx & 0xf0ff, bits << 12 | (n - 1));
    assert_int_equal(leaf(c, 0x8000001e, 0)->eax, id);
    assert_int_equal(leaf(c, 0x8000001e, 0)->ebx, id);
}

/* The same table is used for vCPU after vCPU, as vm_build.c does. */
static void run_vendor(bool intel)
{
    static const struct {
        unsigned n, bits;
    } sizes[] = {{1, 0}, {2, 1}, {3, 2}, {4, 2}, {32, 5}};
    struct err e = ERR_INIT;

    for (unsigned s = 0; s < 5; s++) {
        struct kvm_cpuid2 *c = table(intel);
        for (unsigned id = 0; id < sizes[s].n; id++) {
            assert_int_equal(cpu_x86_cpuid(c, id, sizes[s].n, 1, &e), 0);
            check_vcpu(c, intel, id, sizes[s].n, sizes[s].bits);
        }
        free(c);
    }
}

static void test_intel(void **state)
{
    (void)state;
    run_vendor(true);
}

static void test_amd(void **state)
{
    (void)state;
    run_vendor(false);
}

static void test_no_deadline_timer(void **state)
{
    struct kvm_cpuid2 *c = table(true);
    struct err e = ERR_INIT;
    (void)state;

    c->entries[1].ecx |= 1u << 24;
    assert_int_equal(cpu_x86_cpuid(c, 0, 1, 0, &e), 0);
    assert_false(leaf(c, 1, 0)->ecx & 1u << 24);
    free(c);
}

/* A processor that knows no leaf 0xb is not given one; a full table and an empty one are errors. */
static void test_odd_tables(void **state)
{
    struct kvm_cpuid2 *c = table(true);
    struct err e = ERR_INIT;
    (void)state;

    c->entries[0].eax = 0xa;
    assert_int_equal(cpu_x86_cpuid(c, 0, 1, 1, &e), 0);
    assert_null(leaf(c, 0xb, 0));
    c->entries[0].eax = 0xd;
    while (c->nent < KVM_CPUID_MAX)
        add(c, (struct kvm_cpuid_entry2){.function = 0x80000100 + c->nent});
    assert_int_equal(cpu_x86_cpuid(c, 0, 1, 1, &e), -ENOSPC);
    c->nent = 0;
    assert_int_equal(cpu_x86_cpuid(c, 0, 1, 1, &e), -ENOTSUP);
    free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_intel),
        cmocka_unit_test(test_amd),
        cmocka_unit_test(test_no_deadline_timer),
        cmocka_unit_test(test_odd_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
