/* Any text: it parses or it does not, and what parses means the same when written again. */
#include "codec/sqy.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool true_thing)
{
    if (!true_thing)
        abort();
}

static void check_full(const char *full)
{
    struct sqy_pipeline *again = NULL;
    must(sqy_pipeline_parse(full, &again, NULL) == 0);
    must(!strcmp(sqy_pipeline_text(again), full));
    sqy_pipeline_free(&again);
}

/* It lacks what was learned from voxels, and so may be shorter than what it parses to. */
static void check_short(const char *brief, const char *full)
{
    struct sqy_pipeline *again = NULL;
    must(strlen(brief) <= strlen(full));
    must(sqy_pipeline_parse(brief, &again, NULL) == 0);
    must(!strcmp(sqy_pipeline_short(again), brief));
    must(strstr(full, "<verbatim>") || !strcmp(sqy_pipeline_text(again), full));
    sqy_pipeline_free(&again);
}

static void check_answers(const struct sqy_pipeline *p)
{
    for (int type = SQY_BYTES; type <= SQY_FLOAT64; type++) {
        const struct sqy_box box = {(enum sqy_type)type, 1, 3, 100, 1};
        must(sqy_encode_bound(p, &box) >= sqy_box_bytes(&box) || !sqy_pipeline_is_lossless(p));
        sqy_pipeline_grain(p, (enum sqy_type)type);
        if (sqy_pipeline_is_upstream(p, (enum sqy_type)type))
            must(sqy_pipeline_carriage(p) == SQY_CARRIAGE_LZ4);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    struct sqy_pipeline *p = NULL;
    struct sqy_error err = {.position = SIZE_MAX};
    must(text);
    if (size)
        memcpy(text, data, size);
    text[size] = 0;
    if (sqy_pipeline_parse(text, &p, &err) < 0) {
        must(!p && err.position <= strlen(text));
        must(err.message[0] && memchr(err.message, 0, sizeof(err.message)));
        must(!strpbrk(err.message, "\r\n"));
    } else {
        check_full(sqy_pipeline_text(p));
        check_short(sqy_pipeline_short(p), sqy_pipeline_text(p));
        check_answers(p);
        sqy_pipeline_free(&p);
    }
    free(text);
    return 0;
}
