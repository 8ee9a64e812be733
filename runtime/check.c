/* Puts the parts of `bulkhead check` together, and says what they mean for the user. */
#include "runtime/check.h"

#include "lib/cleanup.h"

#include <stdarg.h>
#include <string.h>

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

void check_collect(const char *config, struct check_report *out)
{
    static const struct check_found found = {"config", "bulkhead.json", CHECK_NEEDED,
                                             "a configuration that can be read"};
    struct config c = {0};
    struct err e = ERR_INIT;

    *out = (struct check_report){.n = 0};
    check_host(out);
    check_limits(out);
    int r = config_load(config, &c, &e);
    if (r < 0) {
        check_add(out, &found, CHECK_FAIL, "correct the file, or name another with --config", "%s",
                  e.msg);
    } else {
        check_add(out, &found, CHECK_PASS, NULL, "understood");
        check_guest(out, &c);
    }
    check_clients(out);
    if (out->kvm_usable && r >= 0)
        check_kvm(out, c.vmm);
    config_done(&c);
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
