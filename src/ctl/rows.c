#include "ctl/rows.h"

#include <inttypes.h>
#include <stdio.h>

double rows_ratio(uint64_t plain_bytes, uint64_t stored_bytes)
{
    return plain_bytes == 0 || stored_bytes == 0 ? 1 : (double)plain_bytes / (double)stored_bytes;
}

const char *rows_shape(const struct index_row *row, char *buf, size_t len)
{
    if (row->type[0] == '\0')
        snprintf(buf, len, "-");
    else
        snprintf(buf, len, "%" PRIu64 "x%" PRIu64 "x%" PRIu64 " %s", row->width, row->height,
                 row->depth, row->type);
    return buf;
}

void rows_json(struct json *json, const struct index_row *row)
{
    json_text(json, "state", row->state);
    json_number(json, "plain_bytes", row->plain_bytes);
    json_number(json, "stored_bytes", row->stored_bytes);
    json_real(json, "ratio", rows_ratio(row->plain_bytes, row->stored_bytes));
    json_text(json, "pipeline", row->pipeline);
    json_text(json, "quality", row->quality != NULL ? row->quality : "");
    json_text(json, "archive", row->archive != NULL ? row->archive : "");
    json_text(json, "type", row->type);
    json_number(json, "depth", row->depth);
    json_number(json, "height", row->height);
    json_number(json, "width", row->width);
    json_number(json, "spp", row->spp);
    json_number(json, "channels", row->channels);
    json_number(json, "planes", row->planes);
    json_number(json, "timepoints", row->timepoints);
    json_key(json, "voxel_um");
    json_list(json);
    json_real(json, NULL, row->voxel_x);
    json_real(json, NULL, row->voxel_y);
    json_real(json, NULL, row->voxel_z);
    json_list_end(json);
    json_hex(json, "digest", row->digest);
    json_time(json, "mtime", &row->mtime);
    json_number(json, "inode", row->ino);
    json_time(json, "stored_mtime", &row->stored_mtime);
    json_time(json, "stored_ctime", &row->stored_ctime);
}
