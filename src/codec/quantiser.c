/* quantiser: at most 256 codes for the voxels' values, which the table of the pipeline's text turns
 * back. Few values keep a code each; more are grouped by how often they occur, times a weight.
 *
 * All of it in float, in the order in which sqeazy does it, so that codes and table are the same to
 * the bit. Source: sqeazy 0.7.2; codec/FORMAT.md. */
#include "base/le.h"
#include "codec/quantiser_weight.h"
#include "codec/stage.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ARG_DECODE_LUT, ARG_WEIGHTING };

#define N_CODES 256

struct quantiser {
    size_t n_values; /* of the voxels' type */
    float importance[UINT16_MAX + 1];
    uint8_t code[UINT16_MAX + 1];
    uint16_t table[N_CODES];
};

static void quantiser_count(const struct shape *shape, const uint8_t *in, uint32_t *counts)
{
    for (size_t i = 0; i < shape->n; i++)
        counts[shape->size == 1 ? in[i] : le_load16(in + 2 * i)]++;
}

/* How often each value occurs, times its weight. */
static int quantiser_weigh(struct quantiser *q, const struct stage *stage,
                           const struct shape *shape, const uint8_t *in)
{
    uint32_t *counts = calloc(q->n_values, sizeof(*counts));
    struct quantiser_weight weight;
    if (!counts)
        return -ENOMEM;
    quantiser_count(shape, in, counts);
    size_t first = 0;
    while (first < q->n_values - 1 && !counts[first])
        first++;
    quantiser_weight_parse(stage->word, &weight);
    for (size_t i = 0; i < q->n_values; i++)
        q->importance[i] = (float)counts[i] * quantiser_weight_at(&weight, i, first);
    free(counts);
    return 0;
}

/* A code for each value that counts, ascending. */
static void quantiser_rank(struct quantiser *q)
{
    size_t c = 0;
    for (size_t i = 0; i < q->n_values && c < N_CODES; i++) {
        q->code[i] = (uint8_t)c;
        q->table[c] = (uint16_t)i;
        if (q->importance[i] != 0)
            c++;
    }
    if (c < N_CODES && q->table[c] == q->n_values - 1)
        q->table[c] = c ? q->table[c - 1] : 0;
}

static uint16_t quantiser_centre(float moment, float mass, uint16_t otherwise)
{
    return mass != 0 ? (uint16_t)lroundf(moment / mass) : otherwise;
}

/* Groups of about the same importance, each with its centre of mass for a value. */
static void quantiser_group(struct quantiser *q, float sum)
{
    float bucket = sum / N_CODES, mass = q->importance[0], done = mass, moment = 0;
    int left = N_CODES;
    uint16_t centre = 0;
    unsigned c = 0;
    for (size_t i = 1; i < q->n_values; i++) {
        const float importance = q->importance[i];
        if (mass >= bucket && c < N_CODES - 1) {
            q->table[c++] = centre;
            left--;
            mass = importance;
            moment = (float)i * importance;
            if (done < sum)
                bucket = (sum - done) / (float)left;
        } else {
            mass += importance;
            moment += (float)i * importance;
        }
        centre = quantiser_centre(moment, mass, centre);
        q->code[i] = (uint8_t)c;
        done += importance;
    }
    q->table[c] = centre;
}

/* -ENOTSUP where the weights leave the range of float. */
static int quantiser_train(struct quantiser *q)
{
    double sum = 0;
    size_t n = 0;
    for (size_t i = 0; i < q->n_values; i++) {
        sum += (double)q->importance[i];
        n += q->importance[i] != 0;
    }
    if (!isfinite((float)(sum * UINT16_MAX)))
        return -ENOTSUP;
    if (n <= N_CODES)
        quantiser_rank(q);
    else
        quantiser_group(q, (float)sum);
    return 0;
}

static int quantiser_put_table(const struct quantiser *q, struct stage *stage, size_t size)
{
    uint8_t *bytes = malloc(N_CODES * size);
    if (!bytes)
        return -ENOMEM;
    for (size_t c = 0; c < N_CODES; c++) {
        if (size == 1)
            bytes[c] = (uint8_t)q->table[c];
        else
            le_store16(bytes + 2 * c, q->table[c]);
    }
    stage_set_bytes(stage, bytes, N_CODES * size);
    return 0;
}

static int quantiser_learn(struct sqy_ctx *ctx, struct stage *stage, const struct shape *shape,
                           const uint8_t *in, uint8_t *out)
{
    (void)ctx;
    if (shape->n > UINT32_MAX)
        return -ENOTSUP; /* that many cannot be counted */
    struct quantiser *q = calloc(1, sizeof(*q));
    if (!q)
        return -ENOMEM;
    q->n_values = (size_t)1 << (8 * shape->size);
    int r = quantiser_weigh(q, stage, shape, in);
    if (r == 0)
        r = quantiser_train(q);
    if (r == 0)
        r = quantiser_put_table(q, stage, shape->size);
    for (size_t i = 0; i < shape->n && r == 0; i++)
        out[i] = q->code[shape->size == 1 ? in[i] : le_load16(in + 2 * i)];
    free(q);
    return r;
}

static int quantiser_undo(struct sqy_ctx *ctx, const struct stage *stage, const struct shape *shape,
                          const uint8_t *in, uint8_t *out)
{
    (void)ctx;
    const uint8_t *table = stage->bytes;
    if (!table || stage->n_bytes != N_CODES * shape->size)
        return -EBADMSG;
    for (size_t i = 0; i < shape->n; i++) {
        if (shape->size == 1)
            out[i] = table[in[i]];
        else
            memcpy(out + 2 * i, table + 2 * (size_t)in[i], 2);
    }
    return 0;
}

const struct stage_desc stage_desc_quantiser = {
    .name = "quantiser",
    .about = "at most 256 values, chosen by how often they occur",
    .class = STAGE_FILTER,
    .args =
        {
            [ARG_DECODE_LUT] = {.name = "decode_lut_string", .kind = STAGE_ARG_BYTES},
            [ARG_WEIGHTING] = {.name = "weighting_function",
                               .kind = STAGE_ARG_TEXT,
                               .valid = quantiser_weight_is_valid,
                               .wanted = "power_of_A_B or offset_power_of_A_B"},
        },
    .upstream = true,
    .misread = true, /* codes above 127, on x86 */
    .sizes = 1 | 2,
    .whole_volume = true,
    .lossy = true,
    .narrows = true,
    .learn = quantiser_learn,
    .undo = quantiser_undo,
};
