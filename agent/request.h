/* What the host's requests mean: the functions that connections call. */
#ifndef BULKHEAD_AGENT_REQUEST_H
#define BULKHEAD_AGENT_REQUEST_H

#include "agent/conn.h"

extern const struct conn_user request_user;

#endif
