/* What a pipeline is made of. Nobody outside codec/ includes this.
 *
 * A new stage is a file with its functions and one row in stage.c. A filter turns samples into as
 * many other bytes; a sink turns those bytes into coded ones. Functions may be called by several
 * threads at once, each with its own context. */
#ifndef SQYFS_CODEC_STAGE_H
#define SQYFS_CODEC_STAGE_H

#include "codec/sqy.h"

#include <stdio.h>

#define STAGE_MAX_ARGS      12
#define STAGE_WORD_MAX      48 /* bytes of a text argument and its NUL */
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
    bool
        codes; /* small numbers that a filter has made, no grey values: low bits are all there is */
    bool foreign; /* sqeazy is to read it: no form that it has not */
};

enum stage_class { STAGE_FILTER, STAGE_SINK };

enum stage_arg_kind {
    STAGE_ARG_INTEGER = 0,
    STAGE_ARG_MILLIONTHS, /* a decimal fraction, kept as millionths */
    STAGE_ARG_DECIMAL,    /* the same, kept with `digits` digits behind the point, printed with as
                             few as there are; may be settled later, as an integer may */
    STAGE_ARG_WORD,       /* one of `words`, kept as its index */
    STAGE_ARG_TEXT,       /* letters, digits and _ that `valid` takes; kept in stage.word */
    STAGE_ARG_BYTES,      /* base64 in <verbatim>: what undo() needs to know; in stage.bytes */
};

struct stage_arg {
    const char *name;
    int32_t min, max, def; /* a `def` below `min` is settled by learn() */
    int32_t multiple_of;   /* 0: of anything */
    unsigned digits;
    bool power_of_two;
    enum stage_arg_kind kind;
    const char *const *words; /* ends with NULL */
    bool (*valid)(const char *text);
    const char *wanted; /* of a text: what it takes, for the error message */
};

/* What a sink is given to decode. `whole` where it is the payload of a whole sqeazy file: zero
 * bytes may follow it, and versions before 0.5.2 wrote a bare block instead of LZ4 frames. */
struct stage_coded {
    const uint8_t *data;
    size_t len;
    bool whole;
    bool prefix; /* the shape is the first planes of what was encoded: stage_desc.decodes_prefix */
    bool stale; /* anything may follow, for a stage behind the sink was given more than was coded */
};

struct stage_desc {
    const char *name;
    enum stage_class class;
    struct stage_arg args[STAGE_MAX_ARGS]; /* ends at a NULL name */
    bool upstream;                         /* sqeazy 0.7.2 has it */
    bool misread;                          /* ... but does not decode it rightly on every machine */
    const char *about;   /* what it does, a few words */
    const char *missing; /* why no pipeline can have it in this build; NULL: it can */
    /* Brings arguments that depend on each other into their canonical values; may be NULL. */
    void (*normalise)(struct stage *stage);
    /* In place of the common ways to read and write arguments, where any name may be one. `text` is
     * what follows "(", *len is how much of it was read, ")" and all, or where it is wrong. -EINVAL with
     * what was expected in `why` (ARG_WHY_MAX), or -ENOMEM. The other writes "(...)" or nothing. */
    int (*parse_args)(struct stage *stage, const char *text, size_t *len, char *why);
    void (*print_args)(const struct stage *stage, bool in_full, FILE *f);
    /* As sqy_pipeline_check_encoder(), of this stage alone: the name of what is wrong in `culprit`
     * (STAGE_WORD_MAX), what it is in `why` (ARG_WHY_MAX). NULL: nothing can be. */
    int (*check_encoder)(const struct stage *stage, char *culprit, char *why);

    /* filters */
    unsigned sizes;    /* sum of the sample sizes it takes; other samples are shuffled instead */
    unsigned types;    /* sum of 1 << type of those it takes; 0: all of these sizes */
    bool voxels_only;  /* is the first stage, or none */
    bool whole_volume; /* makes sense on a whole, finished volume only: never in chunks */
    bool lossy;        /* undo() (decode) does not, or not always, give the samples back; ... */
    bool lossy_boxes;  /* ... but may code boxes: sqy_encode_lossy() */
    bool head_only;    /* cannot follow one that narrows */
    bool narrows;      /* gives one byte for each sample: what follows sees bytes */
    bool codes;        /* gives shape.codes */
    bool by_sample;    /* undo() does each sample alone, so it can do the first planes of a box */
    /* As sqy_pipeline_grain(), of this stage alone; NULL: 1. */
    size_t (*grain)(const struct stage *stage, size_t size);
    /* How the filtered bytes fall into parts (sqy_encode_parts()); NULL: one part. Such a filter
     * can be cut only where it stands last, its grain counts only there. */
    unsigned (*parts)(const struct stage *stage, const struct shape *shape,
                      size_t part_len[SQY_MAX_PARTS]);
    /* `in` and `out` hold shape->n samples each (bytes, on the far side of one that narrows) and do
     * not overlap. 0, -ENOTSUP for what cannot be done to this shape, or another negative errno. */
    int (*apply)(struct sqy_ctx *ctx, const struct stage *stage, const struct shape *shape,
                 const uint8_t *in, uint8_t *out);
    int (*undo)(struct sqy_ctx *ctx, const struct stage *stage, const struct shape *shape,
                const uint8_t *in, uint8_t *out);
    /* In place of apply(), where undo() must be told what the samples were like: leaves that in the
     * arguments of `stage`. NULL together with apply(): is read, never written. */
    int (*learn)(struct sqy_ctx *ctx, struct stage *stage, const struct shape *shape,
                 const uint8_t *in, uint8_t *out);

    /* sinks; whose coded bytes may be concatenated, and decode to the concatenation */
    enum sqy_carriage carriage;
    size_t (*bound)(const struct stage *stage, size_t len); /* 0: does not fit size_t */
    ssize_t (*encode)(struct sqy_ctx *ctx, const struct stage *stage, const uint8_t *in, size_t len,
                      uint8_t *out, size_t cap);
    /* In place of encode(), where it matters that the bytes are samples of `item` bytes each. */
    ssize_t (*encode_items)(struct sqy_ctx *ctx, const struct stage *stage, size_t item,
                            const uint8_t *in, size_t len, uint8_t *out, size_t cap);
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
    bool decodes_prefix; /* decode_box() may be asked for the first planes alone */
    /* As sqy_pipeline_group(), of this stage alone; NULL: 0. */
    unsigned (*group)(const struct stage *stage);
    /* Changes its arguments so that about half as much is lost; false where it cannot. NULL: it never can. */
    bool (*finer)(struct stage *stage);
    /* Whether it can be written on this machine; NULL: where there is something that writes it. */
    bool (*can_write)(void);
    /* As sqy_stage_notes(); NULL: there is nothing to say. */
    void (*notes)(const struct stage_desc *desc, FILE *f);
    /* Frees what ctx_state() of this stage holds; NULL where it holds nothing. */
    void (*free_state)(void *state);
};

/* Whether all that follows in->data[from] may be ignored: only after a whole payload, and zeros. */
bool stage_only_zeros(const struct stage_coded *in, size_t from);

/* A stage of a parsed pipeline: with the values of its arguments, in the order of desc->args. */
struct stage {
    const struct stage_desc *desc;
    int32_t arg[STAGE_MAX_ARGS];
    char word[STAGE_WORD_MAX]; /* its text argument; "" where nothing is said */
    uint8_t *bytes;            /* its bytes argument, owned by the pipeline; NULL: not said */
    size_t n_bytes;
};

struct sqy_pipeline {
    unsigned n_stages;
    struct stage stages[PIPELINE_MAX_STAGES];
    char *text, *short_text; /* owned */
};

/* A pipeline as it works on samples of one type. */
struct plan {
    unsigned n_filters, n_wide; /* the first n_wide see the samples, those after them bytes */
    const struct stage *filters[PIPELINE_MAX_STAGES];
    const struct stage *sink; /* never NULL */
    const struct stage *tail; /* what sqeazy has coded the sink's bytes with once more; or NULL */
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
/* What its bytes argument holds from now on; takes the memory over. */
void stage_set_bytes(struct stage *stage, uint8_t *bytes, size_t n_bytes);
/* The stages that stand in for what a pipeline lacks or cannot use. */
const struct stage *stage_shuffle(void);
const struct stage *stage_pass_through(void);
const struct stage *stage_zstd(void);

/* The rows' contents, each in the file of its name. */
extern const struct stage_desc stage_desc_pass_through, stage_desc_lz4, stage_desc_zstd,
    stage_desc_bitswap1, stage_desc_bitshuffle, stage_desc_shuffle, stage_desc_diff3x3x1,
    stage_desc_raster_reorder, stage_desc_zcurve_reorder, stage_desc_frame_shuffle,
    stage_desc_tile_shuffle, stage_desc_remove_background, stage_desc_rmestbkrd,
    stage_desc_rmbkrd_neighbor5x5x5, stage_desc_quantiser, stage_desc_delta, stage_desc_blosc,
    stage_desc_h264, stage_desc_hevc, stage_desc_interlace, stage_desc_context, stage_desc_noise;

/* ---- plan.c ---- */

/* 0, or -ENOTSUP where a lossy stage cannot take the type. */
int plan_make(struct plan *plan, const struct sqy_pipeline *pipeline, enum sqy_type type);
/* What filter `i` sees of a volume of shape `volume`; with i == n_filters what the sink sees. */
struct shape plan_shape(const struct plan *plan, const struct shape *volume, unsigned i);
/* Parts of `shape` (one at least) and their lengths before the sink. */
unsigned plan_parts(const struct plan *plan, const struct shape *shape,
                    size_t part_len[SQY_MAX_PARTS]);

/* ---- pipeline.c, pipeline_text.c ---- */

/* A copy whose stages may learn. Caller frees. */
int pipeline_clone(const struct sqy_pipeline *pipeline, struct sqy_pipeline **out);
/* Writes both texts anew from the stages. 0 or -ENOMEM. */
int pipeline_write_texts(struct sqy_pipeline *pipeline);

/* ---- ctx.c ---- */

const struct kernels *ctx_kernels(const struct sqy_ctx *ctx);
/* In place of the best this machine has; the bytes are the same. */
void ctx_use_kernels(struct sqy_ctx *ctx, const struct kernels *kernels);
/* Scratch buffers: 0 and 1 are the filters'. */
enum { CTX_SINK = 2, CTX_BOX, CTX_TAIL };
/* At least `len` bytes; NULL where memory is out. Stays valid until the same buffer is asked for again. */
uint8_t *ctx_scratch(struct sqy_ctx *ctx, unsigned which, size_t len);
/* Gives back what a large volume left behind. */
void ctx_forget_large(struct sqy_ctx *ctx);
/* Whether the caller wants it to end: sqy_ctx_stop_when(). */
bool ctx_is_stopped(const struct sqy_ctx *ctx);
/* Whether sqy_ctx_use_gpu() was asked for. */
bool ctx_uses_gpu(const struct sqy_ctx *ctx);
/* Tells the caller, unless it was the last thing told: sqy_ctx_on_notice(). Outlives sqy_ctx_trim(). */
void ctx_notice(struct sqy_ctx *ctx, const char *line);
/* Where a stage keeps its library's state between calls; NULL inside at first. */
void **ctx_state(struct sqy_ctx *ctx, const struct stage_desc *desc);

/* ---- codec.c ---- */

/* As sqy_box_bytes(), filling `out`; 0 where the box is malformed. */
size_t codec_shape(const struct sqy_box *box, struct shape *out);
int codec_decode(struct sqy_ctx *ctx, const struct sqy_pipeline *pipeline,
                 const struct shape *shape, const struct stage_coded *in, uint8_t *out);

#endif
