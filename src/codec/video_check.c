/* Arguments reach encoders as they are, so two kinds are kept from them: those that would break what a
 * stream of ours is (one closed group that is complete in itself), and those that make a library read
 * or write files, for whoever may name a pipeline need not be who runs the program. */
#include "codec/video_check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct refused {
    const char *name; /* with '*' at its end: all that begin so */
    const char *why;
};

#define FILES   "would read or write a file"
#define GROUPS  "is for the program to say; gop= sets how many planes go together"
#define OURS    "is for the program to say"
#define MACHINE "could ask for instructions that this machine lacks"
#define CRASH   "is not safe with this encoder"

static const struct refused refused[] = {
    {"keyint", GROUPS},
    {"open-gop", GROUPS},
    {"intra-refresh", GROUPS},
    {"forced-idr", GROUPS},
    {"annexb", OURS},
    {"repeat-headers", OURS},
    {"log*", OURS},
    {"info", OURS},
    {"pools", "is for the program to say; threads= is how many"},
    {"input*", OURS},
    {"output*", OURS},
    {"fps", OURS},
    {"frames", OURS},
    {"seek", OURS},
    {"chunk-*", OURS},
    {"interlace*", OURS},
    {"fake-interlaced", OURS},
    {"field*", OURS},
    {"tff", OURS},
    {"bff", OURS},
    {"copy-pic", OURS},
    {"asm", MACHINE},
    {"cpuid", MACHINE},
    {"slices*", CRASH}, /* x265 without a pool of threads */
    {"psnr", CRASH},    /* x264 with grey */
    {"frame-dup", CRASH},
    {"global-header", OURS},
    {"ctu-info", "would wait for what nobody tells"},
    {"force-flush", OURS},
    {"min-luma", OURS}, /* both clip, whatever lossless= says */
    {"max-luma", OURS},
    {"dither", OURS},
    {"vfr-input", OURS},
    {"x264*", OURS},
    {"x265*", OURS},
    {"avcintra*", OURS},
    {"pass*", FILES},
    {"multi-pass*", FILES},
    {"stats*", FILES},
    {"csv*", FILES},
    {"qpfile", FILES},
    {"zonefile", FILES},
    {"dump-yuv", FILES},
    {"recon*", FILES},
    {"analysis-*", FILES},
    {"refine-analysis*", FILES},
    {"scaling-list", FILES},
    {"cqmfile", FILES},
    {"lambda-file", FILES},
    {"scenecut-qp-config", FILES},
    {"dhdr10*", FILES},
    {"dolby*", FILES},
    {"nalu-file", FILES},
    {"film-grain", FILES},
    {"opencl*", FILES},
};

/* As the encoders read names: '_' is '-'. */
static void plain_name(const char *name, char out[STAGE_WORD_MAX])
{
    snprintf(out, STAGE_WORD_MAX, "%s", name);
    for (char *at = out; *at; at++)
        *at = *at == '_' ? '-' : *at >= 'A' && *at <= 'Z' ? (char)(*at - 'A' + 'a') : *at;
}

static const char *listed(const char *plain)
{
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        const size_t len = strlen(refused[i].name);
        const bool prefix = refused[i].name[len - 1] == '*';
        if (prefix ? !strncmp(plain, refused[i].name, len - 1) : !strcmp(plain, refused[i].name))
            return refused[i].why;
    }
    return NULL;
}

/* "no" or "no-" in front says the opposite, and x265 passes over a "--" before all. */
static const char *refusal(const char *name)
{
    char plain[STAGE_WORD_MAX];
    plain_name(name, plain);
    if (plain[0] == '-')
        return "begins like no argument";
    const char *why = listed(plain);
    if (!why && !strncmp(plain, "no", 2))
        why = listed(plain + (plain[2] == '-' ? 3 : 2));
    return why;
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
    char *end;
    const double v = strtod(value, &end);
    return (!qp && !crf) || (end != value && !*end && v >= least && v <= most);
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
    const char *no = refusal(item->name);
    if (!no && strpbrk(item->value, "/\\"))
        no = "takes no path";
    if (no) {
        snprintf(why, ARG_WHY_MAX, "%.40s %s", item->name, no);
        return -EINVAL;
    }
    int r = check_value(codec, item->name, item->value);
    if (r == -ENOENT)
        snprintf(why, ARG_WHY_MAX, "%s has no argument '%.40s'", encoder_of(codec), item->name);
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
        *which = i;
        for (unsigned j = 0; j < i; j++) {
            if (!strcmp(args->items[i].name, args->items[j].name)) {
                snprintf(why, ARG_WHY_MAX, "%.40s is given twice", args->items[i].name);
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
