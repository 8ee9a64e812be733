/* Names and numbers that more than one program must agree on. */
#ifndef BULKHEAD_NAMES_H
#define BULKHEAD_NAMES_H

#define BULKHEAD_VERSION "0.1.0"
#define OCI_VERSION      "1.0.2" /* what `spec` and `state` say */

#define ANNOTATION_PREFIX "dev.bulkhead."

/* vsock ports. The agent listens on the guest port; it calls the host port once, when it is ready.
 */
#define VSOCK_GUEST_CID  3u
#define VSOCK_PORT_AGENT 1024u
#define VSOCK_PORT_READY 1025u

/* virtio-fs tag of the tree that bulkhead-fs serves: <container id>/rootfs, <container id>/mounts/N
 */
#define SHARE_TAG "bulkhead"
/* where the agent mounts it */
#define SHARE_DIR "/run/bulkhead/share"

#define CONTAINER_ID_MAX 255

#endif
