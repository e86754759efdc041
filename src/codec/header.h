/* What the reader and the writer of sqeazy's header share. */
#ifndef SQYFS_CODEC_HEADER_H
#define SQYFS_CODEC_HEADER_H

#define HEADER_END     "|01307#!" /* the first occurrence ends the header */
#define HEADER_END_LEN 8
#define HEADER_OURS    "sqyfs" /* our key */

#endif
