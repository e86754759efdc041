#include "volume/archive_note.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_tree.h>

static yajl_val find(yajl_val root, const char *key)
{
    const char *path[] = {key, NULL};
    return YAJL_IS_OBJECT(root) ? yajl_tree_get(root, path, yajl_t_any) : NULL;
}

static void get_text(yajl_val root, const char *key, char *out, size_t len)
{
    yajl_val value = find(root, key);
    const char *text = YAJL_GET_STRING(value);
    snprintf(out, len, "%s", text != NULL ? text : "");
}

static uint64_t get_number(yajl_val root, const char *key)
{
    yajl_val value = find(root, key);
    return YAJL_IS_INTEGER(value) && YAJL_GET_INTEGER(value) > 0 ? (uint64_t)YAJL_GET_INTEGER(value)
                                                                 : 0;
}

static double get_real(yajl_val root, const char *key)
{
    yajl_val value = find(root, key);
    double real = YAJL_IS_NUMBER(value) ? YAJL_GET_DOUBLE(value) : 0;
    return isfinite(real) && real >= 0 ? real : 0;
}

static uint64_t get_hex(yajl_val root, const char *key)
{
    yajl_val value = find(root, key);
    const char *text = YAJL_GET_STRING(value);
    return text != NULL ? strtoull(text, NULL, 16) : 0;
}

static void get_receipt(yajl_val root, struct sqy_receipt *out)
{
    double rms = get_real(root, "rms"), rms_sigma = get_real(root, "rms_sigma");
    out->voxels = get_number(root, "voxels");
    out->within_sigma = get_number(root, "within_sigma");
    out->max_error = (uint32_t)get_number(root, "max_error");
    out->peak = (uint32_t)get_number(root, "peak");
    out->max_sigma = get_real(root, "max_sigma");
    out->sum_squares = rms * rms * (double)out->voxels;
    out->sum_sigma_squares = rms_sigma * rms_sigma * (double)out->voxels;
}

static void get_note(yajl_val root, struct archive_note *out)
{
    yajl_val noise = find(root, "noise");
    get_text(root, "by", out->by, sizeof(out->by));
    get_text(root, "policy", out->policy, sizeof(out->policy));
    get_text(root, "pipeline", out->pipeline, sizeof(out->pipeline));
    out->time = (int64_t)get_number(root, "time");
    out->has_noise = YAJL_IS_OBJECT(noise);
    out->noise.offset = get_real(noise, "offset");
    out->noise.gain = get_real(noise, "gain");
    out->noise.read = get_real(noise, "read");
    out->bound.most = get_real(root, "max_error_limit");
    out->bound.sigma = YAJL_IS_TRUE(find(root, "limit_in_sigma"));
    out->chunks = get_number(root, "chunks");
    out->lossy_chunks = get_number(root, "lossy_chunks");
    get_receipt(find(root, "receipt"), &out->receipt);
    out->original = get_hex(root, "original");
    out->served = get_hex(root, "served");
    out->edited = YAJL_IS_TRUE(find(root, "edited"));
}

int archive_note_parse(const char *meta, struct archive_note *out)
{
    memset(out, 0, sizeof(*out));
    if (meta == NULL || strstr(meta, "\"archive\"") == NULL)
        return -ENODATA; /* nearly all of them */
    yajl_val root = yajl_tree_parse(meta, NULL, 0), archive = find(root, "archive");
    bool found = YAJL_IS_OBJECT(archive);
    if (found)
        get_note(archive, out);
    yajl_tree_free(root);
    return found ? 0 : -ENODATA;
}

bool archive_note_is_lossy(const char *meta)
{
    struct archive_note note;
    return archive_note_parse(meta, &note) == 0 && note.lossy_chunks > 0;
}

const char *archive_note_quality(const struct archive_note *note, char *buf, size_t len)
{
    if (note == NULL || note->lossy_chunks == 0) {
        snprintf(buf, len, "lossless");
        return buf;
    }
    const struct sqy_receipt *receipt = &note->receipt;
    char noise[128] = "unknown";
    if (note->has_noise)
        snprintf(noise, sizeof(noise), "offset:%.6g,gain:%.6g,read:%.6g", note->noise.offset,
                 note->noise.gain, note->noise.read);
    snprintf(buf, len,
             "lossy pipeline=%s max_error=%" PRIu32
             " max_sigma=%.4f rms=%.4f rms_sigma=%.4f psnr=%.2f within_sigma=%.6f noise=%s"
             " original=%016" PRIx64 " served=%016" PRIx64 "%s",
             note->pipeline, receipt->max_error, receipt->max_sigma, sqy_receipt_rms(receipt),
             sqy_receipt_rms_sigma(receipt), sqy_receipt_psnr(receipt),
             receipt->voxels > 0 ? (double)receipt->within_sigma / (double)receipt->voxels : 1,
             noise, note->original, note->served, note->edited ? " edited=yes" : "");
    return buf;
}

const char *archive_quality(const char *meta, char *buf, size_t len)
{
    struct archive_note note;
    bool has = archive_note_parse(meta, &note) == 0;
    return archive_note_quality(has ? &note : NULL, buf, len);
}
