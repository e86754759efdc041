/* The quantiser's weighting functions: "power_of_A_B" weighs value i with i to the power of A / B,
 * "offset_power_of_A_B" with its distance from the least value that occurs. B may be left out. */
#ifndef SQYFS_CODEC_QUANTISER_WEIGHT_H
#define SQYFS_CODEC_QUANTISER_WEIGHT_H

#include <stdbool.h>
#include <stddef.h>

struct quantiser_weight {
    bool by_power, by_offset;
    float exponent;
};

bool quantiser_weight_is_valid(const char *text);
/* A valid text, or "" for a weight of 1. */
void quantiser_weight_parse(const char *text, struct quantiser_weight *out);
/* Of value i, where `first` is the least that occurs. */
float quantiser_weight_at(const struct quantiser_weight *weight, size_t i, size_t first);

#endif
