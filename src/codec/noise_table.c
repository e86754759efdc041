/* Bins of consecutive values, from the lowest that can be noise upwards, each as wide as two rules let
 * it be: no error above q/2 sigma, and no more squared error, over all bins so far, than uniform steps
 * of q sigma would make. Widths are integers, so what a narrow bin saves of the second is lent to its
 * neighbour above, but not further: exact values of a dark image do not pay for a bright one.
 *
 * codec/FORMAT.md has it in full. */
#include "codec/noise.h"

#include <string.h>

__extension__ typedef unsigned __int128 u128;

#define MILLIARD      1000000000u
#define VARIANCE_MOST ((uint64_t)NOISE_VARIANCE_UNIT << 34) /* allows bins of all values */
#define DARK_DEVIATION                                                                             \
    8u /* standard deviations of the read noise that a dark voxel is below its mean */

uint64_t noise_variance(const struct noise_params *p, uint32_t value)
{
    const uint64_t at = 1000ull * value, light = at > p->offset ? at - p->offset : 0;
    /* in 10^-9 counts squared */
    const uint64_t variance = p->gain * light + 1000ull * p->read * p->read;
    const u128 scaled = (u128)variance * p->q * p->q / MILLIARD / 1000u;
    return scaled > VARIANCE_MOST ? VARIANCE_MOST : (uint64_t)scaled;
}

uint32_t noise_dark(const struct noise_params *p)
{
    const uint64_t deep = (uint64_t)DARK_DEVIATION * p->read;
    const uint64_t dark = p->offset > deep ? (p->offset - deep) / 1000u : 0;
    return dark < p->n_values ? (uint32_t)dark : p->n_values;
}

/* 12 times the sum of squared errors of a bin, in noise_variance()'s unit. */
static uint64_t cost(uint64_t width)
{
    return NOISE_VARIANCE_UNIT * width * (width % 2 ? width * width - 1 : width * width + 2);
}

/* The width of the bin that begins at `from`; takes what it costs from `lent`, what is left of it. */
static uint32_t next_width(const struct noise_params *p, uint32_t from, uint64_t *lent)
{
    const uint64_t lowest = noise_variance(p, from);
    uint64_t earned = 0, earned_best = 0;
    uint32_t best = 1;
    for (uint32_t w = 1; w <= p->n_values - from; w++) {
        const uint64_t half = w / 2;
        if (4 * half * half * NOISE_VARIANCE_UNIT > lowest)
            break;
        earned += noise_variance(p, from + w - 1);
        if (cost(w) <= earned + *lent) {
            best = w;
            earned_best = earned;
        }
    }
    const uint64_t left = *lent + earned_best - cost(best);
    *lent = left < earned_best ? left : earned_best;
    return best;
}

static void add_code(struct noise_table *table, uint32_t from, uint32_t width, uint32_t stands)
{
    const uint32_t code = table->n_codes++;
    const uint16_t flip = table->params.flip;
    table->sample[code] = (uint16_t)stands ^ flip;
    for (uint32_t v = from; v < from + width; v++)
        table->code[(uint16_t)v ^ flip] = (uint16_t)code;
}

void noise_table_build(struct noise_table *table, const struct noise_params *p)
{
    const uint32_t dark = noise_dark(p), zero = p->flip; /* the value of a sample of 0 */
    uint64_t lent = 0;
    uint32_t n_even = 0;
    table->params = *p;
    table->n_codes = 0;
    memset(table->sample, 0, sizeof(table->sample));
    if (zero < dark)
        add_code(table, zero, 1, zero);
    for (uint32_t from = dark, width; from < p->n_values; from += width) {
        width = next_width(p, from, &lent);
        const uint32_t upper = width % 2 ? 0 : n_even++ % 2; /* of the two middles, by turns */
        add_code(table, from, width, from + (width - 1) / 2 + upper);
    }
    for (uint32_t v = 0; v < dark; v++)
        if (v != zero)
            add_code(table, v, 1, v);
}
