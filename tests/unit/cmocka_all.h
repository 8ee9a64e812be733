/* cmocka wants these before itself. */
#ifndef BULKHEAD_TEST_CMOCKA_ALL_H
#define BULKHEAD_TEST_CMOCKA_ALL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Skips the test and says why: tests/run-unit looks for this line. */
#define skip_because(...)                                                                          \
    do {                                                                                           \
        print_message("skip: " __VA_ARGS__);                                                       \
        print_message("\n");                                                                       \
        skip();                                                                                    \
    } while (0)

#endif
