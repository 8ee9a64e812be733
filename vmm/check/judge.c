/* From what was seen to a verdict. Knows no KVM call; what is expected stands beside each check. */
#include "lib/cleanup.h"
#include "vmm/check/check.h"

#include <linux/kvm.h>
#include <stdarg.h>
#include <string.h>

void check_note(struct observation *o, unsigned index, uint64_t value)
{
    o->value[index] = value;
    o->noted |= 1ull << index;
}

int check_skip(struct observation *o, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(o->skip, sizeof(o->skip), fmt, ap);
    va_end(ap);
    return 0;
}

const char *check_exit_name(uint64_t reason)
{
    static const char *const names[] = {
        [KVM_EXIT_UNKNOWN] = "KVM_EXIT_UNKNOWN",
        [KVM_EXIT_EXCEPTION] = "KVM_EXIT_EXCEPTION",
        [KVM_EXIT_IO] = "KVM_EXIT_IO",
        [KVM_EXIT_HYPERCALL] = "KVM_EXIT_HYPERCALL",
        [KVM_EXIT_DEBUG] = "KVM_EXIT_DEBUG",
        [KVM_EXIT_HLT] = "KVM_EXIT_HLT",
        [KVM_EXIT_MMIO] = "KVM_EXIT_MMIO",
        [KVM_EXIT_IRQ_WINDOW_OPEN] = "KVM_EXIT_IRQ_WINDOW_OPEN",
        [KVM_EXIT_SHUTDOWN] = "KVM_EXIT_SHUTDOWN",
        [KVM_EXIT_FAIL_ENTRY] = "KVM_EXIT_FAIL_ENTRY",
        [KVM_EXIT_INTR] = "KVM_EXIT_INTR",
        [KVM_EXIT_SET_TPR] = "KVM_EXIT_SET_TPR",
        [KVM_EXIT_TPR_ACCESS] = "KVM_EXIT_TPR_ACCESS",
        [KVM_EXIT_NMI] = "KVM_EXIT_NMI",
        [KVM_EXIT_INTERNAL_ERROR] = "KVM_EXIT_INTERNAL_ERROR",
        [KVM_EXIT_SYSTEM_EVENT] = "KVM_EXIT_SYSTEM_EVENT",
    };

    return reason < ARRAY_SIZE(names) ? names[reason] : NULL;
}

bool check_holds(const struct expectation *x, uint64_t value)
{
    switch (x->rule) {
    case IS:
        return value == x->want;
    case AT_LEAST:
        return value >= x->want;
    case AT_MOST:
        return value <= x->want;
    case ONE_OF:
        return value < 64 && (x->want >> value & 1);
    }
    return false;
}

/* Appends, as far as there is room. */
static void add(char *text, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(char *text, const char *fmt, ...)
{
    size_t len = strlen(text);
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text + len, CHECK_TEXT_MAX - len, fmt, ap);
    va_end(ap);
}

/* Bytes of a little-endian number, as C would have them. */
static void add_bytes(char *text, uint64_t value)
{
    add(text, "\"");
    for (; value; value >>= 8) {
        unsigned char c = value & 0xff;
        if (c == '\n')
            add(text, "\\n");
        else if (c < 0x20 || c > 0x7e)
            add(text, "\\%03o", c);
        else
            add(text, "%c", c);
    }
    add(text, "\"");
}

static void add_value(char *text, enum check_format format, uint64_t value)
{
    const char *name = format == EXIT    ? check_exit_name(value)
                       : format == ERRNO ? value ? strerrorname_np((int)value) : "success"
                                         : NULL;

    if (name)
        add(text, "%s", name);
    else if (format == TEXT)
        add_bytes(text, value);
    else if (format == HEX)
        add(text, "0x%llx", (unsigned long long)value);
    else
        add(text, "%llu", (unsigned long long)value);
}

static void say_expected(char *text, const struct expectation *x)
{
    const char *between = "";

    if (x->rule != ONE_OF) {
        add(text, "%s%s", x->what,
            x->rule == AT_LEAST  ? " at least "
            : x->rule == AT_MOST ? " at most "
                                 : ": ");
        add_value(text, x->format, x->want);
        return;
    }
    add(text, "%s: ", x->what);
    for (unsigned bit = 0; bit < 64; bit++) {
        if (!(x->want >> bit & 1))
            continue;
        add(text, "%s", between);
        add_value(text, x->format, bit);
        between = " or ";
    }
}

void check_judge(const struct check *c, const struct observation *o, struct check_result *out)
{
    *out = (struct check_result){.verdict = CHECK_PASS};
    if (*o->skip) {
        out->verdict = CHECK_SKIP;
        add(out->seen, "%s", o->skip);
        return;
    }
    for (unsigned i = 0; i < c->nexpect; i++) {
        const struct expectation *x = &c->expect[i];
        bool noted = o->noted >> i & 1;
        if (x->what == NULL) /* a place that is not judged */
            continue;
        if (noted && check_holds(x, o->value[i]))
            continue;
        if (!noted && *o->failure)
            break; /* what ended the check comes before what it did not reach */
        out->verdict = CHECK_FAIL;
        say_expected(out->expected, x);
        if (noted)
            add_value(out->seen, x->format, o->value[i]);
        else
            add(out->seen, "nothing");
        if (*o->failure)
            add(out->seen, "; %s", o->failure);
        return;
    }
    if (*o->failure) {
        out->verdict = CHECK_FAIL;
        add(out->expected, "%s", "no error");
        add(out->seen, "%s", o->failure);
    }
}
