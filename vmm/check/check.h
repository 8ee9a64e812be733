/*
 * `bulkhead-vmm --check`: does this machine's KVM do what the VMM builds on? Each check boots a
 * guest of a few instructions through the same vmm/kvm that runs containers, notes what it saw, and
 * leaves the verdict to a table of expectations, so that the judgement can be tested without KVM.
 *
 * A check owns all that it makes and leaves nothing; a watchdog ends what does not end by itself.
 * What the lines mean to a user is in docs/troubleshooting.md.
 */
#ifndef BULKHEAD_VMM_CHECK_H
#define BULKHEAD_VMM_CHECK_H

#include "lib/err.h"
#include "vmm/check/watchdog.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* --- what was seen, and what should have been ------------------------------------------------ */

enum check_rule {
    IS,       /* equal to want */
    AT_LEAST, /* not below want */
    AT_MOST,  /* not above want */
    ONE_OF,   /* want is a set of bits, the value the number of one of them */
};
enum check_format { NUMBER, HEX, EXIT, ERRNO, TEXT };

/* In the order in which a table is read. */
struct expectation {  /* NOLINT(clang-analyzer-optin.performance.Padding) */
    const char *what; /* "RAX in real mode" */
    enum check_rule rule;
    uint64_t want;
    enum check_format format;
};

#define CHECK_VALUES_MAX 64
#define CHECK_TEXT_MAX   256

struct observation {
    uint64_t value[CHECK_VALUES_MAX]; /* by the check's own enum */
    uint64_t noted;                   /* bits: which of them were seen */
    char skip[CHECK_TEXT_MAX];        /* "" = not skipped; else the reason */
    char failure[CHECK_TEXT_MAX];     /* "" = the check could be carried out */
};

enum check_verdict { CHECK_PASS, CHECK_FAIL, CHECK_SKIP };
struct check_result {
    enum check_verdict verdict;
    char expected[CHECK_TEXT_MAX], seen[CHECK_TEXT_MAX]; /* SKIP: the reason is in `seen` */
};

/* What a failed check means to containers. */
enum check_weight {
    CHECK_NEEDED, /* they cannot run */
    CHECK_SPEED,  /* they run slower */
    CHECK_LATER,  /* they run; what is built on this (`without`) does not work */
};

struct check_env {
    int kvm_fd;
    size_t run_size; /* KVM_GET_VCPU_MMAP_SIZE */
    struct watchdog watchdog;
    unsigned rounds; /* of the search for lost kicks: CHECK_ROUNDS */
};
#define CHECK_ROUNDS 10000u
#define CHECK_LIMIT_MS                                                                             \
    15000u /* for one check; the slowest takes a tenth of a second on hardware                     \
            */
#define CHECK_LIMIT_MAX 90000u

struct check {
    unsigned number;       /* of the family, as the documentation has it */
    const char *id, *name; /* "read-only", "a read-only slot" */
    const char *interface; /* the ioctls and fields it is about */
    enum check_weight weight;
    const char *without; /* what there is not when it fails or is skipped */
    const struct expectation *expect;
    unsigned nexpect;
    /* Notes what it sees. Fails when it could not be carried out: that is a FAIL too. */
    int (*run)(struct check_env *env, struct observation *o, struct err *e);
    unsigned limit_ms; /* 0 = CHECK_LIMIT_MS */
};

extern const struct check *const checks[];
extern const size_t nchecks;

void check_note(struct observation *o, unsigned index, uint64_t value);
/* Makes the verdict SKIP; returns 0. */
int check_skip(struct observation *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Whether one value is as expected. */
bool check_holds(const struct expectation *x, uint64_t value);
/* Skipped, or could not be carried out, or the first expectation that does not hold; else PASS. */
void check_judge(const struct check *c, const struct observation *o, struct check_result *out);
const char *check_exit_name(uint64_t reason); /* "KVM_EXIT_HLT"; NULL = not a known one */

/* --- running ---------------------------------------------------------------------------------- */

/* env of an open /dev/kvm, which stays the caller's. */
int check_env_init(struct check_env *env, int kvm_fd, struct err *e) must_check;
void check_env_done(struct check_env *env);
/* Runs and judges one. */
void check_run(const struct check *c, struct check_env *env, struct check_result *out);

/*
 * Runs all and prints a line for each to `out`, fields separated by tabs (none holds one):
 *   number id verdict weight name interface expected seen without
 * -ENODEV or -EACCES = no usable /dev/kvm. Otherwise the number of FAILs.
 */
int check_all(FILE *out, struct err *e) must_check;
#define CHECK_STATUS_FAILED 1
#define CHECK_STATUS_NO_KVM 77

#endif
