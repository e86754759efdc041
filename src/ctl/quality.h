/* What a blob has lost: its note of having been archived, and its chunks one by one. */
#ifndef SQYFS_CTL_QUALITY_H
#define SQYFS_CTL_QUALITY_H

#include <stdbool.h>

#include "ctl/json.h"
#include "store/blob.h"

/* Lines of text, or (`json` not NULL) keys of the map that is open. 0 or a negative errno. */
int quality_show(struct blob *blob, bool chunks, struct json *json);

#endif
