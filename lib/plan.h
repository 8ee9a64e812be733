/*
 * The plan: all that bulkhead-vmm is ever told. Plain numbers, bounded strings and descriptor
 * numbers of descriptors inherited open; no path, no JSON. It is written into a memfd (or any file)
 * whose number is the VMM's only argument (`bulkhead-vmm --plan FD`).
 */
#ifndef BULKHEAD_PLAN_H
#define BULKHEAD_PLAN_H

#include "lib/err.h"

#include <stdint.h>

#define PLAN_MAGIC   0x4e4c5042u /* "BPLN" */
#define PLAN_VERSION 1u

#define PLAN_CMDLINE_MAX   2048
#define PLAN_DEVICES_MAX   16 /* one IOAPIC line each: GSI 5..23 less the legacy ones */
#define PLAN_VCPUS_MAX     32
#define PLAN_MEMORY_MIN    (32ull << 20)
#define PLAN_MEMORY_MAX    (1ull << 40)
#define PLAN_ID_MAX        36 /* virtio-blk serial (20 used), virtio-fs tag */
#define PLAN_LISTENERS_MAX 4

enum plan_device_type {
    PLAN_BLK = 1,   /* fd[0] = raw file or block device */
    PLAN_NET = 2,   /* fd[0] = tap */
    PLAN_VSOCK = 3, /* fd[0] = listening Unix stream socket; listeners below */
    PLAN_FS = 4,    /* fd[0] = seqpacket socket to bulkhead-fs */
    PLAN_RNG = 5,
    PLAN_BALLOON = 6,
};
#define PLAN_DEVICE_READONLY 1u

/*
 * A guest connection to `port` makes the VMM create a stream socket pair and send one end
 * (SCM_RIGHTS, one byte of data) over this seqpacket socket. Guest connections to any other port
 * are reset.
 */
struct plan_listener {
    uint32_t port;
    int32_t fd;
};

struct plan_device {
    uint32_t type;
    uint32_t flags;
    int32_t fd[2];        /* -1 = none */
    char id[PLAN_ID_MAX]; /* NUL-terminated */
    uint8_t mac[6];
    uint8_t pad[2];
    uint32_t cid; /* vsock */
    uint32_t nlisteners;
    struct plan_listener listeners[PLAN_LISTENERS_MAX];
};

struct plan {
    uint32_t magic, version, size; /* size = sizeof(struct plan) */
    uint32_t vcpus;
    uint64_t memory;                      /* bytes, a multiple of 4096 */
    int32_t kvm_fd, kernel_fd, initrd_fd; /* initrd -1 = none */
    int32_t control_fd; /* listening Unix seqpacket socket (vmm control protocol), -1 = none */
    int32_t console_fd; /* where the guest's serial output goes (last words, or a full console), -1
                           = nowhere */
    int32_t console_in_fd;       /* serial input, -1 = none */
    uint32_t jail_uid, jail_gid; /* 0 = stay (only for the stand-alone mode of bulkhead-vmm) */
    uint32_t flags;              /* PLAN_* below */
    uint32_t ndevices;
    struct plan_device devices[PLAN_DEVICES_MAX];
    char cmdline[PLAN_CMDLINE_MAX]; /* NUL-terminated; the VMM appends virtio_mmio.device= words */
};
#define PLAN_SERIAL                                                                                \
    1u /* a full 8250 on 0x3f8 with interrupts and input, not only the write-only one for last     \
          words */

/* Reads and checks one: sizes, counts, strings terminated, descriptors open. The bytes come from
 * our own CLI, and are checked all the same. */
int plan_read(int fd, struct plan *out, struct err *e) must_check;
/* A memfd (not CLOEXEC) holding the plan, for the child to inherit. Returns fd. */
int plan_write(const struct plan *p, struct err *e) must_check;
void plan_init(struct plan *p); /* defaults: magic, all descriptors -1 */

/*
 * The control socket (seqpacket, one request and one reply a message).
 */
enum control_op { CONTROL_STOP = 1, CONTROL_PAUSE = 2, CONTROL_RESUME = 3, CONTROL_STATS = 4 };
struct control_request {
    uint32_t version; /* PLAN_VERSION */
    uint32_t op;
};
struct control_reply {
    uint32_t version;
    int32_t error; /* 0 or -errno */
    uint32_t paused;
    uint32_t pad;
    /* CONTROL_STATS; counts since power-on, times CLOCK_MONOTONIC ns of the host (0 = not yet) */
    uint64_t t_start, t_run, t_driver_ok, t_first_connection;
    uint64_t exits, exits_io, exits_mmio, exits_hlt, exits_other;
    uint64_t kicks, interrupts;
    uint64_t resident; /* bytes of guest RAM touched */
};

/* Exit status of the VMM process. */
enum vmm_status {
    VMM_STATUS_GUEST_OFF = 0, /* the guest reset or powered off, or CONTROL_STOP */
    VMM_STATUS_USAGE = 2,
    VMM_STATUS_SETUP = 3, /* could not make the VM: message on stderr */
    VMM_STATUS_KVM = 4,   /* KVM gave up on the guest: internal error, failed entry */
};

#endif
