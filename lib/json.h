/*
 * Reading jansson trees with errors that name the key by its full path
 * ("linux.resources.memory.limit must be an integer, got a string"). Getters of optional values
 * return 0 when the key is absent or null and 1 when it was there; -EINVAL on a wrong type or
 * range. `where` is the path of obj ("" for the top).
 */
#ifndef BULKHEAD_JSON_H
#define BULKHEAD_JSON_H

#include "lib/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define JSON_FILE_MAX (4u * 1024 * 1024)

/* Loads a file; names file, line and column on a syntax error; refuses duplicate keys, NUL in
 * strings and non-objects. */
int json_load_file_at(int dirfd, const char *path, json_t **out, struct err *e) must_check;
int json_load_bytes(const char *buf, size_t len, const char *what, json_t **out,
                    struct err *e) must_check;

int json_get_str(const json_t *obj, const char *where, const char *key, const char **out,
                 struct err *e) must_check;
int json_get_bool(const json_t *obj, const char *where, const char *key, bool *out,
                  struct err *e) must_check;
int json_get_i64(const json_t *obj, const char *where, const char *key, int64_t min, int64_t max,
                 int64_t *out, struct err *e) must_check;
int json_get_u64(const json_t *obj, const char *where, const char *key, uint64_t max, uint64_t *out,
                 struct err *e) must_check;
int json_get_obj(const json_t *obj, const char *where, const char *key, json_t **out,
                 struct err *e) must_check; /* borrowed */
int json_get_array(const json_t *obj, const char *where, const char *key, json_t **out,
                   struct err *e) must_check; /* borrowed */
/* A NULL-terminated copy of an array of strings (strv_free). Absent = 0 and *out untouched. */
int json_get_strv(const json_t *obj, const char *where, const char *key, char ***out,
                  struct err *e) must_check;

/* Fails naming the first key of obj that is not in the NULL-terminated list. */
int json_only_keys(const json_t *obj, const char *where, const char *const *known,
                   struct err *e) must_check;

#endif
