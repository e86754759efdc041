#include "lossy_measure.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lossy_pass.h"

#define FIT_PLANES 16 /* spread over the volume */
#define WARM_SECONDS                                                                               \
    0.3 /* for a box: where opening an encoder counts, it is opened before the clock starts */

struct lane {
    struct sqy_pipeline *pipeline;
    struct images boxes;
    double encode[MEASURE_MAX_ROUNDS], decode[MEASURE_MAX_ROUNDS];         /* CPU seconds, ... */
    double encode_all[MEASURE_MAX_ROUNDS], decode_all[MEASURE_MAX_ROUNDS]; /* ... seconds */
    double spent, box_seconds;
};

struct bench {
    const struct volume *volume;
    const struct sqy_noise *noise; /* NULL: not known */
    const struct lossy_options *options;
    struct lossy_room room;
};

/* ---- noise ---- */

int lossy_noise_of(const struct volume *volume, struct sqy_noise *out)
{
    struct sqy_noise_fit *fit;
    size_t n = volume->single.n, step = n > FIT_PLANES ? n / FIT_PLANES : 1;
    int r = sqy_noise_fit_create(&fit);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n && r == 0; i += step) {
        struct sqy_box box = lossy_box(&volume->single.list[i]);
        r = sqy_noise_fit_add(fit, &box, volume->single.list[i].voxels);
    }
    if (r == 0)
        r = sqy_noise_fit_end(fit, out);
    sqy_noise_fit_free(&fit);
    return r;
}

/* ---- lanes ---- */

static void skip(struct lossy_measure *out, const char *why)
{
    snprintf(out->skipped, sizeof(out->skipped), "%.*s", (int)sizeof(out->skipped) - 1, why);
}

static int fill_in_noise(struct lane *lane, const struct sqy_noise *noise,
                         struct lossy_measure *out)
{
    struct sqy_pipeline *filled;
    if (!sqy_pipeline_wants_noise(lane->pipeline))
        return 0;
    int r = noise != NULL ? sqy_pipeline_with_noise(lane->pipeline, noise, &filled) : -ENODATA;
    if (r < 0) {
        skip(out, "no noise was found in these voxels");
        return r;
    }
    sqy_pipeline_free(&lane->pipeline);
    lane->pipeline = filled;
    return 0;
}

/* Groups of planes for a video encoder, a mount's chunks for others. */
static int cut_boxes(struct lane *lane, const struct volume *volume)
{
    unsigned group = sqy_pipeline_group(lane->pipeline);
    if (group > 0)
        return volume_cut(volume, group, &lane->boxes);
    lane->boxes.list = malloc(volume->chunks.n * sizeof(*lane->boxes.list));
    if (lane->boxes.list == NULL)
        return -ENOMEM;
    memcpy(lane->boxes.list, volume->chunks.list, volume->chunks.n * sizeof(*lane->boxes.list));
    lane->boxes.n = volume->chunks.n;
    return 0;
}

static int open_lane(struct lane *lane, const struct bench *bench, const struct lossy_row *row,
                     struct lossy_measure *out)
{
    struct sqy_error error = {.position = 0};
    int r = sqy_pipeline_parse(row->pipeline, &lane->pipeline, &error);
    if (r == 0)
        r = sqy_pipeline_check_encoder(lane->pipeline, &error);
    if (r == -ENOMEM)
        return r;
    if (r < 0)
        skip(out, error.message);
    else if (fill_in_noise(lane, bench->noise, out) == 0)
        return cut_boxes(lane, bench->volume);
    return 0;
}

/* ---- rounds ---- */

static void count_errors(const struct bench *bench, const struct lane *lane,
                         struct lossy_measure *out)
{
    struct lossy_error again = {.voxels = 0};
    const uint8_t *decoded = bench->room.decoded;
    out->agrees = true;
    for (size_t i = 0; i < lane->boxes.n; i++) {
        const struct peer_image *image = &lane->boxes.list[i];
        struct sqy_box box = lossy_box(image);
        struct sqy_receipt receipt;
        if (sqy_receipt_measure(&box, image->voxels, decoded, bench->noise, &receipt) == 0)
            sqy_receipt_add(&out->receipt, &receipt);
        lossy_error_add(&again, image->voxels, (const uint16_t *)(const void *)decoded,
                        image->bytes / 2, bench->noise);
        decoded += image->bytes;
    }
    out->capped = lossy_error_capped_rms(&again);
    out->agrees = lossy_error_agrees(&again, &out->receipt);
}

static bool run_single(struct bench *bench, struct lane *lane, struct lossy_measure *out)
{
    struct lossy_pass pass = {.pipeline = lane->pipeline,
                              .boxes = &lane->boxes,
                              .threads = 1,
                              .warm = out->n_rounds > 0 && lane->box_seconds < WARM_SECONDS};
    int r = lossy_pass_run(&pass, &bench->room);
    if (r < 0) {
        snprintf(out->skipped, sizeof(out->skipped), "cannot code this: %s", strerror(-r));
        return false;
    }
    if (pass.notice[0] !=
        '\0') { /* another encoder stood in: what was measured is not what the row says */
        skip(out, pass.notice);
        return false;
    }
    lane->encode[out->n_rounds] = pass.encode_cpu;
    lane->decode[out->n_rounds] = pass.decode_cpu;
    lane->spent += pass.encode_cpu + pass.decode_cpu;
    lane->box_seconds = (pass.encode_cpu + pass.decode_cpu) / (double)lane->boxes.n;
    if (out->n_rounds == 0) {
        out->coded = pass.coded;
        count_errors(bench, lane, out);
    }
    return true;
}

static bool run_all(struct bench *bench, struct lane *lane, struct lossy_measure *out)
{
    struct lossy_pass pass = {.pipeline = lane->pipeline,
                              .boxes = &lane->boxes,
                              .threads = bench->options->threads,
                              .warm = lane->box_seconds < WARM_SECONDS};
    int r = lossy_pass_run(&pass, &bench->room);
    if (r < 0) {
        snprintf(out->skipped, sizeof(out->skipped), "not on all cores: %s", strerror(-r));
        return false;
    }
    lane->encode_all[out->n_rounds] = pass.encode_wall / pass.repeats;
    lane->decode_all[out->n_rounds] = pass.decode_wall / pass.repeats;
    lane->spent += (pass.encode_cpu + pass.decode_cpu);
    return true;
}

/* In turns, so that what else the machine does meets all pipelines alike. */
static void run_rounds(struct bench *bench, struct lane *lanes, unsigned n,
                       struct lossy_measure *out)
{
    for (unsigned round = 0; round < bench->options->rounds; round++)
        for (unsigned i = 0; i < n; i++) {
            if (out[i].skipped[0] != '\0' ||
                (round > 0 && lanes[i].spent >= bench->options->seconds))
                continue;
            if (run_single(bench, &lanes[i], &out[i]) && run_all(bench, &lanes[i], &out[i]))
                out[i].n_rounds++;
        }
}

static void judge(struct lane *lane, size_t bytes, struct lossy_measure *out)
{
    double mb = (double)bytes / 1e6;
    if (out->skipped[0] != '\0')
        return;
    out->ratio = (double)bytes / (double)out->coded;
    out->encode = measure_speed_of(lane->encode, out->n_rounds, mb);
    out->decode = measure_speed_of(lane->decode, out->n_rounds, mb);
    out->encode_all = measure_speed_of(lane->encode_all, out->n_rounds, mb);
    out->decode_all = measure_speed_of(lane->decode_all, out->n_rounds, mb);
}

int lossy_measure_volume(const struct volume *volume, const struct lossy_rows *rows,
                         const struct sqy_noise *noise, const struct lossy_options *options,
                         struct lossy_measure *out)
{
    struct bench bench = {.volume = volume, .noise = noise, .options = options};
    struct lane *lanes = calloc(rows->n + 1, sizeof(*lanes));
    int r = lanes != NULL ? 0 : -ENOMEM;
    for (unsigned i = 0; i < rows->n && r == 0; i++) {
        out[i] = (struct lossy_measure){.n_rounds = 0};
        r = open_lane(&lanes[i], &bench, &rows->list[i], &out[i]);
    }
    if (r == 0)
        run_rounds(&bench, lanes, rows->n, out);
    for (unsigned i = 0; i < rows->n && lanes != NULL; i++) {
        if (r == 0)
            judge(&lanes[i], planes_bytes(&volume->planes), &out[i]);
        sqy_pipeline_free(&lanes[i].pipeline);
        free(lanes[i].boxes.list);
    }
    lossy_room_free(&bench.room);
    free(lanes);
    return r;
}
