#include "lossy_rows.h"

#include <stdio.h>
#include <string.h>

#define MAX_SETTINGS 9

struct series {
    const char *name;
    const char *pipeline;          /* "%g": the setting */
    double settings[MAX_SETTINGS]; /* of which the first `n_quick` are taken by a quick run */
    unsigned n, n_quick;
};

#define SETTINGS(...) {__VA_ARGS__}, sizeof((double[]){__VA_ARGS__}) / sizeof(double)

/* A sink of 8 bits takes coarse steps of noise and one of 12 fine ones, so that the codes fill it; the encoder
 * does the rest. */
static const struct series all_series[] = {
    {"interlace", "interlace", SETTINGS(0), 1},
    {LOSSY_SERIES_NOISE, "noise(q=%g)->interlace", SETTINGS(1, 0.5, 2), 3},
    {"noise context", "noise(q=%g)->context", SETTINGS(1), 0},
    {LOSSY_SERIES_SQEAZY, "quantiser->h264(preset=ultrafast,qp=%g)",
     SETTINGS(16, 8, 22, 4, 12, 28, 0), 3},
    {"quantiser x264 superfast 8", "quantiser->h264(preset=superfast,qp=%g)", SETTINGS(16, 24), 0},
    {"quantiser x264 medium 8", "quantiser->h264(preset=medium,qp=%g)", SETTINGS(16, 24), 0},
    {"quantiser x264 medium crf 8", "quantiser->h264(preset=medium,crf=%g)", SETTINGS(16), 0},
    {"quantiser x265 ultrafast 8", "quantiser->hevc(preset=ultrafast,qp=%g)", SETTINGS(16, 8), 0},
    {"quantiser x265 medium 8", "quantiser->hevc(preset=medium,qp=%g)", SETTINGS(16), 0},
    {"noise x264 ultrafast lossless 10", "noise(q=1)->h264(bits=10,preset=ultrafast,qp=%g)",
     SETTINGS(0), 0},
    {"noise x264 ultrafast 8", "noise(q=2)->h264(bits=8,preset=ultrafast,qp=%g)", SETTINGS(4, 10),
     0},
    {"noise x264 superfast 8", "noise(q=2)->h264(bits=8,preset=superfast,qp=%g)", SETTINGS(10), 0},
    {"noise x264 medium 8", "noise(q=2)->h264(bits=8,preset=medium,qp=%g)", SETTINGS(10), 0},
    {"noise x264 ultrafast 10", "noise(q=0.5)->h264(bits=10,preset=ultrafast,qp=%g)",
     SETTINGS(10, 6, 14, 18), 1},
    {"noise x264 superfast 10", "noise(q=0.5)->h264(bits=10,preset=superfast,qp=%g)",
     SETTINGS(10, 16), 0},
    {"noise x264 medium 10", "noise(q=0.5)->h264(bits=10,preset=medium,qp=%g)", SETTINGS(10, 16),
     0},
    {"noise x265 ultrafast lossless 10", "noise(q=1)->hevc(bits=10,preset=ultrafast,lossless=1)",
     SETTINGS(0), 0},
    {"noise x265 ultrafast 8", "noise(q=2)->hevc(bits=8,preset=ultrafast,qp=%g)", SETTINGS(4), 0},
    {"noise x265 medium 8", "noise(q=2)->hevc(bits=8,preset=medium,qp=%g)", SETTINGS(4), 0},
    {"noise x265 ultrafast 10", "noise(q=0.5)->hevc(bits=10,preset=ultrafast,qp=%g)",
     SETTINGS(0, 4), 0},
    {"noise x265 medium 10", "noise(q=0.5)->hevc(bits=10,preset=medium,qp=%g)", SETTINGS(0, 4), 0},
    {"noise x265 ultrafast 12", "noise(q=0.125)->hevc(bits=12,preset=ultrafast,qp=%g)",
     SETTINGS(0, 4), 0},
    {"noise x265 medium 12", "noise(q=0.125)->hevc(bits=12,preset=medium,qp=%g)", SETTINGS(0), 0},
    {"voxels x264 lossless 10", "h264(bits=10,preset=ultrafast,qp=%g)", SETTINGS(0), 0},
    {"voxels x265 lossless 12", "hevc(bits=12,preset=ultrafast,lossless=1)", SETTINGS(0), 0},
    {"noise nvenc h264 8", "noise(q=2)->h264(encoder=nvenc,bits=8,qp=%g)", SETTINGS(10), 0},
    {"noise nvenc hevc 10", "noise(q=0.5)->hevc(encoder=nvenc,bits=10,qp=%g)", SETTINGS(4), 0},
};

static bool wanted(const char *series, const char *pipeline, const char *const *only,
                   unsigned n_only)
{
    for (unsigned i = 0; i < n_only; i++)
        if (strstr(series, only[i]) != NULL || strstr(pipeline, only[i]) != NULL)
            return true;
    return n_only == 0;
}

static struct lossy_row *next_row(struct lossy_rows *rows)
{
    return rows->n < LOSSY_MAX_ROWS ? &rows->list[rows->n++] : NULL;
}

/* One argument is put into a text of the table. */
static void spell(char *out, size_t len, const char *pipeline, double setting)
{
    const char *hole = strstr(pipeline, "%g");
    if (hole == NULL)
        snprintf(out, len, "%s", pipeline);
    else
        snprintf(out, len, "%.*s%g%s", (int)(hole - pipeline), pipeline, setting, hole + 2);
}

void lossy_rows_make(struct lossy_rows *rows, const char *const *only, unsigned n_only, bool quick)
{
    rows->n = 0;
    for (unsigned i = 0; i < sizeof(all_series) / sizeof(*all_series); i++) {
        const struct series *series = &all_series[i];
        if (!wanted(series->name, series->pipeline, only, n_only))
            continue;
        for (unsigned k = 0; k < (quick ? series->n_quick : series->n); k++) {
            struct lossy_row *row = next_row(rows);
            if (row == NULL)
                return;
            row->setting = series->settings[k];
            snprintf(row->series, sizeof(row->series), "%s", series->name);
            spell(row->pipeline, sizeof(row->pipeline), series->pipeline, row->setting);
        }
    }
}

void lossy_rows_add(struct lossy_rows *rows, const char *pipeline)
{
    struct lossy_row *row = next_row(rows);
    if (row == NULL)
        return;
    *row = (struct lossy_row){.setting = 0};
    snprintf(row->series, sizeof(row->series), "%.40s", pipeline);
    snprintf(row->pipeline, sizeof(row->pipeline), "%s", pipeline);
}
