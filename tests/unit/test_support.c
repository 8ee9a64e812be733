/*
 * runtime/support: every refused fixture is well formed and refused with its text, every accepted
 * one is accepted, and so are the default configurations of the clients.
 */
#include "tests/unit/fixture.h"

#include "lib/cleanup.h"
#include "lib/json.h"
#include "runtime/guest.h"
#include "runtime/support.h"

#include <errno.h>

static struct spec *load(const char *dir, const char *file)
{
    struct err e = ERR_INIT;
    struct spec *s = NULL;
    char *text = fixture_text(dir, file);
    json_t *doc;

    if (json_load_bytes(text, strlen(text), file, &doc, &e) < 0)
        fail_msg("%s/%s: %s", dir, file, e.msg);
    if (spec_parse(doc, &s, &e) < 0)
        fail_msg("%s/%s: %s", dir, file, e.msg);
    json_decref(doc);
    free(text);
    return s;
}

/* What create looks at before anything exists. */
static int check(const struct spec *s, struct err *e)
{
    json_t *filter = NULL;
    int r = support_check(s, NULL, e);

    if (r == 0)
        r = guest_filter(s, &filter, e);
    json_decref(filter);
    return r;
}

static bool refused(const char *dir, const char *file)
{
    struct err e = ERR_INIT;
    struct spec *s = load(dir, file);
    int r = check(s, &e);

    spec_free(s);
    if (r >= 0) {
        print_error("%s/%s was accepted\n", dir, file);
        return false;
    }
    assert_int_equal(r, -e.code);
    return fixture_check_error(dir, file, e.msg);
}

static bool accepted(const char *dir, const char *file)
{
    struct err e = ERR_INIT;
    struct strbuf warnings = {0};
    struct spec *s = load(dir, file);
    int r = support_check(s, &warnings, &e);

    if (r < 0)
        print_error("%s/%s: %s\n", dir, file, e.msg);
    strbuf_done(&warnings);
    spec_free(s);
    return r == 0;
}

static void test_refused(void **state)
{
    (void)state;
    fixtures_each("support/refused", 60, refused);
}

static void test_accepted(void **state)
{
    (void)state;
    fixtures_each("support/accepted", 8, accepted);
}

static const char clients[] = FIXTURES "config/good";

static void test_clients(void **state)
{
    (void)state;
    assert_true(accepted(clients, "client-runc-spec.json"));
    assert_true(accepted(clients, "client-podman-default.json"));
    assert_true(accepted(clients, "client-podman-tty.json"));
    assert_true(accepted(clients, "client-podman-limits.json"));
    assert_true(accepted(clients, "client-ctr-default.json"));
    assert_true(accepted(clients, "client-ctr-limits.json"));
    assert_true(accepted(clients, "client-ctr-seccomp.json"));
}

static void expect_refusal(const char *file, const char *beginning)
{
    struct err e = ERR_INIT;
    struct spec *s = load(clients, file);

    assert_int_equal(support_check(s, NULL, &e), -ENOTSUP);
    assert_memory_equal(e.msg, beginning, strlen(beginning));
    spec_free(s);
}

static void test_client_refusals(void **state)
{
    (void)state;
    expect_refusal("client-podman-bridge.json",
                   "linux.namespaces: network namespace path /run/netns/netns-");
    expect_refusal("client-podman-privileged.json", "linux.devices[0] (/dev/autofs, c 10:235)");
    expect_refusal("client-ctr-privileged.json", "linux.namespaces has no \"network\" entry");
}

static void test_warnings(void **state)
{
    struct err e = ERR_INIT;
    struct strbuf warnings = {0};
    struct spec *s = load(FIXTURES "support/accepted", "process.json");

    (void)state;
    assert_int_equal(support_check(s, &warnings, &e), 0);
    assert_string_equal(warnings.s, "process.capabilities: unknown, left out: CAP_FUTURE\n");
    strbuf_done(&warnings);
    spec_free(s);
    s = load(FIXTURES "support/accepted", "minimal.json");
    assert_int_equal(support_check(s, &warnings, &e), 0);
    assert_int_equal(warnings.len, 0);
    strbuf_done(&warnings);
    spec_free(s);
}

/* --- the page -------------------------------------------------------------------------------- */

#define PAGE        "docs/oci-support.md"
#define ROWS_MAX    128
#define ROW_KEY_MAX 96

/* The first quoted key of each row that says "refused", as it stands in an error. */
static size_t refused_rows(char rows[ROWS_MAX][ROW_KEY_MAX])
{
    char *text = fixture_text("docs", "oci-support.md"), *save = NULL;
    size_t n = 0;

    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *key = strchr(line, '`'), *end = key ? strchr(key + 1, '`') : NULL;

        if (line[0] != '|' || !end || !strstr(line, "| refused |"))
            continue;
        *end = 0;
        key++;
        if (str_starts(key, "mounts[]."))
            key += strlen("mounts[].");
        assert_true(n < ROWS_MAX && strlen(key) < ROW_KEY_MAX);
        snprintf(rows[n++], ROW_KEY_MAX, "%s", key);
    }
    free(text);
    return n;
}

static char page_rows[ROWS_MAX][ROW_KEY_MAX];
static unsigned page_hits[ROWS_MAX];
static size_t page_n;

/* Marks the rows that tell of this refusal. */
static bool in_page(const char *dir, const char *file)
{
    struct err e = ERR_INIT;
    struct spec *s = load(dir, file);
    int r = check(s, &e);
    bool found = r != -ENOTSUP; /* contradictions are not told one by one */

    spec_free(s);
    for (size_t i = 0; i < page_n; i++)
        if (strstr(e.msg, page_rows[i])) {
            page_hits[i]++;
            found = true;
        }
    if (!found)
        print_error("%s does not tell of: %s\n", PAGE, e.msg);
    return found;
}

static void test_page(void **state)
{
    bool complete = true;

    (void)state;
    page_n = refused_rows(page_rows);
    assert_true(page_n > 30);
    fixtures_each("support/refused", 60, in_page);
    for (size_t i = 0; i < page_n; i++)
        if (!page_hits[i]) {
            print_error("%s says \"%s\" is refused: no fixture does that\n", PAGE, page_rows[i]);
            complete = false;
        }
    assert_true(complete);
}

/* exec and update name what they were given, not the container's config.json. */
static void test_parts(void **state)
{
    struct err e = ERR_INIT;
    struct spec_process p = {.apparmor_profile = (char *)(uintptr_t) "x"};
    struct spec_resources r = {.memory.disable_oom_killer = true};

    (void)state;
    assert_int_equal(support_check_process(&p, "exec", NULL, &e), -ENOTSUP);
    assert_memory_equal(e.msg, "exec.apparmorProfile \"x\"", 24);
    assert_int_equal(support_check_resources(&r, "", &e), -ENOTSUP);
    assert_memory_equal(e.msg, "memory.disableOOMKiller is not", 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),  cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_clients),  cmocka_unit_test(test_client_refusals),
        cmocka_unit_test(test_warnings), cmocka_unit_test(test_parts),
        cmocka_unit_test(test_page),
    };

    return cmocka_run_group_tests_name("support", tests, NULL, NULL);
}
