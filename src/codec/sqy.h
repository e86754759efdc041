/* libsqy: pipelines for stacks of voxels, sqeazy's and our own. Bytes in, bytes out: no files, no
 * threads, no global state; but x265, which starts some of its own, and NVIDIA's driver, which
 * encoder=nvenc loads for the process, from the folder $SQY_NVIDIA_LIBRARIES where that is set.
 * C99 and C++.
 *
 *     struct sqy_pipeline *pipeline;
 *     struct sqy_ctx *ctx;
 *     const struct sqy_box box = {SQY_UINT16, planes, rows, width, 1};
 *     sqy_pipeline_parse(SQY_PIPELINE_DEFAULT, &pipeline, NULL);
 *     sqy_ctx_create(&ctx);
 *     ssize_t len = sqy_encode(ctx, pipeline, &box, voxels, coded, sqy_encode_bound(pipeline, &box));
 *     int r = sqy_decode(ctx, pipeline, &box, coded, len, voxels);
 *
 * Coded bytes name neither box nor pipeline: whoever stores them keeps both. sqy_decode() wants those
 * that sqy_encode() was given.
 *
 * **Boxes.** A box is a small volume: `planes` x `rows` x `width` samples, C order, x fastest, no gaps.
 * Samples in memory are little-endian (callers swap big-endian ones, sqy_swap()) and need not be
 * aligned. Interleaved samples (RGB) count into `width`, their number is `spp`, the distance at which
 * filters predict. A box is coded on its own and is the unit of access, so a volume is best cut into
 * boxes of about 1 MiB, a plane or some of its rows each, that may be coded by several threads. More
 * planes in a box help where one is like the next.
 *
 * **Threads.** A pipeline is parsed once, is immutable then, and may be shared by threads. A context
 * holds scratch memory and library states; one thread uses it at a time, any number of pipelines in
 * turn. All else has no state at all.
 *
 * **Memory.** A context grows to the most that a box has needed so far and allocates nothing for
 * those that need no more (but with the sink blosc, whose library does). It keeps that until
 * sqy_ctx_trim() or sqy_ctx_free(); libsqy(3) says for each stage how much it is.
 *
 * **Pointers.** Input and output must not overlap. Nothing that is given is kept beyond the call. What
 * a function makes is the caller's, on success only; freeing takes the address of the pointer, leaves
 * NULL there and accepts NULL there.
 *
 * **Errors** are negative errno values: -EINVAL for what a caller wrote wrongly, -EBADMSG for coded
 * bytes that are damaged or truncated, -ENOSPC where `out` is too small, -ENOMEM, -ENOTSUP for what
 * a pipeline cannot do to such a box. Nothing that a decoder is given makes it read or write out of
 * bounds; it fills `out` exactly or fails, and then `out` holds nothing of use. A context stays good
 * after any error. Damage is noticed only where it makes the bytes impossible: who stores them sums
 * them.
 *
 * Source of the format: sqeazy 0.7.2; see codec/FORMAT.md. */
#ifndef SQY_H
#define SQY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define SQY_API __attribute__((visibility("default")))
#else
#define SQY_API
#endif

#define SQY_VERSION "0.1.0" /* of this header */
/* Of the library that runs. */
SQY_API const char *sqy_version(void);

/* ---- voxels ---- */

/* Values are stored in blobs: never renumber. */
enum sqy_type {
    SQY_BYTES = 0, /* no samples: opaque bytes, 1 each */
    SQY_UINT8 = 1,
    SQY_INT8 = 2,
    SQY_UINT16 = 3,
    SQY_INT16 = 4,
    SQY_UINT32 = 5,
    SQY_INT32 = 6,
    SQY_UINT64 = 7,
    SQY_INT64 = 8,
    SQY_FLOAT16 = 9,
    SQY_FLOAT32 = 10,
    SQY_FLOAT64 = 11,
};

struct sqy_box {
    enum sqy_type type;
    uint32_t planes, rows, width; /* each >= 1; width in samples, interleaved ones counted */
    uint32_t spp;                 /* samples per voxel, 1 .. width */
};

/* Bytes of one sample; 0 for a value that is no type. */
SQY_API size_t sqy_type_size(enum sqy_type type);
/* "uint16"; NULL for no type. */
SQY_API const char *sqy_type_name(enum sqy_type type);
/* name[0 .. len) need not end with a NUL. Accepts names and the letters of sqeazy before 0.7.1 (t, h, s, a, c). 0 or -EINVAL. */
SQY_API int sqy_type_parse(const char *name, size_t len, enum sqy_type *type);
/* Bytes of the box; 0 where it is malformed or does not fit ssize_t. */
SQY_API size_t sqy_box_bytes(const struct sqy_box *box);
/* Reverses the byte order of the samples of `size` bytes in src[0 .. len); bytes behind the last whole
 * one are copied. dst may be src. */
SQY_API void sqy_swap(void *dst, const void *src, size_t len, size_t size);

/* ---- pipelines ---- */

/* Stages, "filter->filter->sink" with arguments as in "zstd(level=3)": codec/FORMAT.md has all of them. */
struct sqy_pipeline;

/* Predicts and codes samples of 8 and 16 bits; "context" is slower and mostly smaller,
 * "bitswap1->lz4" is one that sqeazy reads. */
#define SQY_PIPELINE_DEFAULT "interlace"

struct sqy_error {     /* filled when a text is wrong */
    size_t position;   /* byte of the text */
    char message[160]; /* what was expected there; one line, no position, no full stop */
};

/* `err` may be NULL. On success the caller owns *out. 0, -EINVAL (err filled), -ENOTSUP for a stage
 * that this build lacks (err filled) or -ENOMEM (err left alone). */
SQY_API int sqy_pipeline_parse(const char *text, struct sqy_pipeline **out, struct sqy_error *err);
SQY_API void sqy_pipeline_free(struct sqy_pipeline **pipeline);
/* Canonical spelling, all arguments spelled out as sqeazy does; valid as long as the pipeline. */
SQY_API const char *sqy_pipeline_text(const struct sqy_pipeline *pipeline);
/* What was asked for, in its shortest spelling that parses to the same ("bitswap1->lz4"); without
 * what an encoder learned from voxels. */
SQY_API const char *sqy_pipeline_short(const struct sqy_pipeline *pipeline);
/* Pieces of a volume may be coded on their own where they start and end (but for the volume's own
 * end) at multiples of this many samples, if the pieces together shall be what sqeazy reads
 * (sqy_encode_parts()): 1 any, 0 only the whole volume. sqy_encode() takes any box all the same. */
SQY_API size_t sqy_pipeline_grain(const struct sqy_pipeline *pipeline, enum sqy_type type);
/* Whether what is decoded is always what was encoded. */
SQY_API bool sqy_pipeline_is_lossless(const struct sqy_pipeline *pipeline);
/* Whether only sqy_encode_volume() takes it: one of its stages makes sense on a whole, finished
 * volume alone, or is one of sqeazy's own that lose something. Such a pipeline cannot code boxes. */
SQY_API bool sqy_pipeline_needs_volume(const struct sqy_pipeline *pipeline);
/* Whether all of it is sqeazy's, so that sqy_encode_volume() makes the payload of a sqeazy file. */
SQY_API bool sqy_pipeline_is_sqeazy(const struct sqy_pipeline *pipeline, enum sqy_type type);
/* Whether sqeazy 0.7.2 decodes what this pipeline writes for volumes of `type`, laid out as
 * described at sqy_encode_parts(), also with skippable frames before, between and after. False for
 * bare payloads: sqeazy reads those, but nothing may lie beside them. False for stages of its own
 * that it misreads on some machines: diff3x3x1 (with threads), quantiser (x86). */
SQY_API bool sqy_pipeline_is_upstream(const struct sqy_pipeline *pipeline, enum sqy_type type);
/* What the coded bytes of one box are, seen from outside. */
enum sqy_carriage {
    SQY_CARRIAGE_NONE = 0, /* bare bytes, to be framed by whoever stores them */
    SQY_CARRIAGE_LZ4 = 1,  /* one or more LZ4 frames */
    SQY_CARRIAGE_ZSTD = 2, /* one or more zstd frames */
};
SQY_API enum sqy_carriage sqy_pipeline_carriage(const struct sqy_pipeline *pipeline);

/* What pipelines can be made of here. */
struct sqy_stage_info {
    const char *name, *about; /* `about`: what it does, a few words */
    bool is_sink, is_lossless, is_sqeazy, can_write, can_read;
};
/* Row 0, 1, ...; false after the last. */
SQY_API bool sqy_stage_info(unsigned index, struct sqy_stage_info *out);
/* Lines, each with its '\n', of what this build and this machine have for it, or lack; "" where there is
 * nothing to say. Of video it is tried: small pictures are encoded, decoded and compared. 0 or -ENOMEM.
 * Caller frees *out, with free(). */
SQY_API int sqy_stage_notes(unsigned index, char **out);

/* ---- coding ---- */

struct sqy_ctx;

/* 0 or -ENOMEM. On success the caller owns *out. */
SQY_API int sqy_ctx_create(struct sqy_ctx **out);
SQY_API void sqy_ctx_free(struct sqy_ctx **ctx);
/* Gives back all memory that a context has come to hold, for when it will be idle or has met a box
 * far larger than others. What the next call needs is allocated anew. */
SQY_API void sqy_ctx_trim(struct sqy_ctx *ctx);
/* Slow encoders (video) ask `stop` between planes from now on, in the thread that encodes; where it says true
 * the call ends with -ECANCELED. NULL: nobody is asked. */
SQY_API void sqy_ctx_stop_when(struct sqy_ctx *ctx, bool (*stop)(void *arg), void *arg);
/* Tells what went wrong without failing anything (a GPU that is not there or breaks off, and the CPU goes on), in
 * the thread that codes; a line of less than SQY_NOTICE_MAX bytes, not the same one twice in a row. NULL: nobody is
 * told. */
#define SQY_NOTICE_MAX 256
SQY_API void sqy_ctx_on_notice(struct sqy_ctx *ctx, void (*notice)(void *arg, const char *line),
                               void *arg);
/* Lets video be decoded by a GPU where there is one that can; else, and at first, the CPU does it. The voxels
 * are the same, but that a GPU may make some out of bytes that are damaged where the CPU tells. */
SQY_API void sqy_ctx_use_gpu(struct sqy_ctx *ctx, bool use);

/* Bytes of `out` with which encoding such a box never fails for want of room, and below which it may
 * even where what is coded would fit. 0 where the box is malformed, too large, or of a type that a
 * lossy pipeline does not take. */
SQY_API size_t sqy_encode_bound(const struct sqy_pipeline *pipeline, const struct sqy_box *box);

/* Encodes in[0 .. sqy_box_bytes(box)) into out; returns the coded bytes (> 0) or a negative errno.
 * A pipeline that cannot take the type (a filter for 8 and 16 bits on floats) shuffles what it can
 * and keeps the sink: any box of any type is accepted by every pipeline, but those that
 * sqy_pipeline_needs_volume() or are not sqy_pipeline_is_lossless(): -ENOTSUP. */
SQY_API ssize_t sqy_encode(struct sqy_ctx *ctx, const struct sqy_pipeline *pipeline,
                           const struct sqy_box *box, const void *in, void *out, size_t out_cap);

/* The same, cut where sqeazy's own order of bytes needs it. A volume cut at multiples of the grain
 * and encoded box by box is a sqeazy payload when part 0 of every box is laid down first, in order,
 * then part 1 of every box, and so on. Where bitswap1 is the last filter there is one part for each
 * bit plane and a last one for the voxels that fill no plane (each of length 0 where there are
 * none); all other pipelines, and types that bitswap1 does not take, give one part. Concatenated,
 * the parts of one box are what sqy_decode() takes. */
#define SQY_MAX_PARTS 17
SQY_API ssize_t sqy_encode_parts(struct sqy_ctx *ctx, const struct sqy_pipeline *pipeline,
                                 const struct sqy_box *box, const void *in, void *out,
                                 size_t out_cap, size_t part_len[SQY_MAX_PARTS], unsigned *n_parts);

/* Encodes a whole volume with any pipeline. *used is the pipeline that decodes it, which the caller
 * owns: the same with what stages have learned from the voxels and the decoder must know (the
 * quantiser's table, the shuffles' maps). Its text is what a sqeazy file's header names. With a
 * pipeline that sqy_pipeline_is_sqeazy() the bytes are the file's payload.
 *
 * -ENOTSUP where a stage cannot do this volume: lossy ones take uint8 and uint16 only, and where
 * sqeazy's own decoder would lose voxels (codec/FORMAT.md says which shapes) nothing is written. */
SQY_API ssize_t sqy_encode_volume(struct sqy_ctx *ctx, const struct sqy_pipeline *pipeline,
                                  const struct sqy_box *box, const void *in, void *out,
                                  size_t out_cap, struct sqy_pipeline **used);

/* Decodes in[0 .. in_len), no more and no less than what was encoded, into exactly sqy_box_bytes(box)
 * bytes. 0 or a negative errno. */
SQY_API int sqy_decode(struct sqy_ctx *ctx, const struct sqy_pipeline *pipeline,
                       const struct sqy_box *box, const void *in, size_t in_len, void *out);

/* The same for `n_rows` rows alone, from `first_row` on: out[0 .. n_rows * width * bytes of a sample).
 * Rows are counted through all planes: plane z is box->rows of them from z * box->rows on. -EINVAL
 * where the box has no such rows. Takes as long as the whole box, and the context one box more;
 * of video the planes behind the last one wanted are not decoded. */
SQY_API int sqy_decode_rows(struct sqy_ctx *ctx, const struct sqy_pipeline *pipeline,
                            const struct sqy_box *box, const void *in, size_t in_len,
                            size_t first_row, size_t n_rows, void *out);

/* ---- losing something, knowingly ----
 *
 * A lossy pipeline that does not sqy_pipeline_needs_volume() codes boxes, too, but only where its caller says
 * so by name: sqy_encode() refuses it. Nothing is lossless until it was decoded and compared: even a
 * pipeline of lossless settings is not sqy_pipeline_is_lossless() where its sink is a video encoder. */

/* A camera's noise: the variance of a voxel that reads v is gain * max(v - offset, 0) + read * read, in
 * counts squared. Of signed samples v is the value plus 2^(bits - 1). */
struct sqy_noise {
    double offset; /* counts in the dark */
    double gain;   /* counts for a photo-electron */
    double read;   /* counts, standard deviation in the dark */
};
/* Never below what rounding makes, sqrt(1/12). */
SQY_API double sqy_noise_sigma(const struct sqy_noise *noise, double value);

/* Estimates it from boxes of one stack, a few planes here and there. */
struct sqy_noise_fit;
SQY_API int sqy_noise_fit_create(struct sqy_noise_fit **out);
SQY_API void sqy_noise_fit_free(struct sqy_noise_fit **fit);
/* 0, -ENOTSUP for a type that is not uint8, uint16 or int16, -EINVAL, -ENOMEM. */
SQY_API int sqy_noise_fit_add(struct sqy_noise_fit *fit, const struct sqy_box *box,
                              const void *voxels);
/* -ENODATA where the voxels do not show any noise (masks, constants, too few). */
SQY_API int sqy_noise_fit_end(const struct sqy_noise_fit *fit, struct sqy_noise *out);

/* Whether a stage wants a noise model that its text does not give; sqy_encode_lossy() is -ENOTSUP then. */
SQY_API bool sqy_pipeline_wants_noise(const struct sqy_pipeline *pipeline);
/* The same pipeline with the model filled in where it is wanted. Caller frees. */
SQY_API int sqy_pipeline_with_noise(const struct sqy_pipeline *pipeline,
                                    const struct sqy_noise *noise, struct sqy_pipeline **out);
/* The model in its text. -ENODATA. */
SQY_API int sqy_pipeline_noise(const struct sqy_pipeline *pipeline, struct sqy_noise *out);
/* The same pipeline, losing about half as much. -ENOENT where only a lossless one is left to take. */
SQY_API int sqy_pipeline_finer(const struct sqy_pipeline *pipeline, struct sqy_pipeline **out);
/* Planes that a box is best made of, so that each box is a group of pictures; 0: any. */
SQY_API unsigned sqy_pipeline_group(const struct sqy_pipeline *pipeline);
/* Whether this machine's encoders take the arguments. sqy_pipeline_parse() lets any name=value of h264
 * and hevc pass, for decoding does not depend on them; whoever is about to encode, or to remember a
 * pipeline for that, asks this first. Opens encoders, which takes some milliseconds. 0, -EINVAL (err
 * filled, its position one of sqy_pipeline_text()), -ENOTSUP for an encoder that is not there (err
 * filled) or -ENOMEM. */
SQY_API int sqy_pipeline_check_encoder(const struct sqy_pipeline *pipeline, struct sqy_error *err);
/* As sqy_encode(), with any pipeline that does not sqy_pipeline_needs_volume(). -ENOTSUP for voxels that the
 * pipeline cannot take (types, sizes, more bits than its sink has): code those with another. */
SQY_API ssize_t sqy_encode_lossy(struct sqy_ctx *ctx, const struct sqy_pipeline *pipeline,
                                 const struct sqy_box *box, const void *in, void *out,
                                 size_t out_cap);

/* What a box, or a stack, has lost. Sigma is the model's at the original voxel's value; without a model it is 1
 * count. */
struct sqy_receipt {
    uint64_t voxels;
    uint64_t within_sigma;    /* those with |error| <= 1 sigma */
    uint32_t max_error;       /* counts */
    uint32_t peak;            /* the highest original value, as sqy_noise counts it */
    double max_sigma;         /* highest |error| / sigma */
    double sum_squares;       /* of errors in counts */
    double sum_sigma_squares; /* of errors in sigma */
};
/* 0, or -ENOTSUP for types other than uint8, int8, uint16, int16. `noise` may be NULL. Exact, but for
 * max_sigma and sum_sigma_squares, which are good to six digits. */
SQY_API int sqy_receipt_measure(const struct sqy_box *box, const void *original,
                                const void *decoded, const struct sqy_noise *noise,
                                struct sqy_receipt *out);
SQY_API void sqy_receipt_add(struct sqy_receipt *total, const struct sqy_receipt *more);
SQY_API double sqy_receipt_rms(const struct sqy_receipt *receipt);       /* counts */
SQY_API double sqy_receipt_rms_sigma(const struct sqy_receipt *receipt); /* sigma */
SQY_API double
sqy_receipt_psnr(const struct sqy_receipt *receipt); /* dB to `peak`; INFINITY: exact */

/* ---- sqeazy's file header ---- */

#define SQY_HEADER_MAX (16u << 20) /* larger ones are refused; reorder maps live in the header */
#define SQY_MAX_RANK   8

struct sqy_header {
    const char *pipename; /* owned by a parsed header, borrowed by one to be written; so are: */
    enum sqy_type type;
    unsigned rank;
    uint64_t shape[SQY_MAX_RANK]; /* z first, x last */
    uint64_t encoded_bytes;       /* a hint only; 0 where absent */
    const char *ours;             /* the JSON text of the value of key "sqyfs"; NULL where absent */
    const char *version;          /* sqy.version; NULL where absent */
    size_t header_bytes;          /* up to and including the delimiter: where the payload starts */
};

/* Parses the front of a blob, from its first `len` bytes. -EAGAIN where the header does not end
 * within them (give more, up to SQY_HEADER_MAX), -EBADMSG where it is none. Caller frees. */
SQY_API int sqy_header_parse(const void *data, size_t len, struct sqy_header *out);
/* Of a parsed header; leaves it zeroed. */
SQY_API void sqy_header_free(struct sqy_header *header);

/* Writes the header as sqeazy spells it (strings, duplicate "dim" keys, "/" escaped), key "sqyfs"
 * last with the JSON text `ours` where not NULL. With pad_to > 0 blanks before the delimiter make
 * it exactly `pad_to` bytes long (-ENOSPC where it does not fit), else blanks in front make it a
 * multiple of the sample size, as sqeazy does. A NULL `version` is written as the sqeazy whose
 * format this is. -EINVAL where a text holds the delimiter. Returns its length; `out` may be NULL
 * to ask for that. */
SQY_API ssize_t sqy_header_write(const struct sqy_header *header, size_t pad_to, void *out,
                                 size_t cap);

/* Decodes the payload of a whole sqeazy blob (no key of ours), any version from 0.4.2 on, into
 * out[0 .. product(shape) * sample size), which must be out_len (-EINVAL). -ENOTSUP for a pipeline
 * that sqy_pipeline_parse() does not know, and for shapes that sqeazy's own decoder reads wrongly
 * (codec/FORMAT.md). Zero bytes may follow the payload. */
SQY_API int sqy_decode_volume(struct sqy_ctx *ctx, const struct sqy_header *header,
                              const void *payload, size_t payload_len, void *out, size_t out_len);

#ifdef __cplusplus
}
#endif

#endif
