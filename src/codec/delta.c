/* delta: a sample less the one `spp` before it, in the order of the box; the first `spp` stay. With
 * zigzag small differences of either sign become small numbers: 0, -1, 1, -2 to 0, 1, 2, 3. */
#include "base/le.h"
#include "codec/stage.h"

enum { ARG_ZIGZAG };

#define INLINE static inline __attribute__((always_inline))

INLINE uint64_t get(const uint8_t *p, size_t i, size_t size)
{
    switch (size) {
    case 1:
        return p[i];
    case 2:
        return le_load16(p + 2 * i);
    case 4:
        return le_load32(p + 4 * i);
    default:
        return le_load64(p + 8 * i);
    }
}

INLINE void put(uint8_t *p, size_t i, size_t size, uint64_t v)
{
    switch (size) {
    case 1:
        p[i] = (uint8_t)v;
        break;
    case 2:
        le_store16(p + 2 * i, (uint16_t)v);
        break;
    case 4:
        le_store32(p + 4 * i, (uint32_t)v);
        break;
    default:
        le_store64(p + 8 * i, v);
    }
}

/* Of the low 8 * size bits; those above are whatever. */
INLINE uint64_t fold(uint64_t d, size_t size)
{
    return d << 1 ^ (0 - (d >> (8 * size - 1) & 1));
}

INLINE uint64_t unfold(uint64_t v, size_t size)
{
    const uint64_t mask = UINT64_MAX >> (64 - 8 * size);
    return (v & mask) >> 1 ^ (0 - (v & 1));
}

INLINE void apply(const struct shape *shape, const uint8_t *in, uint8_t *out, size_t size,
                  bool zigzag)
{
    const size_t spp = shape->spp;
    for (size_t i = 0; i < shape->n; i++) {
        uint64_t d = get(in, i, size) - (i < spp ? 0 : get(in, i - spp, size));
        put(out, i, size, zigzag && i >= spp ? fold(d, size) : d);
    }
}

INLINE void undo(const struct shape *shape, const uint8_t *in, uint8_t *out, size_t size,
                 bool zigzag)
{
    const size_t spp = shape->spp;
    for (size_t i = 0; i < shape->n; i++) {
        uint64_t v = get(in, i, size);
        if (i >= spp)
            v = (zigzag ? unfold(v, size) : v) + get(out, i - spp, size);
        put(out, i, size, v);
    }
}

/* Sizes and zigzag are constants in each copy of the loops. */
static int delta_apply(struct sqy_ctx *ctx, const struct stage *stage, const struct shape *shape,
                       const uint8_t *in, uint8_t *out)
{
    (void)ctx;
    switch (2 * (int)shape->size + stage->arg[ARG_ZIGZAG]) {
    case 2:
        apply(shape, in, out, 1, false);
        break;
    case 3:
        apply(shape, in, out, 1, true);
        break;
    case 4:
        apply(shape, in, out, 2, false);
        break;
    case 5:
        apply(shape, in, out, 2, true);
        break;
    default:
        apply(shape, in, out, shape->size, stage->arg[ARG_ZIGZAG]);
    }
    return 0;
}

static int delta_undo(struct sqy_ctx *ctx, const struct stage *stage, const struct shape *shape,
                      const uint8_t *in, uint8_t *out)
{
    (void)ctx;
    switch (2 * (int)shape->size + stage->arg[ARG_ZIGZAG]) {
    case 2:
        undo(shape, in, out, 1, false);
        break;
    case 3:
        undo(shape, in, out, 1, true);
        break;
    case 4:
        undo(shape, in, out, 2, false);
        break;
    case 5:
        undo(shape, in, out, 2, true);
        break;
    default:
        undo(shape, in, out, shape->size, stage->arg[ARG_ZIGZAG]);
    }
    return 0;
}

static size_t delta_grain(const struct stage *stage, size_t size)
{
    (void)stage;
    (void)size;
    return 0; /* each piece begins anew */
}

const struct stage_desc stage_desc_delta = {
    .name = "delta",
    .about = "difference to the sample before",
    .class = STAGE_FILTER,
    .args = {[ARG_ZIGZAG] = {.name = "zigzag", .min = 0, .max = 1, .def = 0}},
    .sizes = 1 | 2 | 4 | 8,
    .grain = delta_grain,
    .apply = delta_apply,
    .undo = delta_undo,
};
