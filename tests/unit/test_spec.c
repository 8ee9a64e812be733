/*
 * config.json as a whole: every good fixture parses, every bad one is refused with its text, limits
 * hold, and no failing allocation crashes, leaks or goes unnoticed.
 */
#include "tests/unit/fixture.h"

#include "lib/json.h"
#include "lib/spec.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

static int parse_text(const char *text, struct spec **out, struct err *e)
{
    json_t *doc;
    int r = json_load_bytes(text, strlen(text), "config.json", &doc, e);

    if (r < 0)
        return r;
    r = spec_parse(doc, out, e);
    json_decref(doc);
    return r;
}

static bool good(const char *dir, const char *file)
{
    struct err e = ERR_INIT;
    struct spec *s = NULL;
    char *text = fixture_text(dir, file);
    int r = parse_text(text, &s, &e);

    if (r < 0)
        print_error("%s/%s: %s\n", dir, file, e.msg);
    else
        assert_true(s->oci_version && s->doc);
    spec_free(s);
    free(text);
    return r == 0;
}

static bool bad(const char *dir, const char *file)
{
    struct err e = ERR_INIT;
    struct spec *s = (void *)&e;
    char *text = fixture_text(dir, file);
    int r = parse_text(text, &s, &e);

    free(text);
    if (r >= 0) {
        print_error("%s/%s was accepted\n", dir, file);
        spec_free(s);
        return false;
    }
    assert_int_equal(r, -e.code);
    assert_ptr_equal(s, &e); /* untouched */
    return fixture_check_error(dir, file, e.msg);
}

static void test_good(void **state)
{
    (void)state;
    fixtures_each("config/good", 25, good);
}

static void test_bad(void **state)
{
    (void)state;
    fixtures_each("config/bad", 120, bad);
}

/* --- failing allocations --------------------------------------------------------------------- */

static long allocations_left;

static void *failing_malloc(size_t n)
{
    return allocations_left-- > 0 ? malloc(n) : NULL;
}

/* Lets the n-th allocation of jansson and of the parser fail, for every n until it succeeds. */
static bool starve(const char *dir, const char *file)
{
    char *text = fixture_text(dir, file);
    json_malloc_t get;
    json_free_t put;
    long n = 0;
    int r;

    json_get_alloc_funcs(&get, &put);
    json_set_alloc_funcs(failing_malloc, free);
    do {
        struct err e = ERR_INIT;
        struct spec *s = NULL;

        allocations_left = n;
        r = parse_text(text, &s, &e);
        if (r < 0) {
            assert_null(s);
            assert_true(e.msg[0] != 0);
        }
        spec_free(s);
        n += n < 400 ? 1 : 7; /* the large ones have thousands, all alike */
    } while (r < 0);
    json_set_alloc_funcs(get, put);
    free(text);
    return n > 10;
}

static void test_starved(void **state)
{
    (void)state;
    fixtures_each("config/good", 25, starve);
}

/* --- limits ---------------------------------------------------------------------------------- */

static void expect_too_many(json_t *doc, const char *want)
{
    struct err e = ERR_INIT;
    struct spec *s;

    assert_int_equal(spec_parse(doc, &s, &e), -E2BIG);
    assert_string_equal(e.msg, want);
    json_decref(doc);
}

static json_t *array_of(size_t n, const char *item)
{
    json_t *a = json_array();

    while (n--)
        json_array_append_new(a, json_loads(item, JSON_DECODE_ANY, NULL));
    return a;
}

static json_t *document(void)
{
    return json_pack("{s:s, s:{s:s}, s:{s:[s], s:s}}", "ociVersion", "1.0.2", "root", "path", "r",
                     "process", "args", "sh", "cwd", "/");
}

static json_t *with(const char *key, json_t *v)
{
    json_t *doc = document();

    json_object_set_new(doc, key, v);
    return doc;
}

static json_t *with_process(const char *key, json_t *v)
{
    json_t *doc = document();

    json_object_set_new(json_object_get(doc, "process"), key, v);
    return doc;
}

static void test_limits(void **state)
{
    json_t *kv = json_object();
    char key[32];

    (void)state;
    for (int i = 0; i < 4097; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        json_object_set_new(kv, key, json_string(""));
    }
    expect_too_many(with("annotations", kv),
                    "annotations has 4097 entries, at most 4096 are allowed");
    expect_too_many(with("mounts", array_of(4097, "{\"destination\":\"/a\"}")),
                    "mounts has 4097 entries, at most 4096 are allowed");
    expect_too_many(with("mounts", json_pack("[{s:s, s:o}]", "destination", "/a", "options",
                                             array_of(257, "\"ro\""))),
                    "mounts[0].options has 257 entries, at most 256 are allowed");
    expect_too_many(with_process("args", array_of(65537, "\"a\"")),
                    "process.args has 65537 entries, at most 65536 are allowed");
    expect_too_many(with_process("env", array_of(65537, "\"a=b\"")),
                    "process.env has 65537 entries, at most 65536 are allowed");
    expect_too_many(
        with_process("user", json_pack("{s:o}", "additionalGids", array_of(65537, "1"))),
        "process.user.additionalGids has 65537 entries, at most 65536 are allowed");
    expect_too_many(with_process("rlimits", array_of(65, "{}")),
                    "process.rlimits has 65 entries, at most 64 are allowed");
    expect_too_many(with("hooks", json_pack("{s:o}", "prestart", array_of(257, "{}"))),
                    "hooks.prestart has 257 entries, at most 256 are allowed");
    expect_too_many(with("linux", json_pack("{s:o}", "devices", array_of(4097, "{}"))),
                    "linux.devices has 4097 entries, at most 4096 are allowed");
    expect_too_many(with("linux", json_pack("{s:o}", "uidMappings", array_of(341, "{}"))),
                    "linux.uidMappings has 341 entries, at most 340 are allowed");
    expect_too_many(with("linux", json_pack("{s:o}", "maskedPaths", array_of(4097, "\"/a\""))),
                    "linux.maskedPaths has 4097 entries, at most 4096 are allowed");
    expect_too_many(with("linux", json_pack("{s:{s:s, s:o}}", "seccomp", "defaultAction",
                                            "SCMP_ACT_ALLOW", "syscalls", array_of(4097, "{}"))),
                    "linux.seccomp.syscalls has 4097 entries, at most 4096 are allowed");
}

static void test_many_unknown_caps(void **state)
{
    struct err e = ERR_INIT;
    struct spec *s;
    json_t *doc, *sets[2] = {json_array(), json_array()};
    char name[32];

    (void)state;
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof(name), "CAP_NEW%d", i);
        json_array_append_new(sets[i / 150], json_string(name));
    }
    doc = with_process("capabilities",
                       json_pack("{s:o, s:o}", "bounding", sets[0], "ambient", sets[1]));
    assert_int_equal(spec_parse(doc, &s, &e), -E2BIG);
    assert_string_equal(e.msg, "process.capabilities names too many unknown capabilities");
    json_decref(doc);
}

/* A key's path in an error is cut, not overrun. */
static void test_long_names(void **state)
{
    struct err e = ERR_INIT;
    struct spec *s;
    char key[1001];
    json_t *doc, *kv = json_object();

    (void)state;
    memset(key, 'k', sizeof(key) - 1);
    key[sizeof(key) - 1] = 0;
    json_object_set_new(kv, key, json_integer(1));
    doc = with("annotations", kv);
    assert_int_equal(spec_parse(doc, &s, &e), -EINVAL);
    assert_memory_equal(e.msg, "annotations.kkk", 15);
    json_decref(doc);
}

/* --- whole documents ------------------------------------------------------------------------- */

static struct spec *parsed(const char *file)
{
    struct err e = ERR_INIT;
    struct spec *s = NULL;
    char *text = fixture_text(FIXTURES "config/good", file);

    if (parse_text(text, &s, &e) < 0)
        fail_msg("%s: %s", file, e.msg);
    free(text);
    return s;
}

static void test_podman(void **state)
{
    struct spec *s = parsed("client-podman-limits.json");

    (void)state;
    assert_string_equal(s->hostname, "box");
    assert_true(s->root_readonly);
    assert_int_equal(s->process.uid, 1000);
    assert_int_equal(s->process.nrlimits, 3);
    assert_true(s->process.rlimits[1].soft == UINT64_MAX &&
                s->process.rlimits[1].hard == UINT64_MAX);
    assert_true(s->process.no_new_privileges);
    assert_int_equal(s->linux_.devices[0].mode, 0600); /* written with the type's bits */
    assert_true(s->linux_.resources.memory.limit.set);
    assert_int_equal(s->linux_.resources.memory.limit.v, 67108864);
    assert_int_equal(s->linux_.resources.cpu.quota.v, 50000);
    assert_false(s->linux_.resources.cpu.shares.set);
    assert_string_equal(s->linux_.sysctl[0].key, "kernel.msgmax");
    assert_string_equal(spec_annotation(s, "io.container.manager"), "libpod");
    assert_null(spec_annotation(s, "io.container"));
    assert_true(s->linux_.seccomp.present && s->linux_.seccomp.nrules > 10);
    spec_free(s);
}

static void test_absent(void **state)
{
    struct spec *s = parsed("minimal.json");

    (void)state;
    assert_string_equal(s->root_path, "rootfs");
    assert_true(s->process_present);
    assert_null(s->process.env);
    assert_false(s->process.caps.set);
    assert_false(s->process.oom_score_adj_set);
    assert_null(s->hostname);
    assert_false(s->vm.present);
    assert_false(s->linux_.seccomp.present);
    assert_false(s->linux_.resources.present);
    assert_int_equal(s->nmounts, 0);
    spec_free(s);
}

static void test_load(void **state)
{
    char dir[] = "/tmp/test_spec.XXXXXX", path[64], want[128];
    struct err e = ERR_INIT;
    struct spec *s = NULL;

    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(spec_load(dir, &s, &e), -ENOENT);
    assert_non_null(strstr(e.msg, dir));
    assert_non_null(strstr(e.msg, "config.json"));
    snprintf(path, sizeof(path), "%s/config.json", dir);
    assert_int_equal(io_replace_file(AT_FDCWD, path, 0600, "{}", 2, &e), 0);
    assert_int_equal(spec_load(dir, &s, &e), -EINVAL);
    snprintf(want, sizeof(want), "%s: ociVersion is missing", path);
    assert_string_equal(e.msg, want);
    assert_int_equal(io_replace_file(AT_FDCWD, path, 0600, "{\"ociVersion\":\"1.0.2\"}", 22, &e),
                     0);
    assert_int_equal(spec_load(dir, &s, &e), 0);
    spec_free(s);
    unlink(path);
    rmdir(dir);
    assert_int_equal(spec_load("/nonexistent/bundle", &s, &e), -ENOENT);
    spec_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),       cmocka_unit_test(test_bad),
        cmocka_unit_test(test_starved),    cmocka_unit_test(test_limits),
        cmocka_unit_test(test_long_names), cmocka_unit_test(test_many_unknown_caps),
        cmocka_unit_test(test_podman),     cmocka_unit_test(test_absent),
        cmocka_unit_test(test_load),
    };

    return cmocka_run_group_tests_name("spec", tests, NULL, NULL);
}
