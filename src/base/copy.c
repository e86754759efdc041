#include "base/copy.h"

#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>

enum { LINE = 64 };

static void copy_line(uint8_t *to, const uint8_t *from)
{
    const __m128i a = _mm_loadu_si128((const __m128i *)from);
    const __m128i b = _mm_loadu_si128((const __m128i *)(from + 16));
    const __m128i c = _mm_loadu_si128((const __m128i *)(from + 32));
    const __m128i d = _mm_loadu_si128((const __m128i *)(from + 48));
    _mm_stream_si128((__m128i *)to, a);
    _mm_stream_si128((__m128i *)(to + 16), b);
    _mm_stream_si128((__m128i *)(to + 32), c);
    _mm_stream_si128((__m128i *)(to + 48), d);
}

void copy_past_caches(void *to_, const void *from_, size_t len)
{
    uint8_t *to = to_;
    const uint8_t *from = from_;
    size_t before = -(uintptr_t)to % LINE;
    if (before > len)
        before = len;
    memcpy(to, from, before);
    size_t at = before;
    for (; len - at >= LINE; at += LINE)
        copy_line(to + at, from + at);
    memcpy(to + at, from + at, len - at);
    _mm_sfence();
}

#else

void copy_past_caches(void *to, const void *from, size_t len)
{
    memcpy(to, from, len);
}

#endif
