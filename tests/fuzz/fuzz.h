/*
 * What fuzz targets share: an input read piece by piece, and assertions.
 *
 * A target is one file fuzz_NAME.c with LLVMFuzzerTestOneInput, which takes any bytes and must end
 * without a sanitizer's finding, a failed assertion, a leak or a hang. It keeps nothing from one
 * input to the next. Most read their input as a list of steps: so hostile bytes reach what lies
 * behind a hand-shake. cmocka's assertions work here as in the unit tests, and abort.
 */
#ifndef BULKHEAD_TEST_FUZZ_H
#define BULKHEAD_TEST_FUZZ_H

#include "tests/unit/cmocka_all.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Optional: called once, before the first input. */
int LLVMFuzzerInitialize(int *argc, char ***argv);

__attribute__((constructor)) static void fuzz_assertions_abort(void)
{
    setenv("CMOCKA_TEST_ABORT", "1", 1);
}

/* What is left of the input. Beyond its end all numbers are 0. */
struct fuzz {
    const uint8_t *at;
    size_t left;
};

static inline void fuzz_take(struct fuzz *f, void *out, size_t len)
{
    size_t n = len < f->left ? len : f->left;

    memset(out, 0, len);
    if (n == 0)
        return;
    memcpy(out, f->at, n);
    f->at += n;
    f->left -= n;
}

#define FUZZ_NUMBER(name, type)                                                                    \
    static inline type name(struct fuzz *f)                                                        \
    {                                                                                              \
        type v;                                                                                    \
        fuzz_take(f, &v, sizeof(v));                                                               \
        return v;                                                                                  \
    }
FUZZ_NUMBER(fuzz_u8, uint8_t)
FUZZ_NUMBER(fuzz_u16, uint16_t)
FUZZ_NUMBER(fuzz_u32, uint32_t)
FUZZ_NUMBER(fuzz_u64, uint64_t)

/* Up to max bytes where they stand; *out says how many. */
static inline const uint8_t *fuzz_bytes(struct fuzz *f, size_t max, size_t *out)
{
    const uint8_t *p = f->at;

    *out = max < f->left ? max : f->left;
    f->at += *out;
    f->left -= *out;
    return p;
}

#endif
