/*
 * linux.seccomp to classic BPF, by libseccomp, as runc does it: names that this libseccomp does not
 * know are skipped, rules that say what the default says are dropped, several conditions on one
 * argument are alternatives, and a system call newer than all that the profile names gets ENOSYS
 * instead of the default refusal, so that programs fall back to older calls. The filter is for the
 * guest, which is x86-64 as the host is; nothing is loaded here. No state.
 *
 * libseccomp's time is most of it: 15 ms of CPU for podman's default profile, so the caller should
 * compile while the VM boots. Its binary tree (SCMP_FLTATR_CTL_OPTIMIZE) is not used: 4 ms more
 * here, a quarter of a millisecond less at load, and the kernel keeps a bitmap of what is always
 * allowed.
 */
#include "runtime/seccomp.h"

#include "lib/cleanup.h"
#include "lib/io.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define X32_BIT         0x40000000u
#define STUB_LEN        9
#define SECCOMP_ERR_MAX 4095 /* MAX_ERRNO: the kernel cuts what is above */
#define NAME_SHOWN      100

struct action {
    const char *name;
    uint32_t value;
    bool takes_errno;
};

/* SCMP_ACT_NOTIFY is left out on purpose: see compile_action. */
static const struct action actions[] = {
    {"SCMP_ACT_KILL", SCMP_ACT_KILL_THREAD, false},
    {"SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD, false},
    {"SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS, false},
    {"SCMP_ACT_TRAP", SCMP_ACT_TRAP, false},
    {"SCMP_ACT_ERRNO", SCMP_ACT_ERRNO(0), true},
    {"SCMP_ACT_TRACE", SCMP_ACT_TRACE(0), true},
    {"SCMP_ACT_ALLOW", SCMP_ACT_ALLOW, false},
    {"SCMP_ACT_LOG", SCMP_ACT_LOG, false},
};

/* The architectures of OCI. `token` 0: its system calls cannot be made on x86-64, nothing to do. */
static const struct arch {
    const char *name;
    uint32_t token;
} arches[] = {
    {"SCMP_ARCH_X86", SCMP_ARCH_X86},
    {"SCMP_ARCH_X86_64", SCMP_ARCH_X86_64},
    {"SCMP_ARCH_X32", SCMP_ARCH_X32},
    {"SCMP_ARCH_ARM", 0},
    {"SCMP_ARCH_AARCH64", 0},
    {"SCMP_ARCH_MIPS", 0},
    {"SCMP_ARCH_MIPS64", 0},
    {"SCMP_ARCH_MIPS64N32", 0},
    {"SCMP_ARCH_MIPSEL", 0},
    {"SCMP_ARCH_MIPSEL64", 0},
    {"SCMP_ARCH_MIPSEL64N32", 0},
    {"SCMP_ARCH_PPC", 0},
    {"SCMP_ARCH_PPC64", 0},
    {"SCMP_ARCH_PPC64LE", 0},
    {"SCMP_ARCH_S390", 0},
    {"SCMP_ARCH_S390X", 0},
    {"SCMP_ARCH_PARISC", 0},
    {"SCMP_ARCH_PARISC64", 0},
    {"SCMP_ARCH_RISCV64", 0},
    {"SCMP_ARCH_LOONGARCH64", 0},
    {"SCMP_ARCH_M68K", 0},
    {"SCMP_ARCH_SH", 0},
    {"SCMP_ARCH_SHEB", 0},
};

static const struct flag {
    const char *name;
    uint32_t value;
} flags[] = {
    {"SECCOMP_FILTER_FLAG_TSYNC", SECCOMP_FILTER_FLAG_TSYNC},
    {"SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG},
    {"SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW},
};

const char *seccomp_known_action(size_t i)
{
    return i < ARRAY_SIZE(actions) ? actions[i].name : NULL;
}

const char *seccomp_known_arch(size_t i)
{
    size_t n = 0;

    for (size_t k = 0; k < ARRAY_SIZE(arches); k++)
        if (arches[k].token && n++ == i)
            return arches[k].name;
    return NULL;
}

const char *seccomp_known_flag(size_t i)
{
    return i < ARRAY_SIZE(flags) ? flags[i].name : NULL;
}

/* --- actions ---------------------------------------------------------------------------------- */

static int compile_action(const char *where, const char *name, bool errno_set, uint32_t errno_ret,
                          uint32_t *out, struct err *e)
{
    const struct action *a = NULL;

    if (!strcmp(name, "SCMP_ACT_NOTIFY"))
        return err_set(e, ENOTSUP,
                       "%s: SCMP_ACT_NOTIFY is not supported: a notification cannot leave the "
                       "virtual machine",
                       where);
    for (size_t i = 0; i < ARRAY_SIZE(actions); i++)
        if (!strcmp(actions[i].name, name))
            a = &actions[i];
    if (!a)
        return err_set(e, EINVAL, "%s: unknown seccomp action \"%.*s\"", where, NAME_SHOWN, name);
    if (!errno_set)
        errno_ret = EPERM;
    else if (!a->takes_errno && errno_ret != 0)
        return err_set(e, EINVAL, "%s: %s cannot have an errnoRet", where, name);
    if (a->takes_errno && errno_ret > SECCOMP_ERR_MAX)
        return err_set(e, EINVAL, "%s: errnoRet must be at most %d, got %u", where, SECCOMP_ERR_MAX,
                       errno_ret);
    *out = a->takes_errno ? a->value | errno_ret : a->value;
    return 0;
}

/* --- rules ------------------------------------------------------------------------------------ */

static struct scmp_arg_cmp condition(const struct spec_seccomp_arg *a)
{
    return (struct scmp_arg_cmp){
        .arg = a->index,
        .op = (enum scmp_compare)a->op,
        .datum_a = a->value,
        .datum_b = a->value_two,
    };
}

/* Whether two conditions look at the same argument: then each is a rule of its own (an "or"). */
static bool same_argument_twice(const struct spec_seccomp_rule *r)
{
    unsigned seen = 0;

    for (size_t i = 0; i < r->nargs; i++) {
        if (seen & 1u << r->args[i].index)
            return true;
        seen |= 1u << r->args[i].index;
    }
    return false;
}

/* Adds the rule for one system call. Returns 0 or libseccomp's -errno. */
static int add_call(scmp_filter_ctx ctx, const struct spec_seccomp_rule *rule, uint32_t action,
                    int nr)
{
    struct scmp_arg_cmp c[6];
    int r = 0;

    if (same_argument_twice(rule)) {
        for (size_t i = 0; i < rule->nargs && r == 0; i++) {
            c[0] = condition(&rule->args[i]);
            r = seccomp_rule_add_array(ctx, action, nr, 1, c);
        }
        return r;
    }
    for (size_t i = 0; i < rule->nargs; i++)
        c[i] = condition(&rule->args[i]); /* at most six: their indices differ */
    return seccomp_rule_add_array(ctx, action, nr, (unsigned)rule->nargs, c);
}

static int check_args(const struct spec_seccomp_rule *rule, size_t i, struct err *e)
{
    for (size_t k = 0; k < rule->nargs; k++) {
        if (rule->args[k].index > 5)
            return err_set(e, EINVAL, "linux.seccomp.syscalls[%zu].args[%zu].index is above 5", i,
                           k);
        if (rule->args[k].op < SCMP_CMP_NE || rule->args[k].op > SCMP_CMP_MASKED_EQ)
            return err_set(e, EINVAL, "linux.seccomp.syscalls[%zu].args[%zu].op is not an operator",
                           i, k);
    }
    return 0;
}

static int add_rule(scmp_filter_ctx ctx, const struct spec_seccomp *s, size_t i,
                    uint32_t default_action, struct err *e)
{
    const struct spec_seccomp_rule *rule = &s->rules[i];
    char where[64];
    uint32_t action = 0;
    int r = check_args(rule, i, e);

    if (r < 0)
        return r;
    snprintf(where, sizeof(where), "linux.seccomp.syscalls[%zu]", i);
    r = compile_action(where, rule->action, rule->errno_set, rule->errno_ret, &action, e);
    if (r < 0)
        return r;
    if (action == default_action)
        return 0; /* says nothing new; libseccomp would refuse it */
    for (char **name = rule->names; *name; name++) {
        int nr = seccomp_syscall_resolve_name(*name);

        if (nr == __NR_SCMP_ERROR)
            continue; /* unknown to this libseccomp */
        r = add_call(ctx, rule, action, nr);
        if (r < 0)
            return err_set(e, -r, "%s: %.*s: %s", where, NAME_SHOWN, *name, strerror(-r));
    }
    return 0;
}

/* --- architectures and flags ------------------------------------------------------------------ */

static int find_arch(const char *name, uint32_t *token, struct err *e)
{
    for (size_t i = 0; i < ARRAY_SIZE(arches); i++)
        if (!strcmp(arches[i].name, name)) {
            *token = arches[i].token;
            return 0;
        }
    return err_set(e, EINVAL, "linux.seccomp.architectures: unknown architecture \"%.*s\"",
                   NAME_SHOWN, name);
}

static int add_arches(scmp_filter_ctx ctx, const struct spec_seccomp *s, struct err *e)
{
    for (char **name = s->architectures; name && *name; name++) {
        uint32_t token = 0;
        int r = find_arch(*name, &token, e);

        if (r < 0)
            return r;
        r = token ? seccomp_arch_add(ctx, token) : 0;
        if (r < 0 && r != -EEXIST)
            return err_set(e, -r, "linux.seccomp.architectures: %s: %s", *name, strerror(-r));
    }
    return 0;
}

static int collect_flags(const struct spec_seccomp *s, uint32_t *out, struct err *e)
{
    uint32_t all = 0;

    for (char **name = s->flags; name && *name; name++) {
        size_t i = 0;

        while (i < ARRAY_SIZE(flags) && strcmp(flags[i].name, *name) != 0)
            i++;
        if (i < ARRAY_SIZE(flags))
            all |= flags[i].value;
        else if (!strcmp(*name, "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"))
            return err_set(e, ENOTSUP,
                           "linux.seccomp.flags: %s is not supported: it belongs to a listener, "
                           "which cannot be outside the virtual machine",
                           *name);
        else
            return err_set(e, EINVAL, "linux.seccomp.flags: unknown flag \"%.*s\"", NAME_SHOWN,
                           *name);
    }
    *out = all;
    return 0;
}

/* --- system calls newer than the profile ----------------------------------------------------- */

/* The highest number the profile names on one architecture; -1 when it names none. */
static int last_call(const struct spec_seccomp *s, uint32_t token)
{
    int last = -1;

    for (size_t i = 0; i < s->nrules; i++)
        for (char **name = s->rules[i].names; *name; name++) {
            int nr = seccomp_syscall_resolve_name_arch(token, *name);

            if (token == SCMP_ARCH_X32 && nr >= 0)
                nr = (int)((unsigned)nr & ~X32_BIT);
            if (nr > last)
                last = nr;
        }
    return last;
}

static bool has_arch(const struct spec_seccomp *s, const char *name)
{
    for (char **a = s->architectures; a && *a; a++)
        if (!strcmp(*a, name))
            return true;
    return false;
}

static struct sock_filter stmt(unsigned code, unsigned k)
{
    return (struct sock_filter){(uint16_t)code, 0, 0, k};
}

static struct sock_filter jump(unsigned code, unsigned k, unsigned jt, unsigned jf)
{
    return (struct sock_filter){(uint16_t)code, (uint8_t)jt, (uint8_t)jf, k};
}

/*
 * The part before libseccomp's program: on each architecture of the filter, a number above all that
 * the profile names returns ENOSYS. Not for a default that allows, nor one that is ENOSYS already.
 * Returns how many instructions.
 */
static size_t enosys_stub(const struct spec_seccomp *s, uint32_t default_action,
                          struct sock_filter out[STUB_LEN])
{
    int last64 = last_call(s, SCMP_ARCH_X86_64);
    int last32 = has_arch(s, "SCMP_ARCH_X86") ? last_call(s, SCMP_ARCH_X86) : -1;
    int lastx32 = has_arch(s, "SCMP_ARCH_X32") ? last_call(s, SCMP_ARCH_X32) : -1;
    unsigned limit32 = last32 < 0 ? UINT32_MAX : (unsigned)last32;
    unsigned limit64 = last64 < 0 ? X32_BIT - 1 : (unsigned)last64;
    unsigned limitx32 = lastx32 < 0 ? UINT32_MAX : X32_BIT + (unsigned)lastx32;
    size_t n = 0;

    if (default_action == SCMP_ACT_ALLOW || default_action == SCMP_ACT_LOG ||
        default_action == SCMP_ACT_ERRNO(ENOSYS))
        return 0;
    out[n++] = stmt(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
    out[n++] = jump(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 2, 0);
    /* every other architecture has i386's numbers, or is killed by libseccomp's part */
    out[n++] = stmt(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    out[n++] = jump(BPF_JMP | BPF_JGT | BPF_K, limit32, 4, 5);
    out[n++] = stmt(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    out[n++] = jump(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1);
    out[n++] = jump(BPF_JMP | BPF_JGT | BPF_K, limitx32, 1, 2);
    out[n++] = jump(BPF_JMP | BPF_JGT | BPF_K, limit64, 0, 1);
    out[n++] = stmt(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS);
    return n;
}

/* --- the whole -------------------------------------------------------------------------------- */

/* libseccomp writes to a descriptor only. The result starts with `stub`. */
static int export(scmp_filter_ctx ctx, const struct sock_filter *stub, size_t nstub, void **out,
                  size_t *len_out, struct err *e)
{
    cleanup_fd int fd = memfd_create("seccomp", MFD_CLOEXEC);
    size_t head = nstub * sizeof(*stub), len;
    struct stat st;
    char *all;
    int r;

    if (fd < 0)
        return err_errno(e, "linux.seccomp: memfd_create");
    r = seccomp_export_bpf(ctx, fd);
    if (r < 0)
        return err_set(e, -r, "linux.seccomp: cannot make the filter: %s", strerror(-r));
    if (fstat(fd, &st) < 0)
        return err_errno(e, "linux.seccomp: fstat");
    len = (size_t)st.st_size;
    if ((head + len) / sizeof(*stub) > BPF_MAXINSNS)
        return err_set(e, E2BIG,
                       "linux.seccomp: the filter has %zu instructions, at most %d are "
                       "possible",
                       (head + len) / sizeof(*stub), BPF_MAXINSNS);
    all = malloc(head + len);
    if (!all)
        return err_set(e, ENOMEM, "linux.seccomp: out of memory");
    memcpy(all, stub, head);
    if (io_pread_full(fd, all + head, len, 0) != (ssize_t)len) {
        free(all);
        return err_set(e, EIO, "linux.seccomp: cannot read the filter back");
    }
    *out = all;
    *len_out = head + len;
    return 0;
}

static int build(const struct spec_seccomp *s, scmp_filter_ctx ctx, uint32_t default_action,
                 void **out, size_t *len_out, struct err *e)
{
    struct sock_filter stub[STUB_LEN];
    int r = add_arches(ctx, s, e);

    for (size_t i = 0; r >= 0 && i < s->nrules; i++)
        r = add_rule(ctx, s, i, default_action, e);
    if (r < 0)
        return r;
    return export(ctx, stub, enosys_stub(s, default_action, stub), out, len_out, e);
}

int seccomp_compile(const struct spec_seccomp *s, void **bpf_out, size_t *len_out,
                    uint32_t *flags_out, struct err *e)
{
    uint32_t action = 0, all_flags = 0;
    scmp_filter_ctx ctx;
    int r;

    if ((s->listener_path && *s->listener_path) || (s->listener_metadata && *s->listener_metadata))
        return err_set(e, ENOTSUP,
                       "linux.seccomp.%s is not supported: a notification cannot leave "
                       "the virtual machine",
                       s->listener_path && *s->listener_path ? "listenerPath" : "listenerMetadata");
    r = compile_action("linux.seccomp.defaultAction", s->default_action, s->default_errno_set,
                       s->default_errno, &action, e);
    if (r >= 0)
        r = collect_flags(s, &all_flags, e);
    if (r < 0)
        return r;
    ctx = seccomp_init(action);
    if (!ctx)
        return err_set(e, ENOMEM, "linux.seccomp: out of memory");
    r = build(s, ctx, action, bpf_out, len_out, e);
    seccomp_release(ctx);
    if (r >= 0)
        *flags_out = all_flags;
    return r;
}
