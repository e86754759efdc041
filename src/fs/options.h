/* The command line of sqyfs. */
#ifndef SQYFS_FS_OPTIONS_H
#define SQYFS_FS_OPTIONS_H

#define FUSE_USE_VERSION 312
#include <fuse_opt.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "volume/volume.h"

#define OPTIONS_MAX_RAW 64u
#define OPTIONS_USAGE   "sqyfs [-f] [-d] [-o OPTION,...] STORE MOUNTPOINT"

struct options {
    bool help, version;
    bool foreground, debug;
    bool nonempty; /* mount over a directory that holds files */
    char *store,
        *mountpoint; /* absolute, without links; owned. NULL where there is no such thing */
    char *store_given, *mountpoint_given; /* owned */
    struct volume_config config;          /* its texts owned here */
    char *pipeline, *statedir, *spooldir;
    struct raw_policy raw[OPTIONS_MAX_RAW];
    struct fuse_args fuse; /* what is libfuse's */
};

/* 0, or -EINVAL with one line in `why`. options_clear() in any case. */
int options_parse(int argc, char **argv, struct options *out, char *why, size_t why_len);
void options_clear(struct options *options);

void options_usage(FILE *out);

#endif
