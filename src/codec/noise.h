/* The bins of the stage noise: which values share a code, and the value that stands for them. They
 * follow from five integers alone, by integer arithmetic, so that every machine has the same.
 *
 * Nobody outside codec/ includes this. */
#ifndef SQYFS_CODEC_NOISE_H
#define SQYFS_CODEC_NOISE_H

#include <stddef.h>
#include <stdint.h>

#define NOISE_VALUES ((size_t)UINT16_MAX + 1)

/* As the text has them. */
struct noise_params {
    uint32_t q;        /* thousandths of a sigma */
    uint32_t offset;   /* thousandths of a count */
    uint32_t gain;     /* millionths */
    uint32_t read;     /* thousandths of a count */
    uint32_t n_values; /* of the samples' type: 256 or 65536 */
    uint16_t flip; /* a sample is the value with these bits changed: 0, or 0x8000 of signed ones */
};

struct noise_table {
    struct noise_params params;
    uint32_t n_codes;
    uint16_t code[NOISE_VALUES];   /* of each sample */
    uint16_t sample[NOISE_VALUES]; /* that stands for each code; 0 beyond the last */
};

#define NOISE_VARIANCE_UNIT 1000u /* of noise_variance(), in a count squared */

/* (q sigma)^2 of what reads `value`, rounded down, in thousandths of a count squared. */
uint64_t noise_variance(const struct noise_params *params, uint32_t value);
/* The lowest value that can be noise. Those below are coded exactly. */
uint32_t noise_dark(const struct noise_params *params);
/* Fills all of it. */
void noise_table_build(struct noise_table *table, const struct noise_params *params);

#endif
