/* What a blob's meta text says of its having been encoded anew for the archive (key "archive"), and one line of
 * text about what a stack has lost. */
#ifndef SQYFS_VOLUME_ARCHIVE_NOTE_H
#define SQYFS_VOLUME_ARCHIVE_NOTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/sqy.h"
#include "volume/policy_archive.h"

#define ARCHIVE_PIPELINE_MAX                                                                       \
    1024u /* bytes of a pipeline's text and its NUL; longer ones are cut off */
#define ARCHIVE_QUALITY_MAX 2048u

struct archive_note {
    char by[64];                     /* "sqyfs 0.1.0": program and version */
    char policy[ARCHIVE_POLICY_MAX]; /* as it was set; "" where somebody has asked for it himself */
    char pipeline[ARCHIVE_PIPELINE_MAX]; /* as used, with the model of the noise */
    int64_t time;                        /* seconds since 1970 */
    bool has_noise;
    struct sqy_noise noise;
    struct archive_bound bound;
    uint64_t chunks, lossy_chunks;
    struct sqy_receipt
        receipt; /* of the lossy chunks, found by comparing the old file with the new one */
    uint64_t original, served; /* sum64 of the whole plain file before and after */
    bool edited;               /* since: the rest is of before that */
};

/* -ENODATA where a meta text has none. */
int archive_note_parse(const char *meta, struct archive_note *out);
/* Whether the stack of such a meta text has lost something. */
bool archive_note_is_lossy(const char *meta);

/* `note` NULL, or of nothing lost: "lossless". Returns `buf`. */
const char *archive_note_quality(const struct archive_note *note, char *buf, size_t len);
/* The same from a meta text. */
const char *archive_quality(const char *meta, char *buf, size_t len);

#endif
