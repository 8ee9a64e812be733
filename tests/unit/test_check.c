/* `bulkhead check`, the host side: reading bulkhead-vmm's lines, the verdict and the exit status,
 * the two forms of output, and what counts as "set up to call us". */
#include "tests/unit/cmocka_all.h"

#include "lib/cleanup.h"
#include "runtime/check/check.h"

#include <string.h>

#define LINE(id, verdict, weight, without)                                                         \
    "7\t" id "\t" verdict "\t" weight "\tname\tKVM_X\texp\tsaw\t" without

static bool parse(struct check_report *r, const char *text)
{
    cleanup_free char *copy = strdup(text);

    return check_parse(r, copy);
}

static struct check_report good(void)
{
    static const struct check_found host = {"cgroup", "cgroup v2", CHECK_NEEDED, "cgroup"};
    struct check_report r = {.kvm_usable = true};

    check_add(&r, &host, CHECK_PASS, "never shown", "version %d", 2);
    assert_true(parse(&r, LINE("modes", "PASS", "needed", "a processor")));
    return r;
}

static void expect_verdict(struct check_report *r, int status, const char *text)
{
    struct strbuf b = {0};

    check_verdict_text(r, &b);
    assert_string_equal(b.s, text);
    assert_int_equal(check_status(r), status);
    strbuf_done(&b);
    check_report_done(r);
}

static void test_parse(void **state)
{
    struct check_report r = {.n = 0};

    (void)state;
    assert_true(parse(&r, "19\tread-only\tFAIL\tneeded\ta name\tKVM_Y\tan exit\tnone\tdevices"));
    assert_int_equal(r.n, 1);
    assert_true(r.lines[0].kvm);
    assert_int_equal(r.lines[0].number, 19);
    assert_int_equal(r.lines[0].verdict, CHECK_FAIL);
    assert_int_equal(r.lines[0].weight, CHECK_NEEDED);
    assert_string_equal(r.lines[0].id, "read-only");
    assert_string_equal(r.lines[0].name, "a name");
    assert_string_equal(r.lines[0].interface, "KVM_Y");
    assert_string_equal(r.lines[0].expected, "an exit");
    assert_string_equal(r.lines[0].seen, "none");
    assert_string_equal(r.lines[0].without, "devices");
    check_report_done(&r);
}

static void test_parse_refuses(void **state)
{
    static const char *const bad[] = {
        "",
        "1",
        "x\tid\tPASS\tneeded\tn\ti\te\ts\tw",
        "1\t\tPASS\tneeded\tn\ti\te\ts\tw",
        "1\tid\tMAYBE\tneeded\tn\ti\te\ts\tw",
        "1\tid\tPASS\tinfo\tn\ti\te\ts\tw",
        "1\tid\tPASS\tneeded\tn\ti\te\ts",
        "5000\tid\tPASS\tneeded\tn\ti\te\ts\tw",
    };
    struct check_report r = {.n = 0};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(parse(&r, bad[i]));
    assert_int_equal(r.n, 0);
    for (size_t i = 0; i < CHECK_LINES_MAX; i++)
        assert_true(parse(&r, LINE("id", "PASS", "later", "w")));
    assert_false(parse(&r, LINE("id", "PASS", "later", "w")));
    check_report_done(&r);
}

static void test_verdicts(void **state)
{
    struct check_report r = good();

    (void)state;
    expect_verdict(&r, 0, "containers will run");

    r = good();
    assert_true(parse(&r, LINE("optional", "SKIP", "speed", "deadline timer")));
    expect_verdict(&r, 0, "containers will run, slower: no deadline timer");

    r = good();
    assert_true(parse(&r, LINE("clock", "FAIL", "later", "snapshots")));
    assert_true(parse(&r, LINE("nmi", "FAIL", "later", "snapshots")));
    assert_true(parse(&r, LINE("one-reg", "SKIP", "later", "registers by name")));
    expect_verdict(&r, 0, "containers will run; but no snapshots");

    r = good();
    assert_true(parse(&r, LINE("mmio", "FAIL", "needed", "virtio devices")));
    assert_true(parse(&r, LINE("irqfd", "FAIL", "needed", "interrupts")));
    assert_true(parse(&r, LINE("clock", "FAIL", "later", "snapshots")));
    expect_verdict(&r, 1, "containers cannot run: no virtio devices, no interrupts");

    r = good();
    r.kvm_usable = false;
    assert_true(parse(&r, LINE("kvm-device", "FAIL", "needed", "usable /dev/kvm")));
    expect_verdict(&r, 77, "containers cannot run: no usable /dev/kvm");

    r = (struct check_report){.kvm_usable = true};
    expect_verdict(&r, 1, "containers cannot run: the checks could not be carried out");
}

static void test_print(void **state)
{
    struct check_report r = good();
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);

    (void)state;
    assert_true(parse(&r, LINE("irqfd", "FAIL", "needed", "interrupts")));
    check_print(&r, f);
    fclose(f);
    assert_string_equal(text, "PASS      cgroup  cgroup v2: version 2\n"
                              "PASS   7  modes   name: KVM_X: expected exp; seen saw\n"
                              "FAIL   7  irqfd   name: KVM_X: expected exp; seen saw\n"
                              "\n"
                              "containers cannot run: no interrupts\n");
    free(text);
    check_report_done(&r);
}

static void test_json(void **state)
{
    struct check_report r = good();
    json_t *doc = check_json(&r);
    const json_t *list = json_object_get(doc, "checks");

    (void)state;
    assert_true(json_is_true(json_object_get(doc, "canRun")));
    assert_int_equal(json_integer_value(json_object_get(doc, "status")), 0);
    assert_string_equal(json_string_value(json_object_get(doc, "verdict")), "containers will run");
    assert_int_equal(json_array_size(list), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "where")),
                        "host");
    assert_null(json_object_get(json_array_get(list, 0), "number"));
    assert_int_equal(json_integer_value(json_object_get(json_array_get(list, 1), "number")), 7);
    json_decref(doc);
    check_report_done(&r);
}

static void test_podman_conf(void **state)
{
    static const struct {
        const char *text, *name; /* NULL = not set up */
    } cases[] = {
        {"[engine.runtimes]\nvm = [\"/usr/local/bin/bulkhead\"]\n", "vm"},
        {"[engine]\nx = 1\n[engine.runtimes]\ncrun = [\"/usr/bin/crun\"]\n"
         "bulkhead = [\n  \"/opt/none\",\n  \"/opt/bin/bulkhead\",\n]\n",
         "bulkhead"},
        {"  [engine.runtimes]\n\tb=[\"bulkhead\"]", "b"},
        {"", NULL},
        {"[engine.runtimes]\n# b = [\"/usr/bin/bulkhead\"]\n", NULL},
        {"[engine.runtimes]\nb = [\"/usr/bin/notbulkhead\"]\n", NULL},
        {"[engine.runtimes]\nb = [\"/usr/bin/bulkhead2\"]\n", NULL},
        {"[engine.runtimes]\ncrun = [\"/c\"]\n[engine]\nb = [\"/usr/bin/bulkhead\"]\n", NULL},
        {"[engine]\nb = [\"/usr/bin/bulkhead\"]\n", NULL},
        {"[engine.runtimes]\nb = [\"/usr/bin/bulkhead\n", NULL},
        {"[engine.runtimes]\nb = [\"", NULL},
    };
    char name[16];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_int_equal(check_podman_conf(cases[i].text, name, sizeof name),
                         cases[i].name != NULL);
        if (cases[i].name)
            assert_string_equal(name, cases[i].name);
    }
}

static void test_containerd_conf(void **state)
{
    (void)state;
    assert_true(check_containerd_conf("[a.b.options]\n  BinaryName = \"/usr/local/bin/bulkhead\""));
    assert_false(check_containerd_conf("BinaryName = \"/usr/bin/runc\"\n"));
    assert_false(check_containerd_conf("# BinaryName = \"/usr/bin/bulkhead\"\n"));
    assert_false(check_containerd_conf("Binary = \"/usr/bin/bulkhead\"\n"));
    assert_false(check_containerd_conf(""));
}

/* Here, whatever this machine is: the parts answer, and agree with the status. */
static void test_this_machine(void **state)
{
    struct check_report r = {.n = 0};
    bool device = false;

    (void)state;
    check_host(&r);
    check_limits(&r);
    check_clients(&r);
    assert_in_range(r.n, 12, 40);
    assert_false(r.failed_memory);
    for (size_t i = 0; i < r.n; i++) {
        const struct check_line *l = &r.lines[i];
        assert_true(*l->id && *l->name && *l->seen);
        assert_true(l->verdict == CHECK_PASS ? !*l->mend : true);
        if (strcmp(l->id, "kvm-device") == 0) {
            device = true;
            assert_int_equal(l->verdict == CHECK_PASS, r.kvm_usable);
            assert_true(l->verdict == CHECK_PASS || *l->mend);
        }
    }
    assert_true(device);
    if (!r.kvm_usable)
        assert_int_equal(check_status(&r), CHECK_STATUS_NO_KVM);
    check_report_done(&r);
}

/* A program that is not there, and one that says something else. */
static void test_vmm_wrong(void **state)
{
    struct check_report r = {.kvm_usable = true};

    (void)state;
    check_kvm(&r, "/no/such/bulkhead-vmm");
    assert_int_equal(r.n, 1);
    assert_int_equal(r.lines[0].verdict, CHECK_FAIL);
    assert_non_null(strstr(r.lines[0].seen, "/no/such/bulkhead-vmm"));
    check_kvm(&r, "/bin/echo");
    assert_int_equal(r.n, 2);
    assert_non_null(strstr(r.lines[1].seen, "--check"));
    check_kvm(&r, "/bin/true");
    assert_int_equal(r.n, 3);
    assert_non_null(strstr(r.lines[2].seen, "after 0 lines"));
    assert_int_equal(check_status(&r), CHECK_STATUS_FAILED);
    check_report_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_parse_refuses),
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_print),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_podman_conf),
        cmocka_unit_test(test_containerd_conf),
        cmocka_unit_test(test_this_machine),
        cmocka_unit_test(test_vmm_wrong),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
