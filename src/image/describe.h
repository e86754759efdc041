/* What an ImageDescription says of the stack: ImageJ's lines, or OME-XML. */
#ifndef SQYFS_IMAGE_DESCRIBE_H
#define SQYFS_IMAGE_DESCRIBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct description {
    uint64_t n_contiguous; /* planes that follow one another from the first on, per ImageJ; >= 1 */
    uint32_t channels, slices, frames; /* 0 where unknown */
    double voxel_x, voxel_y, voxel_z;  /* micrometres; 0 where unknown */
    bool pixel_hash;
};

/* Micrometres in a unit of length, as ImageJ and OME spell them; 0 for any other word. */
double describe_unit(const char *name, size_t len);

/* ImageJ's description begins so. */
#define IMAGEJ_MAGIC "ImageJ="
/* Longer ones are cut off: the lines that matter come first. */
#define IMAGEJ_MAX_TEXT (64u << 10)

/* `x_resolution`, `y_resolution`: voxels per unit, 0 where unknown. Leaves *out alone where the
 * text is not ImageJ's. */
void imagej_parse(const char *text, size_t len, double x_resolution, double y_resolution,
                  struct description *out);

/* OME-XML comes in pieces. What was understood before an error counts. */
struct ome;
struct ome *ome_create(struct description *out); /* NULL: out of memory */
/* False where no more is of use. */
bool ome_feed(struct ome *ome, const char *text, size_t len);
void ome_destroy(struct ome **ome);

#endif
