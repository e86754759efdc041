/* Stacks whose backing file is sqeazy's own (no key of ours in its header): shown as the TIFF that it
 * decodes to, and not to be written to. Inside this room; all with the stack's lock held, unless it
 * says otherwise. */
#ifndef SQYFS_VOLUME_FOREIGN_H
#define SQYFS_VOLUME_FOREIGN_H

#include "volume/core.h"

/* Opens the backing file as such. -EBADMSG where it is none after all. No lock held. */
int foreign_open(const struct stack *stack, struct scratch **out);
/* The stack is FOREIGN from now on; takes the scratch over. */
int foreign_became(struct stack *stack, struct scratch *scratch);
/* Whether the backing file is not the one any more that was opened. */
bool foreign_is_moved(const struct stack *stack, const struct stat *st);
/* Lets go of what is decoded. */
void foreign_unload(struct stack *stack);
/* Size and index row of one that is not open. -EBADMSG where its header makes no stack. No lock
 * held. */
int foreign_attr(const struct stack *stack, const struct stat *st, struct stack_attr *attr);
/* As read_stack(); the lock is dropped meanwhile. */
ssize_t foreign_read(struct stack *stack, void *buf, size_t len, uint64_t off, bool wait);

#endif
