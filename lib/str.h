/* Numbers from text, bounded copies, and growing strings. */
#ifndef BULKHEAD_STR_H
#define BULKHEAD_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whole-string decimal numbers (no sign for u64, no blanks); -EINVAL or -ERANGE. */
int str_to_u64(const char *s, uint64_t *out);
int str_to_i64(const char *s, int64_t *out);
/* A size with an optional suffix K, M, G (powers of 1024), with or without "iB"/"B". */
int str_to_size(const char *s, uint64_t *out);

/* snprintf that reports truncation: 0 or -ENAMETOOLONG. */
int str_printf(char *buf, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
bool str_starts(const char *s, const char *prefix);
/* Whether a control character of U+0080 to U+009F in UTF-8 stands at p; U+009B begins what ESC [
 * begins. */
bool str_is_c1(const char *p);
/* Copies a stranger's text for people to read, size - 1 bytes of it at most: blanks stand for what
 * a terminal would obey. buf may be text. Returns the length. */
size_t str_printable(char *buf, size_t size, const char *text);

/* A growing, always NUL-terminated string; zero-initialised = empty. After a failed allocation
 * `failed` stays set. */
struct strbuf {
    char *s;
    size_t len, cap;
    bool failed;
};
void strbuf_add(struct strbuf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void strbuf_add_bytes(struct strbuf *b, const void *p, size_t len);
void strbuf_done(struct strbuf *b);

/* A NULL-terminated array of owned strings. */
void strv_free(char **v);
size_t strv_len(char *const *v);

#endif
