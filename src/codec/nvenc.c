#include "codec/nvenc.h"
#include "codec/video_args.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_PATIENCE 32
#define MAX_PATIENCE   4096

bool nvenc_gate_is_open(struct nvenc_gate *gate)
{
    if (!gate->skip)
        return true;
    gate->skip--;
    return false;
}

void nvenc_gate_failed(struct nvenc_gate *gate)
{
    if (!gate->patience)
        gate->patience = FIRST_PATIENCE;
    gate->skip = gate->patience;
    gate->patience = gate->patience < MAX_PATIENCE ? gate->patience * 2 : MAX_PATIENCE;
}

void nvenc_gate_went_well(struct nvenc_gate *gate)
{
    gate->patience = 0;
}

#ifdef HAVE_NVENC

#include "codec/nvenc_session.h"

#define QP_H264  23 /* as the CPU's encoders have it where nothing is said */
#define QP_HEVC  28
#define TEXT_MAX (VIDEO_WHY_MAX + NVENC_NAME_MAX + 64)

struct encoder {
    struct video_encoder base;
    struct nvenc_driver driver;
    struct nvenc_session *session; /* NULL: not opened */
    bool broken;
};

/* ---- settings ---- */

static int refuse(const struct video_format *format, const char *what, const char *more)
{
    if (format->why)
        snprintf(format->why, VIDEO_WHY_MAX, "%s%s", what, more);
    return -ENOTSUP;
}

static int preset_of(const char *name)
{
    static const struct {
        const char *name;
        int preset;
    } presets[] = {
        {"ultrafast", 1}, {"superfast", 2}, {"veryfast", 2}, {"faster", 3},   {"fast", 3},
        {"medium", 4},    {"slow", 5},      {"slower", 6},   {"veryslow", 7}, {"placebo", 7},
    };
    for (size_t i = 0; i < sizeof(presets) / sizeof(presets[0]); i++) {
        if (strcmp(name, presets[i].name) == 0)
            return presets[i].preset;
    }
    return 0;
}

static int take_qp(const struct video_format *format, const struct video_setting *setting,
                   struct nvenc_settings *out)
{
    double qp;
    if (!video_args_number(setting->value, &qp) || !(qp >= 0 && qp <= NVENC_QP_MAX))
        return refuse(format, "no such value of ", setting->name);
    out->qp = (uint8_t)(qp + 0.5);
    return 0;
}

static int take_setting(const struct video_format *format, const struct video_setting *setting,
                        struct nvenc_settings *out)
{
    if (strcmp(setting->name, "qp") == 0 || strcmp(setting->name, "crf") == 0)
        return take_qp(format, setting, out);
    if (strcmp(setting->name, "lossless") == 0)
        return 0; /* format->lossless says it */
    if (strcmp(setting->name, "preset") != 0)
        return refuse(format, "it has no setting ", setting->name);
    int preset = preset_of(setting->value);
    if (!preset)
        return refuse(format, "it has no preset ", setting->value);
    out->preset = (uint8_t)preset;
    return 0;
}

static int take_settings(const struct video_format *format, struct nvenc_settings *out)
{
    const bool hevc = format->codec == VIDEO_HEVC;
    *out = (struct nvenc_settings){
        .width = format->width,
        .rows = format->height,
        .coded_width = format->width + format->width % 2,
        .coded_rows = format->height + format->height % 2,
        .hevc = hevc,
        .lossless = format->lossless,
        .chroma = format->chroma == VIDEO_420,
        .bits = (uint8_t)format->bits,
        .qp = hevc ? QP_HEVC : QP_H264,
        .preset = format->n_settings ? 4 : 1,
        .group = format->group,
    };
    if (format->bits != 8 && !(hevc && format->bits == 10))
        return refuse(format, hevc ? "HEVC has 8 or 10 bits here" : "H.264 has 8 bits here", "");
    for (unsigned i = 0; i < format->n_settings; i++) {
        int r = take_setting(format, &format->settings[i], out);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- an encoder ---- */

static void nvenc_close(struct video_encoder **pointer)
{
    struct encoder *encoder = (struct encoder *)*pointer;
    if (!encoder)
        return;
    nvenc_session_close(&encoder->session);
    nvenc_driver_close(&encoder->driver);
    free(encoder);
    *pointer = NULL;
}

/* The reason told is that of the first device that might have done it at another time, else the last one's. */
static int open_on_any(struct encoder *encoder, const struct nvenc_settings *settings,
                       char why[VIDEO_WHY_MAX])
{
    int r = -ENOTSUP;
    for (int device = 0; device < encoder->driver.n_devices; device++) {
        char text[VIDEO_WHY_MAX];
        int got = nvenc_session_open(&encoder->driver, device, settings, &encoder->session, text);
        if (got == 0)
            return 0;
        if (r == -ENOTSUP) {
            r = got;
            memcpy(why, text, VIDEO_WHY_MAX);
        }
    }
    return r;
}

static int nvenc_open(const struct video_format *format, struct video_encoder **out)
{
    struct nvenc_settings settings;
    char why[VIDEO_WHY_MAX] = "out of memory";
    int r = take_settings(format, &settings);
    if (r < 0)
        return r;
    struct encoder *encoder = calloc(1, sizeof(*encoder));
    if (!encoder)
        return -ENOMEM;
    encoder->base.ops = &video_nvenc_encoder;
    r = nvenc_driver_open(&encoder->driver, why);
    if (r == 0)
        r = open_on_any(encoder, &settings, why);
    if (r == 0) {
        *out = &encoder->base;
        return 0;
    }
    if (format->why)
        memcpy(format->why, why, VIDEO_WHY_MAX);
    struct video_encoder *base = &encoder->base;
    nvenc_close(&base);
    return r;
}

static int keep_result(struct encoder *encoder, int r)
{
    if (r < 0) {
        encoder->broken = true;
        snprintf(encoder->base.why, VIDEO_WHY_MAX, "%s", nvenc_session_why(encoder->session));
    }
    return r;
}

static int nvenc_begin(struct video_encoder *base, struct video_out *out)
{
    struct encoder *encoder = (struct encoder *)base;
    return keep_result(encoder, nvenc_session_begin(encoder->session, out));
}

static int nvenc_send(struct video_encoder *base, const struct video_plane *plane)
{
    struct encoder *encoder = (struct encoder *)base;
    return keep_result(encoder, nvenc_session_send(encoder->session, plane));
}

static int nvenc_finish(struct video_encoder *base)
{
    struct encoder *encoder = (struct encoder *)base;
    return keep_result(encoder, nvenc_session_finish(encoder->session));
}

static bool nvenc_can_go_on(const struct video_encoder *base)
{
    return !((const struct encoder *)base)->broken;
}

const struct video_encoder_ops video_nvenc_encoder = {
    .name = "nvenc",
    .open = nvenc_open,
    .begin = nvenc_begin,
    .send = nvenc_send,
    .finish = nvenc_finish,
    .can_go_on = nvenc_can_go_on,
    .close = nvenc_close,
};

/* ---- what there is ---- */

int nvenc_find_decoder(char why[VIDEO_WHY_MAX])
{
    return nvenc_driver_find_decoder(why);
}

struct listener {
    void (*line)(void *arg, const char *text);
    void *arg;
};

static void say_codec(const struct listener *to, const char *name, const struct nvenc_caps *caps)
{
    char text[TEXT_MAX];
    if (!caps->codec)
        snprintf(text, sizeof(text), "    %s: not encoded", name);
    else
        snprintf(text, sizeof(text), "    %s: 8%s bits, planes of %dx%d to %dx%d, %s", name,
                 caps->ten_bits ? " and 10" : "", caps->min_width, caps->min_rows, caps->max_width,
                 caps->max_rows, caps->lossless ? "also lossless" : "lossy only");
    to->line(to->arg, text);
}

static int describe_device(const struct listener *to, const struct nvenc_driver *driver, int device)
{
    char name[NVENC_NAME_MAX], why[VIDEO_WHY_MAX], text[TEXT_MAX];
    struct nvenc_caps h264, hevc;
    nvenc_driver_device_name(driver, device, name);
    int r = nvenc_session_probe(driver, device, &h264, &hevc, why);
    snprintf(text, sizeof(text), "device %d, %s: %s", device, name, r < 0 ? why : "encodes");
    to->line(to->arg, text);
    if (r < 0)
        return 0;
    h264.ten_bits = false; /* the interface that we build against has none */
    say_codec(to, "h264", &h264);
    say_codec(to, "hevc", &hevc);
    return h264.codec || hevc.codec;
}

int nvenc_describe(void (*line)(void *arg, const char *text), void *arg)
{
    const struct listener to = {line, arg};
    struct nvenc_driver driver;
    char text[VIDEO_WHY_MAX];
    int cuda = 0, able = 0;
    int r = nvenc_driver_open(&driver, text);
    if (r < 0) {
        line(arg, text);
        return r;
    }
    driver.cuda.driver_get_version(&cuda);
    snprintf(text, sizeof(text), "driver for CUDA %d.%d, its encoder speaks version %u.%u",
             cuda / 1000, cuda % 1000 / 10, (unsigned)driver.version >> 4,
             (unsigned)driver.version & 15);
    line(arg, text);
    for (int device = 0; device < driver.n_devices; device++)
        able += describe_device(&to, &driver, device);
    nvenc_driver_close(&driver);
    return able ? able : -ENODEV;
}

#else

int nvenc_describe(void (*line)(void *arg, const char *text), void *arg)
{
    line(arg, "this build has no NVENC");
    return -ENODEV;
}

#endif
