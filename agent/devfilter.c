/*
 * Building and attaching the device program. It keeps the requested access bits in a register and
 * walks the rules from the last to the first: a matching "allow" clears its bits (none left: yes),
 * a matching "deny" that still has a wanted bit says no.
 */
#include "agent/devfilter.h"
#include "lib/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ACCESS_ALL (BPF_DEVCG_ACC_MKNOD | BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE)

/* Registers of the program. */
enum { R_RESULT = 0, R_CTX = 1, R_TYPE = 2, R_WANTED = 3, R_MAJOR = 4, R_MINOR = 5, R_TMP = 6 };

static const struct spec_device_rule always[] = {
    {true, 'c', -1, -1, false, false, true}, /* mknod of anything: a node alone opens nothing */
    {true, 'b', -1, -1, false, false, true}, {true, 'c', 1, 3, true, true, true}, /* null */
    {true, 'c', 1, 5, true, true, true},                                          /* zero */
    {true, 'c', 1, 7, true, true, true},                                          /* full */
    {true, 'c', 1, 8, true, true, true},                                          /* random */
    {true, 'c', 1, 9, true, true, true},                                          /* urandom */
    {true, 'c', 5, 0, true, true, true},                                          /* tty */
    {true, 'c', 5, 2, true, true, true},                                          /* ptmx */
    {true, 'c', 136, -1, true, true, true}, /* ptys, /dev/console among them */
    {true, 'c', 10, 200, true, true, true}, /* net/tun */
};

struct program {
    struct bpf_insn *insn;
    int n;
};

static void emit(struct program *p, uint8_t code, uint8_t dst, uint8_t src, int16_t off,
                 int32_t imm)
{
    struct bpf_insn *i = &p->insn[p->n++];

    i->code = code;
    i->dst_reg = dst & 0xfu;
    i->src_reg = src & 0xfu;
    i->off = off;
    i->imm = imm;
}

static void emit_load(struct program *p, uint8_t dst, size_t offset)
{
    emit(p, BPF_LDX | BPF_MEM | BPF_W, dst, R_CTX, (int16_t)offset, 0);
}

static void emit_return(struct program *p, int32_t value)
{
    emit(p, BPF_ALU64 | BPF_MOV | BPF_K, R_RESULT, 0, 0, value);
    emit(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

static void emit_head(struct program *p)
{
    emit_load(p, R_TYPE, offsetof(struct bpf_cgroup_dev_ctx, access_type));
    emit(p, BPF_ALU64 | BPF_MOV | BPF_X, R_WANTED, R_TYPE, 0, 0);
    emit(p, BPF_ALU64 | BPF_AND | BPF_K, R_TYPE, 0, 0, 0xffff);
    emit(p, BPF_ALU64 | BPF_RSH | BPF_K, R_WANTED, 0, 0, 16);
    emit_load(p, R_MAJOR, offsetof(struct bpf_cgroup_dev_ctx, major));
    emit_load(p, R_MINOR, offsetof(struct bpf_cgroup_dev_ctx, minor));
}

static int32_t access_bits(const struct spec_device_rule *r)
{
    return (r->read ? BPF_DEVCG_ACC_READ : 0) | (r->write ? BPF_DEVCG_ACC_WRITE : 0) |
           (r->mknod ? BPF_DEVCG_ACC_MKNOD : 0);
}

static void emit_rule(struct program *p, const struct spec_device_rule *r)
{
    int32_t bits = access_bits(r);
    int first = p->n;

    if (r->type != 'a')
        emit(p, BPF_JMP | BPF_JNE | BPF_K, R_TYPE, 0, 0,
             r->type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
    if (r->major >= 0)
        emit(p, BPF_JMP | BPF_JNE | BPF_K, R_MAJOR, 0, 0, (int32_t)r->major);
    if (r->minor >= 0)
        emit(p, BPF_JMP | BPF_JNE | BPF_K, R_MINOR, 0, 0, (int32_t)r->minor);
    int tests = p->n;

    if (r->allow) {
        emit(p, BPF_ALU64 | BPF_AND | BPF_K, R_WANTED, 0, 0, ACCESS_ALL & ~bits);
        emit(p, BPF_JMP | BPF_JNE | BPF_K, R_WANTED, 0, 2, 0);
        emit_return(p, 1);
    } else {
        emit(p, BPF_ALU64 | BPF_MOV | BPF_X, R_TMP, R_WANTED, 0, 0);
        emit(p, BPF_ALU64 | BPF_AND | BPF_K, R_TMP, 0, 0, bits);
        emit(p, BPF_JMP | BPF_JEQ | BPF_K, R_TMP, 0, 2, 0);
        emit_return(p, 0);
    }
    for (int i = first; i < tests; i++) /* no match: on to the rule before this one */
        p->insn[i].off = (int16_t)(p->n - i - 1);
}

static int check_rule(const struct spec_device_rule *r, size_t i, struct err *e)
{
    if (r->major > INT32_MAX || r->minor > INT32_MAX)
        return err_set(e, EINVAL, "linux.resources.devices[%zu]: no device has such a number", i);
    return 0;
}

int devfilter_build(const struct spec_device_rule *rules, size_t n, struct bpf_insn **out,
                    struct err *e)
{
    struct program p = {0};

    if (n > DEVFILTER_RULES_MAX)
        return err_set(e, E2BIG, "linux.resources.devices has %zu rules, at most %d are allowed", n,
                       DEVFILTER_RULES_MAX);
    for (size_t i = 0; i < n; i++) {
        if (check_rule(&rules[i], i, e) < 0)
            return -e->code;
    }
    p.insn = calloc((n + ARRAY_SIZE(always)) * 8 + 16, sizeof(*p.insn));
    if (!p.insn)
        return err_set(e, ENOMEM, "out of memory for the device program");
    emit_head(&p);
    for (size_t i = ARRAY_SIZE(always); i-- > 0;)
        emit_rule(&p, &always[i]);
    for (size_t i = n; i-- > 0;)
        emit_rule(&p, &rules[i]);
    emit_return(&p, 0);
    *out = p.insn;
    return p.n;
}

static int sys_bpf(enum bpf_cmd cmd, union bpf_attr *attr)
{
    return (int)syscall(SYS_bpf, cmd, attr, sizeof(*attr));
}

int devfilter_attach(int cgroup_fd, const struct spec_device_rule *rules, size_t n, int old_prog,
                     struct err *e)
{
    static const char license[] = "Apache-2.0";
    cleanup_free struct bpf_insn *insn = NULL;
    cleanup_fd int prog = -1;
    union bpf_attr attr;
    int count = devfilter_build(rules, n, &insn, e);

    if (count < 0)
        return count;
    memset(&attr, 0, sizeof(attr));
    attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
    attr.insn_cnt = (uint32_t)count;
    attr.insns = (uint64_t)(uintptr_t)insn;
    attr.license = (uint64_t)(uintptr_t)license;
    prog = sys_bpf(BPF_PROG_LOAD, &attr);
    if (prog < 0)
        return err_errno(e, "load the device program");
    memset(&attr, 0, sizeof(attr));
    attr.target_fd = (uint32_t)cgroup_fd;
    attr.attach_bpf_fd = (uint32_t)prog;
    attr.attach_type = BPF_CGROUP_DEVICE;
    attr.attach_flags = BPF_F_ALLOW_MULTI;
    if (old_prog >= 0) {
        attr.attach_flags |= BPF_F_REPLACE;
        attr.replace_bpf_fd = (uint32_t)old_prog;
    }
    if (sys_bpf(BPF_PROG_ATTACH, &attr) < 0)
        return err_errno(e, "attach the device program");
    return take_fd(&prog);
}
