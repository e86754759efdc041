#include "volume/pack.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_gen.h>
#include <yajl/yajl_tree.h>

#include "codec/sqy.h"
#include "volume/archive_note.h"

/* One table both ways: the JSON key of every number that the index wants to know again. */
static const struct {
    const char *key;
    size_t offset;
    enum { META_U64, META_U32, META_DOUBLE, META_BOOL } kind;
} fields[] = {
    {"depth", offsetof(struct layout_info, depth), META_U64},
    {"height", offsetof(struct layout_info, height), META_U64},
    {"width", offsetof(struct layout_info, width), META_U64},
    {"spp", offsetof(struct layout_info, spp), META_U32},
    {"channels", offsetof(struct layout_info, channels), META_U32},
    {"slices", offsetof(struct layout_info, slices), META_U32},
    {"frames", offsetof(struct layout_info, frames), META_U32},
    {"voxel_x", offsetof(struct layout_info, voxel_x), META_DOUBLE},
    {"voxel_y", offsetof(struct layout_info, voxel_y), META_DOUBLE},
    {"voxel_z", offsetof(struct layout_info, voxel_z), META_DOUBLE},
    {"big_endian", offsetof(struct layout_info, big_endian), META_BOOL},
    {"one_volume", offsetof(struct layout_info, one_volume), META_BOOL},
    {"pixel_hash", offsetof(struct layout_info, pixel_hash), META_BOOL},
};

#define N_FIELDS (sizeof(fields) / sizeof(fields[0]))

static void put_text(yajl_gen gen, const char *text)
{
    yajl_gen_string(gen, (const unsigned char *)text, strlen(text));
}

static void put_field(yajl_gen gen, const struct layout_info *info, size_t i)
{
    const char *at = (const char *)info + fields[i].offset;
    put_text(gen, fields[i].key);
    switch (fields[i].kind) {
    case META_U64:
        yajl_gen_integer(gen, (long long)*(const uint64_t *)(const void *)at);
        break;
    case META_U32:
        yajl_gen_integer(gen, *(const uint32_t *)(const void *)at);
        break;
    case META_DOUBLE:
        yajl_gen_double(gen, *(const double *)(const void *)at);
        break;
    case META_BOOL:
        yajl_gen_bool(gen, *(const bool *)at);
        break;
    }
}

static void put_named_text(yajl_gen gen, const char *key, const char *text)
{
    put_text(gen, key);
    put_text(gen, text);
}

static void put_number(yajl_gen gen, const char *key, uint64_t value)
{
    put_text(gen, key);
    yajl_gen_integer(gen, (long long)value);
}

static void put_real(yajl_gen gen, const char *key, double value)
{
    put_text(gen, key);
    yajl_gen_double(gen, isfinite(value) ? value : 0);
}

static void put_hex(yajl_gen gen, const char *key, uint64_t value)
{
    char text[32];
    snprintf(text, sizeof(text), "%016" PRIx64, value);
    put_named_text(gen, key, text);
}

static void put_receipt(yajl_gen gen, const struct sqy_receipt *receipt)
{
    put_text(gen, "receipt");
    yajl_gen_map_open(gen);
    put_number(gen, "voxels", receipt->voxels);
    put_number(gen, "within_sigma", receipt->within_sigma);
    put_number(gen, "max_error", receipt->max_error);
    put_number(gen, "peak", receipt->peak);
    put_real(gen, "max_sigma", receipt->max_sigma);
    put_real(gen, "rms", sqy_receipt_rms(receipt));
    put_real(gen, "rms_sigma", sqy_receipt_rms_sigma(receipt));
    put_real(gen, "psnr", sqy_receipt_psnr(receipt));
    yajl_gen_map_close(gen);
}

static void put_archive(yajl_gen gen, const struct archive_note *note)
{
    put_text(gen, "archive");
    yajl_gen_map_open(gen);
    put_named_text(gen, "by", note->by);
    put_named_text(gen, "policy", note->policy);
    put_named_text(gen, "pipeline", note->pipeline);
    put_number(gen, "time", (uint64_t)note->time);
    if (note->has_noise) {
        put_text(gen, "noise");
        yajl_gen_map_open(gen);
        put_real(gen, "offset", note->noise.offset);
        put_real(gen, "gain", note->noise.gain);
        put_real(gen, "read", note->noise.read);
        yajl_gen_map_close(gen);
    }
    put_real(gen, "max_error_limit", note->bound.most);
    put_text(gen, "limit_in_sigma");
    yajl_gen_bool(gen, note->bound.sigma);
    put_number(gen, "chunks", note->chunks);
    put_number(gen, "lossy_chunks", note->lossy_chunks);
    if (note->lossy_chunks > 0)
        put_receipt(gen, &note->receipt);
    put_hex(gen, "original", note->original);
    put_hex(gen, "served", note->served);
    if (note->edited) {
        put_text(gen, "edited");
        yajl_gen_bool(gen, true);
    }
    yajl_gen_map_close(gen);
}

char *pack_meta_write(const struct layout_info *info, bool lower_rung,
                      const struct archive_note *archive)
{
    yajl_gen gen = yajl_gen_alloc(NULL);
    if (gen == NULL)
        return NULL;
    const char *type = sqy_type_name((enum sqy_type)info->type);
    yajl_gen_map_open(gen);
    put_named_text(gen, "type", info->type == LAYOUT_BYTES || type == NULL ? "" : type);
    for (size_t i = 0; i < N_FIELDS; i++)
        put_field(gen, info, i);
    if (lower_rung) {
        put_text(gen, "lower_rung");
        yajl_gen_bool(gen, true);
    }
    if (archive != NULL)
        put_archive(gen, archive);
    yajl_gen_map_close(gen);
    const unsigned char *text;
    size_t len;
    char *copy = NULL;
    if (yajl_gen_get_buf(gen, &text, &len) == yajl_gen_status_ok)
        copy = strndup((const char *)text, len);
    yajl_gen_free(gen);
    return copy;
}

static void get_field(yajl_val root, struct layout_info *info, size_t i)
{
    const char *path[] = {fields[i].key, NULL};
    yajl_val value = yajl_tree_get(root, path, yajl_t_any);
    char *at = (char *)info + fields[i].offset;
    if (value == NULL)
        return;
    bool natural = YAJL_IS_INTEGER(value) && YAJL_GET_INTEGER(value) >= 0;
    switch (fields[i].kind) {
    case META_U64:
        if (natural)
            *(uint64_t *)(void *)at = (uint64_t)YAJL_GET_INTEGER(value);
        break;
    case META_U32:
        if (natural && YAJL_GET_INTEGER(value) <= UINT32_MAX)
            *(uint32_t *)(void *)at = (uint32_t)YAJL_GET_INTEGER(value);
        break;
    case META_DOUBLE:
        if (YAJL_IS_NUMBER(value))
            *(double *)(void *)at = YAJL_GET_DOUBLE(value);
        break;
    case META_BOOL:
        *(bool *)at = YAJL_IS_TRUE(value);
        break;
    }
}

int pack_meta_parse(const char *meta, struct layout_info *info)
{
    memset(info, 0, sizeof(*info));
    if (meta[0] == '\0')
        return 0;
    yajl_val root = yajl_tree_parse(meta, NULL, 0);
    if (!YAJL_IS_OBJECT(root)) {
        yajl_tree_free(root);
        return -EBADMSG;
    }
    const char *path[] = {"type", NULL};
    const char *type = YAJL_GET_STRING(yajl_tree_get(root, path, yajl_t_string));
    enum sqy_type parsed;
    if (type != NULL && sqy_type_parse(type, strlen(type), &parsed) == 0)
        info->type = (enum layout_type)parsed;
    for (size_t i = 0; i < N_FIELDS; i++)
        get_field(root, info, i);
    yajl_tree_free(root);
    return 0;
}

bool pack_meta_lower_rung(const char *meta)
{
    const char *path[] = {"lower_rung", NULL};
    yajl_val root = meta != NULL && meta[0] != '\0' ? yajl_tree_parse(meta, NULL, 0) : NULL;
    bool lower = YAJL_IS_OBJECT(root) && YAJL_IS_TRUE(yajl_tree_get(root, path, yajl_t_any));
    yajl_tree_free(root);
    return lower;
}

static bool has_tiff_magic(const struct pack_source *source)
{
    uint8_t magic[4];
    if (source->size < sizeof(magic) || source->read(source->ctx, magic, sizeof(magic), 0) < 0)
        return false;
    return memcmp(magic, "II*\0", 4) == 0 || memcmp(magic, "MM\0*", 4) == 0 ||
           memcmp(magic, "II+\0", 4) == 0 || memcmp(magic, "MM\0+", 4) == 0;
}

bool pack_meta_raw(const char *meta, const struct pack_source *source, struct raw_policy *raw)
{
    struct layout_info info;
    if (meta == NULL || pack_meta_parse(meta, &info) < 0 || info.type == LAYOUT_BYTES ||
        info.width == 0 || info.width > UINT32_MAX || info.height == 0 ||
        info.height > UINT32_MAX || has_tiff_magic(source))
        return false;
    raw->width = (uint32_t)info.width;
    raw->height = (uint32_t)info.height;
    raw->type = info.type;
    raw->big_endian = info.big_endian;
    return true;
}
