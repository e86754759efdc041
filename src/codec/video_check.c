/* Arguments reach encoders as they are, and whoever may name a pipeline need not be who runs the program. So
 * only those are let through that are known to do no more than trade size, time and loss: the libraries
 * have hundreds of others, some of which write files, wait, end the program or break what a stream of
 * ours is (one closed group that is complete in itself), under several spellings each. */
#include "codec/video_check.h"

#include <errno.h>
#include <string.h>

enum { AVC = 1 << VIDEO_H264, HVC = 1 << VIDEO_HEVC };

static const struct allowed {
    const char *name;
    unsigned codecs;
    bool is_switch; /* "no-" may stand before it */
} allowed[] = {
    {"preset", AVC | HVC, false},
    {"tune", AVC | HVC, false},
    {"profile", AVC | HVC, false},
    {"qp", AVC | HVC, false},
    {"crf", AVC | HVC, false},
    {"lossless", HVC, false},
    {"bframes", AVC | HVC, false},
    {"b-adapt", AVC | HVC, false},
    {"b-pyramid", AVC | HVC, false},
    {"ref", AVC | HVC, false},
    {"rc-lookahead", AVC | HVC, false},
    {"scenecut", AVC | HVC, false},
    {"aq-mode", AVC | HVC, false},
    {"aq-strength", AVC | HVC, false},
    {"ipratio", AVC | HVC, false},
    {"pbratio", AVC | HVC, false},
    {"qcomp", AVC | HVC, false},
    {"mbtree", AVC, true},
    {"cutree", HVC, true},
    {"psy", AVC, true},
    {"psy-rd", AVC | HVC, false},
    {"psy-rdoq", HVC, false},
    {"rdoq-level", HVC, false},
    {"rd", HVC, false},
    {"trellis", AVC, false},
    {"me", AVC | HVC, false},
    {"merange", AVC | HVC, false},
    {"subme", AVC | HVC, false},
    {"deblock", AVC | HVC, true},
    {"cabac", AVC, true},
    {"coder", AVC, false},
    {"weightp", AVC | HVC, false},
    {"weightb", AVC | HVC, true},
    {"mixed-refs", AVC, true},
    {"8x8dct", AVC, true},
    {"partitions", AVC, false},
    {"fast-pskip", AVC, true},
    {"dct-decimate", AVC, true},
    {"ctu", HVC, false},
    {"min-cu-size", HVC, false},
    {"max-tu-size", HVC, false},
    {"tu-intra-depth", HVC, false},
    {"tu-inter-depth", HVC, false},
    {"max-merge", HVC, false},
    {"limit-refs", HVC, false},
    {"limit-modes", HVC, true},
    {"rect", HVC, true},
    {"amp", HVC, true},
    {"early-skip", HVC, true},
    {"fast-intra", HVC, true},
    {"b-intra", HVC, true},
    {"sao", HVC, true},
    {"signhide", HVC, true},
    {"strong-intra-smoothing", HVC, true},
};

/* Exactly as it stands in the table: both libraries take other spellings ('_', capitals, "no", "--"). */
static bool is_allowed(enum video_codec codec, const char *name)
{
    const char *of = strncmp(name, "no-", 3) ? NULL : name + 3;
    for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
        const struct allowed *a = &allowed[i];
        if (a->codecs & 1u << codec &&
            (!strcmp(a->name, name) || (of && a->is_switch && !strcmp(a->name, of))))
            return true;
    }
    return false;
}

/* Words and plain numbers: no path, and nothing that a library's atof() makes infinite. */
static bool is_plain(const char *value)
{
    static const char *const wild[] = {"nan", "inf"};
    if (value[strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789.:+-_")] ||
        strlen(value) > STAGE_WORD_MAX)
        return false;
    value += strspn(value, "+-");
    for (size_t i = 0; i < sizeof(wild) / sizeof(wild[0]); i++)
        if (!strncmp(value, wild[i], strlen(wild[i])))
            return false;
    return true;
}

static const char *encoder_of(enum video_codec codec)
{
    return codec == VIDEO_H264 ? "x264" : "x265";
}

/* What the encoders would silently clip. */
static bool is_in_range(enum video_codec codec, const char *name, const char *value)
{
    const bool qp = !strcmp(name, "qp"), crf = !strcmp(name, "crf"), avc = codec == VIDEO_H264;
    const double most = avc && qp ? 63 : 51, least = avc && crf ? -12 : 0; /* 10 bits: 12 more */
    double v;
    return (!qp && !crf) || (video_args_number(value, &v) && v >= least && v <= most);
}

/* libavcodec's options come first, as it is it that is given them; names of presets it does not judge. */
static int check_value(enum video_codec codec, const char *name, const char *value)
{
    if (!is_in_range(codec, name, value))
        return -EINVAL;
    int r = video_av_check(codec, name, value);
    const bool is_names =
        !strcmp(name, "preset") || !strcmp(name, "tune") || !strcmp(name, "profile");
    return r == -ENOENT || (r == 0 && is_names) ? video_names_check(codec, name, value) : r;
}

static int check_one(enum video_codec codec, const struct video_setting *item,
                     char why[ARG_WHY_MAX])
{
    int r = !is_allowed(codec, item->name) ? -ENOENT
            : !is_plain(item->value)       ? -EINVAL
                                           : check_value(codec, item->name, item->value);
    if (r == -ENOENT)
        snprintf(why, ARG_WHY_MAX, "%s has no argument '%.40s' that may be given here",
                 encoder_of(codec), item->name);
    else if (r == -EINVAL)
        snprintf(why, ARG_WHY_MAX, "%s does not take %.40s=%.40s", encoder_of(codec), item->name,
                 item->value);
    else if (r == -ENOTSUP)
        snprintf(why, ARG_WHY_MAX, "this build cannot say whether %s has an argument '%.40s'",
                 encoder_of(codec), item->name);
    return r < 0 && r != -ENOMEM ? -EINVAL : r;
}

int video_check_args(enum video_codec codec, const struct video_args *args, unsigned *which,
                     char why[ARG_WHY_MAX])
{
    for (unsigned i = 0; i < args->n; i++) {
        const char *name = args->items[i].name;
        *which = i;
        if (!strcmp(name, "crf") && video_args_value(args, "qp")) {
            snprintf(why, ARG_WHY_MAX, "crf and qp are two ways to say the same");
            return -EINVAL;
        }
        for (unsigned j = 0; j < i; j++) {
            if (!strcmp(name, args->items[j].name)) {
                snprintf(why, ARG_WHY_MAX, "%.40s is given twice", name);
                return -EINVAL;
            }
        }
        int r = check_one(codec, &args->items[i], why);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Values that are right each for itself need not be so together. */
static int check_opening(const struct stage *stage, const struct video_args *args,
                         char why[ARG_WHY_MAX])
{
    const enum video_codec codec = video_codec_of(stage);
    const bool lossless = video_args_are_lossless(codec, args);
    const unsigned given = (unsigned)stage->arg[VIDEO_ARG_BITS];
    struct video_format format = {.codec = codec,
                                  .width = 64,
                                  .height = 64,
                                  .bits = given ? given : 8,
                                  .chroma =
                                      codec == VIDEO_HEVC && lossless ? VIDEO_420 : VIDEO_GRAY,
                                  .lossless = lossless,
                                  .group = (unsigned)stage->arg[VIDEO_ARG_GOP],
                                  .threads = 1,
                                  .n_settings = args->n};
    struct video_encoder *encoder;
    memcpy(format.settings, args->items, sizeof(args->items));
    int r = video_av_encoder.open(&format, &encoder);
    if (r == 0)
        video_av_encoder.close(&encoder);
    if (r == -ENOTSUP) {
        snprintf(why, ARG_WHY_MAX, "%s does not take these arguments together", encoder_of(codec));
        return -EINVAL;
    }
    return r;
}

int video_check_stage(const struct stage *stage, char culprit[STAGE_WORD_MAX],
                      char why[ARG_WHY_MAX])
{
    const enum video_codec codec = video_codec_of(stage);
    struct video_args args;
    unsigned which = 0;
    snprintf(culprit, STAGE_WORD_MAX, "%s", stage->desc->name);
    if (!video_av_has_encoder(codec)) {
        snprintf(why, ARG_WHY_MAX, "this machine's libavcodec has no lib%s", encoder_of(codec));
        return -ENOTSUP;
    }
    if (video_args_split(stage, &args) < 0) {
        snprintf(why, ARG_WHY_MAX, "at most %d arguments", VIDEO_MAX_SETTINGS);
        return -EINVAL;
    }
    if (codec == VIDEO_H264 && stage->arg[VIDEO_ARG_BITS] > 10) {
        snprintf(culprit, STAGE_WORD_MAX, "bits");
        snprintf(why, ARG_WHY_MAX, "bits of h264 is 8 or 10");
        return -EINVAL;
    }
    int r = video_check_args(codec, &args, &which, why);
    if (r < 0)
        snprintf(culprit, STAGE_WORD_MAX, "%s", args.items[which].name);
    return r < 0 ? r : check_opening(stage, &args, why);
}
