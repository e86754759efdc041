/* What there is, for who asks. */
#include "codec/stage.h"

#include <errno.h>
#include <stdlib.h>

static bool can_write(const struct stage_desc *desc)
{
    if (desc->can_write)
        return desc->can_write();
    return desc->apply || desc->learn || desc->encode || desc->encode_items || desc->encode_box;
}

bool sqy_stage_info(unsigned index, struct sqy_stage_info *out)
{
    const struct stage_desc *desc = stage_at(index);
    if (!desc)
        return false;
    *out = (struct sqy_stage_info){
        .name = desc->name,
        .about = desc->about,
        .is_sink = desc->class == STAGE_SINK,
        .is_lossless = !desc->lossy,
        .is_sqeazy = desc->upstream,
        .can_write = !desc->missing && can_write(desc),
        .can_read = !desc->missing,
    };
    return true;
}

int sqy_stage_notes(unsigned index, char **out)
{
    const struct stage_desc *desc = stage_at(index);
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);
    if (!f)
        return -ENOMEM;
    if (desc && desc->missing)
        fprintf(f, "%s\n", desc->missing);
    else if (desc && desc->notes)
        desc->notes(desc, f);
    const bool bad = ferror(f);
    if (fclose(f) || bad) {
        free(text);
        return -ENOMEM;
    }
    *out = text;
    return 0;
}
