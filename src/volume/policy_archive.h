/* What a directory's policy "archive" says: the pipeline that closed stacks below it are encoded to when
 * nobody writes, and what it may cost.
 *
 *   noise(q=1)->default max_error=2sigma     a bound for every voxel, in sigma of its noise ...
 *   noise(q=1)->default max_error=30         ... or in counts
 *   context                                  a lossless one: smaller, and slower
 *   noise(q=2)->default hashed=yes           also stacks whose metadata have hashes of their pixels
 *   none                                     nothing, whatever a directory above says
 */
#ifndef SQYFS_VOLUME_POLICY_ARCHIVE_H
#define SQYFS_VOLUME_POLICY_ARCHIVE_H

#include <stdbool.h>

#include "codec/sqy.h"

struct policy;

/* Bytes of such a text and its NUL: the index keeps it. */
#define ARCHIVE_POLICY_MAX 512u

/* How far any voxel may be from what it was. */
struct archive_bound {
    double most; /* 0: as far as the pipeline takes it */
    bool sigma;  /* in sigma of the noise at the voxel's value; else in counts */
};

struct archive_policy {
    char text[ARCHIVE_POLICY_MAX];
    struct sqy_pipeline *pipeline; /* NULL: none */
    struct archive_bound bound;
    bool lossy; /* it may lose something */
    bool hashed;
};

/* -EINVAL or -ENOTSUP (err filled), or -ENOMEM. On success archive_policy_clear() it. */
int archive_policy_parse(const char *text, struct archive_policy *out, struct sqy_error *err);
void archive_policy_clear(struct archive_policy *archive);

/* What is done to the closed stacks of a directory. -ENODATA: nothing, for want of a policy or because one
 * above forbids it. */
int archive_policy_of(struct policy *policy, const char *dir, struct archive_policy *out);

/* Whether a stack with such a receipt keeps the bound. */
bool archive_bound_kept(const struct archive_bound *bound, const struct sqy_receipt *receipt);

#endif
