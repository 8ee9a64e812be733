/*
 * runtime/seccomp: profiles are compiled and the result is run, in an interpreter of classic BPF as
 * the kernel runs it on struct seccomp_data, against what the profile says.
 */
#include "tests/unit/fixture.h"

#include "lib/json.h"
#include "runtime/seccomp.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/syscall.h>

#define X32_BIT 0x40000000

/* --- the interpreter ------------------------------------------------------------------------- */

struct program {
    struct sock_filter *f;
    size_t n;
    uint32_t flags;
};

/* One instruction that is a jump: how many to skip. */
static uint32_t jump_of(const struct sock_filter *i, uint32_t a)
{
    bool yes = false;

    switch (BPF_OP(i->code)) {
    case BPF_JA:
        return i->k;
    case BPF_JEQ:
        yes = a == i->k;
        break;
    case BPF_JGT:
        yes = a > i->k;
        break;
    case BPF_JGE:
        yes = a >= i->k;
        break;
    case BPF_JSET:
        yes = a & i->k;
        break;
    default:
        fail_msg("jump %x", i->code);
    }
    assert_int_equal(BPF_SRC(i->code), BPF_K);
    return yes ? i->jt : i->jf;
}

/* Runs the program as the kernel would. Backward jumps cannot be expressed, so that it ends. */
static uint32_t interpret(const struct program *p, const struct seccomp_data *data)
{
    uint32_t a = 0, scratch[BPF_MEMWORDS] = {0};

    for (size_t pc = 0; pc < p->n; pc++) {
        const struct sock_filter *i = &p->f[pc];

        switch (i->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            assert_true(i->k % 4 == 0 && i->k + 4 <= sizeof(*data));
            memcpy(&a, (const char *)data + i->k, 4);
            break;
        case BPF_ALU | BPF_AND | BPF_K:
            a &= i->k;
            break;
        case BPF_ST:
            assert_true(i->k < BPF_MEMWORDS);
            scratch[i->k] = a;
            break;
        case BPF_LD | BPF_MEM:
            assert_true(i->k < BPF_MEMWORDS);
            a = scratch[i->k];
            break;
        case BPF_RET | BPF_K:
            return i->k;
        default:
            assert_int_equal(BPF_CLASS(i->code), BPF_JMP);
            pc += jump_of(i, a);
        }
    }
    fail_msg("the program runs off its end");
    return 0;
}

static uint32_t call_on(const struct program *p, uint32_t arch, int nr, const uint64_t args[6])
{
    struct seccomp_data d = {.nr = nr, .arch = arch};

    for (int i = 0; args && i < 6; i++)
        d.args[i] = args[i];
    return interpret(p, &d);
}

static uint32_t call(const struct program *p, int nr)
{
    return call_on(p, AUDIT_ARCH_X86_64, nr, NULL);
}

static uint32_t call1(const struct program *p, int nr, uint64_t arg0)
{
    return call_on(p, AUDIT_ARCH_X86_64, nr, (uint64_t[6]){arg0});
}

/* --- compiling ------------------------------------------------------------------------------- */

static int compile_doc(json_t *doc, struct program *out, struct err *e)
{
    struct spec *s;
    void *bpf = NULL;
    size_t len = 0;
    int r;

    assert_non_null(doc);
    if (spec_parse(doc, &s, e) < 0)
        fail_msg("%s", e->msg);
    json_decref(doc);
    assert_true(s->linux_.seccomp.present);
    r = seccomp_compile(&s->linux_.seccomp, &bpf, &len, &out->flags, e);
    spec_free(s);
    out->f = bpf;
    out->n = len / sizeof(struct sock_filter);
    assert_int_equal(len % sizeof(struct sock_filter), 0);
    return r;
}

/* `profile` is the JSON of linux.seccomp, with ' for ". */
static json_t *document(const char *profile)
{
    json_t *doc = json_pack("{s:s, s:{}}", "ociVersion", "1.0.2", "linux"), *seccomp;
    char *text = strdup(profile);

    for (char *p = text; *p; p++)
        if (*p == '\'')
            *p = '"';
    seccomp = json_loads(text, 0, NULL);
    if (!seccomp)
        fail_msg("not JSON: %s", text);
    json_object_set_new(json_object_get(doc, "linux"), "seccomp", seccomp);
    free(text);
    return doc;
}

static struct program compile(const char *profile)
{
    struct program p = {0};
    struct err e = ERR_INIT;

    if (compile_doc(document(profile), &p, &e) < 0)
        fail_msg("%s", e.msg);
    return p;
}

static struct program compile_fixture(const char *file)
{
    char *text = fixture_text(FIXTURES "config/good", file);
    struct program p = {0};
    struct err e = ERR_INIT;
    json_t *doc = NULL;

    assert_int_equal(json_load_bytes(text, strlen(text), file, &doc, &e), 0);
    free(text);
    if (compile_doc(doc, &p, &e) < 0)
        fail_msg("%s: %s", file, e.msg);
    return p;
}

static void refuse(const char *profile, int code, const char *want)
{
    struct program p = {0};
    struct err e = ERR_INIT;

    assert_int_equal(compile_doc(document(profile), &p, &e), -code);
    assert_null(p.f);
    assert_string_equal(e.msg, want);
}

#define ERRNO(n) (SECCOMP_RET_ERRNO | (n))

/* --- tests ----------------------------------------------------------------------------------- */

static void test_actions(void **state)
{
    struct program p =
        compile("{'defaultAction':'SCMP_ACT_ALLOW','syscalls':["
                "{'names':['getcwd'],'action':'SCMP_ACT_KILL'},"
                "{'names':['chmod'],'action':'SCMP_ACT_KILL_THREAD'},"
                "{'names':['fchmod'],'action':'SCMP_ACT_KILL_PROCESS'},"
                "{'names':['chown'],'action':'SCMP_ACT_TRAP'},"
                "{'names':['fchown'],'action':'SCMP_ACT_ERRNO'},"
                "{'names':['lchown','chroot'],'action':'SCMP_ACT_ERRNO','errnoRet':17},"
                "{'names':['ptrace'],'action':'SCMP_ACT_TRACE','errnoRet':7},"
                "{'names':['fork'],'action':'SCMP_ACT_TRACE'},"
                "{'names':['vfork'],'action':'SCMP_ACT_LOG'},"
                "{'names':['umask'],'action':'SCMP_ACT_ERRNO','errnoRet':0},"
                "{'names':['read'],'action':'SCMP_ACT_ALLOW'}]}");

    (void)state;
    assert_int_equal(call(&p, SYS_getcwd), SECCOMP_RET_KILL_THREAD);
    assert_int_equal(call(&p, SYS_chmod), SECCOMP_RET_KILL_THREAD);
    assert_true(call(&p, SYS_fchmod) == SECCOMP_RET_KILL_PROCESS);
    assert_int_equal(call(&p, SYS_chown), SECCOMP_RET_TRAP);
    assert_int_equal(call(&p, SYS_fchown), ERRNO(EPERM));
    assert_int_equal(call(&p, SYS_lchown), ERRNO(17));
    assert_int_equal(call(&p, SYS_chroot), ERRNO(17));
    assert_int_equal(call(&p, SYS_ptrace), SECCOMP_RET_TRACE | 7);
    assert_int_equal(call(&p, SYS_fork), SECCOMP_RET_TRACE | EPERM);
    assert_int_equal(call(&p, SYS_vfork), SECCOMP_RET_LOG);
    assert_int_equal(call(&p, SYS_umask), ERRNO(0));
    assert_int_equal(call(&p, SYS_read), SECCOMP_RET_ALLOW);
    assert_int_equal(call(&p, 100000), SECCOMP_RET_ALLOW); /* no ENOSYS below an allowing default */
    assert_int_equal(p.flags, 0);
    free(p.f);
}

static struct program compare(const char *op, const char *rest)
{
    char profile[512];

    snprintf(profile, sizeof(profile),
             "{'defaultAction':'SCMP_ACT_ALLOW','syscalls':[{'names':['read'],"
             "'action':'SCMP_ACT_ERRNO','args':[{'index':0,'op':'%s',%s}]}]}",
             op, rest);
    return compile(profile);
}

/* Values on both sides of the 32-bit border: BPF compares halves. */
static void test_operators(void **state)
{
    static const uint64_t values[] = {0,
                                      1,
                                      9,
                                      10,
                                      11,
                                      UINT32_MAX,
                                      1ull << 32,
                                      (10ull << 32) | 9,
                                      (10ull << 32) | 10,
                                      (10ull << 32) | 11,
                                      11ull << 32,
                                      INT64_MAX,
                                      UINT64_MAX};
    static const uint64_t datum = (10ull << 32) | 10;
    static const char *const ops[] = {"SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE",
                                      "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT"};
    char rest[64];

    (void)state;
    snprintf(rest, sizeof(rest), "'value':%llu", (unsigned long long)datum);
    for (int op = 0; op < 6; op++) {
        struct program p = compare(ops[op], rest);

        for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
            uint64_t v = values[i];
            const bool match[] = {v != datum,
                                  v<datum, v <= datum, v == datum, v >= datum, v> datum};
            uint32_t got = call1(&p, SYS_read, v);

            if (got != (match[op] ? ERRNO(EPERM) : SECCOMP_RET_ALLOW))
                fail_msg("%s %llx: %x", ops[op], (unsigned long long)v, got);
        }
        assert_int_equal(call1(&p, SYS_write, datum), SECCOMP_RET_ALLOW);
        free(p.f);
    }
}

static void test_masked(void **state)
{
    /* value is the mask, valueTwo what must be left */
    struct program p = compare("SCMP_CMP_MASKED_EQ", "'value':4026531855,'valueTwo':5");

    (void)state;
    assert_int_equal(call1(&p, SYS_read, 5), ERRNO(EPERM));
    assert_int_equal(call1(&p, SYS_read, 0x5f5), ERRNO(EPERM));
    assert_int_equal(call1(&p, SYS_read, 4), SECCOMP_RET_ALLOW);
    assert_int_equal(call1(&p, SYS_read, 0xf0000005), SECCOMP_RET_ALLOW);
    free(p.f);
}

/* Different arguments must all match; the same one twice means either. */
static void test_conditions(void **state)
{
    struct program both = compile(
        "{'defaultAction':'SCMP_ACT_ALLOW','syscalls':[{'names':['read'],'action':'SCMP_ACT_ERRNO',"
        "'args':[{'index':0,'op':'SCMP_CMP_EQ','value':1},{'index':5,'op':'SCMP_CMP_EQ','value':2}]"
        "}]}");
    struct program either = compile(
        "{'defaultAction':'SCMP_ACT_ALLOW','syscalls':[{'names':['read'],'action':'SCMP_ACT_ERRNO',"
        "'args':[{'index':0,'op':'SCMP_CMP_EQ','value':1},{'index':0,'op':'SCMP_CMP_EQ','value':2}]"
        "}]}");
    uint64_t args[6] = {1};

    (void)state;
    assert_int_equal(call_on(&both, AUDIT_ARCH_X86_64, SYS_read, args), SECCOMP_RET_ALLOW);
    args[5] = 2;
    assert_int_equal(call_on(&both, AUDIT_ARCH_X86_64, SYS_read, args), ERRNO(EPERM));
    args[0] = 0;
    assert_int_equal(call_on(&both, AUDIT_ARCH_X86_64, SYS_read, args), SECCOMP_RET_ALLOW);
    assert_int_equal(call1(&either, SYS_read, 1), ERRNO(EPERM));
    assert_int_equal(call1(&either, SYS_read, 2), ERRNO(EPERM));
    assert_int_equal(call1(&either, SYS_read, 3), SECCOMP_RET_ALLOW);
    free(both.f);
    free(either.f);
}

static void test_architectures(void **state)
{
    struct program one = compile("{'defaultAction':'SCMP_ACT_ERRNO','syscalls':[{'names':['read'],"
                                 "'action':'SCMP_ACT_ALLOW'}]}");
    struct program all = compile(
        "{'defaultAction':'SCMP_ACT_ERRNO','architectures':['SCMP_ARCH_X86_64','SCMP_ARCH_X86',"
        "'SCMP_ARCH_X32','SCMP_ARCH_AARCH64','SCMP_ARCH_S390'],'syscalls':[{'names':['read',"
        "'socketcall','write'],'action':'SCMP_ACT_ALLOW'}]}");

    (void)state;
    assert_int_equal(call(&one, SYS_read), SECCOMP_RET_ALLOW);
    assert_int_equal(call_on(&one, AUDIT_ARCH_I386, 3, NULL), SECCOMP_RET_KILL_THREAD);
    assert_int_equal(call(&one, SYS_read | X32_BIT), SECCOMP_RET_KILL_THREAD);
    assert_int_equal(call_on(&one, AUDIT_ARCH_AARCH64, 63, NULL), SECCOMP_RET_KILL_THREAD);
    assert_int_equal(call(&all, SYS_read), SECCOMP_RET_ALLOW);
    assert_int_equal(call_on(&all, AUDIT_ARCH_I386, 3, NULL), SECCOMP_RET_ALLOW);
    assert_int_equal(call_on(&all, AUDIT_ARCH_I386, 102, NULL), SECCOMP_RET_ALLOW); /* socketcall */
    assert_int_equal(call_on(&all, AUDIT_ARCH_I386, 5, NULL), ERRNO(EPERM));        /* open */
    assert_int_equal(call_on(&all, AUDIT_ARCH_I386, 400, NULL), ERRNO(ENOSYS));
    assert_int_equal(call(&all, SYS_read | X32_BIT), SECCOMP_RET_ALLOW);
    assert_int_equal(call(&all, X32_BIT | 600), ERRNO(ENOSYS));
    assert_int_equal(call_on(&all, AUDIT_ARCH_AARCH64, 63, NULL), SECCOMP_RET_KILL_THREAD);
    free(one.f);
    free(all.f);
}

/* Unknown names do not matter; calls newer than all that is named get ENOSYS. */
static void test_unknown_calls(void **state)
{
    struct program p = compile(
        "{'defaultAction':'SCMP_ACT_ERRNO','syscalls':[{'names':['read','call_of_the_future',"
        "'getpid'],'action':'SCMP_ACT_ALLOW'},{'names':['alarm'],'action':'SCMP_ACT_ERRNO',"
        "'errnoRet':5}]}");
    struct program same = compile("{'defaultAction':'SCMP_ACT_ERRNO','defaultErrnoRet':38,"
                                  "'syscalls':[{'names':['read'],'action':'SCMP_ACT_ALLOW'}]}");
    struct program kill = compile("{'defaultAction':'SCMP_ACT_KILL_PROCESS','syscalls':[{'names':["
                                  "'read'],'action':'SCMP_ACT_ALLOW'}]}");
    struct program none = compile("{'defaultAction':'SCMP_ACT_ERRNO'}");

    (void)state;
    assert_int_equal(call(&p, SYS_read), SECCOMP_RET_ALLOW);
    assert_int_equal(call(&p, SYS_getpid), SECCOMP_RET_ALLOW); /* 39, the highest named */
    assert_int_equal(call(&p, SYS_alarm), ERRNO(5));
    assert_int_equal(call(&p, SYS_write), ERRNO(EPERM));
    assert_int_equal(call(&p, SYS_getpid + 1), ERRNO(ENOSYS));
    assert_int_equal(call(&p, 100000), ERRNO(ENOSYS));
    assert_int_equal(call(&same, SYS_write), ERRNO(ENOSYS));
    assert_true(call(&kill, SYS_write) == ERRNO(ENOSYS)); /* above read: newer than the profile */
    assert_int_equal(call(&none, SYS_read), ERRNO(EPERM));
    free(p.f);
    free(same.f);
    free(kill.f);
    free(none.f);
}

static void test_flags(void **state)
{
    struct program p = compile("{'defaultAction':'SCMP_ACT_ALLOW','flags':["
                               "'SECCOMP_FILTER_FLAG_LOG','SECCOMP_FILTER_FLAG_SPEC_ALLOW',"
                               "'SECCOMP_FILTER_FLAG_TSYNC']}");

    (void)state;
    assert_int_equal(p.flags, SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_SPEC_ALLOW |
                                  SECCOMP_FILTER_FLAG_TSYNC);
    free(p.f);
}

static void test_refused(void **state)
{
    (void)state;
    refuse("{'defaultAction':'SCMP_ACT_NOTIFY'}", ENOTSUP,
           "linux.seccomp.defaultAction: SCMP_ACT_NOTIFY is not supported: a notification cannot "
           "leave the virtual machine");
    refuse("{'defaultAction':'SCMP_ACT_ALLOW','syscalls':[{'names':['read'],'action':"
           "'SCMP_ACT_ERRNO'},{'names':['write'],'action':'SCMP_ACT_NOTIFY'}]}",
           ENOTSUP,
           "linux.seccomp.syscalls[1]: SCMP_ACT_NOTIFY is not supported: a notification cannot "
           "leave the virtual machine");
    refuse("{'defaultAction':'SCMP_ACT_ALLOW','listenerPath':'/run/a'}", ENOTSUP,
           "linux.seccomp.listenerPath is not supported: a notification cannot leave the virtual "
           "machine");
    refuse("{'defaultAction':'SCMP_ACT_ALLOW','listenerMetadata':'a'}", ENOTSUP,
           "linux.seccomp.listenerMetadata is not supported: a notification cannot leave the "
           "virtual machine");
    refuse("{'defaultAction':'SCMP_ACT_ALLOW','flags':['SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV']}",
           ENOTSUP,
           "linux.seccomp.flags: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV is not supported: it "
           "belongs to a listener, which cannot be outside the virtual machine");
    refuse("{'defaultAction':'SCMP_ACT_ALLOW','flags':['LOG']}", EINVAL,
           "linux.seccomp.flags: unknown flag \"LOG\"");
    refuse("{'defaultAction':'SCMP_ACT_ALLOW','architectures':['amd64']}", EINVAL,
           "linux.seccomp.architectures: unknown architecture \"amd64\"");
    refuse("{'defaultAction':'SCMP_ACT_ERRNO','defaultErrnoRet':4096}", EINVAL,
           "linux.seccomp.defaultAction: errnoRet must be at most 4095, got 4096");
    refuse("{'defaultAction':'SCMP_ACT_ERRNO','syscalls':[{'names':['read'],'action':"
           "'SCMP_ACT_ALLOW','errnoRet':1}]}",
           EINVAL, "linux.seccomp.syscalls[0]: SCMP_ACT_ALLOW cannot have an errnoRet");
}

/* More rules than the kernel takes in one filter. */
static void test_too_large(void **state)
{
    json_t *calls = json_array(), *doc = document("{'defaultAction':'SCMP_ACT_ERRNO'}");
    struct program p = {0};
    struct err e = ERR_INIT;

    (void)state;
    for (int i = 0; i < 2000; i++)
        json_array_append_new(calls, json_pack("{s:[s], s:s, s:[{s:i, s:s, s:I}]}", "names", "read",
                                               "action", "SCMP_ACT_ALLOW", "args", "index", 0, "op",
                                               "SCMP_CMP_EQ", "value", (json_int_t)i << 32 | i));
    json_object_set_new(json_object_get(json_object_get(doc, "linux"), "seccomp"), "syscalls",
                        calls);
    assert_int_equal(compile_doc(doc, &p, &e), -E2BIG);
    assert_memory_equal(e.msg, "linux.seccomp: the filter has ", 30);
}

/* --- the clients' default profiles ----------------------------------------------------------- */

static void test_podman_default(void **state)
{
    struct program p = compile_fixture("client-podman-default.json");
    static const int allowed[] = {SYS_read,         SYS_execve, SYS_clone3,  SYS_openat2,
                                  SYS_futex,        SYS_statx,  SYS_mmap,    SYS_socket,
                                  SYS_epoll_pwait2, SYS_chroot, SYS_unlinkat};

    (void)state;
    for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
        if (call(&p, allowed[i]) != SECCOMP_RET_ALLOW)
            fail_msg("call %d is not allowed", allowed[i]);
    assert_int_equal(call(&p, SYS_kexec_load), ERRNO(EPERM));
    assert_int_equal(call(&p, SYS_swapon), ERRNO(EPERM));
    assert_int_equal(call(&p, SYS_bpf), ERRNO(EPERM));
    assert_int_equal(call(&p, 100000), ERRNO(ENOSYS));
    assert_int_equal(call1(&p, SYS_personality, 0), SECCOMP_RET_ALLOW);
    assert_int_equal(call1(&p, SYS_personality, 0x20000), SECCOMP_RET_ALLOW);
    assert_int_equal(call1(&p, SYS_personality, 0xffffffff), SECCOMP_RET_ALLOW);
    assert_int_equal(call1(&p, SYS_personality, 1), ERRNO(ENOSYS));
    assert_int_equal(call_on(&p, AUDIT_ARCH_I386, 3, NULL), SECCOMP_RET_ALLOW);
    assert_int_equal(call_on(&p, AUDIT_ARCH_AARCH64, 63, NULL), SECCOMP_RET_KILL_THREAD);
    free(p.f);
}

static void test_containerd_default(void **state)
{
    struct program p = compile_fixture("client-ctr-seccomp.json");

    (void)state;
    assert_int_equal(call(&p, SYS_read), SECCOMP_RET_ALLOW);
    assert_int_equal(call(&p, SYS_execve), SECCOMP_RET_ALLOW);
    assert_int_equal(call(&p, SYS_mount), ERRNO(EPERM));
    assert_int_equal(call(&p, SYS_keyctl), ERRNO(EPERM));
    assert_int_equal(call1(&p, SYS_clone, SIGCHLD), SECCOMP_RET_ALLOW);
    assert_int_equal(call1(&p, SYS_clone, CLONE_NEWUSER | SIGCHLD), ERRNO(EPERM));
    assert_int_equal(call(&p, SYS_clone3), ERRNO(ENOSYS)); /* the profile's own errnoRet */
    assert_int_equal(call(&p, 100000), ERRNO(ENOSYS));
    free(p.f);
}

/* How many rules of the profile name the call (podman's has setns under two). */
static size_t times_named(json_t *rules, const char *call_name)
{
    json_t *rule, *name;
    size_t i, k, n = 0;

    json_array_foreach(rules, i, rule)
    {
        json_array_foreach(json_object_get(rule, "names"), k, name)
        {
            n += !strcmp(json_string_value(name), call_name);
        }
    }
    return n;
}

/* Checks the calls of one rule; returns how many. */
static size_t check_rule(const struct program *p, json_t *rules, json_t *rule)
{
    const char *action = json_string_value(json_object_get(rule, "action"));
    json_t *ret = json_object_get(rule, "errnoRet"), *name;
    uint32_t number = ret ? (uint32_t)json_integer_value(ret) : EPERM;
    uint32_t want = !strcmp(action, "SCMP_ACT_ALLOW") ? SECCOMP_RET_ALLOW : ERRNO(number);
    size_t k, checked = 0;

    json_array_foreach(json_object_get(rule, "names"), k, name)
    {
        int nr = seccomp_syscall_resolve_name_arch(SCMP_ARCH_X86_64, json_string_value(name));

        if (nr < 0 || times_named(rules, json_string_value(name)) > 1)
            continue;
        if (call(p, nr) != want)
            fail_msg("%s gives %x, expected %x", json_string_value(name), call(p, nr), want);
        checked++;
    }
    return checked;
}

/*
 * The whole of a real profile, call by call, against a reading of it that shares nothing with the
 * compiler but the table of names: all rules without conditions, on x86-64.
 */
static void check_against_profile(const char *file)
{
    struct program p = compile_fixture(file);
    char *text = fixture_text(FIXTURES "config/good", file);
    json_t *doc = json_loads(text, 0, NULL), *rule;
    json_t *seccomp = json_object_get(json_object_get(doc, "linux"), "seccomp");
    json_t *rules = json_object_get(seccomp, "syscalls");
    size_t i, checked = 0;

    json_array_foreach(rules, i, rule)
    {
        if (json_array_size(json_object_get(rule, "args")) == 0)
            checked += check_rule(&p, rules, rule);
    }
    assert_true(checked > 250);
    json_decref(doc);
    free(text);
    free(p.f);
}

static void test_whole_profiles(void **state)
{
    (void)state;
    check_against_profile("client-podman-default.json");
    check_against_profile("client-ctr-seccomp.json");
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(seccomp_known_arch(0), "SCMP_ARCH_X86");
    assert_string_equal(seccomp_known_arch(2), "SCMP_ARCH_X32");
    assert_null(seccomp_known_arch(3));
    assert_null(seccomp_known_flag(3));
    for (size_t i = 0; seccomp_known_action(i); i++)
        assert_string_not_equal(seccomp_known_action(i), "SCMP_ACT_NOTIFY");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_actions),
        cmocka_unit_test(test_operators),
        cmocka_unit_test(test_masked),
        cmocka_unit_test(test_conditions),
        cmocka_unit_test(test_architectures),
        cmocka_unit_test(test_unknown_calls),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_podman_default),
        cmocka_unit_test(test_containerd_default),
        cmocka_unit_test(test_whole_profiles),
        cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests_name("seccomp", tests, NULL, NULL);
}
