/*
 * runtime/share and runtime/guest: which trees are opened and how, what is refused, and the
 * configuration that the guest gets. Cloning mounts needs CAP_SYS_ADMIN.
 */
#include "runtime/guest.h"
#include "runtime/overlay.h"
#include "runtime/share.h"
#include "tests/unit/cmocka_all.h"

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/path.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct fixture {
    char bundle[64];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    char path[128];

    snprintf(f->bundle, sizeof f->bundle, "/tmp/test-share-XXXXXX");
    if (!mkdtemp(f->bundle))
        return -1;
    snprintf(path, sizeof path, "%s/rootfs", f->bundle);
    mkdir(path, 0755);
    snprintf(path, sizeof path, "%s/volume", f->bundle);
    mkdir(path, 0755);
    snprintf(path, sizeof path, "%s/file", f->bundle);
    close(open(path, O_CREAT | O_WRONLY, 0644));
    snprintf(path, sizeof path, "%s/fifo", f->bundle);
    mkfifo(path, 0644);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    int r = path_remove_tree(AT_FDCWD, f->bundle, &e);

    free(f);
    return r;
}

static struct spec *spec_of(const char *mounts, const char *rest)
{
    struct err e = ERR_INIT;
    struct spec *s = NULL;
    char text[4096];
    json_error_t je;

    snprintf(
        text, sizeof text,
        "{\"ociVersion\": \"1.0.2\", \"root\": {\"path\": \"rootfs\", \"readonly\": true}, "
        "\"process\": {\"cwd\": \"/\", \"args\": [\"sh\"], \"user\": {\"uid\": 0, \"gid\": 0}},"
        "\"mounts\": [%s]%s}",
        mounts, rest);
    json_t *doc = json_loads(text, 0, &je);
    if (!doc || spec_parse(doc, &s, &e) < 0)
        fail_msg("%s: %s", mounts, doc ? e.msg : je.text);
    json_decref(doc);
    return s;
}

static void need_admin(void)
{
    if (geteuid() != 0) {
        skip_because("cloning mounts wants CAP_SYS_ADMIN");
    }
}

static void one_tree_a_bind(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct share s;
    json_t *mounts;

    need_admin();
    struct spec *spec = spec_of(
        "{\"destination\": \"/proc\", \"type\": \"proc\", \"source\": \"proc\"},"
        "{\"destination\": \"/dev\", \"type\": \"tmpfs\", \"source\": \"tmpfs\"},"
        "{\"destination\": \"/v\", \"type\": \"bind\", \"source\": \"volume\", \"options\": "
        "[\"rbind\", \"ro\"]},"
        "{\"destination\": \"/f\", \"source\": \"file\", \"options\": [\"bind\"]}",
        "");
    if (share_open(spec, f->bundle, "c1", &s, &mounts, &e) < 0)
        fail_msg("%s", e.msg);
    assert_int_equal(s.n, 3);
    assert_string_equal(s.trees[0].name, "c1/rootfs");
    assert_false(s.trees[0].readonly);
    assert_string_equal(s.trees[1].name, "c1/mounts/1");
    assert_true(s.trees[1].readonly);
    assert_string_equal(s.trees[2].name, "c1/mounts/2");
    assert_false(s.trees[2].readonly);

    /* the clones are the trees, and read-only is the host's word */
    assert_int_equal(mkdirat(s.trees[0].fd, "made", 0755), 0);
    assert_int_equal(mkdirat(s.trees[1].fd, "made", 0755), -1);
    assert_int_equal(errno, EROFS);

    assert_int_equal(json_array_size(mounts), 4);
    assert_string_equal(json_string_value(json_object_get(json_array_get(mounts, 0), "type")),
                        "proc");
    /* the shim has its own /proc */
    assert_int_equal(s.nviews, 3);
    assert_string_equal(s.views[0].destination, "/dev");
    assert_null(s.views[0].tree);
    assert_string_equal(s.views[1].destination, "/v");
    assert_string_equal(s.views[1].tree, "c1/mounts/1");

    json_t *v = json_array_get(mounts, 2);
    assert_string_equal(json_string_value(json_object_get(v, "type")), "bind");
    assert_string_equal(json_string_value(json_object_get(v, "source")),
                        "/run/bulkhead/share/c1/mounts/1");
    assert_int_equal(json_array_size(json_object_get(v, "options")), 2);
    json_decref(mounts);
    share_done(&s);
    assert_null(s.trees);
    spec_free(spec);
}

static void refused(struct fixture *f, const char *mount, const char *why)
{
    struct spec *spec = spec_of(mount, "");
    struct err e = ERR_INIT;
    json_t *mounts = NULL;
    struct share s = {0};

    if (share_open(spec, f->bundle, "c1", &s, &mounts, &e) >= 0)
        fail_msg("%s was accepted", mount);
    if (!strstr(e.msg, why) || !strstr(e.msg, "mounts[0] (/x)"))
        fail_msg("%s: \"%s\" lacks \"%s\"", mount, e.msg, why);
    assert_null(s.trees);
    assert_null(mounts);
    spec_free(spec);
}

#define BIND(source)                                                                               \
    "{\"destination\": \"/x\", \"type\": \"bind\", \"source\": \"" source                          \
    "\", \"options\": [\"bind\"]}"

static void what_cannot_cross_is_refused_by_name(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    char path[128];

    need_admin();
    snprintf(path, sizeof path, "%s/socket", f->bundle);
    int sock = io_unix_listen(path, SOCK_STREAM, &e);
    assert_true(sock >= 0);
    refused(f, BIND("socket"), "source socket is a Unix socket");
    close(sock);
    refused(f, BIND("fifo"), "is a fifo");
    refused(f, BIND("/dev/null"), "/dev/null is a device");
    refused(f, BIND("/proc/sys"), "belongs to the host's kernel (proc)");
    refused(f, BIND("/sys"), "belongs to the host's kernel (sysfs)");
    refused(f, BIND("/no/such"), "source /no/such: No such file or directory");
}

/* Runs fn in a child with a mount namespace of its own; its status is the result. */
static void in_mount_namespace(void (*fn)(const struct fixture *), const struct fixture *f)
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
            _exit(100);
        fn(f);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

#define check(what)                                                                                \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            fprintf(stderr, "line %d: %s\n", __LINE__, #what);                                     \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static void shm(const struct fixture *f)
{
    char path[128], text[512];
    struct err e = ERR_INIT;
    json_t *mounts;
    struct share s;

    snprintf(path, sizeof path, "%s/volume", f->bundle);
    check(mount("shm", path, "tmpfs", 0, "size=65536k") == 0);
    snprintf(text, sizeof text,
             "{\"destination\": \"/dev//shm/\", \"type\": \"bind\", \"source\": \"%s\", "
             "\"options\": [\"bind\", \"rprivate\", \"noexec\", \"nosuid\"]}",
             path);
    struct spec *spec = spec_of(text, "");
    check(share_open(spec, f->bundle, "c1", &s, &mounts, &e) == 0);
    check(s.n == 1);
    char *got = json_dumps(json_array_get(mounts, 0), JSON_COMPACT);
    check(strcmp(got, "{\"destination\":\"/dev//shm/\",\"type\":\"tmpfs\",\"source\":\"shm\","
                      "\"options\":[\"noexec\",\"nosuid\",\"mode=1777\",\"size=67108864\"]}") == 0);
    free(got);
    json_decref(mounts);
    share_done(&s);
    spec_free(spec);
}

static void a_tmpfs_on_dev_shm_becomes_the_guests(void **state)
{
    need_admin();
    in_mount_namespace(shm, *state);
}

static void submounts(const struct fixture *f)
{
    char path[128];
    struct err e = ERR_INIT;
    json_t *mounts;
    struct share s;
    struct stat st;

    snprintf(path, sizeof path, "%s/rootfs/sub", f->bundle);
    check(mkdir(path, 0755) == 0);
    check(mount("sub", path, "tmpfs", 0, NULL) == 0);
    snprintf(path, sizeof path, "%s/rootfs/sub/here", f->bundle);
    check(mkdir(path, 0755) == 0);
    struct spec *spec = spec_of("{\"destination\": \"/r\", \"type\": \"bind\", \"source\": "
                                "\"rootfs\", \"options\": [\"bind\"]}",
                                "");
    check(share_open(spec, f->bundle, "c1", &s, &mounts, &e) == 0);
    check(fstatat(s.trees[0].fd, "sub/here", &st, 0) == 0);  /* the root goes with all below */
    check(fstatat(s.trees[1].fd, "sub/here", &st, 0) == -1); /* bind is not rbind */
    json_decref(mounts);
    share_done(&s);
    spec_free(spec);
}

static void recursion_is_as_asked(void **state)
{
    need_admin();
    in_mount_namespace(submounts, *state);
}

static void put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    check(fd >= 0 && io_write_full(fd, text, strlen(text)) == 0);
    close(fd);
}

/* Three layers behind names too long for one string of fsconfig(2), on a file system that can be
 * written to; relative paths are the bundle's, the data is joined as mount(2) wants it. */
static void overlays(const struct fixture *f)
{
    char path[512], longer[201], mount_json[2048], text[8];
    struct err e = ERR_INIT;
    json_t *mounts, *m;
    struct share s;

    memset(longer, 'l', 200);
    longer[200] = 0;
    snprintf(path, sizeof path, "%s/volume", f->bundle);
    check(mount("layers", path, "tmpfs", 0, NULL) == 0);
    snprintf(path, sizeof path, "%s/volume/%s", f->bundle, longer);
    check(mkdir(path, 0755) == 0 && chdir(path) == 0);
    check(mkdir("low", 0755) == 0 && mkdir("lower", 0755) == 0);
    check(mkdir("up", 0755) == 0 && mkdir("work", 0755) == 0);
    put("low/file", "low");
    put("lower/file", "lower");
    put("lower/other", "other");
    check(chdir("/") == 0);
    snprintf(mount_json, sizeof mount_json,
             "{\"destination\": \"/o\", \"type\": \"overlay\", \"source\": \"whatever\", "
             "\"options\": [\"lowerdir=%s/low:%s/lower\", \"upperdir=volume/%s/up\", "
             "\"workdir=volume/%s/work\", \"private\", \"noexec\"]}",
             path, path, longer, longer);
    struct spec *spec = spec_of(mount_json, "");
    if (share_open(spec, f->bundle, "c1", &s, &mounts, &e) < 0) {
        fprintf(stderr, "%s\n", e.msg);
        _exit(1);
    }
    check(s.n == 2 && !strcmp(s.trees[1].name, "c1/mounts/1") && !s.trees[1].readonly);
    int fd = openat(s.trees[1].fd, "file", O_RDWR | O_CLOEXEC);
    check(read(fd, text, sizeof text) == 3 && !memcmp(text, "low", 3));
    check(write(fd, "ly", 2) == 2);
    close(fd);
    check(faccessat(s.trees[1].fd, "other", F_OK, 0) == 0);
    snprintf(path, sizeof path, "%s/volume/%s/up/file", f->bundle, longer);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    check(read(fd, text, sizeof text) == 5 && !memcmp(text, "lowly", 5));
    close(fd);
    m = json_array_get(mounts, 0);
    char *options = json_dumps(json_object_get(m, "options"), JSON_COMPACT);
    check(!strcmp(options, "[\"private\",\"noexec\"]"));
    free(options);
    check(!strcmp(json_string_value(json_object_get(m, "type")), "bind"));
    json_decref(mounts);
    share_done(&s);
    spec_free(spec);
    /* nothing of it is mounted where anybody could see it */
}

static void bad_overlay(const struct fixture *f)
{
    struct err e = ERR_INIT;
    json_t *mounts;
    struct share s;
    struct spec *spec = spec_of("{\"destination\": \"/o\", \"type\": \"overlay\", "
                                "\"options\": [\"lowerdir=/no/such:/neither\"]}",
                                "");

    check(share_open(spec, f->bundle, "c1", &s, &mounts, &e) == -ENOENT);
    check(strstr(e.msg, "mounts[0] (/o): the host's kernel refuses the overlay lowerdir=/no/such"));
    spec_free(spec);
    e = (struct err)ERR_INIT;
    char *wide = calloc(1, 5000);
    memset(wide, 'x', 4999);
    check(overlay_mount(wide, f->bundle, &e) == -E2BIG);
    free(wide);
}

static void an_overlay_is_shared_as_the_host_mounts_it(void **state)
{
    need_admin();
    in_mount_namespace(overlays, *state);
    in_mount_namespace(bad_overlay, *state);
}

/* --- the guest's configuration --------------------------------------------------------------- */

static void the_guest_gets_its_part_only(void **state)
{
    struct err e = ERR_INIT;
    json_t *body, *mounts = json_array(), *config, *filter = NULL;

    (void)state;
    struct spec *spec = spec_of(
        "",
        ", \"hostname\": \"h\", \"annotations\": {\"a\": \"b\"}, \"vm\": {\"kernel\": "
        "{\"path\": \"/secret/kernel\"}}, \"hooks\": {\"prestart\": [{\"path\": "
        "\"/secret/hook\"}], \"startContainer\": [{\"path\": \"/in/guest\"}]}, \"linux\": "
        "{\"cgroupsPath\": \"/secret/cgroup\", \"namespaces\": [{\"type\": \"pid\"}, {\"type\": "
        "\"network\", \"path\": \"/secret/netns\"}], \"seccomp\": {\"defaultAction\": "
        "\"SCMP_ACT_ALLOW\", \"syscalls\": [{\"names\": [\"mkdir\"], \"action\": "
        "\"SCMP_ACT_ERRNO\"}]}, \"maskedPaths\": [\"/proc/kcore\"]}");
    if (guest_filter(spec, &filter, &e) < 0 ||
        guest_create_body(spec, "c1", "/b", mounts, filter, &body, &e) < 0)
        fail_msg("%s", e.msg);
    char *text = json_dumps(body, JSON_COMPACT);
    assert_null(strstr(text, "secret"));
    assert_non_null(strstr(text, "/in/guest"));
    assert_non_null(strstr(text, "/proc/kcore"));
    free(text);
    config = json_object_get(body, "config");
    assert_true(json_is_true(json_object_get(json_object_get(config, "root"), "readonly")));
    assert_string_equal(json_string_value(json_object_get(config, "hostname")), "h");
    assert_string_equal(json_string_value(json_object_get(body, "share")), "c1");
    assert_string_equal(json_string_value(json_object_get(body, "bundle")), "/b");
    /* the filter travels compiled: whole instructions of 8 bytes, in base64 */
    const char *bpf = json_string_value(json_object_get(body, "seccomp"));
    assert_non_null(bpf);
    assert_int_equal(strlen(bpf) % 4, 0);
    assert_null(json_object_get(json_object_get(config, "linux"), "seccomp"));
    /* and the guest can read what it is sent */
    struct spec *again = NULL;
    if (spec_parse(config, &again, &e) < 0)
        fail_msg("%s", e.msg);
    assert_true(again->linux_.ns[NS_NETWORK].present);
    spec_free(again);
    /* the document of the host is as it was */
    assert_non_null(json_object_get(spec->doc, "vm"));
    assert_non_null(json_object_get(json_object_get(spec->doc, "linux"), "cgroupsPath"));
    json_decref(body);
    json_decref(filter);
    json_decref(mounts);
    spec_free(spec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_tree_a_bind, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_cross_is_refused_by_name, setup, teardown),
        cmocka_unit_test_setup_teardown(a_tmpfs_on_dev_shm_becomes_the_guests, setup, teardown),
        cmocka_unit_test_setup_teardown(recursion_is_as_asked, setup, teardown),
        cmocka_unit_test_setup_teardown(an_overlay_is_shared_as_the_host_mounts_it, setup,
                                        teardown),
        cmocka_unit_test(the_guest_gets_its_part_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
