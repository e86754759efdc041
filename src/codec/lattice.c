#include "codec/lattice.h"

#include "codec/kernels.h"
#include "codec/samples.h"

size_t lattice_bytes(const struct shape *shape)
{
    size_t half = (shape->width / shape->spp + 1) / 2, halves, bytes;
    const size_t stride = (half + 2 * LATTICE_PAD) & ~(size_t)(LATTICE_PAD - 1);
    if (shape->size > 2 ||
        __builtin_mul_overflow(shape->planes * shape->spp, 2 * shape->rows, &halves) ||
        __builtin_add_overflow(halves, 1, &halves) ||
        __builtin_mul_overflow(halves, stride * sizeof(int16_t), &bytes) || bytes > SIZE_MAX / 2)
        return 0;
    return bytes + 2 * LATTICE_PAD * sizeof(int16_t);
}

void lattice_init(struct lattice *lattice, const struct shape *shape, void *memory)
{
    const size_t width = shape->width / shape->spp, half = (width + 1) / 2;
    *lattice = (struct lattice){
        .stride = (half + 2 * LATTICE_PAD) & ~(size_t)(LATTICE_PAD - 1),
        .layers = shape->planes * shape->spp,
        .rows = shape->rows,
        .width = width,
        .even = half,
        .odd = width / 2,
        .shape = shape,
    };
    lattice->above = (int16_t *)memory + LATTICE_PAD;
    lattice->halves = lattice->above + lattice->stride;
}

static bool is_signed8(const struct shape *shape)
{
    return shape->type == SQY_INT8;
}

static int16_t widen(const struct shape *shape, uint8_t v)
{
    return is_signed8(shape) ? (int16_t)(int8_t)v : (int16_t)v;
}

/* Interleaved samples and samples of 8 bits: rare enough to go one by one. */
static void load_slowly(const struct lattice *lattice, const uint8_t *row, size_t s, int16_t *even,
                        int16_t *odd)
{
    const struct shape *shape = lattice->shape;
    for (size_t x = 0; x < lattice->width; x++) {
        const size_t i = x * shape->spp + s;
        int16_t v = shape->size == 1
                        ? widen(shape, row[i])
                        : (int16_t)((row[2 * i] | row[2 * i + 1] << 8) ^ samples_flip(shape));
        (x % 2 ? odd : even)[x / 2] = v;
    }
}

static void store_slowly(const struct lattice *lattice, const int16_t *even, const int16_t *odd,
                         size_t s, uint8_t *row)
{
    const struct shape *shape = lattice->shape;
    for (size_t x = 0; x < lattice->width; x++) {
        const size_t i = x * shape->spp + s;
        const uint16_t v = (uint16_t)(x % 2 ? odd : even)[x / 2];
        if (shape->size == 1) {
            row[i] = (uint8_t)v;
        } else {
            row[2 * i] = (uint8_t)(v ^ samples_flip(shape));
            row[2 * i + 1] = (uint8_t)((v ^ samples_flip(shape)) >> 8);
        }
    }
}

void lattice_set_base(const struct lattice *lattice, int16_t base)
{
    for (size_t i = 0; i <= lattice->even; i++)
        lattice->above[i] = base;
    lattice->above[-1] = base;
}

void lattice_close_ends(const struct lattice *lattice, size_t layer, size_t row)
{
    int16_t *even = lattice_even(lattice, layer, row), *odd = even + lattice->stride;
    even[-1] = odd[-1] = even[0];
    even[lattice->even] = odd[lattice->odd] = even[lattice->even - 1];
}

#define AHEAD 8192u /* bytes: the box may come from memory, where each page begins anew */

static void fetch_ahead(const uint8_t *row, size_t len, const uint8_t *end)
{
    const size_t left = (size_t)(end - row);
    for (size_t i = AHEAD; i < AHEAD + len && i < left; i += 64)
        __builtin_prefetch(row + i);
}

void lattice_load(const struct lattice *lattice, const struct kernels *k, const uint8_t *in)
{
    const struct shape *shape = lattice->shape;
    const size_t row_bytes = shape->width * shape->size;
    const uint8_t *end = in + shape->n * shape->size;
    for (size_t layer = 0; layer < lattice->layers; layer++) {
        const uint8_t *plane = in + layer / shape->spp * shape->rows * row_bytes;
        for (size_t row = 0; row < lattice->rows; row++) {
            int16_t *even = lattice_even(lattice, layer, row), *odd = even + lattice->stride;
            fetch_ahead(plane + row * row_bytes, row_bytes, end);
            if (shape->spp == 1 && shape->size == 2)
                k->part(plane + row * row_bytes, lattice->width, samples_flip(shape), even, odd);
            else
                load_slowly(lattice, plane + row * row_bytes, layer % shape->spp, even, odd);
            lattice_close_ends(lattice, layer, row);
        }
    }
}

void lattice_store_row(const struct lattice *lattice, const struct kernels *k, size_t z, size_t row,
                       uint8_t *out)
{
    const struct shape *shape = lattice->shape;
    uint8_t *to = out + (z * shape->rows + row) * shape->width * shape->size;
    for (size_t s = 0; s < shape->spp; s++) {
        const int16_t *even = lattice_even(lattice, z * shape->spp + s, row);
        const int16_t *odd = even + lattice->stride;
        if (shape->spp == 1 && shape->size == 2)
            k->merge(even, odd, lattice->width, samples_flip(shape), to);
        else
            store_slowly(lattice, even, odd, s, to);
    }
}
