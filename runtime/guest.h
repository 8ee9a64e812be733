/*
 * What the guest is told about a container: the requests that carry its configuration. Only what
 * the guest has to do crosses: root.path, host hooks, the vm section, cgroupsPath, limits that
 * only the host can keep, and paths of host namespaces stay here; seccomp profiles are compiled
 * first.
 */
#ifndef BULKHEAD_RUNTIME_GUEST_H
#define BULKHEAD_RUNTIME_GUEST_H

#include "lib/err.h"
#include "lib/spec.h"

#include <jansson.h>

/*
 * What of both bodies can be wrong because of the configuration alone: linux.seccomp, compiled. An
 * object (new reference), empty when there is no filter. To be made before anything exists.
 */
int guest_filter(const struct spec *s, json_t **out, struct err *e) must_check;
/* Body of PROTO_CONTAINER_CREATE. `mounts` is the guest's array of share_open, `filter`
 * guest_filter's object (both borrowed). */
int guest_create_body(const struct spec *s, const char *id, const char *bundle, json_t *mounts,
                      json_t *filter, json_t **out, struct err *e) must_check;
/* Body of PROTO_PROCESS_CREATE. `process` is the OCI process object (borrowed). */
int guest_exec_body(const struct spec *s, const char *id, const char *exec_id, json_t *process,
                    json_t **out, struct err *e) must_check;

/* linux.resources as the guest gets them, at create and in `update`. New reference. */
json_t *guest_resources(const json_t *written);

#endif
