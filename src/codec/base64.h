/* Base64 with padding (RFC 4648, section 4), as sqeazy writes it into pipelines. */
#ifndef SQYFS_CODEC_BASE64_H
#define SQYFS_CODEC_BASE64_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* The bytes of `len` characters; the caller frees *out (not NULL, even where *n is 0). 0, -EINVAL or
 * -ENOMEM. */
int base64_decode(const char *text, size_t len, uint8_t **out, size_t *n);
void base64_print(FILE *f, const uint8_t *bytes, size_t n);

#endif
