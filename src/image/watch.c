#include "image/watch.h"

#include <string.h>

#define PAGE 4096u

/* More ranges in one page than this are taken together: a note must stay cheap whatever the file.
 */
#define MAX_PAGE_RANGES 64u

struct watch_range {
    uint64_t off; /* within one page */
    uint32_t len;
    uint32_t ifd;
    uint32_t next; /* older one with the same hash */
};

void watch_init(struct watch *watch, struct memory *memory)
{
    *watch = (struct watch){.memory = memory};
}

void watch_clear(struct watch *watch)
{
    watch->memory->used -=
        watch->cap * sizeof(*watch->ranges) + watch->n_heads * sizeof(*watch->heads);
    free(watch->ranges);
    free(watch->heads);
    watch_init(watch, watch->memory);
}

static uint32_t *head_of(const struct watch *watch, uint64_t page)
{
    uint64_t h = page * 0x9E3779B97F4A7C15u; /* Fibonacci hashing: pages are mostly consecutive */
    return &watch->heads[(h >> 32) & (watch->n_heads - 1)];
}

static void link_in(struct watch *watch, uint32_t i)
{
    uint32_t *head = head_of(watch, watch->ranges[i].off / PAGE);
    watch->ranges[i].next = *head;
    *head = i;
}

/* Chains get longer where there is no memory for a larger table. */
static int grow_heads(struct watch *watch)
{
    uint32_t n = watch->n_heads ? 2 * watch->n_heads : 16;
    size_t more = (n - watch->n_heads) * sizeof(*watch->heads);
    bool fits = watch->memory->used + more <= watch->memory->limit;
    uint32_t *heads = fits ? malloc(n * sizeof(*heads)) : NULL;
    if (!heads)
        return watch->heads ? 0 : fits ? -ENOMEM : -E2BIG;
    watch->memory->used += more;
    memset(heads, 0xFF, n * sizeof(*heads));
    free(watch->heads);
    watch->heads = heads;
    watch->n_heads = n;
    for (uint32_t i = 0; i < watch->n; i++)
        link_in(watch, i);
    return 0;
}

/* True where the page needs no new range: an older directory watches all of it already. */
static bool is_watched(struct watch *watch, uint64_t off, uint32_t len)
{
    uint64_t page = off / PAGE;
    struct watch_range *oldest = NULL;
    uint32_t n = 0;
    for (uint32_t i = *head_of(watch, page); i != WATCH_NONE; i = watch->ranges[i].next) {
        struct watch_range *range = &watch->ranges[i];
        if (range->off / PAGE != page)
            continue;
        if (range->off <= off && off + len <= range->off + range->len)
            return true;
        oldest = range;
        n++;
    }
    if (n < MAX_PAGE_RANGES)
        return false;
    oldest->off = page * PAGE;
    oldest->len = PAGE;
    return true;
}

static int add_in_page(struct watch *watch, uint64_t off, uint32_t len, uint32_t ifd)
{
    int error = 0;
    struct watch_range *ranges =
        array_room(watch->ranges, &watch->cap, watch->n, sizeof(*ranges), watch->memory, &error);
    if (!ranges)
        return error;
    watch->ranges = ranges;
    if (watch->n >= watch->n_heads) {
        int r = grow_heads(watch);
        if (r < 0)
            return r;
    }
    if (is_watched(watch, off, len))
        return 0;
    ranges[watch->n] = (struct watch_range){.off = off, .len = len, .ifd = ifd};
    link_in(watch, watch->n++);
    return 0;
}

int watch_add(struct watch *watch, uint64_t off, uint64_t len, uint32_t ifd)
{
    while (len) {
        uint64_t left = PAGE - off % PAGE;
        uint64_t n = len < left ? len : left;
        int r = add_in_page(watch, off, (uint32_t)n, ifd);
        if (r < 0)
            return r;
        off += n;
        len -= n;
    }
    return 0;
}

void watch_cut(struct watch *watch, uint32_t n)
{
    while (watch->n > n) {
        const struct watch_range *range = &watch->ranges[--watch->n];
        *head_of(watch, range->off / PAGE) = range->next;
    }
}

static void hit(const struct watch_range *range, uint64_t off, uint64_t end, uint32_t *lowest)
{
    if (range->off < end && off < range->off + range->len && range->ifd < *lowest)
        *lowest = range->ifd;
}

uint32_t watch_hit(const struct watch *watch, uint64_t off, uint64_t len)
{
    uint64_t end = len > UINT64_MAX - off ? UINT64_MAX : off + len;
    uint32_t lowest = WATCH_NONE;
    if (!watch->n || !len)
        return WATCH_NONE;
    uint64_t first = off / PAGE, last = (end - 1) / PAGE;
    if (last - first >= watch->n) {
        for (uint32_t i = 0; i < watch->n; i++)
            hit(&watch->ranges[i], off, end, &lowest);
        return lowest;
    }
    for (uint64_t page = first; page <= last; page++)
        for (uint32_t i = *head_of(watch, page); i != WATCH_NONE; i = watch->ranges[i].next)
            hit(&watch->ranges[i], off, end, &lowest);
    return lowest;
}
