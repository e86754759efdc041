/* Decoding ahead of readers, see ahead.c. Inside the room. */
#ifndef SQYFS_VOLUME_AHEAD_H
#define SQYFS_VOLUME_AHEAD_H

#include "volume/core.h"

/* Which way a reader goes through a stack. */
enum ahead_way { AHEAD_NOWHERE, AHEAD_UP, AHEAD_DOWN };

/* A reader is about to read [off, off+len): starts what it will probably want next. Returns the way it
 * goes. stack.lock held. */
enum ahead_way ahead_note(struct stack *stack, struct stack_reader *reader, uint64_t off,
                          uint64_t len);

/* How many of so many encoders may decode ahead at a time: one core is left to who reads, and to who answers.
 * Where all decode, these two wait for the end of a tick, and afterwards nobody has anything to decode. */
unsigned ahead_turns_most(unsigned threads);

/* Somebody needs the chunk now: it is not decoded ahead any more, unless that is under way. */
void ahead_no_more(struct volume *volume, const struct blobref *ref,
                   const struct blob_chunk *chunk);

#endif
