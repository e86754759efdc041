/* How names in the mount and names in the store belong together. Pure; no I/O.
 *
 * In the store a name ending in ".sqy" (any case, whatever the file is) is ours. A blob of visible
 * name x is stored as x.sqy; everything else as it is, but a visible name that itself ends in
 * ".sqy" always gets the suffix added, so that the mapping can be undone.
 *
 * A file of sqeazy's own ("foreign", store/origin.h) shows as a TIFF stack: x.sqy as x.tif, and
 * y.tif.sqy, which has the ending, as y.tif. */
#ifndef SQYFS_STORE_NAMES_H
#define SQYFS_STORE_NAMES_H

#include <limits.h>
#include <stdbool.h>

#define NAMES_SUFFIX ".sqy"
#define NAMES_MAX    (NAME_MAX + 1)

/* Ends in ".sqy", any case. */
bool names_has_suffix(const char *name);
/* Reserved at the store's root: ".sqyfs" and everything that starts so. */
bool names_is_reserved(const char *name);

/* Stored spelling of a visible name, as a blob or as anything else. -ENAMETOOLONG where the suffix
 * does not fit. */
int names_to_stored(const char *visible, bool blob, char stored[NAMES_MAX]);
/* Visible spelling of a stored name (".sqy" taken off where present). */
void names_to_visible(const char *stored, char visible[NAMES_MAX]);
/* Ends as TIFF stacks do, any case. */
bool names_is_tiff(const char *name);
/* Whether how a stored file shows depends on whose it is: a suffix, and no TIFF's ending before it. */
bool names_depends(const char *stored);
/* Visible spelling of a foreign file. */
void names_to_foreign(const char *stored, char visible[NAMES_MAX]);
/* Stored spelling that shows so only where the file is foreign; false where there is none. */
bool names_from_foreign(const char *visible, char stored[NAMES_MAX]);
/* Whether a regular file with this visible name may become a blob: the suffix fits. */
bool names_fits_blob(const char *visible);

#endif
