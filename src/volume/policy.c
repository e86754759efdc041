#include "volume/policy.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "volume/policy_archive.h"

#define POLICY_TEMP ".sqyfs/policy.new"
/* Nobody writes a policy file by hand that is longer; a longer one is refused. */
#define POLICY_MAX_BYTES (16u << 20)

/* A line of the file; `path` NULL where it is a comment or not understood: kept as it is. */
struct line {
    char *text; /* of the policy, or the line itself */
    char *path;
    enum policy_kind kind;
    bool left; /* at an old name, until the file has the new one; never saved */
};

struct lines {
    struct line *line;
    size_t n;
};

/* A change is made to a copy of the lines, which is saved, and then takes their place: memory and
 * file say the same whatever fails. A rename has happened already: memory follows it even so, and the file is
 * written later (`unsaved`, guarded by `change`). */
struct policy {
    const struct io *io;
    int root_fd;
    pthread_mutex_t lock; /* guards the lines; a leaf */
    pthread_mutex_t
        change; /* one change at a time, held while the file is replaced; before `lock` */
    struct lines lines;
    bool unsaved;
};

static void free_lines(struct lines *lines)
{
    for (size_t i = 0; i < lines->n; i++) {
        free(lines->line[i].text);
        free(lines->line[i].path);
    }
    free(lines->line);
    *lines = (struct lines){NULL, 0};
}

static char *unescape(const char *escaped)
{
    char *plain = malloc(strlen(escaped) + 1), *to = plain;
    if (plain == NULL)
        return NULL;
    for (const char *p = escaped; *p != '\0'; p++) {
        unsigned code;
        if (p[0] == '\\' && sscanf(p + 1, "%3o", &code) == 1 && strspn(p + 1, "01234567") >= 3) {
            *to++ = (char)code;
            p += 3;
        } else {
            *to++ = *p;
        }
    }
    *to = '\0';
    return plain;
}

static void print_escaped(FILE *file, const char *plain)
{
    for (const unsigned char *p = (const unsigned char *)plain; *p != '\0'; p++) {
        if (*p == '\\' || *p < 0x20 || *p == 0x7f)
            fprintf(file, "\\%03o", *p);
        else
            fputc(*p, file);
    }
}

static const char *const kind_names[POLICY_KINDS] = {
    [POLICY_PIPELINE] = "pipeline",
    [POLICY_ARCHIVE] = "archive",
    [POLICY_LOSSLESS] = "lossless",
};

const char *policy_kind_name(enum policy_kind kind)
{
    return kind_names[kind];
}

/* Takes both strings over, also when it fails; `text` NULL is -ENOMEM. */
static int add_line(struct lines *lines, enum policy_kind kind, char *text, char *path)
{
    struct line *grown = realloc(lines->line, (lines->n + 1) * sizeof(*grown));
    if (grown != NULL)
        lines->line = grown;
    if (grown == NULL || text == NULL) {
        free(text);
        free(path);
        return -ENOMEM;
    }
    lines->line[lines->n++] = (struct line){text, path, kind, false};
    return 0;
}

/* Such a line is kept, and counts for nothing; but whatever a line "lossless" says, it forbids. */
static void warn_unfit(enum policy_kind kind, const char *text, const char *path)
{
    struct sqy_pipeline *pipeline = NULL;
    struct archive_policy archive = {0};
    struct sqy_error error = {0, "it is taken for \"always\""};
    int r = strcmp(text, "always") == 0 ? 0 : -EINVAL;
    if (kind == POLICY_PIPELINE)
        r = policy_pipeline(text, &pipeline, &error);
    if (kind == POLICY_ARCHIVE)
        r = archive_policy_parse(text, &archive, &error);
    if (r < 0)
        log_warn("%s: %s of \"%s\" is %s: %s: %s", POLICY_FILE, kind_names[kind], path,
                 kind == POLICY_LOSSLESS ? "wrong" : "not used", text, error.message);
    sqy_pipeline_free(&pipeline);
    archive_policy_clear(&archive);
}

/* The kind that a line begins with, and behind its tabulator the text; NULL: none. */
static char *take_kind(char *line, enum policy_kind *kind)
{
    for (unsigned i = 0; i < POLICY_KINDS; i++) {
        size_t len = strlen(kind_names[i]);
        *kind = (enum policy_kind)i;
        if (strncmp(line, kind_names[i], len) == 0 && line[len] == '\t')
            return line + len + 1;
    }
    *kind = POLICY_PIPELINE;
    return NULL;
}

/* As people write them: "/a/", "./a" and "a//b" too. */
static void tidy_path(char *path)
{
    char *to = path, *rest = path, *part;
    while ((part = strsep(&rest, "/")) != NULL) {
        size_t len = strlen(part);
        if (len == 0 || strcmp(part, ".") == 0)
            continue;
        if (to != path)
            *to++ = '/';
        memmove(to, part, len);
        to += len;
    }
    *to = '\0';
}

static int parse_line(struct lines *lines, char *line)
{
    enum policy_kind kind;
    char *text = take_kind(line, &kind);
    char *path = text != NULL ? strchr(text, '\t') : NULL;
    if (text != NULL)
        text[strcspn(text, "\r")] = '\0'; /* ours are written as \015 */
    if (text != NULL && path == NULL && kind == POLICY_LOSSLESS)
        path = text + strlen(text); /* an editor took the root's tabulator off */
    if (path == NULL) {
        if (line[0] != '#' && line[0] != '\0')
            log_warn("%s: a line is not understood and left alone: %s", POLICY_FILE, line);
        return add_line(lines, POLICY_PIPELINE, strdup(line), NULL);
    }
    const char *escaped = *path == '\t' ? path + 1 : path;
    char *plain = unescape(escaped);
    char *value = strndup(text, (size_t)(path - text));
    if (plain == NULL || value == NULL) {
        free(plain);
        free(value);
        return -ENOMEM;
    }
    tidy_path(plain);
    warn_unfit(kind, value, escaped);
    return add_line(lines, kind, value, plain);
}

static int read_file(struct policy *policy)
{
    int fd = openat(policy->root_fd, POLICY_FILE, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    FILE *file = fdopen(fd, "r");
    if (file == NULL) {
        close(fd);
        return -ENOMEM;
    }
    char *line = NULL;
    size_t cap = 0, total = 0;
    ssize_t len;
    int r = 0;
    while (r >= 0 && (len = getline(&line, &cap, file)) > 0) {
        total += (size_t)len;
        line[strcspn(line, "\n")] = '\0';
        r = total > POLICY_MAX_BYTES ? -EFBIG : parse_line(&policy->lines, line);
    }
    if (r >= 0 && ferror(file)) /* what was not read would be lost when it is saved */
        r = -EIO;
    free(line);
    fclose(file);
    return r;
}

int policy_open(const struct io *io, int root_fd, struct policy **out)
{
    struct policy *policy = calloc(1, sizeof(*policy));
    if (policy == NULL)
        return -ENOMEM;
    policy->io = io;
    policy->root_fd = root_fd;
    pthread_mutex_init(&policy->lock, NULL);
    pthread_mutex_init(&policy->change, NULL);
    int r = read_file(policy);
    if (r < 0) {
        policy_close(&policy);
        return r;
    }
    *out = policy;
    return 0;
}

void policy_close(struct policy **policy_p)
{
    struct policy *policy = *policy_p;
    if (policy == NULL)
        return;
    if (policy_save(policy) < 0)
        log_error("%s: could not be written: directories have other names by now", POLICY_FILE);
    free_lines(&policy->lines);
    pthread_mutex_destroy(&policy->change);
    pthread_mutex_destroy(&policy->lock);
    free(policy);
    *policy_p = NULL;
}

static struct line *find(const struct lines *lines, enum policy_kind kind, const char *path,
                         size_t len)
{
    for (size_t i = lines->n; i-- > 0;) { /* the last line counts */
        struct line *line = &lines->line[i];
        if (line->path != NULL && line->kind == kind && strlen(line->path) == len &&
            memcmp(line->path, path, len) == 0)
            return line;
    }
    return NULL;
}

/* The directory that has path[0 .. len), len > 0. */
static size_t parent_len(const char *path, size_t len)
{
    while (len > 0 && path[len - 1] != '/')
        len--;
    return len > 0 ? len - 1 : 0;
}

int policy_get(struct policy *policy, enum policy_kind kind, const char *path, bool inherit,
               char **text)
{
    pthread_mutex_lock(&policy->lock);
    size_t len = strlen(path);
    struct line *line = find(&policy->lines, kind, path, len);
    while (line == NULL && inherit && len > 0) {
        len = parent_len(path, len);
        line = find(&policy->lines, kind, path, len);
    }
    int r = -ENODATA;
    if (line != NULL) {
        *text = strdup(line->text);
        r = *text != NULL ? 0 : -ENOMEM;
    }
    pthread_mutex_unlock(&policy->lock);
    return r;
}

bool policy_forbids_loss(struct policy *policy, const char *path)
{
    bool forbids = false;
    pthread_mutex_lock(&policy->lock);
    for (size_t len = strlen(path);; len = parent_len(path, len)) {
        forbids = forbids || find(&policy->lines, POLICY_LOSSLESS, path, len) != NULL;
        if (len == 0)
            break;
    }
    pthread_mutex_unlock(&policy->lock);
    return forbids;
}

void policy_freeze(struct policy *policy)
{
    pthread_mutex_lock(&policy->change);
}

void policy_thaw(struct policy *policy)
{
    pthread_mutex_unlock(&policy->change);
}

bool policy_has(struct policy *policy, enum policy_kind kind)
{
    bool has = false;
    pthread_mutex_lock(&policy->lock);
    for (size_t i = 0; i < policy->lines.n && !has; i++)
        has = policy->lines.line[i].path != NULL && policy->lines.line[i].kind == kind;
    pthread_mutex_unlock(&policy->lock);
    return has;
}

static void print_lines(const struct lines *lines, FILE *file)
{
    for (size_t i = 0; i < lines->n; i++) {
        const struct line *line = &lines->line[i];
        if (line->left)
            continue;
        if (line->path == NULL) {
            fprintf(file, "%s\n", line->text);
            continue;
        }
        fprintf(file, "%s\t%s\t", kind_names[line->kind], line->text);
        print_escaped(file, line->path);
        fputc('\n', file);
    }
}

static int write_file(const struct policy *policy, const struct lines *lines)
{
    const struct io *io = policy->io;
    char *text = NULL;
    size_t len = 0;
    FILE *file = open_memstream(&text, &len);
    if (file == NULL)
        return -ENOMEM;
    print_lines(lines, file);
    bool printed = !ferror(file);
    printed = fclose(file) == 0 && printed;
    int fd = printed ? openat(policy->root_fd, POLICY_TEMP,
                              O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)
                     : -1;
    int r = !printed ? -ENOMEM : fd < 0 ? -errno : io_pwrite_full(io, fd, text, len, 0);
    if (r >= 0)
        r = io->fsync(io, fd);
    if (fd >= 0)
        close(fd);
    free(text);
    return r;
}

/* To a new file, synced, then over the old one. *replaced: also where the sync after it failed. */
static int save(const struct policy *policy, const struct lines *lines, bool *replaced)
{
    const struct io *io = policy->io;
    int root = policy->root_fd;
    int r = write_file(policy, lines);
    if (r >= 0)
        r = io->rename(io, root, POLICY_TEMP, root, POLICY_FILE, 0);
    *replaced = r >= 0;
    return r < 0 ? r : io->fsync(io, root);
}

/* A change takes the old lines one by one and adds what becomes of each. */
struct change {
    const char *from, *to, *text;
    enum policy_kind kind; /* of what is set or removed */
    bool exchange, any;
    bool done; /* to the directories, whatever becomes of the file */
    struct lines lines;
};

typedef int change_fn(struct change *change, const struct line *line);

static int keep(struct change *change, const struct line *line, char *path)
{
    if (line->path != NULL && path == NULL)
        return -ENOMEM;
    int r = add_line(&change->lines, line->kind, strdup(line->text), path);
    if (r >= 0)
        change->lines.line[change->lines.n - 1].left = line->left;
    return r;
}

/* What follows `dir` in `path` ("" or "/..."), or NULL where it is not below. */
static const char *below(const char *path, const char *dir)
{
    size_t len = strlen(dir);
    if (path == NULL || strncmp(path, dir, len) != 0 || (path[len] != '\0' && path[len] != '/'))
        return NULL;
    return path + len;
}

/* Until the file knows of the new name, loss is forbidden at the old one, too. */
static int leave_lossless(const struct policy *policy, struct change *change)
{
    int r = 0;
    for (size_t i = 0; i < policy->lines.n && r >= 0; i++) {
        const struct line *line = &policy->lines.line[i];
        if (line->kind != POLICY_LOSSLESS || line->left || line->path == NULL ||
            (below(line->path, change->from) == NULL && below(line->path, change->to) == NULL))
            continue;
        r = keep(change, line, strdup(line->path));
        if (r >= 0)
            change->lines.line[change->lines.n - 1].left = true;
    }
    return r;
}

static void drop_left(struct lines *lines)
{
    size_t n = 0;
    for (size_t i = 0; i < lines->n; i++) {
        if (lines->line[i].left) {
            free(lines->line[i].text);
            free(lines->line[i].path);
        } else {
            lines->line[n++] = lines->line[i];
        }
    }
    lines->n = n;
}

static int apply(struct policy *policy, struct change *change, change_fn *fn)
{
    int r = 0;
    for (size_t i = 0; i < policy->lines.n && r >= 0; i++)
        r = fn(change, &policy->lines.line[i]);
    if (r >= 0 && change->text != NULL) {
        char *path = strdup(change->from);
        r = path != NULL ? add_line(&change->lines, change->kind, strdup(change->text), path)
                         : -ENOMEM;
        change->any = true;
    }
    bool replaced = false, made = r >= 0;
    if (r >= 0 && (change->any || policy->unsaved))
        r = save(policy, &change->lines, &replaced);
    if (replaced) {
        policy->unsaved = false;
        drop_left(&change->lines);
    } else if (r < 0 && change->done && change->any && made &&
               leave_lossless(policy, change) >= 0) {
        policy->unsaved = replaced = true;
    }
    if (replaced) {
        pthread_mutex_lock(&policy->lock);
        struct lines old = policy->lines;
        policy->lines = change->lines;
        change->lines = old;
        pthread_mutex_unlock(&policy->lock);
    }
    free_lines(&change->lines);
    return r;
}

static int make_change(struct policy *policy, struct change *change, change_fn *fn)
{
    pthread_mutex_lock(&policy->change);
    int r = apply(policy, change, fn);
    pthread_mutex_unlock(&policy->change);
    return r;
}

static int drop_exact(struct change *change, const struct line *line)
{
    if (line->path == NULL || line->kind != change->kind || strcmp(line->path, change->from) != 0)
        return keep(change, line, line->path != NULL ? strdup(line->path) : NULL);
    change->any = true;
    return 0;
}

int policy_set(struct policy *policy, enum policy_kind kind, const char *path, const char *text)
{
    struct change change = {.from = path, .kind = kind, .text = text};
    int r = make_change(policy, &change, drop_exact);
    return r >= 0 && !change.any ? -ENODATA : r;
}

static int move(struct change *change, const struct line *line)
{
    const char *to = change->to, *rest = below(line->path, change->from);
    if (rest == NULL && change->exchange) {
        to = change->from;
        rest = below(line->path, change->to);
    }
    if (rest == NULL)
        return keep(change, line, line->path != NULL ? strdup(line->path) : NULL);
    char *path;
    change->any = true;
    return keep(change, line, asprintf(&path, "%s%s", to, rest) < 0 ? NULL : path);
}

int policy_rename(struct policy *policy, const char *from, const char *to, bool exchange)
{
    struct change change = {.from = from, .to = to, .exchange = exchange, .done = true};
    return make_change(policy, &change, move);
}

static int keep_all(struct change *change, const struct line *line)
{
    return keep(change, line, line->path != NULL ? strdup(line->path) : NULL);
}

int policy_save(struct policy *policy)
{
    struct change change = {.from = ""};
    pthread_mutex_lock(&policy->change);
    int r = policy->unsaved ? apply(policy, &change, keep_all) : 0;
    pthread_mutex_unlock(&policy->change);
    return r;
}

static int drop_below(struct change *change, const struct line *line)
{
    if (below(line->path, change->from) == NULL)
        return keep(change, line, line->path != NULL ? strdup(line->path) : NULL);
    change->any = true;
    return 0;
}

int policy_remove(struct policy *policy, const char *path)
{
    struct change change = {.from = path};
    return make_change(policy, &change, drop_below);
}

int policy_pipeline(const char *text, struct sqy_pipeline **out, struct sqy_error *err)
{
    struct sqy_pipeline *pipeline;
    *err = (struct sqy_error){0, "out of memory"};
    int r = sqy_pipeline_parse(text, &pipeline, err);
    if (r < 0)
        return r;
    if (!sqy_pipeline_needs_volume(pipeline) && sqy_pipeline_is_lossless(pipeline)) {
        *out = pipeline;
        return 0;
    }
    const char *why = sqy_pipeline_is_lossless(pipeline)
                          ? "this pipeline needs whole stacks and cannot store one as it is written"
                          : "this pipeline loses something, and what is written is never changed";
    snprintf(err->message, sizeof(err->message), "%s (%ssqyctl encode takes it)", why,
             sqy_pipeline_needs_volume(pipeline) ? "" : "user.sqyfs.archive or ");
    err->position = 0;
    sqy_pipeline_free(&pipeline);
    return -EINVAL;
}
