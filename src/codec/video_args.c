/* args := [","] arg ("," arg)* ")"    arg := name "=" value: sqeazy writes "hevc(,threads=1)". */
#include "codec/video_args.h"

#include "codec/arg.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NAME_CHARS   "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789-"
#define DIGITS       "0123456789"
#define MAX_DIGITS   15                      /* all of which a double holds */
#define H264_DEFAULT "preset=ultrafast,qp=0" /* hevc has none to be spelled out */
#define FINER_STEP   6                       /* of qp and crf: half the quantiser's step */
#define CRF_H264     23                      /* the encoders' own, where nothing is said */
#define CRF_HEVC     28

const char *const video_encoder_words[] = {"auto", "cpu", "nvenc", NULL};

enum video_codec video_codec_of(const struct stage *stage)
{
    return stage->desc == &stage_desc_h264 ? VIDEO_H264 : VIDEO_HEVC;
}

/* ---- reading ---- */

static int find_ours(const struct stage *stage, const char *name, size_t len)
{
    for (int i = 0; i < STAGE_MAX_ARGS && stage->desc->args[i].name; i++) {
        const char *ours = stage->desc->args[i].name;
        if (strlen(ours) == len && !memcmp(ours, name, len))
            return i;
    }
    return -1;
}

static int fail_at(size_t *at, size_t where, char *why, const char *what)
{
    *at = where;
    snprintf(why, ARG_WHY_MAX, "%s", what);
    return -EINVAL;
}

/* Threads are the encoder's matter, and sqeazy takes whatever is said. */
static int parse_ours(struct stage *stage, int i, const char *text, size_t len, char *why)
{
    size_t used = 0;
    int r = arg_parse(stage, (unsigned)i, text, &used, why);
    if (r == -EINVAL && i == VIDEO_ARG_THREADS)
        return 0;
    if (r == 0 && used != len) {
        snprintf(why, ARG_WHY_MAX, "expected ',' or ')' after %s", stage->desc->args[i].name);
        return -EINVAL;
    }
    return r;
}

static bool is_printable(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] <= ' ' || text[i] > '~')
            return false;
    return true;
}

/* One name=value at text[*at]; what is the encoder's goes to `kept`. */
static int parse_one(struct stage *stage, const char *text, size_t *at, char *kept, char *why)
{
    const size_t start = *at, name = strspn(text + start, NAME_CHARS);
    if (!name)
        return fail_at(at, start, why, "expected the name of an argument");
    if (text[start + name] != '=')
        return fail_at(at, start + name, why, "expected '=' after the name of an argument");
    const size_t from = start + name + 1, len = strcspn(text + from, ",()");
    const int ours = find_ours(stage, text + start, name);
    *at = from;
    if (ours >= 0) {
        int r = parse_ours(stage, ours, text + from, len, why);
        *at = r < 0 ? from : from + len;
        return r;
    }
    const size_t had = strlen(kept);
    if (!len || !is_printable(text + from, len))
        return fail_at(at, from, why, "expected a value");
    if (had + 1 + name + 1 + len >= VIDEO_TEXT_MAX)
        return fail_at(at, start, why, "these are too many arguments");
    snprintf(kept + had, VIDEO_TEXT_MAX - had, "%s%.*s", had ? "," : "", (int)(name + 1 + len),
             text + start);
    *at = from + len;
    return 0;
}

static int keep(struct stage *stage, const char *kept)
{
    if (!kept[0] || (video_codec_of(stage) == VIDEO_H264 && !strcmp(kept, H264_DEFAULT))) {
        stage_set_bytes(stage, NULL, 0);
        return 0;
    }
    char *copy = strdup(kept);
    if (!copy)
        return -ENOMEM;
    stage_set_bytes(stage, (uint8_t *)copy, strlen(copy));
    return 0;
}

int video_args_parse(struct stage *stage, const char *text, size_t *len, char *why)
{
    char kept[VIDEO_TEXT_MAX] = "";
    *len = text[0] == ',';
    for (;;) {
        int r = parse_one(stage, text, len, kept, why);
        if (r < 0)
            return r;
        if (text[*len] != ',')
            break;
        ++*len;
    }
    if (text[*len] != ')')
        return fail_at(len, *len, why, "expected ',' or ')'");
    ++*len;
    return keep(stage, kept);
}

/* ---- writing ---- */

static void print_ours(const struct stage *stage, unsigned i, bool *open, FILE *f)
{
    fputc(*open ? ',' : '(', f);
    arg_print(stage, i, f);
    *open = true;
}

void video_args_print(const struct stage *stage, bool in_full, FILE *f)
{
    const struct stage_arg *args = stage->desc->args;
    bool open = false;
    if (stage->bytes || (in_full && video_codec_of(stage) == VIDEO_H264)) {
        fputc('(', f);
        if (stage->bytes)
            fwrite(stage->bytes, 1, stage->n_bytes, f);
        else
            fputs(H264_DEFAULT, f);
        open = true;
    }
    for (unsigned i = 0; i < VIDEO_ARG_THREADS; i++)
        if (stage->arg[i] != args[i].def)
            print_ours(stage, i, &open, f);
    if (in_full && !open) {
        fputc('(', f); /* as sqeazy has it */
        open = true;
    }
    if (in_full || stage->arg[VIDEO_ARG_THREADS] != args[VIDEO_ARG_THREADS].def)
        print_ours(stage, VIDEO_ARG_THREADS, &open, f);
    if (open)
        fputc(')', f);
}

/* ---- what they say ---- */

int video_args_split(const struct stage *stage, struct video_args *out)
{
    out->n = 0;
    snprintf(out->text, sizeof(out->text), "%.*s", (int)stage->n_bytes,
             stage->bytes ? (const char *)stage->bytes : "");
    for (char *at = out->text, *next; at && *at; at = next) {
        next = strchr(at, ',');
        if (next)
            *next++ = 0;
        char *equals = strchr(at, '=');
        if (out->n == VIDEO_MAX_SETTINGS)
            return -ENOTSUP;
        if (!equals)
            return -EINVAL;
        *equals = 0;
        out->items[out->n++] = (struct video_setting){at, equals + 1};
    }
    return 0;
}

const char *video_args_value(const struct video_args *args, const char *name)
{
    for (unsigned i = args->n; i-- > 0;)
        if (!strcmp(args->items[i].name, name))
            return args->items[i].value;
    return NULL;
}

/* libx264 goes by crf where both are given. */
bool video_args_are_lossless(enum video_codec codec, const struct video_args *args)
{
    const char *value = video_args_value(args, codec == VIDEO_H264 ? "qp" : "lossless");
    if (codec == VIDEO_H264 && video_args_value(args, "crf"))
        return false;
    return !args->n || (value && !strcmp(value, codec == VIDEO_H264 ? "0" : "1"));
}

bool video_args_number(const char *text, double *out)
{
    const bool minus = *text == '-';
    const size_t whole = strspn(text += minus, DIGITS);
    const char *point = text + whole;
    const size_t part = *point == '.' ? strspn(point + 1, DIGITS) : 0;
    double v = 0, unit = 1;
    if (point[*point == '.' ? 1 + part : 0] || !(whole + part) || whole + part > MAX_DIGITS)
        return false;
    for (; *text; text++) {
        if (*text == '.')
            continue;
        v = v * 10 + (*text - '0');
        unit *= text > point ? 10 : 1;
    }
    *out = (minus ? -v : v) / unit;
    return true;
}

/* With three digits behind the point, or as few as there are. `v` >= 0. */
static void print_number(char *out, size_t size, const char *name, double v)
{
    const long n = lround(v * 1000);
    int len = snprintf(out, size, "%s=%ld.%03ld", name, n / 1000, n % 1000);
    while (out[len - 1] == '0')
        out[--len] = 0;
    if (out[len - 1] == '.')
        out[--len] = 0;
}

static double number_or(const char *text, double other)
{
    double v;
    return text && video_args_number(text, &v) ? v : other;
}

unsigned video_args_group(const struct stage *stage)
{
    return (unsigned)stage->arg[VIDEO_ARG_GOP];
}

/* qp or crf, whichever the encoder would go by, FINER_STEP lower; at the end no loss. */
bool video_args_finer(struct stage *stage)
{
    const enum video_codec codec = video_codec_of(stage);
    struct video_args args;
    char kept[VIDEO_TEXT_MAX] = "", last[48];
    if (video_args_split(stage, &args) < 0 || video_args_are_lossless(codec, &args))
        return false;
    const char *qp = video_args_value(&args, "qp"), *crf = video_args_value(&args, "crf");
    const double was = number_or(qp ? qp : crf, qp || crf             ? 0
                                                : codec == VIDEO_H264 ? CRF_H264
                                                                      : CRF_HEVC);
    if (was <= FINER_STEP)
        snprintf(last, sizeof(last), "%s", codec == VIDEO_H264 ? "qp=0" : "lossless=1");
    else
        print_number(last, sizeof(last), qp ? "qp" : "crf", was - FINER_STEP);
    for (unsigned i = 0; i < args.n; i++) {
        const char *name = args.items[i].name;
        const size_t had = strlen(kept);
        if (strcmp(name, "qp") && strcmp(name, "crf") && strcmp(name, "lossless"))
            snprintf(kept + had, sizeof(kept) - had, "%s=%s,", name, args.items[i].value);
    }
    const size_t had = strlen(kept);
    if (had + strlen(last) >= sizeof(kept))
        return false;
    snprintf(kept + had, sizeof(kept) - had, "%s", last);
    return keep(stage, kept) == 0;
}
