/* Source of the blocks of minima: sqeazy 0.7.2; codec/FORMAT.md. */
#include "codec/video_planes.h"

#include "base/le.h"

#include <errno.h>
#include <string.h>

#define BLOCK_WIDTH 4
#define BLOCK_ROWS  2

/* Bytes of a sample in a picture. */
static size_t item_of(unsigned bits)
{
    return bits > 8 ? 2 : 1;
}

static size_t voxel(const uint8_t *in, size_t i, size_t size)
{
    return size == 1 ? in[i] : le_load16(in + 2 * i);
}

unsigned video_bits_of(const uint8_t *in, size_t n, size_t size)
{
    uint16_t all = 0;
    unsigned bits = 8;
    for (size_t i = 0; size == 2 && i < n; i++)
        all |= le_load16(in + 2 * i);
    while (bits < 16 && all >> bits)
        bits++;
    return bits;
}

static size_t luma_bytes(const struct video_layout *l)
{
    return (size_t)l->pic_width * l->pic_rows * item_of(l->bits);
}

size_t video_plane_bytes(const struct video_layout *l)
{
    return luma_bytes(l) + luma_bytes(l) / 2;
}

/* ---- encoding ---- */

static void put(uint8_t *out, size_t i, size_t item, size_t value)
{
    if (item == 1)
        out[i] = (uint8_t)value;
    else
        le_store16(out + 2 * i, (uint16_t)value);
}

static void fill_luma_row(const struct video_layout *l, const uint8_t *in, uint8_t *out)
{
    const size_t item = item_of(l->bits);
    if (item == l->size)
        memcpy(out, in, l->width * item);
    else
        for (size_t x = 0; x < l->width; x++)
            put(out, x, item, voxel(in, x, l->size));
    for (size_t x = l->width; x < l->pic_width; x++)
        put(out, x, item, voxel(in, l->width - 1, l->size));
}

static void fill_luma(const struct video_layout *l, const uint8_t *in, uint8_t *out, size_t stride)
{
    for (size_t y = 0; y < l->pic_rows; y++) {
        if (y < l->rows)
            fill_luma_row(l, in + y * l->width * l->size, out + y * stride);
        else
            memcpy(out + y * stride, out + (y - 1) * stride, stride);
    }
}

/* Grey: half of the range. */
static void fill_grey(const struct video_layout *l, uint8_t *out, size_t bytes)
{
    const size_t item = item_of(l->bits);
    for (size_t i = 0; i < bytes / item; i++)
        put(out, i, item, (size_t)1 << (l->bits - 1));
}

/* Where the voxel for (x, y) of the picture lies. */
static size_t source(const struct video_layout *l, size_t x, size_t y)
{
    return (y < l->rows ? y : l->rows - 1) * l->width + (x < l->width ? x : l->width - 1);
}

static void fill_block(const struct video_layout *l, const uint8_t *in, size_t x, size_t y,
                       uint8_t *luma, uint8_t *u)
{
    uint16_t v[BLOCK_ROWS][BLOCK_WIDTH], least = UINT16_MAX;
    for (size_t j = 0; j < BLOCK_ROWS; j++) {
        for (size_t i = 0; i < BLOCK_WIDTH; i++) {
            v[j][i] = le_load16(in + 2 * source(l, x + i, y + j));
            least = v[j][i] < least ? v[j][i] : least;
        }
    }
    for (size_t j = 0; j < BLOCK_ROWS; j++)
        for (size_t i = 0; i < BLOCK_WIDTH; i++)
            luma[(y + j) * l->pic_width + x + i] = (uint8_t)(v[j][i] - least);
    uint8_t *at = u + y / BLOCK_ROWS * (l->pic_width / 2) + x / BLOCK_WIDTH * 2;
    at[0] = (uint8_t)(least >> 8);
    at[1] = (uint8_t)least;
}

static bool block_holds(const uint8_t *in, size_t rows, size_t width, size_t x, size_t y)
{
    uint16_t least = UINT16_MAX, most = 0;
    for (size_t j = y; j < rows && j < y + BLOCK_ROWS; j++) {
        for (size_t i = x; i < width && i < x + BLOCK_WIDTH; i++) {
            const uint16_t v = le_load16(in + 2 * (j * width + i));
            least = v < least ? v : least;
            most = v > most ? v : most;
        }
    }
    return most - least <= UINT8_MAX;
}

bool video_minima_hold(const uint8_t *in, size_t rows, size_t width)
{
    for (size_t y = 0; y < rows; y += BLOCK_ROWS)
        for (size_t x = 0; x < width; x += BLOCK_WIDTH)
            if (!block_holds(in, rows, width, x, y))
                return false;
    return true;
}

void video_plane_fill(const struct video_layout *l, const uint8_t *in, uint8_t *room,
                      struct video_plane *out)
{
    const size_t item = item_of(l->bits), luma = luma_bytes(l), chroma = luma / 4;
    *out = (struct video_plane){.y = room, .stride = l->pic_width * item};
    if (l->chroma == VIDEO_420) {
        out->u = room + luma;
        out->v = room + luma + chroma;
        out->chroma_stride = out->stride / 2;
    }
    if (l->form == VIDEO_FORM_MINIMA) {
        for (size_t y = 0; y < l->pic_rows; y += BLOCK_ROWS)
            for (size_t x = 0; x < l->pic_width; x += BLOCK_WIDTH)
                fill_block(l, in, x, y, room, room + luma);
        fill_grey(l, room + luma + chroma, chroma);
        return;
    }
    if (item == l->size && l->width == l->pic_width && l->rows == l->pic_rows)
        out->y = in;
    else
        fill_luma(l, in, room, out->stride);
    if (l->chroma == VIDEO_420)
        fill_grey(l, room + luma, 2 * chroma);
}

/* ---- decoding ---- */

static void read_minima_row(const struct video_layout *l, const uint8_t *y, const uint8_t *u,
                            uint8_t *out)
{
    for (size_t x = 0; x < l->width; x++) {
        const uint8_t *least = u + x / BLOCK_WIDTH * 2;
        le_store16(out + 2 * x, (uint16_t)(y[x] + (least[0] << 8 | least[1])));
    }
}

/* What a lossy encoder makes of bytes may lie beyond them. */
static void read_luma_row(const struct video_layout *l, size_t item, unsigned shift,
                          const uint8_t *y, uint8_t *out)
{
    if (item == l->size && !shift) {
        memcpy(out, y, l->width * item);
        return;
    }
    for (size_t x = 0; x < l->width; x++) {
        const size_t v = voxel(y, x, item) >> shift;
        put(out, x, l->size, l->size == 1 && v > UINT8_MAX ? UINT8_MAX : v);
    }
}

int video_plane_read(const struct video_layout *l, const struct video_picture *p, uint8_t *out)
{
    const size_t item = item_of(p->bits);
    if (p->width < l->width || p->width > l->pic_width || p->height < l->rows ||
        p->height > l->pic_rows)
        return -EBADMSG;
    const bool minima = l->form == VIDEO_FORM_MINIMA && p->bits == 8;
    if (minima && !p->u)
        return -EBADMSG;
    for (size_t y = 0; y < l->rows; y++, out += l->width * l->size) {
        const uint8_t *luma = p->y + y * p->stride;
        if (minima)
            read_minima_row(l, luma, p->u + y / BLOCK_ROWS * p->chroma_stride, out);
        else
            read_luma_row(l, item, p->shift, luma, out);
    }
    return 0;
}
