#include "camera.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#define NORMALS        4096u /* quantiles of the normal distribution */
#define NORMAL_ONE     4096  /* their scale */
#define ALIAS_SLOTS    64u   /* photon numbers 0 .. 63 */
#define LEVEL_SHIFT    5     /* means are tabled in steps of 1/8 electron */
#define LEVELS         ((32u * CAMERA_ONE_ELECTRON) >> LEVEL_SHIFT)
#define PRNU_ONE       32768
#define COUNTS_SHIFT   20
#define COUNTS_PER_256 ((int64_t)((1 << COUNTS_SHIFT) / (CAMERA_GAIN * CAMERA_ONE_ELECTRON) + 0.5))

struct pixel {
    uint16_t offset; /* 1/256 count */
    uint16_t read;   /* 1/256 electron */
    uint16_t prnu;   /* 1/32768 */
    uint16_t dark;   /* electrons that a hot pixel collects in the dark */
};

/* Small means are drawn from alias tables (Walker 1977), exact to 2^-16; a mean between two tabled
 * ones takes either at random, which keeps the mean and adds under 0.004 electrons^2. Large means
 * are a normal deviate with the Cornish-Fisher term for the skewness. */
struct camera {
    uint32_t width, height;
    uint64_t seed;
    struct pixel *pixels;
    int16_t normals[NORMALS];                /* already divided by sqrt(2): two make one deviate */
    uint32_t alias[LEVELS + 1][ALIAS_SLOTS]; /* threshold << 16 | other photon number */
};

/* e^x and the normal's quantile with plain IEEE operations: libm's differ in the last bit between
 * versions, and the tables shall not. */
static double exp_plain(double x)
{
    double term = 1, sum = 1;
    double y = x / 64;
    for (int i = 1; i < 20; i++) {
        term *= y / i;
        sum += term;
    }
    for (int i = 0; i < 6; i++)
        sum *= sum;
    return sum;
}

static double normal_cdf(double x)
{
    double term = x, sum = x;
    for (int i = 1; i < 200; i++) {
        term *= x * x / (2 * i + 1);
        sum += term;
    }
    return 0.5 + sum * exp_plain(-x * x / 2) * 0.3989422804014327;
}

static double normal_quantile(double p)
{
    double low = -6, high = 6;
    for (int i = 0; i < 48; i++) {
        double middle = (low + high) / 2;
        if (normal_cdf(middle) < p)
            low = middle;
        else
            high = middle;
    }
    return (low + high) / 2;
}

static void fill_normals(int16_t normals[NORMALS])
{
    for (unsigned i = 0; i < NORMALS / 2; i++) {
        double z = -normal_quantile((i + 0.5) / NORMALS);
        int16_t v = (int16_t)(z * 0.7071067811865476 * NORMAL_ONE + 0.5);
        normals[i] = (int16_t)-v;
        normals[NORMALS - 1 - i] = v;
    }
}

static void fill_alias(double mean, uint32_t slots[ALIAS_SLOTS])
{
    double p[ALIAS_SLOTS];
    double term = exp_plain(-mean), rest = 1;
    for (unsigned k = 0; k < ALIAS_SLOTS; k++) {
        p[k] = term * ALIAS_SLOTS;
        rest -= term;
        term *= mean / (k + 1);
    }
    p[(unsigned)mean] += rest * ALIAS_SLOTS; /* what lies above the table: below 1e-6 */
    bool done[ALIAS_SLOTS] = {false};
    for (unsigned n = 0; n < ALIAS_SLOTS; n++) {
        unsigned low = 0, high = 0;
        double least = 1e9, most = -1;
        for (unsigned k = 0; k < ALIAS_SLOTS; k++) {
            if (!done[k] && p[k] < least) {
                least = p[k];
                low = k;
            }
            if (!done[k] && p[k] > most) {
                most = p[k];
                high = k;
            }
        }
        double keep = least < 1 && low != high ? least : 1;
        uint32_t threshold = keep >= 1 ? 65535 : (uint32_t)(keep * 65536);
        slots[low] = threshold << 16 | (keep >= 1 ? low : high);
        if (keep < 1)
            p[high] -= 1 - keep;
        done[low] = true;
    }
}

static inline int normal(const struct camera *camera, uint64_t bits)
{
    return camera->normals[bits & (NORMALS - 1)] + camera->normals[bits >> 12 & (NORMALS - 1)];
}

/* Pixels read out with 1 to 1.6 electrons of noise; a few are hot, and one in a hundred thousand is
 * stuck near the top. */
static struct pixel make_pixel(const struct camera *camera, unsigned offset, uint64_t index)
{
    uint64_t bits = camera_hash(camera->seed ^ 0x706978656cu, index);
    uint64_t more = camera_hash(camera->seed ^ 0x6d6f7265u, index);
    uint32_t u = bits & 0xffff;
    struct pixel pixel = {
        .offset =
            (uint16_t)(offset * 256 + (unsigned)(normal(camera, bits >> 16) / 16 + 1024) - 1024),
        .read = (uint16_t)(256 + (154 * u >> 16)),
        .prnu = (uint16_t)(PRNU_ONE + normal(camera, bits >> 40) * 197 / NORMAL_ONE),
    };
    uint32_t rare = more % 100000;
    if (rare == 0)
        pixel.dark = (uint16_t)(27000 + more / 100000 % 700);
    else if (rare < 20)
        pixel.dark = (uint16_t)(20 + more / 100000 % 400);
    if (rare < 20)
        pixel.read = (uint16_t)(pixel.read * 4);
    return pixel;
}

int camera_create(uint32_t width, uint32_t height, unsigned offset, uint64_t seed,
                  struct camera **out)
{
    struct camera *camera = calloc(1, sizeof(*camera));
    if (!camera)
        return -ENOMEM;
    camera->pixels = calloc((size_t)width * height, sizeof(*camera->pixels));
    if (!camera->pixels) {
        free(camera);
        return -ENOMEM;
    }
    camera->width = width;
    camera->height = height;
    camera->seed = seed;
    fill_normals(camera->normals);
    for (unsigned level = 0; level <= LEVELS; level++)
        fill_alias(level / 8.0, camera->alias[level]);
    for (uint64_t i = 0; i < (uint64_t)width * height; i++)
        camera->pixels[i] = make_pixel(camera, offset, i);
    *out = camera;
    return 0;
}

void camera_destroy(struct camera **camera)
{
    if (!*camera)
        return;
    free((*camera)->pixels);
    free(*camera);
    *camera = NULL;
}

/* Photons of a mean below 32: 5 bits choose the tabled mean, 6 the slot, 16 the photon number. */
static inline int64_t shot_small(const struct camera *camera, uint32_t mean, uint64_t bits)
{
    uint32_t level = mean >> LEVEL_SHIFT;
    level += (bits & 31) < (mean & 31);
    uint32_t slot = bits >> 5 & (ALIAS_SLOTS - 1);
    uint32_t entry = camera->alias[level][slot];
    uint32_t photons = (bits >> 11 & 0xffff) < entry >> 16 ? slot : entry & 0xffff;
    return (int64_t)photons * CAMERA_ONE_ELECTRON;
}

static inline int64_t shot_large(const struct camera *camera, uint32_t mean, uint64_t bits)
{
    int64_t z = normal(camera, bits);
    int64_t sigma = (int64_t)sqrtf((float)mean * CAMERA_ONE_ELECTRON);
    int64_t skew = (z * z - NORMAL_ONE * NORMAL_ONE) / (6 * NORMAL_ONE * (NORMAL_ONE / 256));
    int64_t electrons = mean + sigma * z / NORMAL_ONE + skew;
    return (electrons + CAMERA_ONE_ELECTRON / 2) & ~(int64_t)(CAMERA_ONE_ELECTRON - 1);
}

void camera_expose(const struct camera *camera, uint32_t z, uint32_t y, const uint32_t *electrons,
                   uint16_t *counts)
{
    const struct pixel *pixels = camera->pixels + (size_t)y * camera->width;
    uint64_t row_seed = camera_hash(camera->seed, (uint64_t)z << 32 | y);
    for (uint32_t x = 0; x < camera->width; x++) {
        const struct pixel *pixel = &pixels[x];
        uint64_t bits = camera_hash(row_seed, x);
        uint32_t mean = (uint32_t)((uint64_t)electrons[x] * pixel->prnu / PRNU_ONE) +
                        pixel->dark * CAMERA_ONE_ELECTRON;
        int64_t got = mean < 32 * CAMERA_ONE_ELECTRON ? shot_small(camera, mean, bits)
                                                      : shot_large(camera, mean, bits);
        got += (int64_t)normal(camera, bits >> 32) * pixel->read / NORMAL_ONE;
        int64_t count = ((int64_t)pixel->offset << (COUNTS_SHIFT - 8)) + got * COUNTS_PER_256 +
                        (1 << (COUNTS_SHIFT - 1));
        count = count < 0 ? 0 : count >> COUNTS_SHIFT;
        counts[x] = (uint16_t)(count > 65535 ? 65535 : count);
    }
}

struct camera_pixel camera_pixel(const struct camera *camera, uint32_t x, uint32_t y)
{
    const struct pixel *pixel = &camera->pixels[(size_t)y * camera->width + x];
    return (struct camera_pixel){
        .read_noise = pixel->read / 256.0,
        .prnu = (double)pixel->prnu / PRNU_ONE,
        .dark = pixel->dark,
        .offset = pixel->offset / 256.0,
    };
}

/* Differential entropy of a normal of the same variance, the rounding's 1/12 included, less what
 * the skewness takes (Edgeworth: skewness^2 / 12 nats). Good to 0.01 bit down to no light at all,
 * because the read noise smooths the steps of single photons. */
double camera_entropy(const struct camera_pixel *pixel, double electrons)
{
    double mean = electrons * pixel->prnu + pixel->dark;
    double variance = mean + pixel->read_noise * pixel->read_noise;
    double skewness = mean / (variance * sqrt(variance));
    double counts = variance / (CAMERA_GAIN * CAMERA_GAIN) + 1.0 / 12;
    return 0.5 * log2(2 * M_PI * M_E * counts) - skewness * skewness / 12 * M_LOG2E;
}
