#include "codec/turns_body.h"

static void add_tap(int32_t *restrict sum, const int16_t *restrict tap, int16_t weight, size_t n)
{
    for (size_t x = 0; x < n; x++)
        sum[x] = (int32_t)((uint32_t)sum[x] + (uint32_t)(weight * tap[x]));
}

static void scalar_sum(int32_t *sum, const int16_t *const tap[], const int16_t weight[],
                       unsigned n_taps, int32_t bias, size_t n)
{
    for (size_t x = 0; x < n; x++)
        sum[x] = bias;
    for (unsigned t = 0; t < n_taps; t++)
        add_tap(sum, tap[t], weight[t], n);
}

static void scalar_measure(const struct line *line, const int32_t *sum)
{
    turns_measure(line, sum);
}

static void scalar_encode(struct context *context, const struct line *line, struct bit_writer *bits)
{
    turns_encode(context, line, bits);
}

static void scalar_decode(struct context *context, const struct line *line, struct bit_reader *bits,
                          struct arith_reader *arith)
{
    turns_decode(context, line, bits, arith);
}

const struct turns turns_scalar = {
    .add_window = normal_add,
    .sum = scalar_sum,
    .energy_sum = energy_sum,
    .measure = scalar_measure,
    .encode = scalar_encode,
    .decode = scalar_decode,
};
