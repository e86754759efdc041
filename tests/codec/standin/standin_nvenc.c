/* libnvidia-encode's part. A picture that is handed in is looked at when somebody waits for it, so that
 * who overwrites it too early is found out. */
#include "standin_impl.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_BUFFERS 32 /* of each kind, of a session */
#define MAX_BYTES   ((size_t)64 << 20)

struct registered {
    bool used;
    bool mapped;
    NV_ENC_REGISTER_RESOURCE resource;
};

struct bitstream {
    bool used, waits, locked; /* waits: a picture was handed in whose bytes go here */
    int refused;              /* times that the encoder said it was busy */
    uint8_t *data;
    size_t len;
    NV_ENC_PIC_PARAMS picture;
    unsigned copies; /* of the stream, when the picture was handed in */
    int number;
};

struct session {
    bool open, initialized, flushed, half; /* half: opening it failed */
    struct CUstream_st **stream;
    NV_ENC_INITIALIZE_PARAMS params;
    NV_ENC_CONFIG config;
    struct standin_encoder *encoder;
    struct registered registered[MAX_BUFFERS];
    struct bitstream bitstreams[MAX_BUFFERS];
    int order[MAX_BUFFERS]; /* bitstreams that wait, the oldest first */
    int n_waiting;
};

#define VERSION(params, ver)                                                                       \
    if ((params)->version != (ver)) {                                                              \
        standin_misuse("%s: a wrong version of its parameters", __func__);                         \
        return end(NV_ENC_ERR_INVALID_VERSION);                                                    \
    }

static const GUID *const presets[] = {
    &NV_ENC_PRESET_P1_GUID, &NV_ENC_PRESET_P2_GUID, &NV_ENC_PRESET_P3_GUID, &NV_ENC_PRESET_P4_GUID,
    &NV_ENC_PRESET_P5_GUID, &NV_ENC_PRESET_P6_GUID, &NV_ENC_PRESET_P7_GUID};

NVENCSTATUS STANDIN_API NvEncodeAPIGetMaxSupportedVersion(uint32_t *version);
NVENCSTATUS STANDIN_API NvEncodeAPICreateInstance(NV_ENCODE_API_FUNCTION_LIST *list);

static NVENCSTATUS end(NVENCSTATUS status)
{
    standin_unlock();
    return status;
}

static struct session *begin(void *encoder)
{
    struct session *session = encoder;
    standin_lock();
    if (!session->open)
        standin_misuse("a session is used that is not open");
    return session;
}

static bool same(const GUID *a, const GUID *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

static bool is_hevc(const GUID *codec)
{
    return same(codec, &NV_ENC_CODEC_HEVC_GUID);
}

/* ---- sessions ---- */

static NVENCSTATUS open_status(const NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS *params)
{
    struct standin *s = standin();
    if (params->deviceType != NV_ENC_DEVICE_TYPE_CUDA || !standin_is_context(params->device) ||
        params->apiVersion != NVENCAPI_VERSION) {
        standin_misuse("a session of no CUDA context or of another version");
        return NV_ENC_ERR_INVALID_DEVICE;
    }
    if (standin_lost())
        return NV_ENC_ERR_DEVICE_NOT_EXIST;
    if (s->no_engine)
        return NV_ENC_ERR_UNSUPPORTED_DEVICE;
    if (s->session_limit && s->sessions >= s->session_limit)
        return NV_ENC_ERR_OUT_OF_MEMORY;
    return NV_ENC_SUCCESS;
}

/* Even where it fails there is something to be destroyed, as the interface has it. */
static NVENCSTATUS open_session(NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS *params, void **encoder)
{
    standin_lock();
    VERSION(params, NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS_VER)
    NVENCSTATUS status = open_status(params);
    struct session *session = calloc(1, sizeof(*session));
    if (!session)
        return end(NV_ENC_ERR_OUT_OF_MEMORY);
    session->open = true;
    session->half = status != NV_ENC_SUCCESS;
    standin()->sessions++;
    standin()->sessions_opened += status == NV_ENC_SUCCESS;
    *encoder = session;
    return end(status);
}

static void check_empty(const struct session *session)
{
    for (unsigned i = 0; i < MAX_BUFFERS; i++) {
        if (session->registered[i].used || session->bitstreams[i].used)
            standin_misuse("a session is destroyed before its buffers");
    }
    if (session->encoder && !session->flushed && !standin_lost())
        standin_misuse("a session is destroyed that was not flushed");
}

static NVENCSTATUS destroy_encoder(void *encoder)
{
    struct session *session = begin(encoder);
    check_empty(session);
    standin_encoder_close(&session->encoder);
    standin()->sessions--;
    free(session);
    return end(NV_ENC_SUCCESS);
}

/* ---- what it can do ---- */

static NVENCSTATUS get_guids(void *encoder, GUID *guids, uint32_t size, uint32_t *n)
{
    begin(encoder);
    *n = standin()->no_hevc ? 1 : 2;
    if (size < *n)
        return end(NV_ENC_ERR_INVALID_PARAM);
    guids[0] = NV_ENC_CODEC_H264_GUID;
    if (*n > 1)
        guids[1] = NV_ENC_CODEC_HEVC_GUID;
    return end(NV_ENC_SUCCESS);
}

static int cap_of(NV_ENC_CAPS which, const GUID *codec)
{
    const struct standin *s = standin();
    switch (which) {
    case NV_ENC_CAPS_SUPPORT_10BIT_ENCODE:
        return is_hevc(codec) && !s->no_ten_bits;
    case NV_ENC_CAPS_SUPPORT_LOSSLESS_ENCODE:
        return !s->no_lossless;
    case NV_ENC_CAPS_WIDTH_MIN:
    case NV_ENC_CAPS_HEIGHT_MIN:
        return s->min_size;
    case NV_ENC_CAPS_WIDTH_MAX:
    case NV_ENC_CAPS_HEIGHT_MAX:
        return s->max_size;
    default:
        return 0;
    }
}

static NVENCSTATUS get_caps(void *encoder, GUID codec, NV_ENC_CAPS_PARAM *param, int *value)
{
    begin(encoder);
    VERSION(param, NV_ENC_CAPS_PARAM_VER)
    *value = cap_of(param->capsToQuery, &codec);
    return end(NV_ENC_SUCCESS);
}

/* As the real ones are: B frames, short groups, a bit rate. */
static NVENCSTATUS get_preset(void *encoder, GUID codec, GUID preset, NV_ENC_TUNING_INFO tuning,
                              NV_ENC_PRESET_CONFIG *out)
{
    begin(encoder);
    (void)codec, (void)preset;
    VERSION(out, NV_ENC_PRESET_CONFIG_VER)
    VERSION(&out->presetCfg, NV_ENC_CONFIG_VER)
    if (tuning <= NV_ENC_TUNING_INFO_UNDEFINED || tuning >= NV_ENC_TUNING_INFO_COUNT)
        return end(NV_ENC_ERR_INVALID_PARAM);
    out->presetCfg.gopLength = 250;
    out->presetCfg.frameIntervalP = 3;
    out->presetCfg.rcParams.rateControlMode = NV_ENC_PARAMS_RC_VBR;
    out->presetCfg.rcParams.enableLookahead = 1;
    return end(NV_ENC_SUCCESS);
}

static bool is_preset(const GUID *guid)
{
    for (unsigned i = 0; i < sizeof(presets) / sizeof(presets[0]); i++) {
        if (same(presets[i], guid))
            return true;
    }
    return false;
}

static bool in_range(uint32_t size)
{
    return size % 2 == 0 && size >= (uint32_t)standin()->min_size &&
           size <= (uint32_t)standin()->max_size;
}

/* What this stand-in cannot do, a device may: its tests do not ask for it. */
static NVENCSTATUS check_params(const NV_ENC_INITIALIZE_PARAMS *p)
{
    const NV_ENC_CONFIG *config = p->encodeConfig;
    const bool hevc = is_hevc(&p->encodeGUID);
    if (!is_preset(&p->presetGUID) || !in_range(p->encodeWidth) || !in_range(p->encodeHeight) ||
        (hevc && standin()->no_hevc) || p->enableEncodeAsync || !p->enablePTD)
        return NV_ENC_ERR_INVALID_PARAM;
    if (config->frameIntervalP != 1 || config->gopLength != NVENC_INFINITE_GOPLENGTH ||
        config->rcParams.enableLookahead ||
        config->rcParams.rateControlMode != NV_ENC_PARAMS_RC_CONSTQP)
        return NV_ENC_ERR_UNSUPPORTED_PARAM;
    if (p->tuningInfo == NV_ENC_TUNING_INFO_LOSSLESS &&
        (standin()->no_lossless || config->rcParams.constQP.qpIntra))
        return NV_ENC_ERR_UNSUPPORTED_PARAM;
    return NV_ENC_SUCCESS;
}

static int bits_of(const NV_ENC_INITIALIZE_PARAMS *p)
{
    return is_hevc(&p->encodeGUID)
               ? 8 + (int)p->encodeConfig->encodeCodecConfig.hevcConfig.pixelBitDepthMinus8
               : 8;
}

static NVENCSTATUS initialize(void *encoder, NV_ENC_INITIALIZE_PARAMS *params)
{
    struct session *session = begin(encoder);
    VERSION(params, NV_ENC_INITIALIZE_PARAMS_VER)
    VERSION(params->encodeConfig, NV_ENC_CONFIG_VER)
    NVENCSTATUS status = check_params(params);
    if (status != NV_ENC_SUCCESS)
        return end(status);
    const struct standin_encoder_settings settings = {
        .hevc = is_hevc(&params->encodeGUID),
        .lossless = params->tuningInfo == NV_ENC_TUNING_INFO_LOSSLESS,
        .bits = bits_of(params),
        .qp = (int)params->encodeConfig->rcParams.constQP.qpInterP,
        .width = (int)params->encodeWidth,
        .rows = (int)params->encodeHeight,
    };
    if (settings.bits == 10 && standin()->no_ten_bits)
        return end(NV_ENC_ERR_UNSUPPORTED_PARAM);
    session->params = *params;
    session->encoder = standin_encoder_open(&settings);
    session->initialized = session->encoder;
    return end(session->encoder ? NV_ENC_SUCCESS : NV_ENC_ERR_GENERIC);
}

static NVENCSTATUS set_streams(void *encoder, NV_ENC_CUSTREAM_PTR in, NV_ENC_CUSTREAM_PTR out)
{
    struct session *session = begin(encoder);
    (void)out;
    session->stream = in;
    return end(NV_ENC_SUCCESS);
}

/* ---- buffers ---- */

static NVENCSTATUS register_resource(void *encoder, NV_ENC_REGISTER_RESOURCE *params)
{
    struct session *session = begin(encoder);
    VERSION(params, NV_ENC_REGISTER_RESOURCE_VER)
    const size_t rows = params->height + params->height / 2;
    if (!session->initialized || standin_lost())
        return end(NV_ENC_ERR_ENCODER_NOT_INITIALIZED);
    if (params->resourceType != NV_ENC_INPUT_RESOURCE_TYPE_CUDADEVICEPTR ||
        !standin_is_device_memory((CUdeviceptr)(uintptr_t)params->resourceToRegister,
                                  params->pitch * rows))
        standin_misuse("registered what is not the device's memory");
    for (unsigned i = 0; i < MAX_BUFFERS; i++) {
        struct registered *at = &session->registered[i];
        if (at->used)
            continue;
        *at = (struct registered){.used = true, .resource = *params};
        standin()->registered++;
        params->registeredResource = at;
        return end(NV_ENC_SUCCESS);
    }
    return end(NV_ENC_ERR_RESOURCE_REGISTER_FAILED);
}

static NVENCSTATUS unregister_resource(void *encoder, NV_ENC_REGISTERED_PTR resource)
{
    struct registered *at = resource;
    begin(encoder);
    if (!at->used || at->mapped)
        standin_misuse("unregistered what was not registered, or is still mapped");
    at->used = false;
    standin()->registered--;
    return end(NV_ENC_SUCCESS);
}

static NVENCSTATUS map_resource(void *encoder, NV_ENC_MAP_INPUT_RESOURCE *params)
{
    begin(encoder);
    VERSION(params, NV_ENC_MAP_INPUT_RESOURCE_VER)
    struct registered *at = params->registeredResource;
    if (standin_lost())
        return end(NV_ENC_ERR_DEVICE_NOT_EXIST);
    if (!at->used || at->mapped)
        standin_misuse("mapped what was not registered, or is mapped");
    at->mapped = true;
    standin()->mapped++;
    params->mappedResource = at;
    params->mappedBufferFmt = at->resource.bufferFormat;
    return end(NV_ENC_SUCCESS);
}

static bool waits_for(const struct session *session, const void *input)
{
    for (int i = 0; i < session->n_waiting; i++) {
        if (session->bitstreams[session->order[i]].picture.inputBuffer == input)
            return true;
    }
    return false;
}

static NVENCSTATUS unmap_resource(void *encoder, NV_ENC_INPUT_PTR mapped)
{
    struct session *session = begin(encoder);
    struct registered *at = mapped;
    if (!at->used || !at->mapped)
        standin_misuse("unmapped what is not mapped");
    if (waits_for(session, at) && !standin_lost())
        standin_misuse("unmapped what is still to be encoded");
    at->mapped = false;
    standin()->mapped--;
    return end(NV_ENC_SUCCESS);
}

static NVENCSTATUS create_bitstream(void *encoder, NV_ENC_CREATE_BITSTREAM_BUFFER *params)
{
    struct session *session = begin(encoder);
    VERSION(params, NV_ENC_CREATE_BITSTREAM_BUFFER_VER)
    if (!session->initialized)
        return end(NV_ENC_ERR_ENCODER_NOT_INITIALIZED);
    for (unsigned i = 0; i < MAX_BUFFERS; i++) {
        struct bitstream *at = &session->bitstreams[i];
        if (at->used)
            continue;
        *at = (struct bitstream){.used = true};
        standin()->bitstreams++;
        params->bitstreamBuffer = at;
        return end(NV_ENC_SUCCESS);
    }
    return end(NV_ENC_ERR_OUT_OF_MEMORY);
}

static NVENCSTATUS destroy_bitstream(void *encoder, NV_ENC_OUTPUT_PTR buffer)
{
    struct bitstream *at = buffer;
    begin(encoder);
    if (!at->used || at->locked)
        standin_misuse("destroyed a bitstream that is not there, or is locked");
    free(at->data);
    *at = (struct bitstream){.used = false};
    standin()->bitstreams--;
    return end(NV_ENC_SUCCESS);
}

/* ---- pictures ---- */

static bool fails(int *which, int number)
{
    if (*which && number >= *which) {
        standin_lose();
        return true;
    }
    return false;
}

static NVENCSTATUS lost_status(void)
{
    return standin()->fail_status ? (NVENCSTATUS)standin()->fail_status
                                  : NV_ENC_ERR_DEVICE_NOT_EXIST;
}

static void check_picture(const struct session *session, const NV_ENC_PIC_PARAMS *p)
{
    const struct registered *in = p->inputBuffer;
    const struct bitstream *out = p->outputBitstream;
    if (!in || !in->used || !in->mapped || waits_for(session, in))
        standin_misuse("a picture in a buffer that is not mapped, or is waiting");
    else if (p->bufferFmt != in->resource.bufferFormat || p->inputPitch != in->resource.pitch ||
             p->inputWidth != session->params.encodeWidth ||
             p->inputHeight != session->params.encodeHeight)
        standin_misuse("a picture of another size or format");
    if (!out || !out->used || out->waits || out->locked)
        standin_misuse("a bitstream that is not free");
    if (p->pictureStruct != NV_ENC_PIC_STRUCT_FRAME)
        standin_misuse("a picture that is no frame");
    if ((p->encodePicFlags & NV_ENC_PIC_FLAG_FORCEIDR) &&
        !(p->encodePicFlags & NV_ENC_PIC_FLAG_OUTPUT_SPSPPS))
        standin_misuse("an IDR without its parameter sets");
}

static NVENCSTATUS flush(struct session *session)
{
    if (session->n_waiting && !standin_lost())
        standin_misuse("flushed with pictures that nobody waited for");
    session->flushed = true;
    return standin_lost() ? lost_status() : NV_ENC_SUCCESS;
}

/* Where there is no stream to follow, the picture is what is in the buffer now. */
static void encode(struct session *session, struct bitstream *at)
{
    const NV_ENC_PIC_PARAMS *p = &at->picture;
    const struct registered *in = p->inputBuffer;
    const uint8_t *luma = in->resource.resourceToRegister, *coded = NULL;
    if (session->stream)
        standin_stream_do(*session->stream, at->copies);
    at->len = standin_encoder_encode(session->encoder, luma, in->resource.pitch,
                                     p->encodePicFlags & NV_ENC_PIC_FLAG_FORCEIDR, &coded);
    free(at->data);
    at->data = at->len ? malloc(at->len) : NULL;
    if (at->data)
        memcpy(at->data, coded, at->len);
    if (standin()->slow_us)
        usleep((useconds_t)standin()->slow_us);
}

static NVENCSTATUS encode_picture(void *encoder, NV_ENC_PIC_PARAMS *params)
{
    struct session *session = begin(encoder);
    VERSION(params, NV_ENC_PIC_PARAMS_VER)
    if (params->encodePicFlags & NV_ENC_PIC_FLAG_EOS)
        return end(flush(session));
    check_picture(session, params);
    struct bitstream *at = params->outputBitstream;
    if (at->refused < standin()->busy) {
        at->refused++;
        return end(NV_ENC_ERR_ENCODER_BUSY);
    }
    if (standin_lost() || fails(&standin()->fail_picture, standin()->pictures + 1))
        return end(lost_status());
    at->refused = 0;
    at->waits = true;
    at->picture = *params;
    at->number = ++standin()->pictures;
    at->copies = session->stream ? standin_stream_queued(*session->stream) : 0;
    session->order[session->n_waiting++] = (int)(at - session->bitstreams);
    session->flushed = false;
    standin()->idrs += (params->encodePicFlags & NV_ENC_PIC_FLAG_FORCEIDR) != 0;
    if (!session->stream)
        encode(session, at);
    return end(NV_ENC_SUCCESS);
}

static NVENCSTATUS lock_bitstream(void *encoder, NV_ENC_LOCK_BITSTREAM *params)
{
    struct session *session = begin(encoder);
    VERSION(params, NV_ENC_LOCK_BITSTREAM_VER)
    struct bitstream *at = params->outputBitstream;
    if (!at->used || !at->waits || at->locked ||
        session->order[0] != (int)(at - session->bitstreams))
        standin_misuse("locked a bitstream out of order");
    /* A picture that was done before the device went away can still be read. */
    if (fails(&standin()->fail_reading, at->number))
        return end(lost_status());
    if (session->stream)
        encode(session, at);
    session->n_waiting--;
    memmove(session->order, session->order + 1, (size_t)session->n_waiting * sizeof(int));
    at->waits = false;
    if (!at->len)
        return end(NV_ENC_ERR_GENERIC);
    at->locked = true;
    standin()->locked++;
    params->bitstreamBufferPtr = at->data;
    params->bitstreamSizeInBytes = (uint32_t)at->len;
    params->outputTimeStamp = at->picture.inputTimeStamp;
    return end(NV_ENC_SUCCESS);
}

static NVENCSTATUS unlock_bitstream(void *encoder, NV_ENC_OUTPUT_PTR buffer)
{
    struct bitstream *at = buffer;
    begin(encoder);
    if (!at->locked)
        standin_misuse("unlocked what is not locked");
    at->locked = false;
    standin()->locked--;
    return end(NV_ENC_SUCCESS);
}

/* ---- the library's two symbols ---- */

NVENCSTATUS NvEncodeAPIGetMaxSupportedVersion(uint32_t *version)
{
    *version = standin()->version;
    return NV_ENC_SUCCESS;
}

NVENCSTATUS NvEncodeAPICreateInstance(NV_ENCODE_API_FUNCTION_LIST *list)
{
    if (list->version != NV_ENCODE_API_FUNCTION_LIST_VER)
        return NV_ENC_ERR_INVALID_VERSION;
    list->nvEncOpenEncodeSessionEx = open_session;
    list->nvEncDestroyEncoder = destroy_encoder;
    list->nvEncGetEncodeGUIDs = get_guids;
    list->nvEncGetEncodeCaps = get_caps;
    list->nvEncGetEncodePresetConfigEx = get_preset;
    list->nvEncInitializeEncoder = initialize;
    list->nvEncSetIOCudaStreams = standin()->no_streams ? NULL : set_streams;
    list->nvEncRegisterResource = register_resource;
    list->nvEncUnregisterResource = unregister_resource;
    list->nvEncMapInputResource = map_resource;
    list->nvEncUnmapInputResource = unmap_resource;
    list->nvEncCreateBitstreamBuffer = create_bitstream;
    list->nvEncDestroyBitstreamBuffer = destroy_bitstream;
    list->nvEncEncodePicture = encode_picture;
    list->nvEncLockBitstream = lock_bitstream;
    list->nvEncUnlockBitstream = unlock_bitstream;
    return NV_ENC_SUCCESS;
}
