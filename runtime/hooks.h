/* Running the OCI hooks of the host side (config.md "POSIX-platform Hooks"). */
#ifndef BULKHEAD_RUNTIME_HOOKS_H
#define BULKHEAD_RUNTIME_HOOKS_H

#include "lib/spec.h"

/*
 * Runs all hooks of one kind in order, each with only its own env, cwd = `cwd`, `state_json` on
 * stdin, its timeout obeyed. The first failure (not startable, non-zero status, timeout) stops and
 * is returned with the hook's path, reason and the tail of its stderr.
 */
int hooks_run(const struct spec_hooks *h, enum spec_hook_kind kind, const char *cwd,
              const char *state_json, struct err *e) must_check;

#endif
