/* The walk along a TIFF's directories, which can stop for want of bytes and go on later, and go
 * back to any directory whose bytes were written again. */
#ifndef SQYFS_IMAGE_WALK_H
#define SQYFS_IMAGE_WALK_H

#include "image/span.h"
#include "image/text.h"
#include "image/watch.h"

#define WALK_NONE UINT32_MAX

struct walk_ifd;

struct walk {
    struct memory memory;
    struct tiff_header header;
    struct spans spans;
    struct watch watch;

    struct walk_ifd *ifds; /* in the order in which they were visited: each before its SubIFDs, and
                              these before what its link leads to */
    uint32_t n, cap;
    uint32_t *heads; /* by hash of the offset: who has been visited */
    uint32_t n_heads;
    uint64_t *subs; /* offsets of SubIFDs, of all directories one after the other */
    uint32_t n_subs, cap_subs;

    uint64_t n_planes; /* of all directories */
    bool no_light;     /* a directory's values are colours of a palette, or a mask */
    uint32_t n_odd;    /* directories that are not simply whole planes */
    uint32_t waste;
    uint32_t
        first_skipped; /* lowest directory that misses something past the end of a complete file */
    bool text_skipped; /* so does the text */
    uint64_t skipped_size; /* how long the file was */
    uint32_t n_watched;    /* ranges that visited directories have; later ones are of the next */
    bool full;             /* a limit was met: nothing more is followed */
    uint64_t clip, end;    /* voxels are cut there; where they would end */

    /* the first directory's text */
    struct text text;
    struct description description;
    bool text_stale;
    bool not_contiguous; /* the second directory contradicts "images=" */

    bool guessed; /* guess.h: slabs from number n_slabs_told, shapes from n_shapes_told on */
    uint64_t n_slabs_told, guess_off;
    uint32_t n_shapes_told;
};

void walk_init(struct walk *walk, uint32_t target);
void walk_clear(struct walk *walk);

/* Goes back to before directory `ifd`. */
void walk_cut(struct walk *walk, uint32_t ifd);

/* Starts anew under another header. */
void walk_restart(struct walk *walk, const struct tiff_header *header);

/* Bytes were written: the lowest directory that must be visited again, or WALK_NONE. */
uint32_t walk_hit(const struct walk *walk, uint64_t off, uint64_t len);
/* Marks the text stale where it was written; true where it is. */
bool walk_note_text(struct walk *walk, uint64_t off, uint64_t len);
/* Whether something was passed over because the file was complete, and shorter. */
bool walk_has_skipped(const struct walk *walk);

/* Goes on as far as the bytes allow. 0, WINDOW_ABSENT, or a negative errno. */
int walk_on(struct walk *walk, struct source *source);

/* The last directory, where it is of whole planes and no more, and no SubIFD: its offset, that of the
 * next one (0: nothing is known of one), and the planes' shape. False where it is not. */
bool walk_last(const struct walk *walk, uint64_t *off, uint64_t *next, uint32_t *shape);

/* The shape that most speaks for the stack: of the first directory with an image. NULL: none. */
const struct shape *walk_first_shape(const struct walk *walk);

#endif
