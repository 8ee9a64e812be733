/*
 * The process's log: one line per message, to stderr and, if opened, to a file in runc's text or
 * JSON format (one object a line: level, msg, time in RFC 3339). Only mains and the two loops log
 * above debug.
 */
#ifndef BULKHEAD_LOG_H
#define BULKHEAD_LOG_H

#include "lib/err.h"

#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/*
 * Chooses what is logged and where. path NULL = stderr only; else the file is created and appended
 * to, and stderr still gets warnings and errors. `json` = the format of the file (and of stderr
 * when path is NULL).
 */
int log_open(const char *path, bool json, enum log_level level, struct err *e) must_check;
void log_close(void);

void log_at(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define log_error(...)   log_at(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_at(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_at(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
