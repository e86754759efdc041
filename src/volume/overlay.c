#include "volume/overlay.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct run {
    uint32_t start, end; /* within the block */
};

/* Runs ascend, never touch, never are empty. A block without runs does not exist. */
struct overlay_block {
    uint64_t number; /* plain offset / SPOOL_BLOCK */
    uint32_t slot;
    uint32_t n_runs, cap_runs;
    struct run *runs;
};

void overlay_init(struct overlay *overlay, struct spool *spool)
{
    memset(overlay, 0, sizeof(*overlay));
    overlay->spool = spool;
}

/* Index of the first block with a number >= `number`. */
static size_t find_block(const struct overlay *overlay, uint64_t number)
{
    size_t lo = 0, hi = overlay->n_blocks;
    if (hi > 0 && overlay->blocks[hi - 1]->number < number)
        return hi;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (overlay->blocks[mid]->number < number)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void free_block(struct overlay *overlay, struct overlay_block *block)
{
    spool_give(overlay->spool, block->slot);
    free(block->runs);
    free(block);
}

static int insert_block(struct overlay *overlay, size_t at, uint64_t number)
{
    if (overlay->n_blocks == overlay->cap_blocks) {
        size_t cap = overlay->cap_blocks * 2 + 16;
        struct overlay_block **grown = realloc(overlay->blocks, cap * sizeof(*grown));
        if (grown == NULL)
            return -ENOMEM;
        overlay->blocks = grown;
        overlay->cap_blocks = cap;
    }
    struct overlay_block *block = calloc(1, sizeof(*block));
    if (block == NULL)
        return -ENOMEM;
    int64_t slot = spool_take(overlay->spool);
    if (slot < 0) {
        free(block);
        return (int)slot;
    }
    block->number = number;
    block->slot = (uint32_t)slot;
    memmove(&overlay->blocks[at + 1], &overlay->blocks[at],
            (overlay->n_blocks - at) * sizeof(overlay->blocks[0]));
    overlay->blocks[at] = block;
    overlay->n_blocks++;
    atomic_store(&overlay->n_held, overlay->n_blocks);
    return 0;
}

/* Removes blocks [first, last) that have no runs left, closing the gap once. */
static void drop_empty(struct overlay *overlay, size_t first, size_t last)
{
    size_t to = first;
    if (first == last)
        return;
    for (size_t i = first; i < last; i++) {
        if (overlay->blocks[i]->n_runs == 0)
            free_block(overlay, overlay->blocks[i]);
        else
            overlay->blocks[to++] = overlay->blocks[i];
    }
    memmove(&overlay->blocks[to], &overlay->blocks[last],
            (overlay->n_blocks - last) * sizeof(overlay->blocks[0]));
    overlay->n_blocks -= last - to;
    atomic_store(&overlay->n_held, overlay->n_blocks);
}

void overlay_clear_all(struct overlay *overlay)
{
    for (size_t i = 0; i < overlay->n_blocks; i++)
        free_block(overlay, overlay->blocks[i]);
    free(overlay->blocks);
    overlay->blocks = NULL;
    overlay->n_blocks = overlay->cap_blocks = 0;
    overlay->bytes = 0;
    atomic_store(&overlay->n_held, 0);
}

/* Index of the first run that ends after `at`. */
static uint32_t find_run(const struct overlay_block *block, uint32_t at)
{
    uint32_t lo = 0, hi = block->n_runs;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (block->runs[mid].end <= at)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static int reserve_runs(struct overlay_block *block, uint32_t n)
{
    if (n <= block->cap_runs)
        return 0;
    uint32_t cap = block->cap_runs * 2 + 2;
    struct run *grown = realloc(block->runs, cap * sizeof(*grown));
    if (grown == NULL)
        return -ENOMEM;
    block->runs = grown;
    block->cap_runs = cap;
    return 0;
}

static void replace_runs(struct overlay_block *block, uint32_t first, uint32_t last,
                         const struct run *with, uint32_t n_with)
{
    memmove(&block->runs[first + n_with], &block->runs[last],
            (block->n_runs - last) * sizeof(block->runs[0]));
    memcpy(&block->runs[first], with, n_with * sizeof(*with));
    block->n_runs = block->n_runs - (last - first) + n_with;
}

/* Adds [start, end) to the block's runs; *added is what was not there before. */
static int mark_run(struct overlay_block *block, uint32_t start, uint32_t end, uint64_t *added)
{
    uint32_t first = find_run(block, start);
    if (first > 0 && block->runs[first - 1].end == start)
        first--;
    struct run merged = {start, end};
    uint32_t last = first, had = 0;
    while (last < block->n_runs && block->runs[last].start <= end) {
        had += block->runs[last].end - block->runs[last].start;
        if (block->runs[last].start < merged.start)
            merged.start = block->runs[last].start;
        if (block->runs[last].end > merged.end)
            merged.end = block->runs[last].end;
        last++;
    }
    if (first == last) {
        if (block->n_runs >= OVERLAY_MAX_RUNS)
            return -EAGAIN;
        int r = reserve_runs(block, block->n_runs + 1);
        if (r < 0)
            return r;
    }
    replace_runs(block, first, last, &merged, 1);
    *added = merged.end - merged.start - had;
    return 0;
}

static int write_block(struct overlay *overlay, const uint8_t *buf, uint64_t off, uint32_t len)
{
    uint64_t number = off / SPOOL_BLOCK;
    uint32_t start = (uint32_t)(off % SPOOL_BLOCK);
    size_t at = find_block(overlay, number);
    bool fresh = at == overlay->n_blocks || overlay->blocks[at]->number != number;
    if (fresh) {
        int r = insert_block(overlay, at, number);
        if (r < 0)
            return r;
    }
    struct overlay_block *block = overlay->blocks[at];
    uint64_t added;
    int r = mark_run(block, start, start + len, &added);
    if (r < 0) {
        if (fresh)
            drop_empty(overlay, at, at + 1);
        return r;
    }
    memcpy(spool_data(overlay->spool, block->slot) + start, buf, len);
    overlay->bytes += added;
    return 0;
}

int64_t overlay_write(struct overlay *overlay, const void *buf, size_t len, uint64_t off)
{
    size_t done = 0;
    while (done < len) {
        uint64_t at = off + done;
        size_t n = SPOOL_BLOCK - at % SPOOL_BLOCK;
        if (n > len - done)
            n = len - done;
        int r = write_block(overlay, (const uint8_t *)buf + done, at, (uint32_t)n);
        if (r == -EAGAIN || (r < 0 && done > 0))
            break;
        if (r < 0)
            return r;
        done += n;
    }
    return (int64_t)done;
}

bool overlay_next(const struct overlay *overlay, uint64_t off, uint64_t *start, uint64_t *end)
{
    uint64_t number = off / SPOOL_BLOCK;
    for (size_t i = find_block(overlay, number); i < overlay->n_blocks; i++) {
        const struct overlay_block *block = overlay->blocks[i];
        uint64_t base = block->number * SPOOL_BLOCK;
        uint32_t at = block->number == number ? (uint32_t)(off % SPOOL_BLOCK) : 0;
        uint32_t run = find_run(block, at);
        if (run == block->n_runs)
            continue;
        *start = base + (block->runs[run].start > at ? block->runs[run].start : at);
        *end = base + block->runs[run].end;
        return true;
    }
    return false;
}

void overlay_copy(const struct overlay *overlay, void *buf, size_t len, uint64_t off)
{
    for (size_t done = 0; done < len;) {
        uint64_t at = off + done;
        size_t i = find_block(overlay, at / SPOOL_BLOCK);
        assert(i < overlay->n_blocks && overlay->blocks[i]->number == at / SPOOL_BLOCK);
        size_t n = SPOOL_BLOCK - at % SPOOL_BLOCK;
        if (n > len - done)
            n = len - done;
        memcpy((uint8_t *)buf + done,
               spool_data(overlay->spool, overlay->blocks[i]->slot) + at % SPOOL_BLOCK, n);
        done += n;
    }
}

bool overlay_covers(const struct overlay *overlay, uint64_t off, uint64_t len)
{
    uint64_t start, run_end, end = off + len;
    for (uint64_t at = off; at < end; at = run_end)
        if (!overlay_next(overlay, at, &start, &run_end) || start != at)
            return false;
    return true;
}

/* Takes [start, end) out of one block; *removed says how many bytes that were. */
static int clear_block(struct overlay_block *block, uint32_t start, uint32_t end, uint64_t *removed)
{
    uint32_t first = find_run(block, start), last = first, had = 0, n_rest = 0;
    struct run rest[2];
    while (last < block->n_runs && block->runs[last].start < end) {
        const struct run *run = &block->runs[last++];
        uint32_t from = run->start > start ? run->start : start;
        uint32_t to = run->end < end ? run->end : end;
        had += to - from;
        if (run->start < start)
            rest[n_rest++] = (struct run){run->start, start};
        if (run->end > end)
            rest[n_rest++] = (struct run){end, run->end};
    }
    if (n_rest > last - first) {
        int r = reserve_runs(block, block->n_runs + 1);
        if (r < 0)
            return r;
    }
    replace_runs(block, first, last, rest, n_rest);
    *removed = had;
    return 0;
}

int overlay_clear(struct overlay *overlay, uint64_t off, uint64_t len)
{
    uint64_t end = len > UINT64_MAX - off ? UINT64_MAX : off + len;
    if (len == 0)
        return 0;
    size_t first = find_block(overlay, off / SPOOL_BLOCK), i;
    for (i = first; i < overlay->n_blocks; i++) {
        struct overlay_block *block = overlay->blocks[i];
        uint64_t base = block->number * SPOOL_BLOCK, removed;
        if (base >= end)
            break;
        uint32_t from = off > base ? (uint32_t)(off - base) : 0;
        uint32_t to = end - base < SPOOL_BLOCK ? (uint32_t)(end - base) : SPOOL_BLOCK;
        /* Only a run cut in its middle needs memory, which only the single block of a short range
         * can have: so a failure leaves everything as it was. */
        int r = clear_block(block, from, to, &removed);
        if (r < 0)
            return r;
        overlay->bytes -= removed;
    }
    drop_empty(overlay, first, i);
    return 0;
}
