#include "volume/archive.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/sum.h"

#define PIECE (1u << 20)

struct check {
    const struct pack_source *source;
    struct archive_note *note;
    struct blob *blob;
    struct pack_reader *reader;
    struct sum *original, *served;
    uint8_t *old, *new;
};

/* Voxels of [at, at + len), which both files have. */
static int compare_voxels(struct check *check, const struct blob_extent *extent, uint64_t at,
                          size_t len)
{
    struct archive_note *note = check->note;
    struct sqy_receipt receipt;
    size_t size = sqy_type_size(extent->chunk.box.type);
    uint64_t src = extent->claim.src + (at - extent->claim.off);
    if (size == 0 || src % size != 0 || len % size != 0)
        return -EDOM;
    if (extent->chunk.flags & BLOB_BIG_ENDIAN && size > 1) {
        sqy_swap(check->old, check->old, len, size);
        sqy_swap(check->new, check->new, len, size);
    }
    struct sqy_box box = {extent->chunk.box.type, 1, 1, (uint32_t)(len / size), 1};
    int r = sqy_receipt_measure(&box, check->old, check->new, note->has_noise ? &note->noise : NULL,
                                &receipt);
    if (r < 0)
        return r;
    sqy_receipt_add(&note->receipt, &receipt);
    return archive_bound_kept(&note->bound, &receipt) ? 0 : -EDOM;
}

static bool is_hole_in_both(struct check *check, const struct blob_extent *extent, uint64_t at,
                            uint64_t end)
{
    if (!extent->hole || check->source->next_data == NULL)
        return false;
    int64_t data = check->source->next_data(check->source->ctx, at);
    return data == -ENXIO || (data >= 0 && (uint64_t)data >= end);
}

static int compare_piece(struct check *check, const struct blob_extent *extent, uint64_t at,
                         size_t len)
{
    int r = 0;
    if (is_hole_in_both(check, extent, at, at + len))
        memset(check->old, 0, len);
    else
        r = check->source->read(check->source->ctx, check->old, len, at);
    if (r >= 0)
        r = pack_reader_read(check->reader, check->new, len, at, NULL);
    if (r < 0)
        return r;
    sum_add(check->original, check->old, len);
    sum_add(check->served, check->new, len);
    if (!extent->hole && extent->chunk.flags & BLOB_LOSSY)
        return compare_voxels(check, extent, at, len);
    return memcmp(check->old, check->new, len) == 0 ? 0 : -EDOM;
}

static int compare(struct check *check)
{
    const uint64_t size = check->source->size;
    struct blob_state state;
    blob_state(check->blob, &state);
    int r = state.size == size ? 0 : -EDOM;
    for (uint64_t at = 0; r >= 0 && at < size;) {
        struct blob_extent extent;
        r = pack_find(check->blob, at, &extent);
        if (r < 0)
            break;
        uint64_t left = extent.claim.len - (at - extent.claim.off);
        left = left < size - at ? left : size - at;
        size_t len = left < PIECE ? (size_t)left : PIECE;
        r = compare_piece(check, &extent, at, len);
        at += len;
    }
    return r;
}

static int open_blob(struct check *check, const struct io *io, int fd)
{
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    int r = own < 0 ? -errno : blob_open(io, own, false, &check->blob);
    if (r < 0 && own >= 0)
        close(own);
    return r < 0 ? r : pack_reader_create(check->blob, &check->reader);
}

int archive_check(const struct pack_source *source, const struct io *io, int fd,
                  struct archive_note *note)
{
    struct check check = {.source = source, .note = note};
    note->receipt = (struct sqy_receipt){.voxels = 0};
    check.original = sum_create();
    check.served = sum_create();
    check.old = malloc(2 * PIECE);
    bool room = check.original != NULL && check.served != NULL && check.old != NULL;
    int r = room ? open_blob(&check, io, fd) : -ENOMEM;
    if (r >= 0) {
        check.new = check.old + PIECE;
        r = compare(&check);
    }
    if (r >= 0) {
        note->original = sum_value(check.original);
        note->served = sum_value(check.served);
    }
    pack_reader_destroy(&check.reader);
    blob_close(&check.blob);
    sum_destroy(&check.original);
    sum_destroy(&check.served);
    free(check.old);
    return r;
}
