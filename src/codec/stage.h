/* What a pipeline is made of. Nobody outside codec/ includes this.
 *
 * A new stage is a file with its functions and one row in stage.c. A filter turns samples into as
 * many other bytes; a sink turns those bytes into coded ones. Functions may be called by several
 * threads at once, each with its own context. */
#ifndef SQYFS_CODEC_STAGE_H
#define SQYFS_CODEC_STAGE_H

#include "codec/sqy.h"

#define STAGE_MAX_ARGS      4
#define PIPELINE_MAX_STAGES 16 /* sqeazy's own longest useful pipelines have four */

struct kernels;
struct stage;

/* The samples a filter sees: a box, or the volume of a whole sqeazy blob. */
struct shape {
    enum sqy_type type;
    size_t size; /* bytes of a sample */
    size_t n;    /* samples: planes * rows * width */
    uint64_t planes, rows, width;
    uint32_t spp;
};

enum stage_class { STAGE_FILTER, STAGE_SINK };

struct stage_arg {
    const char *name;
    int32_t min, max, def;
    int32_t multiple_of; /* 0: of anything */
};

/* What a sink is given to decode. `whole` where it is the payload of a whole sqeazy file: zero
 * bytes may follow it, and versions before 0.5.2 wrote a bare block instead of LZ4 frames. */
struct stage_coded {
    const uint8_t *data;
    size_t len;
    bool whole;
};

struct stage_desc {
    const char *name;
    enum stage_class class;
    struct stage_arg args[STAGE_MAX_ARGS]; /* ends at a NULL name */
    bool upstream;                         /* sqeazy 0.7.2 has it */
    /* Brings arguments that depend on each other into their canonical values; may be NULL. */
    void (*normalise)(struct stage *stage);

    /* filters */
    unsigned sizes; /* sum of the sample sizes it takes; other samples are shuffled instead */
    /* As sqy_pipeline_grain(), of this stage alone; NULL: 1. */
    size_t (*grain)(const struct stage *stage, size_t size);
    /* How the filtered bytes fall into parts (sqy_encode_parts()); NULL: one part. Such a filter
     * can be cut only where it stands last, its grain counts only there. */
    unsigned (*parts)(const struct stage *stage, const struct shape *shape,
                      size_t part_len[SQY_MAX_PARTS]);
    /* `in` and `out` hold shape->n samples each and do not overlap. 0 or a negative errno. */
    int (*apply)(struct sqy_ctx *ctx, const struct stage *stage, const struct shape *shape,
                 const uint8_t *in, uint8_t *out);
    int (*undo)(struct sqy_ctx *ctx, const struct stage *stage, const struct shape *shape,
                const uint8_t *in, uint8_t *out);

    /* sinks; whose coded bytes may be concatenated, and decode to the concatenation */
    enum sqy_carriage carriage;
    size_t (*bound)(const struct stage *stage, size_t len); /* 0: does not fit size_t */
    ssize_t (*encode)(struct sqy_ctx *ctx, const struct stage *stage, const uint8_t *in, size_t len,
                      uint8_t *out, size_t cap);
    /* Fills out[0 .. len) exactly or fails. */
    int (*decode)(struct sqy_ctx *ctx, const struct stage *stage, const struct stage_coded *in,
                  uint8_t *out, size_t len);
    /* In place of these three: a sink that has to know of rows and planes. It takes samples of the
     * sizes above; others are shuffled and go to the zstd sink. */
    size_t (*bound_box)(const struct stage *stage, const struct shape *shape);
    ssize_t (*encode_box)(struct sqy_ctx *ctx, const struct stage *stage, const struct shape *shape,
                          const uint8_t *in, uint8_t *out, size_t cap);
    int (*decode_box)(struct sqy_ctx *ctx, const struct stage *stage, const struct shape *shape,
                      const struct stage_coded *in, uint8_t *out);
    /* Frees what ctx_state() of this stage holds; NULL where it holds nothing. */
    void (*free_state)(void *state);
};

/* Whether all that follows in->data[from] may be ignored: only after a whole payload, and zeros. */
bool stage_only_zeros(const struct stage_coded *in, size_t from);

/* A stage of a parsed pipeline: with the values of its arguments, in the order of desc->args. */
struct stage {
    const struct stage_desc *desc;
    int32_t arg[STAGE_MAX_ARGS];
};

struct sqy_pipeline {
    unsigned n_stages;
    struct stage stages[PIPELINE_MAX_STAGES];
    char *text, *short_text; /* owned */
};

/* A pipeline as it works on samples of one type. */
struct plan {
    unsigned n_filters;
    const struct stage *filters[PIPELINE_MAX_STAGES];
    const struct stage *sink; /* never NULL */
};

/* ---- stage.c: the table ---- */

#define STAGE_MAX_ROWS 32

/* NULL where there is none of that name. */
const struct stage_desc *stage_find(const char *name, size_t len);
/* Row 0, 1, ...; NULL after the last. */
const struct stage_desc *stage_at(unsigned index);
unsigned stage_index(const struct stage_desc *desc);
/* `desc` with the values its arguments have where nothing is said. */
void stage_default(struct stage *stage, const struct stage_desc *desc);
/* The stages that stand in for what a pipeline lacks or cannot use. */
const struct stage *stage_shuffle(void);
const struct stage *stage_pass_through(void);
const struct stage *stage_zstd(void);

/* The rows' contents, each in the file of its name. */
extern const struct stage_desc stage_desc_pass_through, stage_desc_lz4, stage_desc_zstd,
    stage_desc_bitswap1, stage_desc_bitshuffle, stage_desc_shuffle, stage_desc_interlace;

/* ---- plan.c ---- */

void plan_make(struct plan *plan, const struct sqy_pipeline *pipeline, enum sqy_type type);
/* Parts of `shape` (one at least) and their lengths before the sink. */
unsigned plan_parts(const struct plan *plan, const struct shape *shape,
                    size_t part_len[SQY_MAX_PARTS]);

/* ---- ctx.c ---- */

const struct kernels *ctx_kernels(const struct sqy_ctx *ctx);
/* In place of the best this machine has; the bytes are the same. */
void ctx_use_kernels(struct sqy_ctx *ctx, const struct kernels *kernels);
/* Scratch buffer 0 or 1 (the filters'), or 2 (a sink's own), of at least `len` bytes; NULL where memory is out. Stays valid until the
 * same buffer is asked for again. */
uint8_t *ctx_scratch(struct sqy_ctx *ctx, unsigned which, size_t len);
/* Gives back what a large volume left behind. */
void ctx_trim(struct sqy_ctx *ctx);
/* Where a stage keeps its library's state between calls; NULL inside at first. */
void **ctx_state(struct sqy_ctx *ctx, const struct stage_desc *desc);

/* ---- codec.c ---- */

/* As sqy_box_bytes(), filling `out`; 0 where the box is malformed. */
size_t codec_shape(const struct sqy_box *box, struct shape *out);
int codec_decode(struct sqy_ctx *ctx, const struct sqy_pipeline *pipeline,
                 const struct shape *shape, const struct stage_coded *in, uint8_t *out);

#endif
