#include "volume/policy_archive.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "volume/policy.h"

static int fail(struct sqy_error *err, int r, const char *why)
{
    err->position = 0;
    snprintf(err->message, sizeof(err->message), "%s", why);
    return r;
}

static int take_bound(struct archive_policy *archive, const char *value, struct sqy_error *err)
{
    char *end;
    double most = strtod(value, &end);
    archive->bound.sigma = strcmp(end, "sigma") == 0;
    if (end == value || !(most > 0) || !isfinite(most) || (*end != '\0' && !archive->bound.sigma))
        return fail(err, -EINVAL,
                    "max_error= wants a number above 0, of counts or (2sigma) of sigma");
    archive->bound.most = most;
    return 0;
}

static int take_word(struct archive_policy *archive, const char *word, struct sqy_error *err)
{
    if (strncmp(word, "max_error=", 10) == 0)
        return take_bound(archive, word + 10, err);
    if (strcmp(word, "hashed=yes") == 0 || strcmp(word, "hashed=no") == 0) {
        archive->hashed = strcmp(word + 7, "yes") == 0;
        return 0;
    }
    return fail(err, -EINVAL, "behind the pipeline max_error= or hashed=yes was expected");
}

static int check(struct archive_policy *archive, struct sqy_error *err)
{
    if (sqy_pipeline_needs_volume(archive->pipeline))
        return fail(err, -EINVAL, "this pipeline needs whole stacks (sqyctl encode takes it)");
    archive->lossy = !sqy_pipeline_is_lossless(archive->pipeline);
    if (archive->bound.most > 0 && !archive->lossy)
        return fail(err, -EINVAL, "max_error= says nothing of a pipeline that loses nothing");
    return 0;
}

int archive_policy_parse(const char *text, struct archive_policy *out, struct sqy_error *err)
{
    struct archive_policy archive = {.lossy = false};
    char words[ARCHIVE_POLICY_MAX], *rest = words, *word;
    *err = (struct sqy_error){0, "out of memory"};
    if (strlen(text) >= sizeof(words) || strpbrk(text, "\t\n") != NULL)
        return fail(err, -EINVAL, "one line of at most 511 bytes was expected");
    strcpy(words, text);
    strcpy(archive.text, text);
    int r = 0;
    for (bool first = true; r >= 0 && (word = strsep(&rest, " ")) != NULL;) {
        if (word[0] == '\0')
            continue;
        if (first && strcmp(word, "none") != 0)
            r = sqy_pipeline_parse(word, &archive.pipeline, err);
        else if (!first)
            r = take_word(&archive, word, err);
        first = false;
    }
    if (r >= 0 && archive.pipeline != NULL)
        r = check(&archive, err);
    if (r < 0)
        archive_policy_clear(&archive);
    else
        *out = archive;
    return r;
}

void archive_policy_clear(struct archive_policy *archive)
{
    sqy_pipeline_free(&archive->pipeline);
}

int archive_policy_of(struct policy *policy, const char *dir, struct archive_policy *out)
{
    char *text = NULL;
    struct sqy_error error;
    int r = policy_get(policy, POLICY_ARCHIVE, dir, true, &text);
    if (r < 0)
        return r;
    r = archive_policy_parse(text, out, &error);
    free(text);
    if (r < 0)
        return r == -ENOMEM ? r : -ENODATA; /* told when the policies were read */
    if (out->pipeline != NULL && !(out->lossy && policy_forbids_loss(policy, dir)))
        return 0;
    archive_policy_clear(out);
    return -ENODATA;
}

bool archive_bound_kept(const struct archive_bound *bound, const struct sqy_receipt *receipt)
{
    if (bound->most <= 0)
        return true;
    return (bound->sigma ? receipt->max_sigma : receipt->max_error) <= bound->most;
}
