/*
 * What the spawning side (runtime/shim.c) and bulkhead-shim say to each other, over the seqpacket
 * socket that the shim finds at SHIM_CHANNEL_FD:
 *
 *     shim     -> shim_report     "I am in my namespaces and my jail", or why not
 *     spawner  -> shim_handover   with the descriptors of `present`, in the order of enum shim_fd
 *     shim     -> shim_report     "I have them"
 *
 * The end of the channel before the hand-over means that the spawner gave up: the shim exits.
 */
#ifndef BULKHEAD_RUNTIME_SHIM_HANDOVER_H
#define BULKHEAD_RUNTIME_SHIM_HANDOVER_H

#include "runtime/shim/oom.h"

#include <stdint.h>

#define SHIM_CHANNEL_FD       3
#define SHIM_HANDOVER_VERSION 3u

/* A container id of 255 bytes and a process id of 64, each byte escaped to at most six. */
#define SHIM_IDENT_MAX 2048

enum shim_fd {
    SHIM_CONTROL,
    SHIM_STREAM0,
    SHIM_STREAM1,
    SHIM_STREAM2,
    SHIM_CONSOLE_LOG,
    SHIM_OOM, /* as many as enum oom_fd has */
    SHIM_FDS = SHIM_OOM + OOM_FDS
};

struct shim_report {
    int32_t code; /* 0 = all is well, else a positive errno */
    uint16_t rows, cols;
    char message[480]; /* NUL-terminated */
};

struct shim_handover {
    uint32_t version;
    uint32_t present;  /* bit n: descriptor enum shim_fd n comes with this message */
    uint32_t terminal; /* descriptor 0 is a terminal, stream 0 goes both ways */
    /* `"id":"...","process":"..."`, JSON escaped: the start of every body that the shim sends */
    char ident[SHIM_IDENT_MAX];
};

#endif
