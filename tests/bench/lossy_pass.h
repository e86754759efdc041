/* All boxes of a volume through one pipeline, once: encoded, then decoded, by so many threads. */
#ifndef SQYFS_BENCH_LOSSY_PASS_H
#define SQYFS_BENCH_LOSSY_PASS_H

#include "codec/sqy.h"
#include "volumes.h"

/* Boxes are taken by whichever thread is free. Where there are few, all are done several times, so that
 * every thread gets as many. */
struct lossy_pass {
    const struct sqy_pipeline *pipeline;
    const struct images *boxes;
    unsigned threads;
    bool warm; /* each thread codes a box before the clock starts: encoders are open then */

    unsigned repeats; /* times that each box is coded; from here on: what came of it */
    int error;
    char notice[SQY_NOTICE_MAX]; /* the first thing that went wrong without failing; "": nothing */
    uint64_t coded;              /* bytes of one repeat */
    double encode_wall, encode_cpu; /* seconds of all repeats */
    double decode_wall, decode_cpu;
};

/* Memory for the largest pass, touched; kept between passes. */
struct lossy_room {
    uint8_t *coded, *decoded;
    size_t coded_cap, decoded_cap;
};

/* Decoded boxes lie in room->decoded one after another, the first repeat first. 0 or a negative errno, which
 * pass->error has, too. */
int lossy_pass_run(struct lossy_pass *pass, struct lossy_room *room);
void lossy_room_free(struct lossy_room *room);

struct sqy_box lossy_box(const struct peer_image *image);

#endif
