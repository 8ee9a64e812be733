/*
 * What all sections of the config.json parser use: paths of keys for errors, copies of values,
 * lists with limits, enumerations. No meaning of any key is here. No state.
 */
#include "lib/cleanup.h"
#include "lib/spec_internal.h"
#include "lib/str.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define SHOWN 100 /* bytes of a wrong value shown in an error */

const char *spec_key(struct spec_where *w, const char *where, const char *key)
{
    (void)str_printf(w->s, sizeof(w->s), "%s%s%s", where, *where ? "." : "", key);
    return w->s;
}

const char *spec_item(struct spec_where *w, const char *where, const char *key, size_t i)
{
    (void)str_printf(w->s, sizeof(w->s), "%s%s%s[%zu]", where, *where ? "." : "", key, i);
    return w->s;
}

void *spec_zalloc(size_t n, size_t size)
{
    json_malloc_t get;
    json_free_t put;
    size_t bytes;
    void *p;

    if (__builtin_mul_overflow(n ? n : 1, size, &bytes))
        return NULL;
    json_get_alloc_funcs(&get, &put);
    p = get(bytes);
    return p ? memset(p, 0, bytes) : NULL;
}

int spec_oom(const char *where, const char *key, struct err *e)
{
    struct spec_where w;

    return err_set(e, ENOMEM, "%s: out of memory", spec_key(&w, where, key));
}

int spec_missing(const char *where, const char *key, struct err *e)
{
    struct spec_where w;

    return err_set(e, EINVAL, "%s is missing", spec_key(&w, where, key));
}

int spec_need(int r, const char *where, const char *key, struct err *e)
{
    return r == 0 ? spec_missing(where, key, e) : r;
}

int spec_enum_find(const struct spec_enum *t, const char *where, const char *key, const char *name,
                   int *out, struct err *e)
{
    char all[256] = "";
    size_t used = 0;
    struct spec_where w;

    for (const struct spec_enum *i = t; i->name; i++) {
        if (!strcmp(i->name, name)) {
            *out = i->value;
            return 1;
        }
        if (used < sizeof(all))
            used +=
                (size_t)snprintf(all + used, sizeof(all) - used, "%s%s", used ? ", " : "", i->name);
    }
    return err_set(e, EINVAL, "%s must be one of %s, got \"%.*s\"", spec_key(&w, where, key), all,
                   SHOWN, name);
}

static char *copy(const char *s)
{
    size_t size = strlen(s) + 1;
    char *p = spec_zalloc(size, 1);

    return p ? memcpy(p, s, size) : NULL;
}

int spec_get_string(const json_t *obj, const char *where, const char *key, char **out,
                    struct err *e)
{
    const char *s;
    int r = json_get_str(obj, where, key, &s, e);

    if (r <= 0)
        return r;
    *out = copy(s);
    return *out ? 1 : spec_oom(where, key, e);
}

int spec_get_path(const json_t *obj, const char *where, const char *key, char **out, struct err *e)
{
    const char *s;
    struct spec_where w;
    int r = json_get_str(obj, where, key, &s, e);

    if (r <= 0)
        return r;
    if (s[0] != '/')
        return err_set(e, EINVAL, "%s must be absolute, got \"%.*s\"", spec_key(&w, where, key),
                       SHOWN, s);
    if (strlen(s) > SPEC_PATH_MAX)
        return err_set(e, ENAMETOOLONG, "%s is longer than %d bytes", spec_key(&w, where, key),
                       SPEC_PATH_MAX);
    return spec_get_string(obj, where, key, out, e);
}

static int too_many(const char *where, const char *key, size_t n, size_t max, struct err *e)
{
    struct spec_where w;

    return err_set(e, E2BIG, "%s has %zu entries, at most %zu are allowed",
                   spec_key(&w, where, key), n, max);
}

int spec_get_strings(const json_t *obj, const char *where, const char *key, size_t max, char ***out,
                     struct err *e)
{
    json_t *array;
    int r = json_get_array(obj, where, key, &array, e);

    if (r <= 0)
        return r;
    if (json_array_size(array) > max)
        return too_many(where, key, json_array_size(array), max, e);
    return json_get_strv(obj, where, key, out, e);
}

int spec_get_u32(const json_t *obj, const char *where, const char *key, uint32_t *out,
                 struct err *e)
{
    uint64_t v;
    int r = json_get_u64(obj, where, key, UINT32_MAX, &v, e);

    if (r > 0)
        *out = (uint32_t)v;
    return r;
}

int spec_get_opt_i64(const json_t *obj, const char *where, const char *key, int64_t min,
                     struct opt_i64 *out, struct err *e)
{
    int r = json_get_i64(obj, where, key, min, INT64_MAX, &out->v, e);

    out->set = r > 0;
    return r;
}

int spec_get_opt_u64(const json_t *obj, const char *where, const char *key, uint64_t max,
                     struct opt_u64 *out, struct err *e)
{
    int r = json_get_u64(obj, where, key, max, &out->v, e);

    out->set = r > 0;
    return r;
}

int spec_get_enum(const json_t *obj, const char *where, const char *key, const struct spec_enum *t,
                  int *out, struct err *e)
{
    const char *s;
    int r = json_get_str(obj, where, key, &s, e);

    return r <= 0 ? r : spec_enum_find(t, where, key, s, out, e);
}

static int fill_kv(const json_t *map, const char *where, struct spec_kv *kv, size_t *n,
                   struct err *e)
{
    const char *name;
    json_t *v;
    int r;

    json_object_foreach((json_t *)(uintptr_t)map, name, v)
    {
        if (!*name)
            return err_set(e, EINVAL, "%s has an empty name", where);
        kv[*n].key = copy(name);
        if (!kv[(*n)++].key)
            return spec_oom(where, name, e);
        r = spec_get_string(map, where, name, &kv[*n - 1].value, e);
        if (r < 0)
            return r;
        if (r == 0)
            return err_set(e, EINVAL, "%s.%.*s must be a string, got null", where, SHOWN, name);
    }
    return 0;
}

int spec_get_kv(const json_t *obj, const char *where, const char *key, size_t max,
                struct spec_kv **out, size_t *n_out, struct err *e)
{
    struct spec_where w;
    struct spec_kv *kv;
    json_t *map;
    size_t n = 0;
    int r = json_get_obj(obj, where, key, &map, e);

    if (r <= 0)
        return r;
    if (json_object_size(map) > max)
        return too_many(where, key, json_object_size(map), max, e);
    kv = spec_zalloc(json_object_size(map), sizeof(*kv));
    if (!kv)
        return spec_oom(where, key, e);
    r = fill_kv(map, spec_key(&w, where, key), kv, &n, e);
    if (r < 0) {
        spec_kv_done(kv, n);
        return r;
    }
    *out = kv;
    *n_out = n;
    return 1;
}

void spec_kv_done(struct spec_kv *kv, size_t n)
{
    for (size_t i = 0; kv && i < n; i++) {
        free(kv[i].key);
        free(kv[i].value);
    }
    free(kv);
}

int spec_get_items(const json_t *obj, const char *where, const char *key, size_t max, size_t size,
                   spec_item_fn *fn, void *list, size_t *n_out, struct err *e)
{
    json_t *array, *v;
    struct spec_where w;
    char *items;
    size_t i;
    int r = json_get_array(obj, where, key, &array, e);

    if (r <= 0)
        return r;
    if (json_array_size(array) > max)
        return too_many(where, key, json_array_size(array), max, e);
    items = spec_zalloc(json_array_size(array), size);
    if (!items)
        return spec_oom(where, key, e);
    memcpy(list, &items, sizeof(items));
    json_array_foreach(array, i, v)
    {
        *n_out = i + 1;
        spec_item(&w, where, key, i);
        if (!json_is_object(v))
            return err_set(e, EINVAL, "%s must be an object", w.s);
        r = fn(v, w.s, items + i * size, e);
        if (r < 0)
            return r;
    }
    return 1;
}

int spec_parse_id_map(const json_t *obj, const char *where, void *item, struct err *e)
{
    struct spec_id_map *m = item;
    int r = spec_need(spec_get_u32(obj, where, "containerID", &m->container_id, e), where,
                      "containerID", e);

    if (r >= 0)
        r = spec_need(spec_get_u32(obj, where, "hostID", &m->host_id, e), where, "hostID", e);
    if (r >= 0)
        r = spec_need(spec_get_u32(obj, where, "size", &m->size, e), where, "size", e);
    if (r >= 0 && m->size == 0)
        r = err_set(e, EINVAL, "%s.size must not be 0", where);
    return r;
}
