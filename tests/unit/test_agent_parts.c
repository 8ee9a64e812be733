/*
 * The agent's pure parts: the device program (run in a small interpreter of eBPF), program lookup,
 * /etc/passwd, conversions for cgroup v2.
 */
#include "agent/agent.h"
#include "agent/cgroup.h"
#include "agent/child.h"
#include "agent/devfilter.h"
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/path.h"
#include "tests/unit/cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define R BPF_DEVCG_ACC_READ
#define W BPF_DEVCG_ACC_WRITE
#define M BPF_DEVCG_ACC_MKNOD

/* Runs the instructions that the builder uses; anything else fails the test. */
static uint64_t interpret(const struct bpf_insn *insn, int n, const struct bpf_cgroup_dev_ctx *ctx)
{
    uint64_t reg[11] = {0};

    for (int pc = 0; pc < n; pc++) {
        const struct bpf_insn *i = &insn[pc];
        uint64_t imm = (uint64_t)(int64_t)i->imm;
        bool jump = false;
        uint32_t word;

        switch (i->code) {
        case BPF_LDX | BPF_MEM | BPF_W:
            assert_int_equal(i->src_reg, 1);
            assert_in_range(i->off, 0, sizeof(*ctx) - 4);
            memcpy(&word, (const char *)ctx + i->off, sizeof(word));
            reg[i->dst_reg] = word;
            break;
        case BPF_ALU64 | BPF_MOV | BPF_X:
            reg[i->dst_reg] = reg[i->src_reg];
            break;
        case BPF_ALU64 | BPF_MOV | BPF_K:
            reg[i->dst_reg] = imm;
            break;
        case BPF_ALU64 | BPF_AND | BPF_K:
            reg[i->dst_reg] &= imm;
            break;
        case BPF_ALU64 | BPF_RSH | BPF_K:
            reg[i->dst_reg] >>= imm;
            break;
        case BPF_JMP | BPF_JNE | BPF_K:
            jump = reg[i->dst_reg] != imm;
            break;
        case BPF_JMP | BPF_JEQ | BPF_K:
            jump = reg[i->dst_reg] == imm;
            break;
        case BPF_JMP | BPF_EXIT:
            return reg[0];
        default:
            fail_msg("instruction %d has code 0x%x", pc, i->code);
        }
        if (jump) {
            assert_true(i->off > 0);
            pc += i->off;
        }
    }
    fail_msg("the program ran off its end");
    return 0;
}

static bool allowed(const struct spec_device_rule *rules, size_t n, char type, unsigned major,
                    unsigned minor, unsigned access)
{
    struct bpf_cgroup_dev_ctx ctx = {
        .access_type =
            access << 16 | (type == 'b' ? (unsigned)BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR),
        .major = major,
        .minor = minor};
    cleanup_free struct bpf_insn *insn = NULL;
    struct err e = ERR_INIT;
    int count = devfilter_build(rules, n, &insn, &e);

    if (count < 0)
        fail_msg("%s", e.msg);
    return interpret(insn, count, &ctx);
}

static void test_devices_default(void **state)
{
    (void)state;
    assert_true(allowed(NULL, 0, 'c', 1, 3, R | W | M));
    assert_true(allowed(NULL, 0, 'c', 136, 7, R | W));
    assert_true(allowed(NULL, 0, 'c', 200, 1, M)); /* mknod of anything */
    assert_true(allowed(NULL, 0, 'b', 8, 0, M));
    assert_false(allowed(NULL, 0, 'b', 8, 0, R));
    assert_false(allowed(NULL, 0, 'b', 8, 0, R | M));
    assert_false(allowed(NULL, 0, 'b', 1, 3, R)); /* the numbers of null, but a disk */
    assert_false(allowed(NULL, 0, 'c', 10, 232, R | W));
}

static void test_devices_rules(void **state)
{
    const struct spec_device_rule rules[] = {
        {.allow = false, .type = 'a', .major = -1, .minor = -1, .read = 1, .write = 1, .mknod = 1},
        {.allow = true, .type = 'b', .major = 254, .minor = -1, .read = 1, .write = 1},
        {.allow = false, .type = 'b', .major = 254, .minor = 3, .write = 1},
        {.allow = true, .type = 'c', .major = 10, .minor = 229, .read = 1},
        {.allow = true, .type = 'c', .major = 10, .minor = 229, .write = 1},
    };
    const size_t n = sizeof(rules) / sizeof(*rules);

    (void)state;
    assert_true(allowed(rules, n, 'b', 254, 0, R | W));
    assert_true(allowed(rules, n, 'b', 254, 3, R));
    assert_false(allowed(rules, n, 'b', 254, 3, W));
    assert_false(allowed(rules, n, 'b', 254, 3, R | W)); /* one bit denied is all denied */
    assert_true(allowed(rules, n, 'c', 10, 229, R | W)); /* each bit from another rule */
    assert_false(allowed(rules, n, 'c', 10, 228, R));
    assert_true(allowed(rules, n, 'c', 1, 5, R | W)); /* default devices survive "deny all" */
    assert_false(allowed(rules, n, 'b', 8, 0, R));
}

static void test_devices_allow_all(void **state)
{
    const struct spec_device_rule rules[] = {
        {.allow = true, .type = 'a', .major = -1, .minor = -1, .read = 1, .write = 1, .mknod = 1},
    };

    (void)state;
    assert_true(allowed(rules, 1, 'b', 8, 0, R | W | M));
    assert_true(allowed(rules, 1, 'c', 10, 232, R | W));
}

static void test_devices_limits(void **state)
{
    struct spec_device_rule *rules = calloc(DEVFILTER_RULES_MAX + 1, sizeof(*rules));
    struct bpf_insn *insn = NULL;
    struct err e = ERR_INIT;
    int n;

    (void)state;
    assert_non_null(rules);
    for (size_t i = 0; i <= DEVFILTER_RULES_MAX; i++)
        rules[i] = (struct spec_device_rule){.type = 'b', .major = 8, .minor = 1, .write = 1};
    n = devfilter_build(rules, DEVFILTER_RULES_MAX, &insn, &e);
    assert_in_range(n, DEVFILTER_RULES_MAX * 7, DEVFILTER_INSNS_MAX + 16 * 8);
    free(insn);
    assert_int_equal(devfilter_build(rules, DEVFILTER_RULES_MAX + 1, &insn, &e), -E2BIG);
    rules[0].major = 1ll << 32;
    assert_int_equal(devfilter_build(rules, 1, &insn, &e), -EINVAL);
    assert_string_equal(e.msg, "linux.resources.devices[0]: no device has such a number");
    free(rules);
}

/* --- limits ----------------------------------------------------------------------------------- */

/* checkBeforeUpdate: a limit below what is in use is refused, before it is written. */
static void test_check_before_update(void **state)
{
    char dir[] = "/tmp/bulkhead-cgroup-XXXXXX", *text;
    struct spec_resources r = {0};
    struct err e = ERR_INIT;

    (void)state;
    assert_non_null(mkdtemp(dir));
    int fd = open(dir, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
    assert_int_equal(io_replace_file(fd, "memory.current", 0600, "5000\n", 5, &e), 0);
    assert_int_equal(io_replace_file(fd, "memory.max", 0600, "", 0, &e), 0);
    r.memory.limit.set = true;
    r.memory.limit.v = 4999;
    r.memory.check_before_update = true;
    assert_int_equal(cgroup_set(fd, &r, &e), -EBUSY);
    assert_string_equal(e.msg, "linux.resources.memory.limit is below what is in use now "
                               "(5000 bytes)");
    assert_int_equal(io_read_file(fd, "memory.max", 64, &text, NULL, &e), 0);
    assert_string_equal(text, "");
    free(text);
    r.memory.check_before_update = false;
    assert_int_equal(cgroup_set(fd, &r, &e), 0);
    assert_int_equal(io_read_file(fd, "memory.max", 64, &text, NULL, &e), 0);
    assert_string_equal(text, "4999");
    free(text);
    close(fd);
    assert_int_equal(path_remove_tree(AT_FDCWD, dir, &e), 0);
}

/* A directory with `yes` (a program), `no` (not executable), `sub` (a directory). */
static void make_tree(char dir[64])
{
    char path[128];

    strcpy(dir, "/tmp/bulkhead-find-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/yes", dir);
    close(open(path, O_CREAT | O_WRONLY, 0755));
    snprintf(path, sizeof(path), "%s/no", dir);
    close(open(path, O_CREAT | O_WRONLY, 0644));
    snprintf(path, sizeof(path), "%s/sub", dir);
    mkdir(path, 0755);
}

static void remove_tree(const char *dir)
{
    static const char *const names[] = {"yes", "no"};
    char path[128];

    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        unlink(path);
    }
    snprintf(path, sizeof(path), "%s/sub", dir);
    rmdir(path);
    rmdir(dir);
}

/* A container names its cgroups as it likes; all go with it. */
static void test_cgroup_remove(void **state)
{
    static const char *const dirs[] = {"c", "c/plain", "c/.hidden", "c/.hidden/..x"};
    char dir[64] = "/tmp/agent-cgroup-XXXXXX", path[128];

    (void)state;
    assert_non_null(mkdtemp(dir));
    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, dirs[i]);
        assert_int_equal(mkdir(path, 0755), 0);
    }
    assert_int_equal(cgroup_remove(dir, "c"), 0);
    assert_int_equal(rmdir(dir), 0);
}

static void test_find(void **state)
{
    char dir[64], path[128], env[160], out[256], want[320];
    struct err e = ERR_INIT;

    (void)state;
    make_tree(dir);
    snprintf(env, sizeof(env), "/nowhere:%s/sub:%s", dir, dir);
    assert_int_equal(program_find("yes", env, out, sizeof(out), &e), 0);
    snprintf(path, sizeof(path), "%s/yes", dir);
    assert_string_equal(out, path);
    assert_int_equal(program_find(path, NULL, out, sizeof(out), &e), 0);
    assert_string_equal(out, path);
    assert_int_equal(program_find("no", env, out, sizeof(out), &e), -ENOENT);
    assert_string_equal(e.msg, "exec: \"no\": executable file not found in $PATH");
    assert_int_equal(program_find("sub", env, out, sizeof(out), &e), -ENOENT);
    assert_int_equal(program_find("yes", NULL, out, sizeof(out), &e), -ENOENT);
    assert_int_equal(program_find("", env, out, sizeof(out), &e), -ENOENT);
    snprintf(path, sizeof(path), "%s/no", dir);
    snprintf(want, sizeof(want), "exec: \"%s\": permission denied", path);
    assert_int_equal(program_find(path, env, out, sizeof(out), &e), -EACCES);
    assert_string_equal(e.msg, want);
    snprintf(path, sizeof(path), "%s/gone", dir);
    snprintf(want, sizeof(want), "exec: \"%s\": stat %s: no such file or directory", path, path);
    assert_int_equal(program_find(path, env, out, sizeof(out), &e), -ENOENT);
    assert_string_equal(e.msg, want);
    snprintf(env, sizeof(env), "%0150d", 0); /* an element that does not fit is passed over */
    assert_int_equal(program_find("yes", env, out, 20, &e), -ENOENT);
    remove_tree(dir);
}

static void test_find_empty_element(void **state)
{
    char dir[64], was[4096], out[64];
    struct err e = ERR_INIT;

    (void)state;
    make_tree(dir);
    assert_non_null(getcwd(was, sizeof(was)));
    assert_int_equal(chdir(dir), 0);
    assert_int_equal(program_find("yes", "/nowhere:", out, sizeof(out), &e), 0);
    assert_int_equal(program_find("yes", ":/nowhere", out, sizeof(out), &e), 0);
    assert_string_equal(out, "./yes");
    assert_int_equal(chdir(was), 0);
    remove_tree(dir);
}

static int home(const char *text, uint32_t uid, char *out, size_t size)
{
    cleanup_fd int fd = memfd_create("passwd", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return passwd_home(fd, uid, out, size);
}

static void test_passwd(void **state)
{
    static const char text[] = "root:x:0:0:root:/root:/bin/sh\n"
                               "\n# comment\nbroken:x:7\n"
                               "rel:x:8:8::home/rel:/bin/sh\n"
                               "neg:x:-9:9::/neg:\n"
                               "ann:x:1000:1000:A:/home/ann:/bin/sh\n"
                               "last:x:1001:1001::/home/last";
    char out[64] = "";

    (void)state;
    assert_int_equal(home(text, 0, out, sizeof(out)), 0);
    assert_string_equal(out, "/root");
    assert_int_equal(home(text, 1000, out, sizeof(out)), 0);
    assert_string_equal(out, "/home/ann");
    assert_int_equal(home(text, 1001, out, sizeof(out)), 0);
    assert_string_equal(out, "/home/last");
    assert_int_equal(home(text, 7, out, sizeof(out)), -ENOENT);
    assert_int_equal(home(text, 8, out, sizeof(out)), -ENOENT);
    assert_int_equal(home(text, 4, out, sizeof(out)), -ENOENT);
    assert_int_equal(home(text, 1000, out, 5), -ENOENT);
    assert_int_equal(home("", 0, out, sizeof(out)), -ENOENT);
}

static void test_env(void **state)
{
    char *env[] = {(char[]){"PATHS=1"}, (char[]){"PATH=/a"}, (char[]){"EMPTY="}, NULL};

    (void)state;
    assert_string_equal(program_env(env, "PATH"), "/a");
    assert_string_equal(program_env(env, "EMPTY"), "");
    assert_null(program_env(env, "PAT"));
    assert_null(program_env(NULL, "PATH"));
}

/* --- the loop --------------------------------------------------------------------------------- */

static int connect_to(const char *path)
{
    struct err e = ERR_INIT;
    int fd = io_unix_connect(path, SOCK_STREAM, &e);

    if (fd < 0)
        fail_msg("%s", e.msg);
    return fd;
}

#define FEW 64 /* descriptors */

/* Without a descriptor left a caller is sent away: it must not keep the loop awake. */
static void test_no_descriptor_left(void **state)
{
    const struct agent_config cfg = {.share_dir = "/", .cgroup_dir = "/"};
    static struct agent a;
    struct rlimit was, few;
    struct err e = ERR_INIT;
    char path[64], byte;
    int caller[2], taken[FEW], n = 0;

    (void)state;
    snprintf(path, sizeof(path), "/tmp/bulkhead-accept-%d", getpid());
    int listener = io_unix_listen(path, SOCK_STREAM, &e);
    assert_true(listener >= 0);
    io_set_nonblock(listener, 1);
    assert_int_equal(agent_init(&a, &cfg, listener, &e), 0);
    assert_int_equal(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 0); /* nor is any child, from birth */
    assert_int_equal(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), 0); /* the other tests' process is */
    caller[0] = connect_to(path);
    caller[1] = connect_to(path);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    few = was;
    few.rlim_cur = FEW;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    while (n < FEW && (taken[n] = dup(listener)) >= 0)
        n++;
    for (int i = 0; i < 2; i++)
        assert_int_equal(loop_once(&a.loop, 0), 0);
    while (n > 0)
        close(taken[--n]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(recv(caller[i], &byte, 1, MSG_DONTWAIT), 0);
        close(caller[i]);
    }
    assert_int_equal(a.nconns, 0);
    agent_done(&a);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_devices_default),
        cmocka_unit_test(test_devices_rules),
        cmocka_unit_test(test_devices_allow_all),
        cmocka_unit_test(test_devices_limits),
        cmocka_unit_test(test_check_before_update),
        cmocka_unit_test(test_cgroup_remove),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_find_empty_element),
        cmocka_unit_test(test_passwd),
        cmocka_unit_test(test_env),
        cmocka_unit_test(test_no_descriptor_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
