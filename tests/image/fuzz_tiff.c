/* Any bytes as a TIFF: parsed as a complete file and while it is being written, the answers keep
 * the invariants, and both ways end in the same layout. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"

#define TARGET    (64u << 10)
#define MAX_UNITS 3000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must_hold(const char *wrong)
{
    if (!wrong)
        return;
    fprintf(stderr, "layout: %s\n", wrong);
    abort();
}

/* Written in two halves, the second first, then once more in the middle. */
static struct layout *layout_in_steps(const uint8_t *data, size_t size)
{
    struct layout *layout;
    struct layout_piece want;
    size_t half = size / 2;
    uint8_t *present = calloc(size + 1, 1);
    if (!present || layout_create(TARGET, NULL, &layout) < 0)
        abort();
    struct file file = {.data = data, .len = size, .present = present};
    memset(present + half, 1, size - half);
    layout_note(layout, half, size - half);
    layout_update(layout, file_read, &file, size, false, &want);
    memset(present, 1, half);
    layout_note(layout, 0, half);
    layout_update(layout, file_read, &file, size, false, &want);
    must_hold(file_check(layout, INT64_MAX, false, TARGET, MAX_UNITS, NULL));
    layout_note(layout, size / 3, size / 3);
    layout_update(layout, file_read, &file, size, true, &want);
    free(present);
    return layout;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct file file = {.data = data, .len = size};
    struct layout *once = file_layout(&file, TARGET, NULL);
    must_hold(file_check(once, size, true, TARGET, MAX_UNITS, NULL));
    struct layout *steps = layout_in_steps(data, size);
    if (file_digest(once, size) != file_digest(steps, size))
        must_hold("another layout when it was written piece by piece");
    layout_destroy(&once);
    layout_destroy(&steps);
    return 0;
}
