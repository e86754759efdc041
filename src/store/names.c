#include "store/names.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#define SUFFIX_LEN  (sizeof(NAMES_SUFFIX) - 1)
#define FOREIGN_END ".tif" /* as long as the suffix: it always fits */

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

bool names_is_tiff(const char *name)
{
    static const char *const endings[] = {".tif", ".tiff", ".btf", ".tf8", ".tf2"};
    size_t len = strlen(name);
    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
        size_t n = strlen(endings[i]);
        if (len > n && strcasecmp(name + len - n, endings[i]) == 0)
            return true;
    }
    return false;
}

bool names_depends(const char *stored)
{
    char visible[NAMES_MAX];
    if (!names_has_suffix(stored))
        return false;
    names_to_visible(stored, visible);
    return !names_is_tiff(visible);
}

void names_to_foreign(const char *stored, char visible[NAMES_MAX])
{
    _Static_assert(sizeof(FOREIGN_END) == sizeof(NAMES_SUFFIX), "one takes the other's place");
    bool bare = names_depends(stored);
    names_to_visible(stored, visible);
    if (bare)
        memcpy(visible + strlen(visible), FOREIGN_END, sizeof(FOREIGN_END));
}

bool names_from_foreign(const char *visible, char stored[NAMES_MAX])
{
    size_t len = strnlen(visible, NAME_MAX);
    if (len <= SUFFIX_LEN || strcmp(visible + len - SUFFIX_LEN, FOREIGN_END) != 0)
        return false;
    memcpy(stored, visible, len - SUFFIX_LEN);
    memcpy(stored + len - SUFFIX_LEN, NAMES_SUFFIX, sizeof(NAMES_SUFFIX));
    return names_depends(stored);
}
