/* Sizes as people write them: 4096, 64K, 1.5G (powers of 1024). */
#ifndef SQYFS_BASE_SIZE_H
#define SQYFS_BASE_SIZE_H

#include <stddef.h>
#include <stdint.h>

/* 0, or -EINVAL where `text` is no size or does not fit 63 bits. */
int size_parse(const char *text, uint64_t *bytes);

/* "1.5 GiB" into `buf`; returns buf. */
char *size_format(uint64_t bytes, char *buf, size_t len);

#endif
