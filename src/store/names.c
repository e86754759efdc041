#include "store/names.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#define SUFFIX_LEN (sizeof(NAMES_SUFFIX) - 1)

/* What would be left without the suffix must be a name: ".sqy", "..sqy" and "...sqy" carry none, or
 * they would show as "", "." and "..". */
bool names_has_suffix(const char *name)
{
    size_t len = strlen(name);
    if (len <= SUFFIX_LEN || strcasecmp(name + len - SUFFIX_LEN, NAMES_SUFFIX) != 0)
        return false;
    size_t stem = len - SUFFIX_LEN;
    return !(stem <= 2 && strspn(name, ".") >= stem);
}

bool names_is_reserved(const char *name)
{
    return strncmp(name, ".sqyfs", 6) == 0;
}

bool names_fits_blob(const char *visible)
{
    return strlen(visible) + SUFFIX_LEN <= NAME_MAX;
}

int names_to_stored(const char *visible, bool blob, char stored[NAMES_MAX])
{
    size_t len = strlen(visible);
    bool suffix = blob || names_has_suffix(visible);
    if (len + (suffix ? SUFFIX_LEN : 0) > NAME_MAX)
        return -ENAMETOOLONG;
    memcpy(stored, visible, len);
    memcpy(stored + len, suffix ? NAMES_SUFFIX : "", suffix ? sizeof(NAMES_SUFFIX) : 1);
    return 0;
}

void names_to_visible(const char *stored, char visible[NAMES_MAX])
{
    size_t len = strnlen(stored, NAME_MAX);
    if (names_has_suffix(stored))
        len -= SUFFIX_LEN;
    memmove(visible, stored, len);
    visible[len] = '\0';
}
