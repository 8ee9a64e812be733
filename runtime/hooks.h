/* Running the OCI hooks of the host side (config.md "POSIX-platform Hooks"). */
#ifndef BULKHEAD_RUNTIME_HOOKS_H
#define BULKHEAD_RUNTIME_HOOKS_H

#include "lib/spec.h"
#include "runtime/state.h"

/*
 * Runs all hooks of one kind in order, each with only its own env, cwd = `cwd`, `state_json` on
 * stdin, its timeout obeyed. A failure (not startable, non-zero status, timeout) is returned with
 * the hook's path, reason and the tail of its stderr: the first one, which stops the others; of
 * poststart and poststop all, which stop none and are the caller's to warn of. inside, if not 0: a
 * process in whose network namespace they run, with a mount namespace of their own, where what they
 * mount is theirs alone.
 */
int hooks_run(const struct spec_hooks *h, enum spec_hook_kind kind, pid_t inside, const char *cwd,
              const char *state_json, struct err *e) must_check;
/* The same with what `state` says: cwd is its bundle, or / when that has gone; createContainer's
 * run inside the shim's namespaces. */
int hooks_run_for(const struct spec_hooks *h, enum spec_hook_kind kind, const struct state *state,
                  enum status status, struct err *e) must_check;

#endif
