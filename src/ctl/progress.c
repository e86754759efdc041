#include "ctl/progress.h"

#include <stdio.h>
#include <unistd.h>

#include "base/now.h"
#include "base/size.h"

#define PROGRESS_INTERVAL_MS 100

void progress_start(struct progress *progress, const char *label)
{
    *progress = (struct progress){.label = label, .active = isatty(STDERR_FILENO) == 1};
}

void progress_update(struct progress *progress, uint64_t done, uint64_t total)
{
    if (!progress->active)
        return;
    int64_t now = now_ms();
    if (now - progress->last_ms < PROGRESS_INTERVAL_MS)
        return;
    progress->last_ms = now;
    progress->shown = true;
    char done_text[32], total_text[32];
    fprintf(stderr, "\r%s %3.0f %%  %s of %s\033[K", progress->label,
            total > 0 ? 100.0 * (double)done / (double)total : 100.0,
            size_format(done, done_text, sizeof(done_text)),
            size_format(total, total_text, sizeof(total_text)));
    fflush(stderr);
}

void progress_end(struct progress *progress)
{
    if (progress->shown)
        fputs("\r\033[K", stderr);
    progress->active = progress->shown = false;
}
