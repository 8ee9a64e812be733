/*
 * The two JSON documents that Bulkhead writes about itself: the config.json that `spec` starts a
 * bundle with, and what `features` prints (the OCI specification's features.md). Both are made from
 * the same tables that parse and refuse.
 */
#ifndef BULKHEAD_RUNTIME_DOCUMENT_H
#define BULKHEAD_RUNTIME_DOCUMENT_H

#include "lib/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

/*
 * A config.json that runs `sh` on a terminal. user_namespace: root in the container is uid:gid
 * outside, and nothing is in it that a user without privileges could not have. *out: a new
 * reference.
 */
int document_spec(bool user_namespace, uid_t uid, gid_t gid, json_t **out,
                  struct err *e) must_check;

int document_features(json_t **out, struct err *e) must_check;

/* As both verbs print: indented, with a final newline. *out is owned. */
int document_text(const json_t *doc, char **out, struct err *e) must_check;

#endif
