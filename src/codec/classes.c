#include "codec/classes.h"

#include <string.h>

#include "codec/entropy.h"
#include "codec/kernels.h"

#define SYMBOLS (CLASS_ESCAPE + 1)

/* Few, for a small sample seems to cost less the more codes it has. */
enum kind { NOTHING, RARE, QUIET, NOISY_EVEN, NOISY_ODD, KINDS };

static enum kind kind_of(unsigned class)
{
    if (!class)
        return NOTHING;
    if (class < CLASS_NOISY)
        return class < CLASS_NOISY / 2 ? RARE : QUIET;
    return class % 2 ? NOISY_ODD : NOISY_EVEN; /* these differ by a factor of 2, or not at all */
}

#define MOST (1 << 17) /* and more is no residual of 16 bits */

/* As predict.h has it: x - floor(prediction + up), which is the least whole number not below x -
 * prediction - up; 0, -1, 1, -2, ... as 0, 1, 2, 3, ... Returns their sum. */
static uint32_t round_window(const float *left, float up, uint32_t z[CLASS_WINDOW])
{
    uint32_t sum = 0;
    for (unsigned i = 0; i < CLASS_WINDOW; i++) {
        const float down = MOST + up - left[i]; /* conversion rounds towards 0: down, from here */
        const int32_t r = MOST - (int32_t)(!(down > 0) ? 0 : down < 2 * MOST ? down : 2 * MOST);
        z[i] = (uint32_t)(r * 2) ^ (uint32_t) - (r < 0);
        sum += z[i];
    }
    return sum;
}

static uint32_t clipped_sum(const uint32_t z[CLASS_WINDOW], uint32_t most)
{
    uint32_t sum = 0;
    for (unsigned i = 0; i < CLASS_WINDOW; i++)
        sum += z[i] < most ? z[i] : most;
    return sum;
}

double classes_cost(const float *left, size_t n, float up)
{
    uint32_t z[CLASS_WINDOW], count[KINDS][SYMBOLS];
    double bits = 0;
    memset(count, 0, sizeof(count));
    for (size_t w = 0; w < n; w += CLASS_WINDOW) {
        const uint32_t sum = round_window(left + w, up, z);
        const unsigned class =
            class_of(BLOCK / CLASS_WINDOW * clipped_sum(z, CLIP * (sum / CLASS_WINDOW) + 1));
        const unsigned k = class_bits(class);
        uint32_t *to = count[kind_of(class)];
        bits += k * CLASS_WINDOW;
        for (unsigned i = 0; i < CLASS_WINDOW; i++)
            to[z[i] >> k < CLASS_ESCAPE ? z[i] >> k : CLASS_ESCAPE]++;
    }
    for (unsigned kind = RARE; kind < KINDS; kind++)
        bits += entropy_bits(count[kind], SYMBOLS) + 8 * count[kind][CLASS_ESCAPE];
    return bits / (double)n;
}
