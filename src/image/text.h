/* The text of a TIFF's first directory: where its ImageDescription and its resolution lie, and what
 * they say. */
#ifndef SQYFS_IMAGE_TEXT_H
#define SQYFS_IMAGE_TEXT_H

#include "image/describe.h"
#include "image/tiff.h"

struct text {
    struct tiff_field field, x_resolution, y_resolution; /* of count 0 where there is none */
};

/* What a directory has; texts of more than LAYOUT_MAX_TEXT bytes are cut off. */
struct text text_of(const struct tiff_ifd *ifd);
bool text_same(const struct text *a, const struct text *b);
/* Whether any of it lies in [off, off+len). */
bool text_touches(const struct text *text, uint64_t off, uint64_t len);

/* 0 (what it does not say is left alone in *out), WINDOW_ABSENT, WINDOW_NEVER, or a negative errno.
 */
int text_read(const struct text *text, const struct tiff_header *header, struct source *source,
              struct description *out);

#endif
