#include "base/sum.h"

#include <xxhash.h>
#ifdef HAVE_XXH_DISPATCH
#include <xxh_x86dispatch.h> /* the same names, for the machine at hand */
#endif

uint64_t sum64(const void *data, size_t len)
{
    return XXH3_64bits(data, len);
}

/* It is aligned as only xxHash knows. */
struct sum *sum_create(void)
{
    XXH3_state_t *state = XXH3_createState();
    if (state != NULL)
        XXH3_64bits_reset(state);
    return (struct sum *)state;
}

void sum_destroy(struct sum **sum)
{
    XXH3_freeState((XXH3_state_t *)*sum);
    *sum = NULL;
}

void sum_add(struct sum *sum, const void *data, size_t len)
{
    XXH3_64bits_update((XXH3_state_t *)sum, data, len);
}

uint64_t sum_value(const struct sum *sum)
{
    return XXH3_64bits_digest((const XXH3_state_t *)sum);
}
