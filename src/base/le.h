/* Explicit loads and stores of fixed byte order, at any alignment. */
#ifndef SQYFS_BASE_LE_H
#define SQYFS_BASE_LE_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define LE_PAIR(bits)                                                                              \
    static inline uint##bits##_t le_load##bits(const void *p)                                      \
    {                                                                                              \
        uint##bits##_t v;                                                                          \
        memcpy(&v, p, sizeof(v));                                                                  \
        return le##bits##toh(v);                                                                   \
    }                                                                                              \
    static inline void le_store##bits(void *p, uint##bits##_t v)                                   \
    {                                                                                              \
        v = htole##bits(v);                                                                        \
        memcpy(p, &v, sizeof(v));                                                                  \
    }                                                                                              \
    static inline uint##bits##_t be_load##bits(const void *p)                                      \
    {                                                                                              \
        uint##bits##_t v;                                                                          \
        memcpy(&v, p, sizeof(v));                                                                  \
        return be##bits##toh(v);                                                                   \
    }

LE_PAIR(16)
LE_PAIR(32)
LE_PAIR(64)

#undef LE_PAIR

#endif
