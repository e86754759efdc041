#include "codec/nvenc_session.h"

#include "base/le.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define N_SLOTS                                                                                    \
    4 /* frames in flight; the interface wants four buffers where there are no B frames */
#define MAX_CODECS 16 /* that a device is asked for */
#define BUSY_TRIES                                                                                 \
    1000 /* of BUSY_NS each: a second, after which a busy encoder counts as a dead one */
#define BUSY_NS 1000000

struct slot {
    uint8_t *host; /* pinned; one frame of `pitch` bytes a row, luma alone after the first copy */
    CUdeviceptr device;
    size_t device_pitch;
    NV_ENC_REGISTERED_PTR registered;
    NV_ENC_INPUT_PTR mapped; /* NULL: not in flight */
    NV_ENC_OUTPUT_PTR bitstream;
};

struct nvenc_session {
    const struct nvenc_driver *driver;
    struct nvenc_settings settings;
    CUdevice device;
    CUcontext context; /* the device's primary one, which all sessions share */
    CUstream stream, stream_again;
    bool ordered; /* the encoder waits for the stream itself */
    void *encoder;
    unsigned item; /* bytes of a sample on the device */
    struct slot slots[N_SLOTS];
    uint64_t submitted, collected; /* frames so far; slot = frame % N_SLOTS */
    uint64_t first;                /* frame of the stream */
    struct video_out *out;         /* of the stream; the caller's */
    char why[VIDEO_WHY_MAX];       /* what failed first */
};

/* ---- errors ---- */

static int fail(struct nvenc_session *session, int r, const char *what, const char *how)
{
    if (!session->why[0])
        snprintf(session->why, VIDEO_WHY_MAX, "%s: %s", what, how);
    return r;
}

static int cuda_result(struct nvenc_session *session, CUresult result, const char *what)
{
    if (result == CUDA_SUCCESS)
        return 0;
    return fail(session, -ENODEV, what, nvenc_driver_cuda_error(session->driver, result));
}

static int encoder_result(struct nvenc_session *session, NVENCSTATUS status, const char *what)
{
    if (status == NV_ENC_SUCCESS)
        return 0;
    return fail(session, -ENODEV, what, nvenc_driver_status(status));
}

/* ---- what a device can do ---- */

static int same_guid(const GUID *a, const GUID *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

static const GUID *codec_guid(bool hevc)
{
    return hevc ? &NV_ENC_CODEC_HEVC_GUID : &NV_ENC_CODEC_H264_GUID;
}

static bool has_codec(struct nvenc_session *session, bool hevc)
{
    GUID guids[MAX_CODECS];
    uint32_t n = 0;
    if (session->driver->api.nvEncGetEncodeGUIDs(session->encoder, guids, MAX_CODECS, &n) !=
        NV_ENC_SUCCESS)
        return false;
    for (uint32_t i = 0; i < n && i < MAX_CODECS; i++) {
        if (same_guid(&guids[i], codec_guid(hevc)))
            return true;
    }
    return false;
}

/* 0 for what it does not know: the safe answer to all that is asked here. */
static int cap(struct nvenc_session *session, bool hevc, NV_ENC_CAPS which)
{
    NV_ENC_CAPS_PARAM param = {.version = NV_ENC_CAPS_PARAM_VER, .capsToQuery = which};
    int value = 0;
    if (session->driver->api.nvEncGetEncodeCaps(session->encoder, *codec_guid(hevc), &param,
                                                &value) != NV_ENC_SUCCESS)
        return 0;
    return value;
}

static void ask_caps(struct nvenc_session *session, bool hevc, struct nvenc_caps *caps)
{
    *caps = (struct nvenc_caps){.codec = has_codec(session, hevc)};
    if (!caps->codec)
        return;
    caps->ten_bits = cap(session, hevc, NV_ENC_CAPS_SUPPORT_10BIT_ENCODE) > 0;
    caps->lossless = cap(session, hevc, NV_ENC_CAPS_SUPPORT_LOSSLESS_ENCODE) > 0;
    caps->min_width = cap(session, hevc, NV_ENC_CAPS_WIDTH_MIN);
    caps->max_width = cap(session, hevc, NV_ENC_CAPS_WIDTH_MAX);
    caps->min_rows = cap(session, hevc, NV_ENC_CAPS_HEIGHT_MIN);
    caps->max_rows = cap(session, hevc, NV_ENC_CAPS_HEIGHT_MAX);
}

static bool in_range(uint32_t value, int min, int max)
{
    return (int64_t)value >= min && (int64_t)value <= max;
}

static int check_caps(struct nvenc_session *session)
{
    const struct nvenc_settings *s = &session->settings;
    const char *codec = s->hevc ? "HEVC" : "H.264";
    char range[64];
    struct nvenc_caps caps;
    ask_caps(session, s->hevc, &caps);
    if (!caps.codec)
        return fail(session, -ENOTSUP, codec, "not encoded by this device");
    if (s->bits == 10 && !caps.ten_bits)
        return fail(session, -ENOTSUP, codec, "not encoded with 10 bits by this device");
    if (s->lossless && !caps.lossless)
        return fail(session, -ENOTSUP, codec, "not encoded losslessly by this device");
    if (in_range(s->coded_width, caps.min_width, caps.max_width) &&
        in_range(s->coded_rows, caps.min_rows, caps.max_rows))
        return 0;
    snprintf(range, sizeof(range), "planes of %dx%d to %dx%d only", caps.min_width, caps.min_rows,
             caps.max_width, caps.max_rows);
    return fail(session, -ENOTSUP, codec, range);
}

/* ---- opening ---- */

static int enter(struct nvenc_session *session)
{
    return cuda_result(session, session->driver->cuda.ctx_push(session->context),
                       "cuCtxPushCurrent");
}

static void leave(struct nvenc_session *session)
{
    CUcontext context;
    session->driver->cuda.ctx_pop(&context);
}

static int open_device(struct nvenc_session *session, int device)
{
    const struct nvenc_cuda *cuda = &session->driver->cuda;
    int r = cuda_result(session, cuda->device_get(&session->device, device), "cuDeviceGet");
    if (r == 0)
        r = cuda_result(session, cuda->ctx_retain(&session->context, session->device),
                        "cuDevicePrimaryCtxRetain");
    return r;
}

/* Where opening fails half-way the interface wants the half destroyed: close_encoder() does. */
static int open_encoder(struct nvenc_session *session)
{
    NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS params = {
        .version = NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS_VER,
        .deviceType = NV_ENC_DEVICE_TYPE_CUDA,
        .device = session->context,
        .apiVersion = NVENCAPI_VERSION,
    };
    return encoder_result(session,
                          session->driver->api.nvEncOpenEncodeSessionEx(&params, &session->encoder),
                          "no encoding session");
}

static const GUID *preset_guid(unsigned preset)
{
    static const GUID *const guids[] = {
        &NV_ENC_PRESET_P1_GUID, &NV_ENC_PRESET_P2_GUID, &NV_ENC_PRESET_P3_GUID,
        &NV_ENC_PRESET_P4_GUID, &NV_ENC_PRESET_P5_GUID, &NV_ENC_PRESET_P6_GUID,
        &NV_ENC_PRESET_P7_GUID,
    };
    return guids[preset - 1];
}

static NV_ENC_BUFFER_FORMAT buffer_format(const struct nvenc_settings *settings)
{
    return settings->bits == 10 ? NV_ENC_BUFFER_FORMAT_YUV420_10BIT : NV_ENC_BUFFER_FORMAT_NV12;
}

/* Groups are ours, not the encoder's: no frame but the one that is forced starts one. */
static void configure_h264(const struct nvenc_settings *settings, NV_ENC_CONFIG *config)
{
    NV_ENC_CONFIG_H264 *h264 = &config->encodeCodecConfig.h264Config;
    config->profileGUID =
        settings->lossless ? NV_ENC_CODEC_PROFILE_AUTOSELECT_GUID : NV_ENC_H264_PROFILE_HIGH_GUID;
    h264->qpPrimeYZeroTransformBypassFlag = settings->lossless;
    h264->idrPeriod = NVENC_INFINITE_GOPLENGTH;
    h264->chromaFormatIDC = 1;
    h264->level = NV_ENC_LEVEL_AUTOSELECT;
}

static void configure_hevc(const struct nvenc_settings *settings, NV_ENC_CONFIG *config)
{
    NV_ENC_CONFIG_HEVC *hevc = &config->encodeCodecConfig.hevcConfig;
    config->profileGUID = settings->lossless     ? NV_ENC_CODEC_PROFILE_AUTOSELECT_GUID
                          : settings->bits == 10 ? NV_ENC_HEVC_PROFILE_MAIN10_GUID
                                                 : NV_ENC_HEVC_PROFILE_MAIN_GUID;
    hevc->idrPeriod = NVENC_INFINITE_GOPLENGTH;
    hevc->chromaFormatIDC = 1;
    hevc->pixelBitDepthMinus8 = settings->bits - 8u;
    hevc->level = NV_ENC_LEVEL_AUTOSELECT;
}

static void configure(const struct nvenc_settings *settings, NV_ENC_CONFIG *config)
{
    const uint32_t qp = settings->lossless ? 0 : settings->qp;
    config->gopLength = NVENC_INFINITE_GOPLENGTH;
    config->frameIntervalP = 1;
    config->frameFieldMode = NV_ENC_PARAMS_FRAME_FIELD_MODE_FRAME;
    config->rcParams.rateControlMode = NV_ENC_PARAMS_RC_CONSTQP;
    config->rcParams.constQP = (NV_ENC_QP){qp, qp, qp};
    config->rcParams.enableAQ = 0;
    config->rcParams.enableTemporalAQ = 0;
    config->rcParams.enableLookahead = 0;
    config->rcParams.multiPass = NV_ENC_MULTI_PASS_DISABLED;
    if (settings->hevc)
        configure_hevc(settings, config);
    else
        configure_h264(settings, config);
}

static int initialize(struct nvenc_session *session)
{
    const struct nvenc_settings *s = &session->settings;
    const NV_ENCODE_API_FUNCTION_LIST *api = &session->driver->api;
    const NV_ENC_TUNING_INFO tuning =
        s->lossless ? NV_ENC_TUNING_INFO_LOSSLESS : NV_ENC_TUNING_INFO_HIGH_QUALITY;
    NV_ENC_PRESET_CONFIG preset = {.version = NV_ENC_PRESET_CONFIG_VER,
                                   .presetCfg = {.version = NV_ENC_CONFIG_VER}};
    NV_ENC_INITIALIZE_PARAMS params = {
        .version = NV_ENC_INITIALIZE_PARAMS_VER,
        .encodeGUID = *codec_guid(s->hevc),
        .presetGUID = *preset_guid(s->preset),
        .encodeWidth = s->coded_width,
        .encodeHeight = s->coded_rows,
        .darWidth = s->coded_width,
        .darHeight = s->coded_rows,
        .frameRateNum = 25,
        .frameRateDen = 1,
        .enablePTD = 1,
        .encodeConfig = &preset.presetCfg,
        .maxEncodeWidth = s->coded_width,
        .maxEncodeHeight = s->coded_rows,
        .tuningInfo = tuning,
    };
    int r = encoder_result(session,
                           api->nvEncGetEncodePresetConfigEx(session->encoder, params.encodeGUID,
                                                             params.presetGUID, tuning, &preset),
                           "preset");
    if (r < 0)
        return r;
    preset.presetCfg.version = NV_ENC_CONFIG_VER;
    configure(s, &preset.presetCfg);
    return encoder_result(session, api->nvEncInitializeEncoder(session->encoder, &params),
                          "encoder settings");
}

/* Without it the encoder would follow the default stream, which all threads of the process share. */
static int open_stream(struct nvenc_session *session)
{
    const NV_ENCODE_API_FUNCTION_LIST *api = &session->driver->api;
    int r = cuda_result(
        session, session->driver->cuda.stream_create(&session->stream, CU_STREAM_NON_BLOCKING),
        "cuStreamCreate");
    if (r < 0)
        return r;
    session->stream_again = session->stream; /* the interface keeps pointers to both */
    session->ordered = api->nvEncSetIOCudaStreams &&
                       api->nvEncSetIOCudaStreams(session->encoder, &session->stream,
                                                  &session->stream_again) == NV_ENC_SUCCESS;
    return 0;
}

/* ---- slots ---- */

static size_t row_bytes(const struct nvenc_session *session)
{
    return (size_t)session->settings.coded_width * session->item;
}

/* Grey chroma goes to the device once and stays: only luma is copied for each frame. */
static void fill_grey(struct nvenc_session *session, struct slot *slot)
{
    const size_t luma = session->settings.coded_rows * row_bytes(session), len = luma / 2;
    if (session->item == 1) {
        memset(slot->host + luma, 0x80, len);
        return;
    }
    for (size_t at = 0; at < len; at += 2)
        le_store16(slot->host + luma + at, 0x8000);
}

/* Rows [first, first + n) of the slot's frame to the device. */
static int copy_rows(struct nvenc_session *session, struct slot *slot, size_t first, size_t n)
{
    const CUDA_MEMCPY2D copy = {
        .srcMemoryType = CU_MEMORYTYPE_HOST,
        .srcHost = slot->host + first * row_bytes(session),
        .srcPitch = row_bytes(session),
        .dstMemoryType = CU_MEMORYTYPE_DEVICE,
        .dstDevice = slot->device + first * slot->device_pitch,
        .dstPitch = slot->device_pitch,
        .WidthInBytes = row_bytes(session),
        .Height = n,
    };
    return cuda_result(session, session->driver->cuda.memcpy_2d_async(&copy, session->stream),
                       "cuMemcpy2DAsync");
}

static int register_slot(struct nvenc_session *session, struct slot *slot)
{
    const struct nvenc_settings *s = &session->settings;
    const NV_ENCODE_API_FUNCTION_LIST *api = &session->driver->api;
    NV_ENC_REGISTER_RESOURCE resource = {
        .version = NV_ENC_REGISTER_RESOURCE_VER,
        .resourceType = NV_ENC_INPUT_RESOURCE_TYPE_CUDADEVICEPTR,
        .width = s->coded_width,
        .height = s->coded_rows,
        .pitch = (uint32_t)slot->device_pitch,
        .resourceToRegister = (void *)(uintptr_t)slot->device,
        .bufferFormat = buffer_format(s),
        .bufferUsage = NV_ENC_INPUT_IMAGE,
    };
    NV_ENC_CREATE_BITSTREAM_BUFFER buffer = {.version = NV_ENC_CREATE_BITSTREAM_BUFFER_VER};
    int r = encoder_result(session, api->nvEncRegisterResource(session->encoder, &resource),
                           "registering a buffer");
    if (r < 0)
        return r;
    slot->registered = resource.registeredResource;
    r = encoder_result(session, api->nvEncCreateBitstreamBuffer(session->encoder, &buffer),
                       "an output buffer");
    if (r == 0)
        slot->bitstream = buffer.bitstreamBuffer;
    return r;
}

static int open_slot(struct nvenc_session *session, struct slot *slot)
{
    const struct nvenc_cuda *cuda = &session->driver->cuda;
    const size_t rows = session->settings.coded_rows, frame_rows = rows + rows / 2;
    void *host = NULL;
    int r = cuda_result(session, cuda->mem_host_alloc(&host, frame_rows * row_bytes(session), 0),
                        "pinned memory");
    if (r < 0)
        return r;
    slot->host = host;
    r = cuda_result(session,
                    cuda->mem_alloc_pitch(&slot->device, &slot->device_pitch, row_bytes(session),
                                          frame_rows, 16),
                    "device memory");
    if (r < 0)
        return r;
    fill_grey(session, slot);
    r = copy_rows(session, slot, rows, rows / 2);
    return r < 0 ? r : register_slot(session, slot);
}

static int open_slots(struct nvenc_session *session)
{
    for (unsigned i = 0; i < N_SLOTS; i++) {
        int r = open_slot(session, &session->slots[i]);
        if (r < 0)
            return r;
    }
    return cuda_result(session, session->driver->cuda.stream_synchronize(session->stream),
                       "cuStreamSynchronize");
}

/* ---- closing ---- */

static void close_slot(struct nvenc_session *session, struct slot *slot)
{
    const struct nvenc_cuda *cuda = &session->driver->cuda;
    const NV_ENCODE_API_FUNCTION_LIST *api = &session->driver->api;
    if (slot->mapped)
        api->nvEncUnmapInputResource(session->encoder, slot->mapped);
    if (slot->registered)
        api->nvEncUnregisterResource(session->encoder, slot->registered);
    if (slot->bitstream)
        api->nvEncDestroyBitstreamBuffer(session->encoder, slot->bitstream);
    if (slot->device)
        cuda->mem_free(slot->device);
    if (slot->host)
        cuda->mem_free_host(slot->host);
    *slot = (struct slot){.host = NULL};
}

static int collect_all(struct nvenc_session *session, struct video_out *out);

/* The interface wants an encoder flushed before its buffers go. */
static void close_encoder(struct nvenc_session *session)
{
    const NV_ENCODE_API_FUNCTION_LIST *api = &session->driver->api;
    NV_ENC_PIC_PARAMS end = {.version = NV_ENC_PIC_PARAMS_VER,
                             .encodePicFlags = NV_ENC_PIC_FLAG_EOS};
    collect_all(session, NULL);
    if (session->submitted)
        api->nvEncEncodePicture(session->encoder, &end);
    for (unsigned i = 0; i < N_SLOTS; i++)
        close_slot(session, &session->slots[i]);
    api->nvEncDestroyEncoder(session->encoder);
    session->encoder = NULL;
}

void nvenc_session_close(struct nvenc_session **pointer)
{
    struct nvenc_session *session = *pointer;
    if (!session)
        return;
    const struct nvenc_cuda *cuda = &session->driver->cuda;
    if (session->context) {
        bool entered = enter(session) == 0;
        if (session->stream)
            cuda->stream_synchronize(session->stream);
        if (session->encoder)
            close_encoder(session);
        if (session->stream)
            cuda->stream_destroy(session->stream);
        if (entered)
            leave(session);
        cuda->ctx_release(session->device);
    }
    free(session);
    *pointer = NULL;
}

/* ---- the whole of it ---- */

static int create(const struct nvenc_driver *driver, struct nvenc_session **out, char *why)
{
    struct nvenc_session *session = calloc(1, sizeof(*session));
    if (!session) {
        snprintf(why, VIDEO_WHY_MAX, "out of memory");
        return -ENOMEM;
    }
    session->driver = driver;
    *out = session;
    return 0;
}

static int open_entered(struct nvenc_session *session)
{
    int r = open_encoder(session);
    if (r == 0)
        r = check_caps(session);
    if (r == 0)
        r = initialize(session);
    if (r == 0)
        r = open_stream(session);
    return r < 0 ? r : open_slots(session);
}

int nvenc_session_open(const struct nvenc_driver *driver, int device,
                       const struct nvenc_settings *settings, struct nvenc_session **out,
                       char why[VIDEO_WHY_MAX])
{
    struct nvenc_session *session;
    int r = create(driver, &session, why);
    if (r < 0)
        return r;
    session->settings = *settings;
    session->item = settings->bits > 8 ? 2 : 1;
    r = open_device(session, device);
    if (r == 0)
        r = enter(session);
    if (r == 0) {
        r = open_entered(session);
        leave(session);
    }
    if (r == 0) {
        *out = session;
        return 0;
    }
    memcpy(why, session->why, VIDEO_WHY_MAX);
    nvenc_session_close(&session);
    return r;
}

int nvenc_session_probe(const struct nvenc_driver *driver, int device, struct nvenc_caps *h264,
                        struct nvenc_caps *hevc, char why[VIDEO_WHY_MAX])
{
    struct nvenc_session *session;
    int r = create(driver, &session, why);
    if (r < 0)
        return r;
    r = open_device(session, device);
    if (r == 0)
        r = enter(session);
    if (r == 0) {
        r = open_encoder(session);
        if (r == 0) {
            ask_caps(session, false, h264);
            ask_caps(session, true, hevc);
        }
        leave(session);
    }
    memcpy(why, session->why, VIDEO_WHY_MAX);
    nvenc_session_close(&session);
    return r;
}

const char *nvenc_session_why(const struct nvenc_session *session)
{
    return session->why;
}

/* ---- frames ---- */

/* P010 has its ten bits at the top. */
static void put_sample(const struct nvenc_session *session, const uint8_t *in, size_t x,
                       uint8_t *out, size_t to)
{
    if (session->item == 1)
        out[to] = in[x];
    else
        le_store16(out + 2 * to, (uint16_t)(le_load16(in + 2 * x) << 6));
}

static void fill_luma(const struct nvenc_session *session, const uint8_t *in, uint8_t *out)
{
    const size_t width = session->settings.width;
    if (session->item == 1) {
        memcpy(out, in, width);
    } else {
        for (size_t x = 0; x < width; x++)
            put_sample(session, in, x, out, x);
    }
    for (size_t x = width * session->item; x < row_bytes(session); x++)
        out[x] = out[x - session->item];
}

static void fill_chroma(const struct nvenc_session *session, const struct video_plane *plane,
                        uint8_t *out)
{
    for (size_t y = 0; y < session->settings.coded_rows / 2; y++, out += row_bytes(session)) {
        const uint8_t *u = plane->u + y * plane->chroma_stride,
                      *v = plane->v + y * plane->chroma_stride;
        for (size_t x = 0; x < session->settings.coded_width / 2; x++) {
            put_sample(session, u, x, out, 2 * x);
            put_sample(session, v, x, out, 2 * x + 1);
        }
    }
}

static void fill(const struct nvenc_session *session, const struct video_plane *plane,
                 uint8_t *frame)
{
    const size_t pitch = row_bytes(session), rows = session->settings.rows,
                 coded_rows = session->settings.coded_rows;
    for (size_t y = 0; y < rows; y++)
        fill_luma(session, plane->y + y * plane->stride, frame + y * pitch);
    for (size_t y = rows; y < coded_rows; y++)
        memcpy(frame + y * pitch, frame + (y - 1) * pitch, pitch);
    if (session->settings.chroma)
        fill_chroma(session, plane, frame + coded_rows * pitch);
}

static int map(struct nvenc_session *session, struct slot *slot)
{
    NV_ENC_MAP_INPUT_RESOURCE resource = {.version = NV_ENC_MAP_INPUT_RESOURCE_VER,
                                          .registeredResource = slot->registered};
    int r = encoder_result(session,
                           session->driver->api.nvEncMapInputResource(session->encoder, &resource),
                           "mapping a buffer");
    if (r == 0)
        slot->mapped = resource.mappedResource;
    return r;
}

static void unmap(struct nvenc_session *session, struct slot *slot)
{
    session->driver->api.nvEncUnmapInputResource(session->encoder, slot->mapped);
    slot->mapped = NULL;
}

/* Busy is an answer of old and of shared devices. */
static NVENCSTATUS encode_patiently(struct nvenc_session *session, NV_ENC_PIC_PARAMS *params)
{
    const struct timespec pause = {.tv_nsec = BUSY_NS};
    NVENCSTATUS status = session->driver->api.nvEncEncodePicture(session->encoder, params);
    for (unsigned i = 0; status == NV_ENC_ERR_ENCODER_BUSY && i < BUSY_TRIES; i++) {
        nanosleep(&pause, NULL);
        status = session->driver->api.nvEncEncodePicture(session->encoder, params);
    }
    return status;
}

static bool starts_group(const struct nvenc_session *session)
{
    const uint64_t z = session->submitted - session->first;
    return !z || (session->settings.group && z % session->settings.group == 0);
}

static int encode(struct nvenc_session *session, const struct slot *slot)
{
    NV_ENC_PIC_PARAMS params = {
        .version = NV_ENC_PIC_PARAMS_VER,
        .inputWidth = session->settings.coded_width,
        .inputHeight = session->settings.coded_rows,
        .inputPitch = (uint32_t)slot->device_pitch,
        .encodePicFlags =
            starts_group(session) ? NV_ENC_PIC_FLAG_FORCEIDR | NV_ENC_PIC_FLAG_OUTPUT_SPSPPS : 0,
        .inputTimeStamp = session->submitted,
        .inputBuffer = slot->mapped,
        .outputBitstream = slot->bitstream,
        .bufferFmt = buffer_format(&session->settings),
        .pictureStruct = NV_ENC_PIC_STRUCT_FRAME,
    };
    return encoder_result(session, encode_patiently(session, &params), "encoding a plane");
}

static int submit(struct nvenc_session *session, const struct video_plane *plane)
{
    struct slot *slot = &session->slots[session->submitted % N_SLOTS];
    fill(session, plane, slot->host);
    const size_t rows = session->settings.coded_rows;
    int r = copy_rows(session, slot, 0, session->settings.chroma ? rows + rows / 2 : rows);
    if (r == 0 && !session->ordered)
        r = cuda_result(session, session->driver->cuda.stream_synchronize(session->stream),
                        "cuStreamSynchronize");
    if (r == 0)
        r = map(session, slot);
    if (r < 0)
        return r;
    r = encode(session, slot);
    if (r < 0)
        unmap(session, slot);
    else
        session->submitted++;
    return r;
}

/* What was coded, to the end of the stream; NULL `out`: to nowhere. */
static int take(struct nvenc_session *session, const NV_ENC_LOCK_BITSTREAM *lock,
                struct video_out *out)
{
    const size_t len = lock->bitstreamSizeInBytes;
    if (!len || lock->outputTimeStamp != session->collected)
        return fail(session, -ENODEV, "reading a coded plane", "not the one that was expected");
    if (!out)
        return 0;
    if (len > out->cap - out->len)
        return fail(session, -ENOSPC, "reading a coded plane", "more bytes than there is room for");
    memcpy(out->data + out->len, lock->bitstreamBufferPtr, len);
    out->len += len;
    out->n_planes++;
    return 0;
}

/* The oldest frame in flight. */
static int collect(struct nvenc_session *session, struct video_out *out)
{
    const NV_ENCODE_API_FUNCTION_LIST *api = &session->driver->api;
    struct slot *slot = &session->slots[session->collected % N_SLOTS];
    NV_ENC_LOCK_BITSTREAM lock = {.version = NV_ENC_LOCK_BITSTREAM_VER,
                                  .outputBitstream = slot->bitstream};
    int r = encoder_result(session, api->nvEncLockBitstream(session->encoder, &lock),
                           "reading a coded plane");
    if (r < 0)
        return r;
    r = take(session, &lock, out);
    NVENCSTATUS status = api->nvEncUnlockBitstream(session->encoder, slot->bitstream);
    unmap(session, slot);
    session->collected++;
    return r < 0 ? r : encoder_result(session, status, "reading a coded plane");
}

static int collect_all(struct nvenc_session *session, struct video_out *out)
{
    int r = 0;
    while (r == 0 && session->collected < session->submitted)
        r = collect(session, out);
    return r;
}

/* What was sent before the frame that failed may well be there. */
static int send_one(struct nvenc_session *session, const struct video_plane *plane)
{
    int r = 0;
    if (session->submitted - session->collected == N_SLOTS)
        r = collect(session, session->out);
    if (r < 0)
        return r;
    r = submit(session, plane);
    if (r < 0)
        collect_all(session, session->out);
    return r;
}

static int result(int r)
{
    return r < 0 && r != -ENOSPC ? -EIO : r;
}

/* A stream that was broken off may have left frames in flight. */
int nvenc_session_begin(struct nvenc_session *session, struct video_out *out)
{
    int r = enter(session);
    if (r == 0) {
        r = collect_all(session, NULL);
        leave(session);
    }
    session->first = session->submitted;
    session->out = out;
    return result(r);
}

int nvenc_session_send(struct nvenc_session *session, const struct video_plane *plane)
{
    int r = enter(session);
    if (r == 0) {
        r = send_one(session, plane);
        leave(session);
    }
    return result(r);
}

int nvenc_session_finish(struct nvenc_session *session)
{
    int r = enter(session);
    if (r == 0) {
        r = collect_all(session, session->out);
        leave(session);
    }
    session->out = NULL;
    return result(r);
}
