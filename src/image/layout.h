/* What a file's own metadata, or a raw policy, says about where its voxels lie.
 *
 * A layout only advises how to cut a file into chunks. It may be wrong, late, or change under the
 * writer's hands: that costs ratio, never bytes. It is fed by a writer as bytes arrive, in any
 * order, and parses as far as it can: each directory (IFD) once, again only when its bytes are
 * written again.
 *
 * Not thread safe; the caller serialises. No I/O inside: bytes come through layout_read_fn.
 * Everything read is hostile: loops, overlaps, offsets past the end, counts of 2^64 are met with
 * limits, and the first valid claim on a byte wins. */
#ifndef SQYFS_IMAGE_LAYOUT_H
#define SQYFS_IMAGE_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A policy for files without metadata: `raw=GLOB:WIDTHxHEIGHT[:TYPE[:be]]`, TYPE uint16 when
 * absent. */
struct raw_policy {
    char *glob; /* fnmatch(3) against the file's name; owned */
    uint32_t width, height;
    enum layout_type { /* numerically equal to enum sqy_type */
                       LAYOUT_BYTES = 0,
                       LAYOUT_UINT8 = 1,
                       LAYOUT_INT8 = 2,
                       LAYOUT_UINT16 = 3,
                       LAYOUT_INT16 = 4,
                       LAYOUT_UINT32 = 5,
                       LAYOUT_INT32 = 6,
                       LAYOUT_UINT64 = 7,
                       LAYOUT_INT64 = 8,
                       LAYOUT_FLOAT16 = 9,
                       LAYOUT_FLOAT32 = 10,
                       LAYOUT_FLOAT64 = 11,
    } type;
    bool big_endian;
};

/* 0 or -EINVAL with a one-line reason in `why`. */
int raw_policy_parse(const char *text, struct raw_policy *out, char *why, size_t why_len);
void raw_policy_clear(struct raw_policy *policy);
bool raw_policy_matches(const struct raw_policy *policy, const char *name);

enum layout_kind {
    LAYOUT_UNKNOWN, /* the first bytes are not there yet, or are zeros in a file still being written
                     */
    LAYOUT_TIFF,    /* a TIFF header was seen (it may describe no voxel that can be used) */
    LAYOUT_RAW,     /* by policy: planes from byte 0 to the end */
    LAYOUT_OPAQUE,  /* no image: bytes */
};

#define LAYOUT_MAX_PIECES                                                                          \
    512 /* pieces of one unit; more would make its table entry longer than it is worth */

struct layout_piece {
    uint64_t off, len; /* bytes of the plain file; len > 0 */
};

/* A planned chunk: a box of voxels and the plain bytes that hold it. Pieces are disjoint;
 * concatenated in the order given they are the box's samples, planes x rows x width, in the file's
 * byte order, with no padding. Two units never share a byte. */
struct layout_unit {
    enum layout_type type;
    bool big_endian;
    bool open; /* the last of a group of small planes: more may join it; encode only when final */
    bool guessed; /* no directory tells of all of it yet, and another one may tell otherwise */
    uint32_t planes, rows, width, spp; /* width counts interleaved samples */
    uint32_t n_pieces;
    uint64_t bytes;                                /* of all pieces */
    struct layout_piece pieces[LAYOUT_MAX_PIECES]; /* ascending offsets */
};

struct layout;

/* `target` bytes a unit should have (option chunk=, 64 KiB .. 64 MiB); a unit has at most 2 *
 * target (or one voxel): rows longer than that are cut into parts, rows 1. `raw` (may be NULL) is
 * borrowed for the life of the layout and makes the kind LAYOUT_RAW: no update is needed to ask for
 * its units. 0 or -ENOMEM. */
int layout_create(uint32_t target, const struct raw_policy *raw, struct layout **out);
void layout_destroy(struct layout **layout);

/* Copies what is present of [off, off + len) into buf. Returns the length of the present prefix (0
 * when the first byte is not there), or a negative errno, which layout_update() passes on. */
typedef int layout_read_fn(void *ctx, void *buf, uint32_t len, uint64_t off);

/* Bytes [off, off+len) were written (or cut off: truncation is a note up to UINT64_MAX). True where
 * layout_update() may now learn something. Cheap: called for every write. */
bool layout_note(struct layout *layout, uint64_t off, uint64_t len);

/* Parses on, from the first directory whose bytes changed. `size` is the plain size so far. `final`
 * says that nothing more will come (open groups are closed, raw planes end at size). Returns 0, or
 * 1 where it would go on with bytes that the callback did not have: *want is the piece it missed
 * (call again when it is there; a hole within `size` reads as zeros only when the callback says
 * so), or -ENOMEM or a negative errno from the callback: what was parsed stays, and the next call
 * tries again. With `final`, only bytes within `size` are ever wanted. */
int layout_update(struct layout *layout, layout_read_fn *read, void *ctx, uint64_t size, bool final,
                  struct layout_piece *want);

enum layout_kind layout_kind(const struct layout *layout);

/* The unit that owns byte `off`: returns true and fills *unit. False where the byte is no voxel (as
 * far as is known): *gap_end is then the offset of the next voxel byte, or UINT64_MAX. */
bool layout_unit_at(const struct layout *layout, uint64_t off, struct layout_unit *unit,
                    uint64_t *gap_end);

/* The stack as one volume, for the index and for sqeazy's header. */
struct layout_info {
    enum layout_type
        type; /* of the first plane, be it compressed; LAYOUT_BYTES where none has one */
    bool big_endian;
    bool one_volume; /* all voxels are planes of one shape and type, spp 1, row-contiguous */
    uint64_t depth, height,
        width; /* planes like the first one, over channels and time; a plane's voxels */
    uint32_t spp;
    uint32_t channels, slices, frames; /* as ImageJ or OME say; 0 where they do not */
    double voxel_x, voxel_y, voxel_z;  /* micrometres; 0 where unknown */
    bool no_light; /* values are numbers of colours, or a mask: between two of them lies nothing */
    bool pixel_hash; /* metadata carries a hash of the pixels (OME HashSHA1) */
};
void layout_info(const struct layout *layout, struct layout_info *info);

/* Where one_volume: the plain bytes of the volume's bytes [off, off+len), in the volume's order
 * (IFD order, z ascending). Fills up to `max` pieces, stores how many, and returns how many volume
 * bytes they cover (less than len only when `max` was reached). */
uint64_t layout_volume_pieces(const struct layout *layout, uint64_t off, uint64_t len,
                              struct layout_piece *pieces, uint32_t max, uint32_t *n_pieces);

/* Limits, so that a hostile file costs bounded memory; beyond them voxels are opaque bytes. */
#define LAYOUT_MAX_IFDS   (1u << 22)   /* directories followed in one file */
#define LAYOUT_MAX_MEMORY (256u << 20) /* bytes of spans and directories kept */
#define LAYOUT_MAX_TEXT   (16u << 20)  /* ImageDescription looked at for metadata */

#endif
