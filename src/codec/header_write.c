#include "codec/header.h"
#include "codec/sqy.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VERSION "0.7.2"  /* the sqeazy whose format this is */
#define HEADREF "libsqy" /* where sqeazy names the commit it was built from */

/* As sqeazy's JSON library does: "/" too. Bytes above 127 stay what they are. */
static void put_string(FILE *f, const char *s)
{
    fputc('"', f);
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\' || c == '/')
            fprintf(f, "\\%c", c);
        else if (c < 0x20)
            fprintf(f, "\\u%04X", c);
        else
            fputc(c, f);
    }
    fputc('"', f);
}

static void put_shape(FILE *f, const struct sqy_header *header)
{
    fputs("        \"shape\": {\n", f);
    for (unsigned i = 0; i < header->rank; i++)
        fprintf(f, "            \"dim\": \"%" PRIu64 "\"%s\n", header->shape[i],
                i + 1 < header->rank ? "," : "");
    fputs("        }\n", f);
}

static void put_json(FILE *f, const struct sqy_header *header)
{
    fputs("{\n    \"pipename\": ", f);
    put_string(f, header->pipename);
    fprintf(f, ",\n    \"raw\": {\n        \"type\": \"%s\",\n        \"rank\": \"%u\",\n",
            sqy_type_name(header->type), header->rank);
    put_shape(f, header);
    fprintf(f, "    },\n    \"encoded\": {\n        \"bytes\": \"%" PRIu64 "\"\n    },\n",
            header->encoded_bytes);
    fputs("    \"sqy\": {\n        \"version\": ", f);
    put_string(f, header->version ? header->version : VERSION);
    fputs(",\n        \"headref\": \"" HEADREF "\"\n    }", f);
    if (header->ours)
        fprintf(f, ",\n    \"" HEADER_OURS "\": %s", header->ours);
    fputs("\n}\n", f);
}

static int json_text(const struct sqy_header *header, char **text, size_t *len)
{
    FILE *f = open_memstream(text, len);
    if (!f)
        return -ENOMEM;
    put_json(f, header);
    bool bad = ferror(f);
    if (fclose(f) || bad) {
        free(*text);
        return -ENOMEM;
    }
    return 0;
}

/* Blanks in front make it a multiple of the sample size, as sqeazy does; blanks behind fill a given
 * length, so that a header can be written again in place. */
static ssize_t put_padded(const char *json, size_t len, size_t pad_to, size_t size, uint8_t *out,
                          size_t cap)
{
    size_t bare = len + HEADER_END_LEN;
    size_t front = pad_to ? 0 : (size - bare % size) % size;
    size_t total = pad_to ? pad_to : front + bare;
    if (bare > total || total > SQY_HEADER_MAX || (out && total > cap))
        return -ENOSPC;
    if (!out)
        return (ssize_t)total;
    memset(out, ' ', total);
    memcpy(out + front, json, len);
    memcpy(out + total - HEADER_END_LEN, HEADER_END, HEADER_END_LEN);
    return (ssize_t)total;
}

static bool has_end(const char *s)
{
    return s && strstr(s, HEADER_END);
}

ssize_t sqy_header_write(const struct sqy_header *header, size_t pad_to, void *out, size_t cap)
{
    char *json = NULL;
    size_t len = 0;
    if (!header->pipename || !sqy_type_size(header->type) || !header->rank ||
        header->rank > SQY_MAX_RANK)
        return -EINVAL;
    if (has_end(header->pipename) || has_end(header->ours) || has_end(header->version))
        return -EINVAL; /* a reader would stop inside the text */
    int r = json_text(header, &json, &len);
    if (r < 0)
        return r;
    ssize_t total = put_padded(json, len, pad_to, sqy_type_size(header->type), out, cap);
    free(json);
    return total;
}
