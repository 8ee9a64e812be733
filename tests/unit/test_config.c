/* runtime/config: the file, its errors, and what a container may change. */
#include "runtime/config.h"
#include "tests/unit/cmocka_all.h"

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/path.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int load(const char *text, struct config *out, struct err *e)
{
    char dir[] = "/tmp/test-config-XXXXXX", path[64];
    struct err ignored = ERR_INIT;

    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/bulkhead.json", dir);
    assert_int_equal(io_replace_file(AT_FDCWD, path, 0600, text, strlen(text), &ignored), 0);
    int r = config_load(path, out, e);
    assert_int_equal(path_remove_tree(AT_FDCWD, dir, &ignored), 0);
    return r;
}

static void defaults_hold_without_keys(void **state)
{
    struct err e = ERR_INIT;
    struct config c;

    (void)state;
    if (load("{\"kernel\": \"\", \"console-log\": \"\"}", &c, &e) < 0)
        fail_msg("%s", e.msg);
    assert_int_equal(c.vcpus, CONFIG_VCPUS);
    assert_int_equal(c.memory_mib, CONFIG_MEMORY_MIB);
    assert_int_equal(c.vmm_uid_base, CONFIG_VMM_UID_BASE);
    assert_string_equal(c.kernel_parameters, CONFIG_KERNEL_PARAMETERS);
    assert_null(c.console_log);
    assert_true(strstr(c.kernel, "/vmlinux") != NULL);
    assert_true(strstr(c.vmm, "/bulkhead-vmm") != NULL);
    config_done(&c);
}

static void the_shipped_file_says_the_defaults(void **state)
{
    struct err e = ERR_INIT;
    struct config shipped, builtin;

    (void)state;
    if (config_load("configs/bulkhead.json", &shipped, &e) < 0 || load("{}", &builtin, &e) < 0)
        fail_msg("%s", e.msg);
    assert_int_equal(shipped.vcpus, builtin.vcpus);
    assert_int_equal(shipped.memory_mib, builtin.memory_mib);
    assert_int_equal(shipped.vmm_uid_base, builtin.vmm_uid_base);
    assert_string_equal(shipped.kernel_parameters, builtin.kernel_parameters);
    assert_string_equal(shipped.kernel, builtin.kernel);
    for (size_t i = 0; shipped.annotations[i] || builtin.annotations[i]; i++)
        assert_string_equal(shipped.annotations[i], builtin.annotations[i]);
    config_done(&shipped);
    config_done(&builtin);
}

static void every_key_is_read(void **state)
{
    struct err e = ERR_INIT;
    struct config c;

    (void)state;
    int r = load("{\"kernel\": \"/k\", \"initrd\": \"i\", \"kernel-parameters\": \"quiet x=1\","
                 "\"vcpus\": 4, \"memory\": 512, \"vmm\": \"/v\", \"fs\": \"/f\", \"shim\": \"/s\","
                 "\"vmm-uid-base\": 100000, \"console-log\": \"/l/{id}.log\","
                 "\"annotations\": [\"memory\"]}",
                 &c, &e);
    if (r < 0)
        fail_msg("%s", e.msg);
    assert_string_equal(c.kernel, "/k");
    assert_true(c.initrd[0] == '/' && strcmp(strrchr(c.initrd, '/'), "/i") == 0);
    assert_string_equal(c.kernel_parameters, "quiet x=1");
    assert_int_equal(c.vcpus, 4);
    assert_int_equal(c.memory_mib, 512);
    assert_string_equal(c.vmm, "/v");
    assert_string_equal(c.fs, "/f");
    assert_string_equal(c.shim, "/s");
    assert_int_equal(c.vmm_uid_base, 100000);
    assert_string_equal(c.console_log, "/l/{id}.log");
    assert_string_equal(c.annotations[0], "memory");
    assert_null(c.annotations[1]);
    config_done(&c);
}

/* Of a path it stands for the default; parameters can be none. */
static void the_empty_string(void **state)
{
    struct err e = ERR_INIT;
    struct config c;

    (void)state;
    if (load("{\"kernel\": \"\", \"initrd\": \"\", \"vmm\": \"\", \"fs\": \"\", \"shim\": \"\","
             "\"console-log\": \"\", \"kernel-parameters\": \"\"}",
             &c, &e) < 0)
        fail_msg("%s", e.msg);
    assert_true(strstr(c.kernel, "/vmlinux") && strstr(c.initrd, "/initramfs.cpio"));
    assert_true(strstr(c.vmm, "/bulkhead-vmm") && strstr(c.fs, "/bulkhead-fs"));
    assert_true(strstr(c.shim, "/bulkhead-shim") && !c.console_log);
    assert_string_equal(c.kernel_parameters, "");
    config_done(&c);
}

static void mistakes_are_named(void **state)
{
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"[]", "must hold a JSON object"},
        {"{\"kernal\": \"/k\"}", "kernal"},
        {"{\"vcpus\": 0}", "vcpus"},
        {"{\"vcpus\": 33}", "vcpus"},
        {"{\"vcpus\": \"1\"}", "vcpus must be an integer"},
        {"{\"memory\": 16}", "memory"},
        {"{\"kernel\": 1}", "kernel must be a string"},
        {"{\"vmm-uid-base\": 0}", "vmm-uid-base"},
        {"{\"vmm-uid-base\": 4294967295}", "vmm-uid-base"},
        {"{\"annotations\": [\"root\"]}", "dev.bulkhead.root"},
        {"{\"annotations\": \"all\"}", "annotations must be an array"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct err e = ERR_INIT;
        struct config c;
        if (load(cases[i].text, &c, &e) >= 0)
            fail_msg("%s was accepted", cases[i].text);
        if (!strstr(e.msg, cases[i].why) || !strstr(e.msg, "bulkhead.json"))
            fail_msg("%s: \"%s\" lacks \"%s\"", cases[i].text, e.msg, cases[i].why);
    }
}

/* --- one container --------------------------------------------------------------------------- */

static struct spec *spec_of(const char *rest)
{
    struct err e = ERR_INIT;
    struct spec *s = NULL;
    char text[2048];
    json_error_t je;

    snprintf(text, sizeof text,
             "{\"ociVersion\": \"1.0.2\", \"root\": {\"path\": \"rootfs\"}, \"process\": {\"cwd\": "
             "\"/\", \"args\": [\"sh\"], \"user\": {\"uid\": 0, \"gid\": 0}}%s}",
             rest);
    json_t *doc = json_loads(text, 0, &je);
    if (!doc || spec_parse(doc, &s, &e) < 0)
        fail_msg("%s: %s%s", rest, doc ? e.msg : je.text, "");
    json_decref(doc);
    return s;
}

static int apply(const char *file, const char *rest, struct config *c, struct err *e)
{
    struct spec *s = spec_of(rest);
    int r = load(file, c, e);

    if (r == 0) {
        r = config_apply_spec(c, s, "c1", e);
        if (r < 0)
            config_done(c);
    }
    spec_free(s);
    return r;
}

static void expect(const char *rest, uint32_t vcpus, uint64_t memory, const char *parameters)
{
    struct err e = ERR_INIT;
    struct config c;

    if (apply("{\"kernel-parameters\": \"quiet\"}", rest, &c, &e) < 0)
        fail_msg("%s: %s", rest, e.msg);
    assert_int_equal(c.vcpus, vcpus);
    assert_int_equal(c.memory_mib, memory);
    assert_string_equal(c.kernel_parameters, parameters);
    config_done(&c);
}

static void the_vm_section_and_annotations_count_in_this_order(void **state)
{
    (void)state;
    expect("", 1, 256, "quiet");
    expect(", \"vm\": {\"kernel\": {\"path\": \"/k\", \"parameters\": [\"a\", \"b=1\"]},"
           "\"hwConfig\": {\"vcpus\": 2, \"memory\": 402653184}}",
           2, 384, "quiet a b=1");
    expect(", \"vm\": {\"kernel\": {\"path\": \"/k\", \"parameters\": [\"a\"]},"
           "\"hwConfig\": {\"vcpus\": 2, \"memory\": 402653184}}, \"annotations\": {"
           "\"dev.bulkhead.vcpus\": \"3\", \"dev.bulkhead.memory\": \"512\","
           "\"dev.bulkhead.kernel-parameters\": \"c d\"}",
           3, 512, "quiet a c d");
    expect(", \"annotations\": {\"dev.bulkhead.memory\": \"1G\", \"com.example\": \"x\"}", 1, 1024,
           "quiet");
}

static void limits_above_the_default_make_the_vm_larger(void **state)
{
    (void)state;
    expect(", \"linux\": {\"resources\": {\"memory\": {\"limit\": 104857600}}}", 1, 256, "quiet");
    expect(", \"linux\": {\"resources\": {\"memory\": {\"limit\": 1073741824}}}", 1, 1088, "quiet");
    expect(", \"linux\": {\"resources\": {\"memory\": {\"limit\": -1}}}", 1, 256, "quiet");
    expect(", \"linux\": {\"resources\": {\"memory\": {\"limit\": 1073741824}}}, \"annotations\": "
           "{\"dev.bulkhead.memory\": \"128\"}",
           1, 128, "quiet");
    expect(", \"linux\": {\"resources\": {\"cpu\": {\"quota\": 50000, \"period\": 100000}}}", 1,
           256, "quiet");
}

static void paths_and_the_console_log(void **state)
{
    struct err e = ERR_INIT;
    struct config c;

    (void)state;
    if (apply(
            "{\"console-log\": \"/l/{id}.log\"}",
            ", \"annotations\": {\"dev.bulkhead.kernel\": \"/k\", \"dev.bulkhead.initrd\": \"/i\"}",
            &c, &e) < 0)
        fail_msg("%s", e.msg);
    assert_string_equal(c.console_log, "/l/c1.log");
    assert_string_equal(c.kernel, "/k");
    assert_string_equal(c.initrd, "/i");
    config_done(&c);
    if (apply("{}", ", \"annotations\": {\"dev.bulkhead.console-log\": \"/x\"}", &c, &e) < 0)
        fail_msg("%s", e.msg);
    assert_string_equal(c.console_log, "/x");
    config_done(&c);
}

static void wishes_that_cannot_be_are_named(void **state)
{
    static const struct {
        const char *file, *rest, *why;
    } cases[] = {
        {"{}", "\"dev.bulkhead.cpus\": \"1\"", "dev.bulkhead.cpus is unknown"},
        {"{}", "\"dev.bulkhead.vcpus\": \"many\"", "dev.bulkhead.vcpus must be a whole number"},
        {"{}", "\"dev.bulkhead.vcpus\": \"33\"", "1 to 32"},
        {"{}", "\"dev.bulkhead.memory\": \"8\"", "dev.bulkhead.memory must be 32 MiB"},
        {"{}", "\"dev.bulkhead.memory\": \"lots\"", "dev.bulkhead.memory must be a number of MiB"},
        {"{}", "\"dev.bulkhead.memory\": \"99999999999999999\"", "dev.bulkhead.memory"},
        {"{}", "\"dev.bulkhead.kernel\": \"k\"", "must be an absolute path"},
        {"{}", "\"dev.bulkhead.console-log\": \"l\"", "must be an absolute path"},
        {"{}", "\"dev.bulkhead.kernel-parameters\": \"a\\nb\"", "printable"},
        {"{\"annotations\": []}", "\"dev.bulkhead.vcpus\": \"1\"", "not among"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct err e = ERR_INIT;
        struct config c;
        char rest[256];
        snprintf(rest, sizeof rest, ", \"annotations\": {%s}", cases[i].rest);
        if (apply(cases[i].file, rest, &c, &e) >= 0)
            fail_msg("%s was accepted", cases[i].rest);
        if (!strstr(e.msg, cases[i].why))
            fail_msg("%s: \"%s\" lacks \"%s\"", cases[i].rest, e.msg, cases[i].why);
    }
}

static void an_endless_command_line_is_refused(void **state)
{
    struct err e = ERR_INIT;
    struct config c;
    char rest[1800], words[1600];

    (void)state;
    memset(words, 'x', sizeof words);
    words[sizeof words - 1] = '\0';
    snprintf(rest, sizeof rest, ", \"annotations\": {\"dev.bulkhead.kernel-parameters\": \"%s\"}",
             words);
    assert_int_equal(apply("{}", rest, &c, &e), -E2BIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_hold_without_keys),
        cmocka_unit_test(the_shipped_file_says_the_defaults),
        cmocka_unit_test(every_key_is_read),
        cmocka_unit_test(the_empty_string),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(the_vm_section_and_annotations_count_in_this_order),
        cmocka_unit_test(limits_above_the_default_make_the_vm_larger),
        cmocka_unit_test(paths_and_the_console_log),
        cmocka_unit_test(wishes_that_cannot_be_are_named),
        cmocka_unit_test(an_endless_command_line_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
