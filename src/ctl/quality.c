#include "ctl/quality.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ctl/say.h"
#include "volume/archive_note.h"
#include "volume/coder.h"
#include "volume/pack.h"

static double share(const struct sqy_receipt *receipt)
{
    return receipt->voxels > 0 ? (double)receipt->within_sigma / (double)receipt->voxels : 1;
}

static void receipt_json(struct json *json, const struct sqy_receipt *receipt)
{
    json_number(json, "voxels", receipt->voxels);
    json_number(json, "max_error", receipt->max_error);
    json_real(json, "max_sigma", receipt->max_sigma);
    json_real(json, "rms", sqy_receipt_rms(receipt));
    json_real(json, "rms_sigma", sqy_receipt_rms_sigma(receipt));
    json_real(json, "psnr", sqy_receipt_psnr(receipt));
    json_real(json, "within_sigma", share(receipt));
    json_number(json, "peak", receipt->peak);
}

static void receipt_text(const struct sqy_receipt *receipt)
{
    printf("max error %" PRIu32
           " (%.3f sigma), rms %.3f (%.3f sigma), psnr %.2f dB, %.4f %% within 1 "
           "sigma",
           receipt->max_error, receipt->max_sigma, sqy_receipt_rms(receipt),
           sqy_receipt_rms_sigma(receipt), sqy_receipt_psnr(receipt), 100 * share(receipt));
}

static void note_json(struct json *json, const struct archive_note *note)
{
    struct timespec time = {.tv_sec = note->time};
    json_key(json, "archived");
    json_map(json);
    json_text(json, "by", note->by);
    json_text(json, "policy", note->policy);
    json_text(json, "pipeline", note->pipeline);
    json_time(json, "time", &time);
    if (note->has_noise) {
        json_key(json, "noise");
        json_map(json);
        json_real(json, "offset", note->noise.offset);
        json_real(json, "gain", note->noise.gain);
        json_real(json, "read", note->noise.read);
        json_map_end(json);
    }
    json_number(json, "chunks", note->chunks);
    json_number(json, "lossy_chunks", note->lossy_chunks);
    if (note->lossy_chunks > 0) {
        json_key(json, "receipt");
        json_map(json);
        receipt_json(json, &note->receipt);
        json_map_end(json);
    }
    json_hex(json, "original", note->original);
    json_hex(json, "served", note->served);
    json_bool(json, "edited", note->edited);
    json_map_end(json);
}

static void note_text(const struct archive_note *note)
{
    printf("archived:    %s%s", note->lossy_chunks > 0 ? "with loss, " : "exactly, ", "as ");
    say_path(stdout, note->pipeline);
    printf(", by %s\n", note->by);
    if (note->lossy_chunks > 0) {
        printf("lost:        ");
        receipt_text(&note->receipt);
        printf("\n             in %" PRIu64 " of %" PRIu64 " chunks%s\n", note->lossy_chunks,
               note->chunks, note->edited ? "; edited since" : "");
    }
    if (note->has_noise)
        printf("noise:       offset %.6g, gain %.6g counts a photo-electron, read %.6g counts\n",
               note->noise.offset, note->noise.gain, note->noise.read);
    printf("originally:  %016" PRIx64 "%s\n", note->original,
           note->original == note->served ? "" : " (XXH3 of the file before)");
}

static int chunk_show(struct coder *coder, struct blob *blob, const struct blob_extent *extent,
                      struct json *json)
{
    const struct blob_chunk *chunk = &extent->chunk;
    const char *pipeline = blob_pipeline_text(blob, chunk->pipeline);
    bool lossy = chunk->flags & BLOB_LOSSY;
    struct sqy_receipt receipt;
    int r = lossy ? coder_receipt(coder, blob, chunk, &receipt) : 0;
    if (r < 0)
        return r;
    if (json != NULL) {
        json_map(json);
        json_number(json, "offset", extent->claim.off);
        json_number(json, "plain_bytes", sqy_box_bytes(&chunk->box));
        json_number(json, "coded_bytes", chunk->coded_len);
        json_number(json, "planes", chunk->box.planes);
        json_text(json, "pipeline", pipeline != NULL ? pipeline : "");
        json_bool(json, "lossy", lossy);
        if (lossy)
            receipt_json(json, &receipt);
        json_map_end(json);
        return 0;
    }
    printf("chunk:       %" PRIu64 ", %zu bytes in %" PRIu32 ", ", extent->claim.off,
           sqy_box_bytes(&chunk->box), chunk->coded_len);
    say_path(stdout, pipeline != NULL ? pipeline : "-");
    if (lossy) {
        printf(": ");
        receipt_text(&receipt);
    }
    putchar('\n');
    return 0;
}

/* Where an extent goes on with the chunk of the one before, it is the same. */
static int chunks_show(struct blob *blob, struct json *json)
{
    struct coder *coder;
    struct blob_state state;
    uint64_t last = 0;
    int r = coder_create(&coder);
    if (r < 0)
        return r;
    blob_state(blob, &state);
    for (uint64_t at = 0; r >= 0 && at < state.size;) {
        struct blob_extent extent;
        r = pack_find(blob, at, &extent);
        if (r < 0)
            break;
        if (!extent.hole && extent.chunk.coded_off != last)
            r = chunk_show(coder, blob, &extent, json);
        last = extent.hole ? 0 : extent.chunk.coded_off;
        at = extent.claim.len < UINT64_MAX - extent.claim.off ? extent.claim.off + extent.claim.len
                                                              : UINT64_MAX;
    }
    coder_destroy(&coder);
    return r;
}

int quality_show(struct blob *blob, bool chunks, struct json *json)
{
    struct blob_state state;
    struct archive_note note;
    blob_state(blob, &state);
    bool archived = archive_note_parse(state.meta, &note) == 0;
    if (archived && json != NULL)
        note_json(json, &note);
    else if (archived)
        note_text(&note);
    if (!chunks)
        return 0;
    if (json != NULL) {
        json_key(json, "chunks");
        json_list(json);
    }
    int r = chunks_show(blob, json);
    if (json != NULL)
        json_list_end(json);
    return r;
}
