/* Values of arguments as text. */
#ifndef SQYFS_CODEC_ARG_H
#define SQYFS_CODEC_ARG_H

#include "codec/stage.h"

#include <stdio.h>

#define ARG_WHY_MAX 160

/* Reads argument `i` of `stage` from the front of `text`; *len is how much of it that was. -EINVAL
 * with what was expected in `why`, or -ENOMEM. */
int arg_parse(struct stage *stage, unsigned i, const char *text, size_t *len,
              char why[ARG_WHY_MAX]);
/* Whether it has a value to be written, and the value. */
bool arg_has_value(const struct stage *stage, unsigned i);
void arg_print(const struct stage *stage, unsigned i, FILE *f);

#endif
