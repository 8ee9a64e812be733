/*
 * runtime/create with a played VMM, file server and /dev/kvm: the order in which a container comes
 * about, what is refused before anything exists, and that a failure at any step, of the host or of
 * the guest, leaves neither process nor state. This program is its own VMM and file server; the
 * name by which it is started says how the VMM behaves.
 */
#include "tests/unit/sandbox_rig.h"

#include "lib/names.h"
#include "runtime/sandbox.h"

#include <elf.h>
#include <sys/auxv.h>
#include <sys/syscall.h>

/* Stands before libc's for the whole program: /dev/kvm is there. */
static bool no_kvm;

int open(const char *path, int flags, ...)
{
    va_list ap;

    va_start(ap, flags);
    int mode = va_arg(ap, int);
    va_end(ap);
    if (strcmp(path, "/dev/kvm") == 0)
        path = no_kvm ? "/dev/kvm-is-not-here" : "/dev/null";
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

/* --- the played programs ---------------------------------------------------------------------- */

/* The VMM's behaviour, by its file's name: vmm-<request>-<how>. */
static int play_vmm(int plan_fd, const char *name)
{
    struct rig r = {.stop = eventfd(0, EFD_CLOEXEC)};
    struct err e = ERR_INIT;
    struct plan plan;
    unsigned type = 0, how = 0;
    int hello[2];

    (void)sscanf(name, "vmm-%u-%u", &type, &how);
    if (plan_read(plan_fd, &plan, &e) < 0)
        return 3;
    if (how == RIG_HANG_UP && type == PROTO_HELLO)
        return 4;
    r.listener = plan.devices[0].fd[0];
    r.control = plan.control_fd;
    r.answers[0] = (struct rig_answer){(uint16_t)type, (enum rig_how)how, EPERM, "because"};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, hello) < 0 ||
        io_send_fds(plan.devices[0].listeners[0].fd, "c", 1, &hello[1], 1) != 1)
        return 5;
    close(hello[1]);
    rig_send(hello[0], how == RIG_EVENT && type == PROTO_HELLO ? PROTO_OOM : PROTO_HELLO, 0,
             json_pack("{s:i}", "boot_ns", 5), 0);
    r.peers[r.npeers++] = hello[0];
    rig_machine(&r);
    return 0;
}

static int play_program(const char *argv0, const char *arg)
{
    const char *path = (const char *)(uintptr_t)getauxval(AT_EXECFN);

    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves none */
    if (strcmp(argv0, "bulkhead-vmm") == 0)
        return play_vmm(atoi(arg), strrchr(path, '/') + 1);
    for (;;) /* the file server, which nobody asks anything */
        pause();
}

/* --- a bundle ----------------------------------------------------------------------------------
 */

static char self[4096], shim_path[4096];

struct bundle {
    char base[64], path[96], rootfs[128], root[96], config[96], kernel[96], vmm[128];
    struct runtime rt;
    struct create_options o;
};

static void write_to(const char *path, const void *bytes, size_t len)
{
    struct err e = ERR_INIT;

    if (io_replace_file(AT_FDCWD, path, 0600, bytes, len, &e) < 0)
        fail_msg("%s", e.msg);
}

static void bundle_spec(struct bundle *b, const char *root, const char *terminal, const char *more)
{
    char path[128], text[1024];

    snprintf(path, sizeof path, "%s/config.json", b->path);
    snprintf(text, sizeof text,
             "{\"ociVersion\": \"1.0.2\", \"root\": {\"path\": \"%s\"}, \"process\": {\"cwd\": "
             "\"/\", \"terminal\": %s, \"args\": [\"sh\"], \"user\": {\"uid\": 0, \"gid\": 0}}, "
             "\"linux\": {\"namespaces\": [{\"type\": \"mount\"}, {\"type\": \"pid\"}, {\"type\": "
             "\"ipc\"}, {\"type\": \"uts\"}, {\"type\": \"network\"}]}%s}",
             root, terminal, more);
    write_to(path, text, strlen(text));
}

/* bulkhead.json, with a VMM that answers `type` as `how` says. */
static void bundle_vmm(struct bundle *b, unsigned type, enum rig_how how)
{
    char text[9000];

    if (*b->vmm)
        unlink(b->vmm);
    snprintf(b->vmm, sizeof b->vmm, "%s/vmm-%u-%u", b->base, type, (unsigned)how);
    assert_int_equal(symlink(self, b->vmm), 0);
    snprintf(text, sizeof text,
             "{\"kernel\": \"%s\", \"initrd\": \"%s\", \"vmm\": \"%s\", \"fs\": \"%s\", \"shim\": "
             "\"%s\"}",
             b->kernel, b->kernel, b->vmm, self, shim_path);
    write_to(b->config, text, strlen(text));
}

static int bundle_set_up(void **state)
{
    struct bundle *b = calloc(1, sizeof *b);
    Elf64_Ehdr h = {.e_machine = EM_X86_64};

    memcpy(h.e_ident, ELFMAG, SELFMAG);
    h.e_ident[EI_CLASS] = ELFCLASS64;
    snprintf(b->base, sizeof b->base, "/tmp/bulkhead-test-XXXXXX");
    assert_non_null(mkdtemp(b->base));
    snprintf(b->path, sizeof b->path, "%s/bundle", b->base);
    snprintf(b->rootfs, sizeof b->rootfs, "%s/rootfs", b->path);
    snprintf(b->root, sizeof b->root, "%s/state", b->base);
    snprintf(b->config, sizeof b->config, "%s/bulkhead.json", b->base);
    snprintf(b->kernel, sizeof b->kernel, "%s/vmlinux", b->base);
    assert_int_equal(mkdir(b->path, 0755) | mkdir(b->rootfs, 0755), 0);
    write_to(b->kernel, &h, sizeof h);
    b->rt = (struct runtime){.root = b->root, .config = b->config, .no_cgroup = true};
    b->o = (struct create_options){.bundle = b->path};
    bundle_spec(b, "rootfs", "false", "");
    bundle_vmm(b, 0, RIG_OK);
    no_kvm = false;
    *state = b;
    return 0;
}

static int bundle_tear_down(void **state)
{
    struct bundle *b = *state;
    struct err e = ERR_INIT;
    int r = path_remove_tree(AT_FDCWD, b->base, &e);

    free(b);
    return r;
}

static int create(struct bundle *b, const char *id, struct shim *s, struct err *e)
{
    struct err w = ERR_INIT;

    *s = (struct shim)SHIM_INIT;
    return container_create(&b->rt, id, &b->o, s, &w, e);
}

/* It failed for that reason, and nothing is left: no state, no child. */
static void refused(struct bundle *b, const char *id, int code, const char *why)
{
    struct err e = ERR_INIT;
    struct shim s;
    char path[160];

    rig_failed(create(b, id, &s, &e), &e, code, why);
    assert_int_equal(s.pid, 0);
    snprintf(path, sizeof path, "%s/" RIG_ID, b->root);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static void what_cannot_be_is_refused_at_once(void **state)
{
    struct bundle *b = *state;

    refused(b, "a/b", EINVAL, "'/'");
    b->o.console_socket = "/s";
    refused(b, RIG_ID, EINVAL, "process.terminal is false");
    b->o.console_socket = NULL;
    bundle_spec(b, "rootfs", "true", "");
    refused(b, RIG_ID, EINVAL, "needs --console-socket");
    bundle_spec(b, "absent", "false", "");
    refused(b, RIG_ID, ENOENT, "root.path ");
    bundle_spec(b, "config.json", "false", "");
    refused(b, RIG_ID, ENOTDIR, "is not a directory");
    bundle_spec(b, "rootfs", "false", "");
    write_to(b->kernel, "bzImage", 7);
    refused(b, RIG_ID, ENOEXEC, "is not an ELF file");
    unlink(b->kernel);
    refused(b, RIG_ID, ENOENT, "make kernel builds one");
    write_to(b->config, "{\"kernle\": 1}", 13);
    refused(b, RIG_ID, EINVAL, "kernle");
    b->o.bundle = "/nonexistent";
    refused(b, RIG_ID, ENOENT, "bundle /nonexistent");
}

static void without_kvm_there_is_no_container(void **state)
{
    no_kvm = true;
    refused(*state, RIG_ID, ENODEV, "/dev/kvm does not exist");
}

#define WANT_SHIM()                                                                                \
    do {                                                                                           \
        if (geteuid() != 0)                                                                        \
            skip_because("it wants root: the shim makes namespaces");                              \
    } while (0)

static void a_container_comes_about_and_goes(void **state)
{
    struct bundle *b = *state;
    struct err e = ERR_INIT, w = ERR_INIT;
    struct store store = STORE_INIT;
    struct state now = STATE_INIT;
    struct shim s;

    WANT_SHIM();
    if (create(b, RIG_ID, &s, &e) < 0)
        fail_msg("%s", e.msg);
    assert_int_equal(container_load(&b->rt, RIG_ID, &store, &now, &e), 0);
    assert_int_equal(state_status(&now), STATUS_CREATED);
    assert_int_equal(now.shim.pid, s.pid);
    assert_int_equal(now.guest_boot_ns, 5);
    assert_true(process_alive(&now.vmm) && process_alive(&now.fs));
    for (int p = PHASE_BEGIN; p < PHASE_CREATED; p++)
        assert_true(now.phase[p] > 0 && now.phase[p] <= now.phase[p + 1]);
    struct shim other;
    rig_failed(create(b, RIG_ID, &other, &e), &e, EEXIST, "already exists");
    assert_true(process_alive(&now.vmm)); /* whose it is does not notice */
    shim_release(&s);
    state_done(&now);
    store_close(&store);
    assert_int_equal(container_delete(&b->rt, RIG_ID, true, &w, &e), 0);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void a_failure_at_any_step_is_undone(void **state)
{
    static const struct {
        unsigned type;
        enum rig_how how;
        int code;
    } steps[] = {
        {PROTO_HELLO, RIG_HANG_UP, ECONNRESET},
        {PROTO_HELLO, RIG_EVENT, EPROTO},
        {PROTO_CONTAINER_CREATE, RIG_ERROR, EPERM},
        {PROTO_CONTAINER_CREATE, RIG_HANG_UP, ECONNRESET},
        {PROTO_CONTAINER_CREATE, RIG_NONSENSE, EPROTO},
        {PROTO_PROCESS_ATTACH, RIG_ERROR, EPERM},
        {PROTO_PROCESS_ATTACH, RIG_HALF, ECONNRESET},
        {PROTO_PROCESS_STREAM, RIG_ERROR, EPERM},
        {PROTO_PROCESS_STREAM, RIG_WRONG_ID, EPROTO},
    };
    struct bundle *b = *state;

    WANT_SHIM();
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        bundle_vmm(b, steps[i].type, steps[i].how);
        refused(b, RIG_ID, steps[i].code, "");
    }
    /* of the host: hooks, the pid-file at the very end, programs that are not there */
    bundle_vmm(b, 0, RIG_OK);
    b->o.pid_file = "/nonexistent/pid";
    refused(b, RIG_ID, ENOENT, "/nonexistent/pid");
    b->o.pid_file = NULL;
    bundle_spec(b, "rootfs", "false",
                ", \"hooks\": {\"createRuntime\": [{\"path\": \"/bin/false\"}]}");
    refused(b, RIG_ID, ECANCELED, "createRuntime");
    bundle_spec(b, "rootfs", "false", "");
    unlink(b->vmm);
    refused(b, RIG_ID, ENOENT, "cannot run bulkhead-vmm");
    assert_int_equal(symlink(self, b->vmm), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_cannot_be_is_refused_at_once, bundle_set_up,
                                        bundle_tear_down),
        cmocka_unit_test_setup_teardown(without_kvm_there_is_no_container, bundle_set_up,
                                        bundle_tear_down),
        cmocka_unit_test_setup_teardown(a_container_comes_about_and_goes, bundle_set_up,
                                        bundle_tear_down),
        cmocka_unit_test_setup_teardown(a_failure_at_any_step_is_undone, bundle_set_up,
                                        bundle_tear_down),
    };
    const char *shim = getenv("BULKHEAD_SHIM");

    if (argc > 2)
        return play_program(argv[0], argv[2]);
    if (!realpath("/proc/self/exe", self) ||
        !realpath(shim ? shim : "build/bulkhead-shim", shim_path)) {
        print_error("build/bulkhead-shim is missing: make it, or set BULKHEAD_SHIM\n");
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
