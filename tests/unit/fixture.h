/*
 * Directories of fixtures: every NAME.json in them is one case, NAME.err holds the error text that
 * it must give (one line; what is shorter than the real text must be its beginning).
 */
#ifndef BULKHEAD_TESTS_FIXTURE_H
#define BULKHEAD_TESTS_FIXTURE_H

#include "lib/err.h"
#include "lib/io.h"
#include "lib/str.h"

#include "tests/unit/cmocka_all.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Tests run from the top of the tree. */
#define FIXTURES "tests/fixtures/"

/* Returns whether the fixture behaved; says why not itself. */
typedef bool fixture_fn(const char *dir, const char *file);

/* Calls fn for each .json in FIXTURES dir; fails when there are fewer than `least`. */
static inline void fixtures_each(const char *dir, unsigned least, fixture_fn *fn)
{
    char path[256];
    unsigned n = 0, wrong = 0;
    DIR *d;

    snprintf(path, sizeof(path), FIXTURES "%s", dir);
    d = opendir(path);
    if (!d) {
        fail_msg("cannot open %s (run from the top of the tree)", path);
        return;
    }
    for (struct dirent *i; (i = readdir(d));) {
        size_t len = strlen(i->d_name);

        if (len < 6 || strcmp(i->d_name + len - 5, ".json") != 0)
            continue;
        n++;
        wrong += !fn(path, i->d_name);
    }
    closedir(d);
    if (wrong)
        fail_msg("%s: %u of %u fixtures went wrong", path, wrong, n);
    if (n < least)
        fail_msg("%s holds %u fixtures, at least %u were expected", path, n, least);
}

static inline char *fixture_text(const char *dir, const char *file)
{
    struct err e = ERR_INIT;
    char path[512], *text;

    snprintf(path, sizeof(path), "%s/%s", dir, file);
    if (io_read_file(AT_FDCWD, path, 4u << 20, &text, NULL, &e) < 0)
        fail_msg("%s", e.msg);
    return text;
}

/* Whether `got` is what NAME.err says. */
static inline bool fixture_check_error(const char *dir, const char *file, const char *got)
{
    char name[256], *want;
    size_t len;
    bool ok;

    snprintf(name, sizeof(name), "%.*s.err", (int)strlen(file) - 5, file);
    want = fixture_text(dir, name);
    len = strlen(want);
    if (len && want[len - 1] == '\n')
        want[--len] = 0;
    ok = len >= 10 && strncmp(want, got, len) == 0;
    if (!ok)
        print_error("%s/%s:\n  expected: %s\n  got:      %s\n", dir, file, want, got);
    free(want);
    return ok;
}

#endif
