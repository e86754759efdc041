/* Memory for decoded chunks. Large pieces of one length lie side by side in slabs that the kernel may back
 * with huge pages: touching fresh memory 4 KiB at a time costs as much as decoding into it does, and with
 * huge pages a fifth of that. Thread safe. */
#ifndef SQYFS_CACHE_SLAB_H
#define SQYFS_CACHE_SLAB_H

#include <stddef.h>

struct slabs;
struct slab;

int slabs_create(struct slabs **out);
void slabs_destroy(struct slabs **slabs); /* every piece has been given back */

/* `len` bytes, with whatever is in them; *of goes with them to slab_free(). NULL: out of memory. */
void *slab_alloc(struct slabs *slabs, size_t len, struct slab **of);
/* The memory goes back to the system. */
void slab_free(struct slab **of, void *piece, size_t len);

#endif
