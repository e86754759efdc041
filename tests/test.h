/* cmocka and the headers it wants before it, in the one order that works. */
#ifndef SQYFS_TESTS_TEST_H
#define SQYFS_TESTS_TEST_H

// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#endif
