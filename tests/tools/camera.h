/* An sCMOS camera: electrons expected in a pixel -> counts read out, with the noise of a real one.
 *
 *   count = offset + (Poisson(electrons * prnu) + read noise) / gain, rounded, clipped to 16 bits
 *
 * All arithmetic on voxels is integer, or IEEE operations that every compiler rounds alike, and
 * every random number is a function of (seed, plane, pixel): the same bytes come out whatever the
 * compiler, the number of threads and the order of planes. */
#ifndef SQYFS_TOOLS_CAMERA_H
#define SQYFS_TOOLS_CAMERA_H

#include <stdint.h>

#define CAMERA_GAIN         0.46 /* electrons a count */
#define CAMERA_ONE_ELECTRON 256u /* expected electrons are given in 1/256 */

/* A random number for a position of a stream: the finaliser of splitmix64 over a counter. */
static inline uint64_t camera_hash(uint64_t seed, uint64_t counter)
{
    uint64_t x = seed + (counter + 1) * 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

struct camera;

/* `offset` counts, 100 .. 200. 0 or -ENOMEM. */
int camera_create(uint32_t width, uint32_t height, unsigned offset, uint64_t seed,
                  struct camera **out);
void camera_destroy(struct camera **camera);

/* Exposes row y of plane z: width expected electrons (1/256) in, width counts out. Thread safe. */
void camera_expose(const struct camera *camera, uint32_t z, uint32_t y, const uint32_t *electrons,
                   uint16_t *counts);

struct camera_pixel {
    double read_noise; /* electrons */
    double prnu;       /* sensitivity, 1 on average */
    double dark;       /* electrons collected without light; 0 but for hot pixels */
    double offset;     /* counts */
};
struct camera_pixel camera_pixel(const struct camera *camera, uint32_t x, uint32_t y);

/* Entropy in bits of one count, given what is known of the pixel: the floor for any lossless coder.
 */
double camera_entropy(const struct camera_pixel *pixel, double electrons);

#endif
