/* A receipt as it lies behind the coded bytes of a chunk that has lost something: store/FORMAT.md,
 * "Receipts". */
#ifndef SQYFS_VOLUME_RECEIPT_H
#define SQYFS_VOLUME_RECEIPT_H

#include <stdint.h>

#include "codec/sqy.h"

#define RECEIPT_BYTES 108u

/* `pipeline` has coded the chunk: decoders of its stream read over the receipt. */
void receipt_write(const struct sqy_receipt *receipt, const struct sqy_pipeline *pipeline,
                   uint8_t out[RECEIPT_BYTES]);
/* -EBADMSG where it is none, or contradicts itself. */
int receipt_parse(const uint8_t in[RECEIPT_BYTES], struct sqy_receipt *out);

#endif
