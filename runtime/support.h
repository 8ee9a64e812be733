/*
 * What of config.json Bulkhead can do today. lib/spec.h says whether a document is well formed;
 * this says no, by name, with the reason and where there is one the mend, to everything well formed
 * that would not be honoured. Nothing is ignored in silence. docs/oci-support.md is this file in
 * prose, and a test holds the two together.
 *
 * Not here, because it takes more than the document: what a mount's source is (runtime/share.h),
 * how large a VM can be (runtime/config.h), actions and flags of a seccomp profile
 * (runtime/seccomp.h).
 */
#ifndef BULKHEAD_RUNTIME_SUPPORT_H
#define BULKHEAD_RUNTIME_SUPPORT_H

#include "lib/spec.h"
#include "lib/str.h"

/*
 * `create`: the whole document. What runc only warns about is added to *warnings (may be NULL), one
 * line each, for the caller to log. -ENOTSUP, or -EINVAL where parts contradict each other.
 */
int support_check(const struct spec *s, struct strbuf *warnings, struct err *e) must_check;

/* `exec --process`: one process. `where` names it in errors ("process"). */
int support_check_process(const struct spec_process *p, const char *where, struct strbuf *warnings,
                          struct err *e) must_check;

/* `update --resources`: one linux.resources object. */
int support_check_resources(const struct spec_resources *r, const char *where,
                            struct err *e) must_check;

/* What the two above had to warn about, one a line, into the one warning of a verb. Frees it. */
void support_warn(struct strbuf *lines_taken, struct err *warning);

#endif
