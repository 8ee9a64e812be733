/*
 * `bulkhead check`: will containers run on this machine, and if not, what is to be done? One line
 * for each thing that could be wrong: those of the host (check_*.c here), and those of KVM, which
 * `bulkhead-vmm --check` finds out with guests of its own. A report owns its lines.
 */
#ifndef BULKHEAD_RUNTIME_CHECK_H
#define BULKHEAD_RUNTIME_CHECK_H

#include "lib/err.h"
#include "lib/str.h"
#include "runtime/config.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum check_verdict { CHECK_PASS, CHECK_FAIL, CHECK_SKIP };

/* What a FAIL means. */
enum check_weight {
    CHECK_NEEDED, /* containers cannot run */
    CHECK_SPEED,  /* they run slower; a SKIP too */
    CHECK_LATER,  /* they run; something that is built on this does not */
    CHECK_INFO,   /* nothing: it is said for the reader */
};

struct check_line {
    bool kvm;        /* found out by bulkhead-vmm */
    unsigned number; /* of a KVM check's family; 0 on the host */
    enum check_verdict verdict;
    enum check_weight weight;
    char *id, *name;
    char *interface, *expected; /* KVM checks; else "" */
    char *seen;                 /* what was found; of a SKIP the reason */
    char *mend;                 /* what to do; "" = nothing to do, or not known */
    char *without;              /* what there is not, when it fails */
};

#define CHECK_LINES_MAX 128
struct check_report {
    struct check_line lines[CHECK_LINES_MAX];
    size_t n;
    bool kvm_usable;
    bool failed_memory; /* a line could not be added */
};

#define CHECK_STATUS_FAILED 1
#define CHECK_STATUS_NO_KVM 77

/* Everything. config: bulkhead.json, NULL = the usual places. */
void check_collect(const char *config, struct check_report *out);
void check_report_done(struct check_report *r);

/* 0 = containers can run; else CHECK_STATUS_*. */
int check_status(const struct check_report *r);
/* "containers will run", "containers will run, slower: no ...", "cannot run: ..." */
void check_verdict_text(const struct check_report *r, struct strbuf *out);
/* The table and the verdict, as text. */
void check_print(const struct check_report *r, FILE *out);
/* A new reference; NULL = out of memory. */
json_t *check_json(const struct check_report *r);

/* --- the parts, for each other and for tests ------------------------------------------------- */

struct check_found {
    const char *id, *name;
    enum check_weight weight;
    const char *without;
};
/* Adds a host line; `seen` by format. mend NULL = "". */
void check_add(struct check_report *r, const struct check_found *f, enum check_verdict verdict,
               const char *mend, const char *fmt, ...) __attribute__((format(printf, 5, 6)));

void check_host(struct check_report *r);                          /* host.c */
void check_limits(struct check_report *r);                        /* limits.c */
void check_guest(struct check_report *r, const struct config *c); /* guest.c */
void check_clients(struct check_report *r);                       /* clients.c */
void check_kvm(struct check_report *r, const char *vmm_program);  /* kvm.c */

/* One line of bulkhead-vmm --check, without its newline; false = not of that form. */
bool check_parse(struct check_report *r, char *line);
/* Does this containers.conf's [engine.runtimes] name a program called `bulkhead`? The runtime's
 * name goes to `name`. */
bool check_podman_conf(const char *text, char *name, size_t size);
/* Does this containerd configuration have it as a BinaryName? */
bool check_containerd_conf(const char *text);

#endif
