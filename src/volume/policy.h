/* Which pipeline a directory's new stacks get, and what becomes of them when they are closed and nobody
 * writes: a plain text file at the store's root, so that it goes where the store goes.
 *
 *   # comment
 *   pipeline <TAB> text <TAB> path/of/the/directory
 *   archive <TAB> text <TAB> path/of/the/directory      (policy_archive.h)
 *   lossless <TAB> always <TAB> path/of/the/directory
 *
 * The path comes last and is taken to the end of the line; newline, backslash and control
 * characters in it are written as \ooo. "" is the root. The nearest directory upwards decides, but for
 * "lossless", which any of them may say, in whatever words. Thread safe. */
#ifndef SQYFS_VOLUME_POLICY_H
#define SQYFS_VOLUME_POLICY_H

#include <stdbool.h>

#include "base/io.h"
#include "codec/sqy.h"

struct policy;

#define POLICY_FILE ".sqyfs-policy"

enum policy_kind { POLICY_PIPELINE, POLICY_ARCHIVE, POLICY_LOSSLESS, POLICY_KINDS };

/* The word for it in the file, and in the names of attributes. */
const char *policy_kind_name(enum policy_kind kind);

/* Reads the file in the store's root (absent: empty). Lines that are wrong are logged and kept as
 * they are. `io` and `root_fd` are borrowed. */
int policy_open(const struct io *io, int root_fd, struct policy **out);
void policy_close(struct policy **policy);

/* What is set on this very directory, or on the nearest above `path` (`inherit`). -ENODATA. Caller
 * frees. */
int policy_get(struct policy *policy, enum policy_kind kind, const char *path, bool inherit,
               char **text);
/* NULL removes (-ENODATA where nothing is set). The file is replaced atomically and synced.
 * Where only the last sync fails, the change holds and a power cut may undo it. */
int policy_set(struct policy *policy, enum policy_kind kind, const char *path, const char *text);
/* A directory got another name (`exchange`: and the other way round), or is gone: entries at and
 * below it follow. */
int policy_rename(struct policy *policy, const char *from, const char *to, bool exchange);
int policy_remove(struct policy *policy, const char *path);
/* Where a rename could not be written, memory has it all the same, "lossless" at both names; this, or the next
 * change, writes it. */
int policy_save(struct policy *policy);

/* Between these two no policy changes; other calls that change any wait. Before stack.lock. */
void policy_freeze(struct policy *policy);
void policy_thaw(struct policy *policy);

/* Whether this directory or one above says that nothing below it may lose anything. */
bool policy_forbids_loss(struct policy *policy, const char *path);
/* Whether any directory has such a policy. */
bool policy_has(struct policy *policy, enum policy_kind kind);

/* A pipeline that a mount can store new voxels with, chunk by chunk and without loss. `err` is
 * filled where the text is wrong or such a pipeline cannot do that: -EINVAL (or -ENOTSUP for a stage
 * that this build lacks), or -ENOMEM. Caller frees. */
int policy_pipeline(const char *text, struct sqy_pipeline **out, struct sqy_error *err);

#endif
