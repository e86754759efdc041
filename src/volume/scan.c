#include "volume/scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/tree.h"
#include "volume/pack.h"
#include "volume/sqeazy.h"

/* Compacting by itself begins above this share of dead bytes, and above this many. */
#define DEAD_SHARE 4 /* one in four */
#define DEAD_BYTES (1u << 20)

/* ---- rows ---- */

static void row_start(const struct stat *backing, const char *path, const char *state,
                      struct scan_row *out)
{
    out->pipeline[0] = out->quality[0] = out->archive[0] = '\0';
    out->row = (struct index_row){
        .path = path,
        .ino = backing->st_ino,
        .stored_bytes = (uint64_t)backing->st_size,
        .stored_mtime = backing->st_mtim,
        .stored_ctime = backing->st_ctim,
        .mtime = backing->st_mtim,
        .pipeline = out->pipeline,
        .type = "",
        .state = state,
        .quality = out->quality,
        .archive = out->archive,
    };
}

/* What was edited since is looked at again. */
static void set_archive(struct scan_row *out, const char *meta)
{
    struct archive_note note;
    bool archived = archive_note_parse(meta, &note) == 0;
    archive_note_quality(archived ? &note : NULL, out->quality, sizeof(out->quality));
    if (archived && !note.edited)
        snprintf(out->archive, sizeof(out->archive), "%s", note.policy);
}

/* A pipeline that this version does not know keeps the spelling that the header has. */
static int set_pipeline(struct scan_row *out, const char *text)
{
    struct sqy_pipeline *pipeline = NULL;
    int r = sqy_pipeline_parse(text, &pipeline, NULL);
    if (r == -ENOMEM)
        return r;
    const char *spelling = r == 0 ? sqy_pipeline_short(pipeline) : text;
    size_t len = strnlen(spelling, sizeof(out->pipeline) - 1);
    memcpy(out->pipeline, spelling, len);
    out->pipeline[len] = '\0';
    sqy_pipeline_free(&pipeline);
    return 0;
}

static const char *type_text(enum sqy_type type)
{
    const char *name = type == SQY_BYTES ? NULL : sqy_type_name(type);
    return name != NULL ? name : "";
}

int scan_row(struct blob *blob, const struct stat *backing, const char *path, struct scan_row *out)
{
    row_start(backing, path, "stored", out);
    struct blob_header header;
    blob_header(blob, &header);
    int r = set_pipeline(out, header.pipename);
    if (r < 0)
        return r;
    struct blob_state state;
    blob_state(blob, &state);
    struct layout_info info;
    if (pack_meta_parse(state.meta != NULL ? state.meta : "", &info) < 0)
        memset(&info, 0, sizeof(info)); /* a newer version's: the voxels stay readable without */
    struct blob_stats stats;
    blob_stats(blob, &stats);
    struct index_row *row = &out->row;
    row->plain_bytes = state.size;
    if (stats.n_checkpoints > 0) /* else nothing was ever said of it */
        row->mtime = state.mtime;
    row->type = type_text((enum sqy_type)info.type);
    row->depth = info.depth;
    row->height = info.height;
    row->width = info.width;
    row->spp = info.spp;
    row->channels = info.channels;
    row->planes = info.slices;
    row->timepoints = info.frames;
    row->voxel_x = info.voxel_x;
    row->voxel_y = info.voxel_y;
    row->voxel_z = info.voxel_z;
    row->digest = stats.digest;
    if (pack_meta_lower_rung(state.meta))
        row->again_bytes = stats.provisional_bytes > 0 ? stats.provisional_bytes : 1;
    set_archive(out, state.meta);
    if (strncmp(out->quality, "lossy", 5) != 0) /* those are not compacted */
        row->dead_bytes = scan_dead(&stats);
    return 0;
}

uint64_t scan_dead(const struct blob_stats *stats)
{
    uint64_t dead =
        stats->file_bytes > stats->live_bytes ? stats->file_bytes - stats->live_bytes : 0;
    return dead > DEAD_BYTES && dead > stats->file_bytes / DEAD_SHARE ? dead : 0;
}

int scan_header_read(const struct io *io, int fd, struct sqy_header *out)
{
    for (size_t len = 4096;; len *= 8) {
        if (len > SQY_HEADER_MAX)
            len = SQY_HEADER_MAX;
        void *data = malloc(len);
        if (data == NULL)
            return -ENOMEM;
        ssize_t n = io_pread_full(io, fd, data, len, 0);
        int r = n < 0 ? (int)n : sqy_header_parse(data, (size_t)n, out);
        free(data);
        if (r != -EAGAIN)
            return r;
        if ((size_t)n < len || len == SQY_HEADER_MAX)
            return -EBADMSG;
    }
}

int scan_is_cut(const struct io *io, int fd, struct blob *blob, bool *header_lost)
{
    struct blob_stats stats;
    struct sqy_header header;
    struct stat st;
    uint64_t claimed = 0;
    blob_stats(blob, &stats);
    int r = scan_header_read(io, fd, &header);
    if (r < 0 && r != -EBADMSG)
        return r;
    if (header_lost != NULL)
        *header_lost = r < 0;
    if (r == 0) {
        if (__builtin_add_overflow(header.header_bytes, header.encoded_bytes, &claimed))
            claimed = UINT64_MAX;
        sqy_header_free(&header);
    }
    if (fstat(fd, &st) < 0) /* after the header: a file that grows has what that says */
        return -errno;
    uint64_t size = (uint64_t)st.st_size;
    return size < claimed || (stats.torn && stats.valid_bytes < claimed);
}

int scan_header_box(const struct sqy_header *header, uint64_t shape[3], uint64_t *bytes)
{
    uint64_t total = sqy_type_size(header->type);
    shape[0] = shape[1] = shape[2] = 1;
    if (total == 0 || header->rank == 0 || header->rank > SQY_MAX_RANK)
        return -EBADMSG;
    for (unsigned i = 0; i < header->rank; i++) {
        unsigned axis = header->rank - i <= 3 ? 3 - (header->rank - i) : 0;
        if (header->shape[i] == 0 || __builtin_mul_overflow(total, header->shape[i], &total) ||
            total > INT64_MAX)
            return -EBADMSG;
        shape[axis] *= header->shape[i]; /* no more than total */
    }
    *bytes = total;
    return 0;
}

/* sqeazy's own blob: its header is all there is to know without decoding. */
static int upstream_row(const struct io *io, int fd, struct scan_row *out)
{
    struct sqy_header header;
    int r = scan_header_read(io, fd, &header);
    if (r < 0)
        return r;
    struct tiffout plan;
    r = sqeazy_plan(&header, &plan);
    if (r >= 0 && !sqeazy_is_plausible(&header, &plan, out->row.stored_bytes))
        r = -EBADMSG;
    if (r >= 0)
        r = set_pipeline(out, header.pipename);
    if (r >= 0) {
        out->row.type = type_text(header.type);
        out->row.plain_bytes = plan.size;
        out->row.depth = plan.depth;
        out->row.height = plan.height;
        out->row.width = plan.width;
        out->row.spp = 1;
        out->row.state = "stored";
    }
    sqy_header_free(&header);
    return r == -EOVERFLOW ? -EBADMSG : r;
}

int scan_row_file(const struct io *io, int fd, const struct stat *backing, const char *path,
                  struct scan_row *out)
{
    row_start(backing, path, backing->st_size == 0 ? "stored" : "damaged", out);
    if (backing->st_size == 0)
        return 0; /* born a moment ago */
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own < 0)
        return -errno;
    struct blob *blob;
    int r = blob_open(io, own, false, &blob);
    if (r == 0) {
        r = scan_row(blob, backing, path, out);
        blob_close(&blob);
        return r;
    }
    close(own);
    if (r == -EMEDIUMTYPE)
        r = upstream_row(io, fd, out);
    return r == -EBADMSG || r == -ENOTSUP ? 0 : r;
}

/* ---- walks ---- */

struct walk_path {
    char *text;
    size_t len, cap;
};

struct walk {
    struct tree *tree; /* knows which names are shown */
    scan_walk_fn *fn;
    void *ctx;
    bool hidden; /* what is not shown, and nothing else */
    unsigned unread;
    struct walk_path visible, stored;
};

static int path_push(struct walk_path *path, const char *name)
{
    size_t add = strlen(name) + 2;
    if (path->cap - path->len < add) {
        char *text = realloc(path->text, path->cap * 2 + add);
        if (text == NULL)
            return -ENOMEM;
        path->text = text;
        path->cap = path->cap * 2 + add;
    }
    if (path->len > 0)
        path->text[path->len++] = '/';
    memcpy(path->text + path->len, name, add - 1);
    path->len += add - 2;
    return 0;
}

static void path_pop(struct walk_path *path, size_t len)
{
    path->len = len;
    if (path->text != NULL)
        path->text[len] = '\0';
}

static int walk_dir(struct walk *walk, int dir_fd, bool is_root, unsigned depth);

static int walk_below(struct walk *walk, int dir_fd, const char *name, unsigned depth)
{
    int fd = depth == SCAN_MAX_DEPTH
                 ? -1
                 : openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && depth < SCAN_MAX_DEPTH && (errno == EMFILE || errno == ENFILE || errno == ENOMEM))
        return -errno; /* which says nothing of this one */
    if (fd < 0) {
        walk->unread++;
        return 0;
    }
    return walk_dir(walk, fd, false, depth + 1);
}

static int walk_entry(struct walk *walk, int dir_fd, bool is_root, const char *name, unsigned depth)
{
    char visible[NAMES_MAX] = "";
    struct scan_file file = {.dir_fd = dir_fd, .stored = name};
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || (is_root && names_is_reserved(name)) ||
        fstatat(dir_fd, name, &file.st, AT_SYMLINK_NOFOLLOW) < 0) /* gone meanwhile */
        return 0;
    int shown = tree_show(walk->tree, dir_fd, is_root, name, visible);
    if (shown < 0)
        return shown;
    if (!shown && !(walk->hidden && S_ISREG(file.st.st_mode) && names_has_suffix(name)))
        return 0;
    if (!S_ISREG(file.st.st_mode) && !S_ISDIR(file.st.st_mode))
        return 0;
    size_t visible_len = walk->visible.len, stored_len = walk->stored.len;
    int r = path_push(&walk->visible, visible);
    if (r == 0)
        r = path_push(&walk->stored, name);
    if (r == 0 && S_ISDIR(file.st.st_mode)) {
        r = walk_below(walk, dir_fd, name, depth);
    } else if (r == 0 && (shown > 0) != walk->hidden) {
        file.path = walk->visible.text;
        file.stored_path = walk->stored.text;
        file.blob = names_has_suffix(name);
        r = walk->fn(walk->ctx, &file);
    }
    path_pop(&walk->visible, visible_len);
    path_pop(&walk->stored, stored_len);
    return r;
}

/* Takes `dir_fd` over. */
static int walk_dir(struct walk *walk, int dir_fd, bool is_root, unsigned depth)
{
    DIR *dir = fdopendir(dir_fd);
    if (dir == NULL) {
        int r = -errno;
        close(dir_fd);
        return r;
    }
    int r = 0;
    struct dirent *entry;
    while (r == 0) {
        errno = 0;
        entry = readdir(dir);
        if (entry == NULL)
            break;
        r = walk_entry(walk, dirfd(dir), is_root, entry->d_name, depth);
    }
    if (r == 0 && errno != 0)
        walk->unread++;
    closedir(dir);
    return r;
}

/* A descriptor of the directory with a reading position of its own. */
static int reopen(int dir_fd)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int run_walk(struct walk *walk, int dir_fd, bool is_root)
{
    int fd = reopen(dir_fd);
    if (fd < 0)
        return fd;
    int r = tree_create(&io_system, fd, &walk->tree);
    if (r < 0) {
        close(fd);
        return r;
    }
    fd = reopen(dir_fd);
    r = fd < 0 ? fd : walk_dir(walk, fd, is_root, 0);
    tree_destroy(&walk->tree);
    free(walk->visible.text);
    free(walk->stored.text);
    return r;
}

int scan_walk(int dir_fd, bool is_root, scan_walk_fn *fn, void *ctx, unsigned *n_unread)
{
    struct walk walk = {.fn = fn, .ctx = ctx};
    int r = run_walk(&walk, dir_fd, is_root);
    if (n_unread != NULL)
        *n_unread = walk.unread;
    return r;
}

int scan_hidden(int dir_fd, bool is_root, scan_walk_fn *fn, void *ctx)
{
    struct walk walk = {.fn = fn, .ctx = ctx, .hidden = true};
    return run_walk(&walk, dir_fd, is_root);
}

/* ---- a store ---- */

struct store_walk {
    index_row_fn *fn;
    void *ctx;
};

/* What cannot be read now gets a row all the same: a listing without it would hide the damage. */
static int store_file(void *ctx, const struct scan_file *file)
{
    struct store_walk *walk = ctx;
    if (!file->blob)
        return 0;
    struct scan_row row;
    row_start(&file->st, file->path, "damaged", &row);
    int fd = openat(file->dir_fd, file->stored, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd >= 0) {
        struct stat st; /* of what is open, should the name have another file now */
        int r = fstat(fd, &st) < 0 ? -errno : scan_row_file(&io_system, fd, &st, file->path, &row);
        close(fd);
        if (r == -ENOMEM)
            return r;
    }
    return walk->fn(walk->ctx, &row.row);
}

int scan_store(int root_fd, index_row_fn *fn, void *ctx)
{
    struct store_walk walk = {fn, ctx};
    return scan_walk(root_fd, true, store_file, &walk, NULL);
}
