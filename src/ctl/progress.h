/* How far long work has come, on standard error where that is a terminal; silent elsewhere. */
#ifndef SQYFS_CTL_PROGRESS_H
#define SQYFS_CTL_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *label;
    bool active, shown;
    int64_t last_ms;
};

void progress_start(struct progress *progress, const char *label);
/* Cheap; draws a few times a second. Called by one thread. */
void progress_update(struct progress *progress, uint64_t done, uint64_t total);
/* Takes the line away. */
void progress_end(struct progress *progress);

#endif
