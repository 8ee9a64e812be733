/* runtime/document: what `spec` and `features` print can be used, and says what the tables say. */
#include "tests/unit/cmocka_all.h"

#include "lib/names.h"
#include "lib/spec.h"
#include "runtime/document.h"
#include "runtime/support.h"

#include <stdlib.h>
#include <string.h>

static struct spec *made(bool user_namespace)
{
    struct err e = ERR_INIT;
    struct spec *s = NULL;
    json_t *doc = NULL;

    assert_int_equal(document_spec(user_namespace, 1000, 1001, &doc, &e), 0);
    if (spec_parse(doc, &s, &e) < 0)
        fail_msg("%s", e.msg);
    json_decref(doc);
    if (support_check(s, NULL, &e) < 0)
        fail_msg("%s", e.msg);
    return s;
}

static void test_spec(void **state)
{
    struct spec *s = made(false);

    (void)state;
    assert_string_equal(s->process.args[0], "sh");
    assert_true(s->process.terminal && s->process.no_new_privileges && s->root_readonly);
    assert_int_equal(s->process.caps.bounding, 1 << 5 | 1 << 10 | 1 << 29);
    assert_int_equal(s->process.caps.ambient, 0);
    assert_int_equal(s->nmounts, 7);
    assert_false(s->linux_.ns[NS_USER].present);
    assert_true(s->linux_.resources.present);
    spec_free(s);
}

static void test_spec_user_namespace(void **state)
{
    struct spec *s = made(true);

    (void)state;
    assert_true(s->linux_.ns[NS_USER].present);
    assert_int_equal(s->linux_.nuid_maps, 1);
    assert_int_equal(s->linux_.uid_maps[0].host_id, 1000);
    assert_int_equal(s->linux_.gid_maps[0].host_id, 1001);
    assert_false(s->linux_.resources.present);
    for (size_t i = 0; i < s->nmounts; i++)
        assert_false(spec_mount_has_option(&s->mounts[i], "gid=5"));
    spec_free(s);
}

static bool lists(const json_t *array, const char *name)
{
    json_t *v;
    size_t i;

    assert_true(json_array_size(array) > 0);
    json_array_foreach(array, i, v)
    {
        if (!strcmp(json_string_value(v), name))
            return true;
    }
    return false;
}

static void check_sorted(const json_t *array)
{
    for (size_t i = 1; i < json_array_size(array); i++)
        assert_true(strcmp(json_string_value(json_array_get(array, i - 1)),
                           json_string_value(json_array_get(array, i))) < 0);
}

static void test_features(void **state)
{
    struct err e = ERR_INIT;
    json_t *doc = NULL, *l, *options, *seccomp;

    (void)state;
    assert_int_equal(document_features(&doc, &e), 0);
    assert_string_equal(json_string_value(json_object_get(doc, "ociVersionMin")), "1.0.0");
    assert_int_equal(json_array_size(json_object_get(doc, "hooks")), HOOK_KINDS);
    assert_true(lists(json_object_get(doc, "hooks"), "prestart"));
    assert_true(lists(json_object_get(doc, "hooks"), "createContainer"));
    assert_true(lists(json_object_get(doc, "hooks"), "poststop"));
    options = json_object_get(doc, "mountOptions");
    assert_true(lists(options, "tmpcopyup") && lists(options, "rro") && lists(options, "rbind"));
    assert_false(lists(options, "idmap"));
    check_sorted(options);
    l = json_object_get(doc, "linux");
    assert_int_equal(json_array_size(json_object_get(l, "namespaces")), NS_KINDS);
    assert_int_equal(json_array_size(json_object_get(l, "capabilities")), SPEC_CAP_LAST + 1);
    assert_true(lists(json_object_get(l, "namespaces"), "time"));
    seccomp = json_object_get(l, "seccomp");
    assert_true(lists(json_object_get(seccomp, "actions"), "SCMP_ACT_ERRNO"));
    assert_false(lists(json_object_get(seccomp, "actions"), "SCMP_ACT_NOTIFY"));
    assert_true(lists(json_object_get(seccomp, "archs"), "SCMP_ARCH_X86_64"));
    assert_true(json_is_false(json_object_get(json_object_get(l, "apparmor"), "enabled")));
    assert_true(json_is_true(json_object_get(json_object_get(l, "cgroup"), "v2")));
    /* what is built in, as runc means it: scopes are asked for by --systemd-cgroup */
    assert_true(json_is_true(json_object_get(json_object_get(l, "cgroup"), "systemd")));
    assert_true(json_is_false(json_object_get(json_object_get(l, "cgroup"), "systemdUser")));
    assert_non_null(
        json_object_get(json_object_get(doc, "annotations"), ANNOTATION_PREFIX "version"));
    json_decref(doc);
}

static void test_text(void **state)
{
    struct err e = ERR_INIT;
    json_t *doc = json_pack("{s:i}", "a", 1);
    char *text = NULL;

    (void)state;
    assert_int_equal(document_text(doc, &text, &e), 0);
    assert_string_equal(text, "{\n    \"a\": 1\n}\n");
    free(text);
    json_decref(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spec),
        cmocka_unit_test(test_spec_user_namespace),
        cmocka_unit_test(test_features),
        cmocka_unit_test(test_text),
    };

    return cmocka_run_group_tests_name("document", tests, NULL, NULL);
}
