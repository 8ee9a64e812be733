/* A report as a table for people and as JSON for machines. */
#include "runtime/check.h"

#include <string.h>

static const char *const verdicts[] = {"PASS", "FAIL", "SKIP"};
static const char *const weights[] = {"needed", "speed", "later", "info"};

static void print_line(const struct check_line *l, int width, FILE *out)
{
    char number[16] = "  ";

    if (l->kvm)
        snprintf(number, sizeof number, "%2u", l->number);
    fprintf(out, "%s  %s  %-*s  %s", verdicts[l->verdict], number, width, l->id, l->name);
    if (*l->expected)
        fprintf(out, ": %s: expected %s; seen %s", l->interface, l->expected, l->seen);
    else if (*l->seen)
        fprintf(out, ": %s", l->seen);
    if (*l->mend)
        fprintf(out, " (%s)", l->mend);
    fputc('\n', out);
}

void check_print(const struct check_report *r, FILE *out)
{
    struct strbuf verdict = {0};
    size_t width = 0;

    for (size_t i = 0; i < r->n; i++)
        width = strlen(r->lines[i].id) > width ? strlen(r->lines[i].id) : width;
    for (size_t i = 0; i < r->n; i++)
        print_line(&r->lines[i], (int)width, out);
    check_verdict_text(r, &verdict);
    fprintf(out, "\n%s\n", verdict.s ? verdict.s : "out of memory");
    strbuf_done(&verdict);
}

static json_t *line_json(const struct check_line *l)
{
    json_t *j =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "where",
                  l->kvm ? "kvm" : "host", "id", l->id, "name", l->name, "verdict",
                  verdicts[l->verdict], "weight", weights[l->weight], "interface", l->interface,
                  "expected", l->expected, "seen", l->seen, "mend", l->mend, "without", l->without);

    if (j && l->kvm)
        json_object_set_new(j, "number", json_integer(l->number));
    return j;
}

json_t *check_json(const struct check_report *r)
{
    struct strbuf verdict = {0};
    json_t *list = json_array();

    for (size_t i = 0; i < r->n; i++)
        json_array_append_new(list, line_json(&r->lines[i]));
    check_verdict_text(r, &verdict);
    json_t *doc = json_pack("{s:b, s:i, s:s, s:o}", "canRun", check_status(r) == 0, "status",
                            check_status(r), "verdict", verdict.s ? verdict.s : "", "checks", list);
    strbuf_done(&verdict);
    return doc;
}
