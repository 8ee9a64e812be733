/*
 * Typed access to jansson trees. Everything read here is hostile until checked: type, range, and
 * number of elements are looked at in one place, and every error names the key by its full path.
 * Not here: what the keys mean (lib/spec*.c). No state.
 *
 * jansson's integers are signed 64 bits, but config.json has unsigned ones (an unlimited rlimit is
 * 18446744073709551615). Before parsing, a bare integer above INT64_MAX is therefore rewritten as a
 * string with an otherwise impossible prefix, U64_MARK, which only json_get_u64 reads back. It
 * survives being sent to the agent, which parses with the same functions.
 */
#include "lib/json.h"

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/str.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#define U64_MARK     "\001u64:"
#define U64_MARK_LEN (sizeof(U64_MARK) - 1)
#define KEY_SHOWN    100 /* bytes of an unexpected name shown in an error */

static bool is_u64_mark(const json_t *v)
{
    return json_is_string(v) && !strncmp(json_string_value(v), U64_MARK, U64_MARK_LEN);
}

static const char *type_name(const json_t *v)
{
    if (is_u64_mark(v))
        return "an integer";
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a fraction";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    case JSON_NULL:
        return "null";
    }
    return "something unknown";
}

static const char *dot(const char *where)
{
    return *where ? "." : "";
}

static int wrong_type(struct err *e, const char *where, const char *key, const char *want,
                      const json_t *v)
{
    return err_set(e, EINVAL, "%s%s%s must be %s, got %s", where, dot(where), key, want,
                   type_name(v));
}

/* The value of an optional key; NULL when absent or null. */
static json_t *lookup(const json_t *obj, const char *key)
{
    json_t *v = json_object_get(obj, key);

    return json_is_null(v) ? NULL : v;
}

/* --- loading ------------------------------------------------------------------------------- */

/* The end of the JSON string that starts at p (on its quote). */
static const char *skip_string(const char *p, const char *end)
{
    for (p++; p < end && *p != '"'; p++)
        if (*p == '\\' && p + 1 < end)
            p++;
    return p < end ? p + 1 : end;
}

/* Whether the number token [p, q) is an integer that only an unsigned 64-bit type holds. */
static bool needs_u64(const char *p, const char *q, uint64_t *out)
{
    char digits[24];
    size_t len = (size_t)(q - p);

    if (len < 19 || len >= sizeof(digits) || *p == '-' || *p == '0')
        return false;
    memcpy(digits, p, len);
    digits[len] = 0;
    return str_to_u64(digits, out) == 0 && *out > (uint64_t)INT64_MAX;
}

/* Copies buf with each too large integer replaced (see above). Returns NULL without memory. */
static int mark_u64(const char *buf, size_t len, struct strbuf *out)
{
    const char *p = buf, *end = buf + len, *copied = buf;

    while (p < end) {
        const char *q = p;
        uint64_t v;

        if (*p == '"') {
            p = skip_string(p, end);
            continue;
        }
        while (q < end && (isdigit((unsigned char)*q) || strchr("+-.eE", *q)) && *q)
            q++;
        if (q == p) {
            p++;
            continue;
        }
        if (isdigit((unsigned char)*p) && needs_u64(p, q, &v)) {
            strbuf_add_bytes(out, copied, (size_t)(p - copied));
            strbuf_add(out, "\"\\u0001u64:%llu\"", (unsigned long long)v);
            copied = q;
        }
        p = q;
    }
    if (copied != buf)
        strbuf_add_bytes(out, copied, (size_t)(end - copied));
    return out->failed ? -ENOMEM : 0;
}

int json_load_bytes(const char *buf, size_t len, const char *what, json_t **out, struct err *e)
{
    struct strbuf marked = {0};
    json_error_t je;
    json_t *v;

    if (len > JSON_FILE_MAX)
        return err_set(e, EFBIG, "%s is larger than %u bytes", what, JSON_FILE_MAX);
    if (mark_u64(buf, len, &marked) < 0) {
        strbuf_done(&marked);
        return err_set(e, ENOMEM, "%s: out of memory", what);
    }
    if (marked.len)
        v = json_loadb(marked.s, marked.len, JSON_REJECT_DUPLICATES, &je);
    else
        v = json_loadb(buf, len, JSON_REJECT_DUPLICATES, &je);
    strbuf_done(&marked);
    if (!v && json_error_code(&je) == json_error_out_of_memory)
        return err_set(e, ENOMEM, "%s: out of memory", what);
    if (!v)
        return err_set(e, EINVAL, "%s is not valid JSON: line %d, column %d: %s", what, je.line,
                       je.column, je.text);
    if (!json_is_object(v)) {
        int r = err_set(e, EINVAL, "%s must hold a JSON object, it holds %s", what, type_name(v));

        json_decref(v);
        return r;
    }
    *out = v;
    return 0;
}

int json_load_file_at(int dirfd, const char *path, json_t **out, struct err *e)
{
    cleanup_free char *text = NULL;
    size_t len;
    int r = io_read_file(dirfd, path, JSON_FILE_MAX, &text, &len, e);

    if (r < 0)
        return r;
    return json_load_bytes(text, len, path, out, e);
}

/* --- values -------------------------------------------------------------------------------- */

int json_get_str(const json_t *obj, const char *where, const char *key, const char **out,
                 struct err *e)
{
    const json_t *v = lookup(obj, key);

    if (!v)
        return 0;
    if (!json_is_string(v) || is_u64_mark(v))
        return wrong_type(e, where, key, "a string", v);
    *out = json_string_value(v);
    return 1;
}

int json_get_bool(const json_t *obj, const char *where, const char *key, bool *out, struct err *e)
{
    const json_t *v = lookup(obj, key);

    if (!v)
        return 0;
    if (!json_is_boolean(v))
        return wrong_type(e, where, key, "a boolean", v);
    *out = json_is_true(v);
    return 1;
}

int json_get_i64(const json_t *obj, const char *where, const char *key, int64_t min, int64_t max,
                 int64_t *out, struct err *e)
{
    const json_t *v = lookup(obj, key);
    int64_t n = INT64_MAX;
    bool over;

    if (!v)
        return 0;
    over = is_u64_mark(v);
    if (!over && !json_is_integer(v))
        return wrong_type(e, where, key, "an integer", v);
    if (!over)
        n = json_integer_value(v);
    if (over || n < min || n > max)
        return err_set(e, EINVAL, "%s%s%s must be between %lld and %lld, got %s%lld", where,
                       dot(where), key, (long long)min, (long long)max, over ? "more than " : "",
                       (long long)n);
    *out = n;
    return 1;
}

int json_get_u64(const json_t *obj, const char *where, const char *key, uint64_t max, uint64_t *out,
                 struct err *e)
{
    const json_t *v = lookup(obj, key);
    uint64_t n = 0;

    if (!v)
        return 0;
    if (is_u64_mark(v)) {
        if (str_to_u64(json_string_value(v) + U64_MARK_LEN, &n) < 0)
            return err_set(e, EINVAL, "%s%s%s must be an integer", where, dot(where), key);
    } else if (!json_is_integer(v)) {
        return wrong_type(e, where, key, "an integer", v);
    } else if (json_integer_value(v) < 0) {
        return err_set(e, EINVAL, "%s%s%s must not be negative, got %lld", where, dot(where), key,
                       (long long)json_integer_value(v));
    } else {
        n = (uint64_t)json_integer_value(v);
    }
    if (n > max)
        return err_set(e, EINVAL, "%s%s%s must be at most %llu, got %llu", where, dot(where), key,
                       (unsigned long long)max, (unsigned long long)n);
    *out = n;
    return 1;
}

int json_get_obj(const json_t *obj, const char *where, const char *key, json_t **out, struct err *e)
{
    json_t *v = lookup(obj, key);

    if (!v)
        return 0;
    if (!json_is_object(v))
        return wrong_type(e, where, key, "an object", v);
    *out = v;
    return 1;
}

int json_get_array(const json_t *obj, const char *where, const char *key, json_t **out,
                   struct err *e)
{
    json_t *v = lookup(obj, key);

    if (!v)
        return 0;
    if (!json_is_array(v))
        return wrong_type(e, where, key, "an array", v);
    *out = v;
    return 1;
}

/* As jansson allocates, so that one hook (json_set_alloc_funcs) reaches both. */
static void *zalloc(size_t n)
{
    json_malloc_t get;
    json_free_t put;
    void *p;

    json_get_alloc_funcs(&get, &put);
    p = get(n);
    return p ? memset(p, 0, n) : NULL;
}

int json_get_strv(const json_t *obj, const char *where, const char *key, char ***out, struct err *e)
{
    json_t *array = NULL;
    const json_t *v;
    char **strv;
    size_t i, n;
    int r = json_get_array(obj, where, key, &array, e);

    if (r <= 0)
        return r;
    n = json_array_size(array);
    strv = zalloc((n + 1) * sizeof(*strv));
    if (!strv)
        return err_set(e, ENOMEM, "%s%s%s: out of memory", where, dot(where), key);
    json_array_foreach(array, i, v)
    {
        if (!json_is_string(v) || is_u64_mark(v)) {
            r = err_set(e, EINVAL, "%s%s%s[%zu] must be a string, got %s", where, dot(where), key,
                        i, type_name(v));
            goto fail;
        }
        strv[i] = zalloc(json_string_length(v) + 1);
        if (!strv[i]) {
            r = err_set(e, ENOMEM, "%s%s%s: out of memory", where, dot(where), key);
            goto fail;
        }
        memcpy(strv[i], json_string_value(v), json_string_length(v));
    }
    *out = strv;
    return 1;
fail:
    strv_free(strv);
    return r;
}

int json_only_keys(const json_t *obj, const char *where, const char *const *known, struct err *e)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)obj, key, v)
    {
        const char *const *k = known;

        while (*k && strcmp(*k, key) != 0)
            k++;
        if (!*k)
            return err_set(e, EINVAL, "%s%s%.*s is not a known key", where, dot(where), KEY_SHOWN,
                           key);
    }
    return 0;
}
