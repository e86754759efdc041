#include "store/heading.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_tree.h>

/* Our key is three short values; anything longer is not ours. */
#define OURS_MAX 1024u

static char *live_pipename(const struct blob_header *header)
{
    char *name = NULL;
    int r = asprintf(&name, "%s%s", header->upstream ? "" : HEADING_LIVE, header->pipename);
    return r < 0 ? NULL : name;
}

static void shape_to_header(const struct blob_header *header, struct sqy_header *out)
{
    out->type = header->type == SQY_BYTES ? SQY_UINT8 : header->type;
    out->rank = header->rank;
    memcpy(out->shape, header->shape, sizeof(out->shape));
    if (header->type == SQY_BYTES || out->rank == 0) {
        out->rank = 1;
        if (header->rank == 0 || out->shape[0] == 0)
            out->shape[0] = 1;
    }
}

int heading_write(const struct blob_header *header, const uint8_t id[CHECKPOINT_ID_BYTES],
                  uint64_t encoded_bytes, uint8_t out[BLOB_HEADER_BYTES])
{
    if (!header->pipename || header->rank > SQY_MAX_RANK || sqy_type_name(header->type) == NULL)
        return -EINVAL;
    char hex[2 * CHECKPOINT_ID_BYTES + 1], ours[128];
    for (unsigned i = 0; i < CHECKPOINT_ID_BYTES; i++)
        snprintf(hex + 2 * i, 3, "%02x", id[i]);
    snprintf(ours, sizeof(ours), "{\"version\":%d,\"id\":\"%s\",\"compact\":%s}", HEADING_VERSION,
             hex, header->upstream ? "true" : "false");

    struct sqy_header sqy = {.encoded_bytes = encoded_bytes, .ours = ours};
    shape_to_header(header, &sqy);
    char *pipename = live_pipename(header);
    if (!pipename)
        return -ENOMEM;
    sqy.pipename = pipename;
    ssize_t r = sqy_header_write(&sqy, BLOB_HEADER_BYTES, out, BLOB_HEADER_BYTES);
    free(pipename);
    return r < 0 ? (int)r : 0;
}

static int parse_id(const char *hex, uint8_t id[CHECKPOINT_ID_BYTES])
{
    if (!hex || strlen(hex) != 2 * CHECKPOINT_ID_BYTES ||
        strspn(hex, "0123456789abcdef") != 2 * CHECKPOINT_ID_BYTES)
        return -EBADMSG;
    for (unsigned i = 0; i < CHECKPOINT_ID_BYTES; i++) {
        unsigned byte;
        if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
            return -EBADMSG;
        id[i] = (uint8_t)byte;
    }
    return 0;
}

static int parse_tree(yajl_val root, uint8_t id[CHECKPOINT_ID_BYTES], bool *compact)
{
    yajl_val version = yajl_tree_get(root, (const char *[]){"version", NULL}, yajl_t_number);
    if (!version || !YAJL_IS_INTEGER(version) || YAJL_GET_INTEGER(version) < 1)
        return -EBADMSG;
    if (YAJL_GET_INTEGER(version) > HEADING_VERSION)
        return -ENOTSUP;
    yajl_val hex = yajl_tree_get(root, (const char *[]){"id", NULL}, yajl_t_string);
    yajl_val flag = yajl_tree_get(root, (const char *[]){"compact", NULL}, yajl_t_any);
    if (!flag || (!YAJL_IS_TRUE(flag) && !YAJL_IS_FALSE(flag)))
        return -EBADMSG;
    *compact = YAJL_IS_TRUE(flag);
    return parse_id(hex ? YAJL_GET_STRING(hex) : NULL, id);
}

static int parse_ours(const char *text, uint8_t id[CHECKPOINT_ID_BYTES], bool *compact)
{
    if (strlen(text) > OURS_MAX)
        return -EBADMSG;
    char why[128];
    yajl_val root = yajl_tree_parse(text, why, sizeof(why));
    if (!root)
        return -EBADMSG;
    int r = YAJL_IS_OBJECT(root) ? parse_tree(root, id, compact) : -EBADMSG;
    yajl_tree_free(root);
    return r;
}

static int take_header(struct sqy_header *sqy, struct blob_header *out, char **pipename)
{
    const char *name = sqy->pipename;
    if (!out->upstream) {
        if (strncmp(name, HEADING_LIVE, strlen(HEADING_LIVE)) != 0)
            return -EBADMSG;
        name += strlen(HEADING_LIVE);
    }
    *pipename = strdup(name);
    if (!*pipename)
        return -ENOMEM;
    out->pipename = *pipename;
    out->type = sqy->type;
    out->rank = sqy->rank;
    memcpy(out->shape, sqy->shape, sizeof(out->shape));
    return 0;
}

int heading_parse(const uint8_t *data, size_t len, struct blob_header *out, char **pipename,
                  uint8_t id[CHECKPOINT_ID_BYTES])
{
    struct sqy_header sqy = {0};
    int r = sqy_header_parse(data, len, &sqy);
    if (r < 0)
        return r;
    *out = (struct blob_header){0};
    if (!sqy.ours)
        r = -EMEDIUMTYPE;
    else
        r = parse_ours(sqy.ours, id, &out->upstream);
    if (r >= 0 && sqy.header_bytes != BLOB_HEADER_BYTES)
        r = -EBADMSG;
    if (r >= 0)
        r = take_header(&sqy, out, pipename);
    sqy_header_free(&sqy);
    return r;
}
