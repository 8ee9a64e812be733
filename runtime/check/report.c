/* A report: its lines, what they mean for the user, as a table for people and as JSON for machines.
 */
#include "lib/cleanup.h"
#include "runtime/check/check.h"

#include <stdarg.h>
#include <string.h>

static const char *const verdicts[] = {"PASS", "FAIL", "SKIP"};
static const char *const weights[] = {"needed", "speed", "later", "info"};

void check_add(struct check_report *r, const struct check_found *f, enum check_verdict verdict,
               const char *mend, const char *fmt, ...)
{
    struct check_line l = {.verdict = verdict, .weight = f->weight};
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(&l.seen, fmt, ap) < 0)
        l.seen = NULL;
    va_end(ap);
    l.id = strdup(f->id);
    l.name = strdup(f->name);
    l.interface = strdup("");
    l.expected = strdup("");
    l.mend = strdup(verdict != CHECK_PASS && mend ? mend : "");
    l.without = strdup(f->without ? f->without : "");
    if (r->n < CHECK_LINES_MAX)
        r->lines[r->n++] = l;
    r->failed_memory |=
        !l.seen || !l.id || !l.name || !l.interface || !l.expected || !l.mend || !l.without;
}

void check_report_done(struct check_report *r)
{
    for (size_t i = 0; i < r->n; i++) {
        struct check_line *l = &r->lines[i];
        char *texts[] = {l->id, l->name, l->interface, l->expected, l->seen, l->mend, l->without};
        for (size_t k = 0; k < ARRAY_SIZE(texts); k++)
            free(texts[k]);
    }
    r->n = 0;
}

int check_status(const struct check_report *r)
{
    if (!r->kvm_usable)
        return CHECK_STATUS_NO_KVM;
    for (size_t i = 0; i < r->n; i++) {
        if (r->lines[i].verdict == CHECK_FAIL && r->lines[i].weight == CHECK_NEEDED)
            return CHECK_STATUS_FAILED;
    }
    return r->n == 0 || r->failed_memory ? CHECK_STATUS_FAILED : 0;
}

static bool matters(const struct check_line *l, enum check_weight weight)
{
    return l->weight == weight &&
           (l->verdict == CHECK_FAIL || (weight == CHECK_SPEED && l->verdict == CHECK_SKIP));
}

/* Appends what is missing by the lines of one weight, each but once. */
static unsigned list_missing(const struct check_report *r, enum check_weight weight,
                             const char *intro, struct strbuf *out)
{
    unsigned n = 0;

    for (size_t i = 0; i < r->n; i++) {
        const struct check_line *l = &r->lines[i];
        bool again = false;
        for (size_t k = 0; k < i; k++)
            again |= matters(&r->lines[k], weight) && strcmp(r->lines[k].without, l->without) == 0;
        if (matters(l, weight) && !again)
            strbuf_add(out, "%s%s", n++ ? ", no " : intro, l->without);
    }
    return n;
}

void check_verdict_text(const struct check_report *r, struct strbuf *out)
{
    if (check_status(r) != 0) {
        strbuf_add(out, "containers cannot run");
        if (list_missing(r, CHECK_NEEDED, ": no ", out) == 0)
            strbuf_add(out, ": the checks could not be carried out");
        return;
    }
    strbuf_add(out, "containers will run");
    (void)list_missing(r, CHECK_SPEED, ", slower: no ", out);
    (void)list_missing(r, CHECK_LATER, "; but no ", out);
}

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
