#include "counting.h"

#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
#define CAN_COUNT 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define CAN_COUNT 0
#endif
#endif
#ifndef CAN_COUNT
#define CAN_COUNT 1
#endif

static atomic_size_t n_calls, n_bytes, peak;

#if CAN_COUNT
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t align, size_t size);
void __libc_free(void *p);

static void *came(void *p)
{
    n_calls++;
    n_bytes += malloc_usable_size(p);
    if (n_bytes > peak)
        peak = n_bytes;
    return p;
}

void *malloc(size_t size)
{
    return came(__libc_malloc(size));
}

void *calloc(size_t n, size_t size)
{
    return came(__libc_calloc(n, size));
}

void *realloc(void *p, size_t size)
{
    n_bytes -= malloc_usable_size(p);
    return came(__libc_realloc(p, size));
}

int posix_memalign(void **out, size_t align, size_t size)
{
    *out = came(__libc_memalign(align, size));
    return *out ? 0 : ENOMEM;
}

void *aligned_alloc(size_t align, size_t size)
{
    return came(__libc_memalign(align, size));
}

void free(void *p)
{
    n_bytes -= malloc_usable_size(p);
    __libc_free(p);
}
#endif

bool counting_works(void)
{
    return CAN_COUNT;
}

size_t counting_calls(void)
{
    return n_calls;
}

size_t counting_bytes(void)
{
    return n_bytes;
}

size_t counting_take_peak(void)
{
    const size_t most = peak;
    peak = n_bytes;
    return most;
}
