/* Strings and numbers. Nothing here trusts its input or overruns its output. */
#include "lib/str.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Digits only; *end points behind them. */
static int digits(const char *s, const char **end, uint64_t *out)
{
    uint64_t v = 0;
    const char *p = s;

    for (; *p >= '0' && *p <= '9'; p++) {
        if (__builtin_mul_overflow(v, 10u, &v) ||
            __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
            return -ERANGE;
    }
    if (p == s)
        return -EINVAL;
    *end = p;
    *out = v;
    return 0;
}

int str_to_u64(const char *s, uint64_t *out)
{
    const char *end;
    uint64_t v;
    int r = digits(s, &end, &v);

    if (r < 0)
        return r;
    if (*end)
        return -EINVAL;
    *out = v;
    return 0;
}

int str_to_i64(const char *s, int64_t *out)
{
    bool negative = *s == '-';
    uint64_t v;
    int r = str_to_u64(s + negative, &v);

    if (r < 0)
        return r;
    if (v > (uint64_t)INT64_MAX + negative)
        return -ERANGE;
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return 0;
}

int str_to_size(const char *s, uint64_t *out)
{
    static const char units[] = "KMGT";
    const char *end;
    uint64_t v;
    int r = digits(s, &end, &v);

    if (r < 0)
        return r;
    if (*end) {
        const char *unit = strchr(units, *end >= 'a' ? *end - 'a' + 'A' : *end);
        unsigned shift;

        if (!unit)
            return -EINVAL;
        shift = 10u * (unsigned)(unit - units + 1);
        end++;
        if (*end && strcmp(end, "B") != 0 && strcmp(end, "iB") != 0 && strcmp(end, "b") != 0)
            return -EINVAL;
        if (v > UINT64_MAX >> shift)
            return -ERANGE;
        v <<= shift;
    }
    *out = v;
    return 0;
}

int str_printf(char *buf, size_t size, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(buf, size, fmt, ap);
    va_end(ap);
    return n >= 0 && (size_t)n < size ? 0 : -ENAMETOOLONG;
}

bool str_starts(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_is_c1(const char *p)
{
    return (unsigned char)p[0] == 0xc2 && (unsigned char)p[1] >= 0x80 && (unsigned char)p[1] < 0xa0;
}

size_t str_printable(char *buf, size_t size, const char *text)
{
    bool first, second = false;
    size_t n = 0;

    for (; n + 1 < size && text[n]; n++) {
        first = str_is_c1(text + n);
        buf[n] =
            first || second || (unsigned char)text[n] < 0x20 || text[n] == 0x7f ? ' ' : text[n];
        second = first;
    }
    buf[n] = '\0';
    return n;
}

/* Makes room for `more` bytes and a NUL. */
static bool reserve(struct strbuf *b, size_t more)
{
    size_t want = b->len + more + 1, cap = b->cap ? b->cap : 64;
    char *s;

    if (b->failed)
        return false;
    if (want <= b->cap)
        return true;
    while (cap < want)
        cap *= 2;
    s = realloc(b->s, cap);
    if (!s) {
        b->failed = true;
        return false;
    }
    b->s = s;
    b->cap = cap;
    return true;
}

void strbuf_add(struct strbuf *b, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0 || !reserve(b, (size_t)n)) {
        b->failed = true;
        return;
    }
    va_start(ap, fmt);
    vsnprintf(b->s + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
}

void strbuf_add_bytes(struct strbuf *b, const void *p, size_t len)
{
    if (!reserve(b, len))
        return;
    memcpy(b->s + b->len, p, len);
    b->len += len;
    b->s[b->len] = '\0';
}

void strbuf_done(struct strbuf *b)
{
    free(b->s);
    memset(b, 0, sizeof(*b));
}

void strv_free(char **v)
{
    if (!v)
        return;
    for (char **p = v; *p; p++)
        free(*p);
    free(v);
}

size_t strv_len(char *const *v)
{
    size_t n = 0;

    while (v && v[n])
        n++;
    return n;
}
