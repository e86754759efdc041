#include "ctl/bench_show.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/size.h"
#include "ctl/json.h"

#define OTHERS_WORTH_TELLING 100 /* bytes that are no voxels: one in so many */

static const struct bench_lane *best_of(const struct bench_report *report)
{
    return bench_run_best(report->lanes, report->n_lanes, BENCH_CAMERA_MB_S);
}

static const char *reason(const struct bench_lane *best)
{
    return best->encode.median >= BENCH_CAMERA_MB_S
               ? "the best ratio of those that keep up with a camera on one core (850 MB/s)"
               : "the fastest, as none keeps up with a camera on one core (850 MB/s)";
}

/* ---- table ---- */

static void print_sample(const struct bench_report *report)
{
    const struct bench_sample *sample = report->sample;
    char voxels[32], taken[32], others[32];
    printf("%u %s, %s of %s voxels", report->n_files, report->n_files == 1 ? "file" : "files",
           size_format(sample->voxel_bytes, voxels, sizeof(voxels)),
           sample->mixed ? "various" : sqy_type_name(sample->type));
    if (sample->n < sample->n_units)
        printf("; measured on %s of them, %zu chunks taken evenly\n",
               size_format(sample->bytes, taken, sizeof(taken)), sample->n);
    else
        printf(" in %zu %s\n", sample->n, sample->n == 1 ? "chunk" : "chunks");
    uint64_t rest =
        sample->plain_bytes > sample->voxel_bytes ? sample->plain_bytes - sample->voxel_bytes : 0;
    if (rest > sample->plain_bytes / OTHERS_WORTH_TELLING)
        printf("%s beside them are no voxels, or compressed ones, and are not measured\n",
               size_format(rest, others, sizeof(others)));
    printf("MB of voxels per CPU second of one thread: median (lowest..highest) of the rounds\n\n");
}

static void print_speed(const struct bench_speed *speed, int width)
{
    char text[64];
    snprintf(text, sizeof(text), "%.0f (%.0f..%.0f)", speed->median, speed->low, speed->high);
    printf("  %-*s", width, text);
}

static void print_lane(const struct bench_lane *lane, int width)
{
    printf("%-*s", width, sqy_pipeline_short(lane->pipeline));
    if (lane->error < 0) {
        printf("  cannot encode this: %s\n", strerror(-lane->error));
        return;
    }
    printf("  %7.3f", lane->ratio);
    print_speed(&lane->encode, 20);
    print_speed(&lane->decode, 0);
    puts(lane->exact ? "" : "  NOT EXACT");
}

void bench_show_table(const struct bench_report *report)
{
    int width = 8;
    for (unsigned i = 0; i < report->n_lanes; i++) {
        int len = (int)strlen(sqy_pipeline_short(report->lanes[i].pipeline));
        width = len > width ? len : width;
    }
    print_sample(report);
    printf("%-*s  %7s  %-20s  %s\n", width, "pipeline", "ratio", "encode MB/s", "decode MB/s");
    for (unsigned i = 0; i < report->n_lanes; i++)
        print_lane(&report->lanes[i], width);
    const struct bench_lane *best = best_of(report);
    if (best != NULL)
        printf("\nRecommended: %s, %s.\n", sqy_pipeline_short(best->pipeline), reason(best));
}

/* ---- JSON ---- */

static void json_speed(struct json *json, const char *key, const struct bench_speed *speed)
{
    json_key(json, key);
    json_map(json);
    json_real(json, "median", speed->median);
    json_real(json, "lowest", speed->low);
    json_real(json, "highest", speed->high);
    json_map_end(json);
}

static void json_lane(struct json *json, const struct bench_lane *lane)
{
    json_map(json);
    json_text(json, "pipeline", sqy_pipeline_short(lane->pipeline));
    if (lane->error < 0) {
        json_text(json, "error", strerror(-lane->error));
    } else {
        json_real(json, "ratio", lane->ratio);
        json_number(json, "coded_bytes", lane->coded_bytes);
        json_bool(json, "exact", lane->exact);
        json_number(json, "rounds", lane->n_rounds);
        json_speed(json, "encode_mb_s", &lane->encode);
        json_speed(json, "decode_mb_s", &lane->decode);
    }
    json_map_end(json);
}

void bench_show_json(const struct bench_report *report)
{
    const struct bench_sample *sample = report->sample;
    const struct bench_lane *best = best_of(report);
    struct json *json = json_open();
    if (json == NULL)
        return;
    json_map(json);
    json_number(json, "files", report->n_files);
    json_number(json, "plain_bytes", sample->plain_bytes);
    json_number(json, "voxel_bytes", sample->voxel_bytes);
    json_number(json, "measured_bytes", sample->bytes);
    json_number(json, "measured_chunks", sample->n);
    json_text(json, "type", sample->mixed ? "various" : sqy_type_name(sample->type));
    json_key(json, "pipelines");
    json_list(json);
    for (unsigned i = 0; i < report->n_lanes; i++)
        json_lane(json, &report->lanes[i]);
    json_list_end(json);
    json_text(json, "recommended", best != NULL ? sqy_pipeline_short(best->pipeline) : "");
    json_text(json, "reason", best != NULL ? reason(best) : "");
    json_map_end(json);
    json_close(&json);
}

/* ---- CSV ---- */

static int csv_lane(const struct bench_lane *lane, uint64_t bytes, int fd)
{
    const char *text = sqy_pipeline_short(lane->pipeline);
    if (lane->error < 0)
        return dprintf(fd, "\"%s\",,%" PRIu64 ",,,,,,,,,\n", text, bytes);
    return dprintf(fd, "\"%s\",%.4f,%" PRIu64 ",%" PRIu64 ",%d,%u,%.1f,%.1f,%.1f,%.1f,%.1f,%.1f\n",
                   text, lane->ratio, bytes, lane->coded_bytes, lane->exact, lane->n_rounds,
                   lane->encode.median, lane->encode.low, lane->encode.high, lane->decode.median,
                   lane->decode.low, lane->decode.high);
}

int bench_show_csv(const struct bench_report *report, int fd)
{
    int r = dprintf(fd, "pipeline,ratio,measured_bytes,coded_bytes,exact,rounds,"
                        "encode_mb_s,encode_lowest,encode_highest,"
                        "decode_mb_s,decode_lowest,decode_highest\n");
    for (unsigned i = 0; i < report->n_lanes && r >= 0; i++)
        r = csv_lane(&report->lanes[i], report->sample->bytes, fd);
    return r < 0 ? -EIO : 0;
}
