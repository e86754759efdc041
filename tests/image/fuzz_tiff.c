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

struct writing {
    const uint8_t *data; /* what the file is to be */
    uint8_t *now, *present;
    size_t size;
    struct file file;
    struct layout *layout;
    uint32_t random;
};

static uint32_t next_random(struct writing *w)
{
    w->random = w->random * 1664525u + 1013904223u;
    return w->random >> 8;
}

static void write_block(struct writing *w, size_t off, size_t len, uint8_t damage)
{
    struct layout_piece want;
    if (off >= w->size)
        return;
    if (len > w->size - off)
        len = w->size - off;
    for (size_t i = off; i < off + len; i++)
        w->now[i] = w->data[i] ^ (next_random(w) % 16 ? 0 : damage);
    memset(w->present + off, 1, len);
    if (layout_note(w->layout, off, len))
        layout_update(w->layout, file_read, &w->file, w->size, next_random(w) % 4 == 0, &want);
}

/* In blocks from the back, every second first, a part of them wrong; then all of it, right. */
static struct layout *layout_in_steps(const uint8_t *data, size_t size)
{
    struct writing w = {.data = data, .size = size, .random = (uint32_t)size};
    struct layout_piece want;
    w.now = calloc(size + 1, 1);
    w.present = calloc(size + 1, 1);
    if (!w.now || !w.present || layout_create(TARGET, NULL, &w.layout) < 0)
        abort();
    w.file = (struct file){.data = w.now, .len = size, .present = w.present};
    size_t block = size / 9 + 1;
    for (unsigned i = 0; i < 20; i++)
        write_block(&w, (i * 7 + 9) % 10 * block, block, i < 10 ? (uint8_t)next_random(&w) : 0);
    must_hold(file_check(w.layout, INT64_MAX, false, TARGET, MAX_UNITS, NULL));
    layout_update(w.layout, file_read, &w.file, size, true, &want);
    free(w.now);
    free(w.present);
    return w.layout;
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
