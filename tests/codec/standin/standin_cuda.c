/* libcuda's part: one primary context a device, memory that is the host's, streams that do nothing until
 * somebody waits. */
#include "standin_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BUFFERS 256
#define MAX_STREAMS 64
#define MAX_COPIES  64  /* queued in a stream and not done */
#define PITCH       512 /* bytes that rows in device memory begin at multiples of */

/* dynlink_cuda.h has few of the errors. */
#define NO_DEVICE       ((CUresult)100)
#define INVALID_VALUE   ((CUresult)1)
#define INVALID_CONTEXT ((CUresult)201)
#define OUT_OF_MEMORY   ((CUresult)2)
#define DEVICE_LOST     ((CUresult)719)

struct CUctx_st {
    int retained;
};

struct CUstream_st {
    CUDA_MEMCPY2D copies[MAX_COPIES]; /* the one that was queued as number i is at i % MAX_COPIES */
    unsigned queued, done;
};

struct buffer {
    uint8_t *data;
    size_t len;
    bool pinned;
};

static struct CUctx_st contexts[8];
static struct buffer buffers[MAX_BUFFERS];
static CUstream streams[MAX_STREAMS];
static _Thread_local int depth; /* contexts that this thread has pushed */

CUresult STANDIN_API cuInit(unsigned flags);
CUresult STANDIN_API cuDriverGetVersion(int *version);
CUresult STANDIN_API cuDeviceGetCount(int *count);
CUresult STANDIN_API cuDeviceGet(CUdevice *device, int ordinal);
CUresult STANDIN_API cuDeviceGetName(char *name, int len, CUdevice device);
CUresult STANDIN_API cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device);
CUresult STANDIN_API cuDevicePrimaryCtxRelease(CUdevice device);
CUresult STANDIN_API cuCtxPushCurrent_v2(CUcontext context);
CUresult STANDIN_API cuCtxPopCurrent_v2(CUcontext *context);
CUresult STANDIN_API cuMemHostAlloc(void **out, size_t len, unsigned flags);
CUresult STANDIN_API cuMemFreeHost(void *mem);
CUresult STANDIN_API cuMemAllocPitch_v2(CUdeviceptr *out, size_t *pitch, size_t width, size_t rows,
                                        unsigned item);
CUresult STANDIN_API cuMemFree_v2(CUdeviceptr mem);
CUresult STANDIN_API cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D *copy, CUstream stream);
CUresult STANDIN_API cuStreamCreate(CUstream *out, unsigned flags);
CUresult STANDIN_API cuStreamSynchronize(CUstream stream);
CUresult STANDIN_API cuStreamDestroy_v2(CUstream stream);
CUresult STANDIN_API cuGetErrorName(CUresult error, const char **name);

/* Where a call stands: with the lock held, and, where it needs one, in a context. */
static CUresult begin(const char *call, bool needs_context)
{
    standin_lock();
    if (needs_context && !depth) {
        standin_misuse("%s without a context", call);
        return INVALID_CONTEXT;
    }
    return standin_lost() ? DEVICE_LOST : CUDA_SUCCESS;
}

static CUresult end(CUresult r)
{
    standin_unlock();
    return r;
}

/* ---- devices ---- */

CUresult cuInit(unsigned flags)
{
    CUresult r = begin("cuInit", false);
    standin()->loads++;
    if (standin()->no_device)
        r = NO_DEVICE;
    return end(flags ? INVALID_VALUE : r);
}

CUresult cuDriverGetVersion(int *version)
{
    *version = 12020;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int *count)
{
    *count = standin()->n_devices;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    if (ordinal < 0 || ordinal >= standin()->n_devices)
        return INVALID_VALUE;
    *device = ordinal;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char *name, int len, CUdevice device)
{
    snprintf(name, (size_t)len, "Stand-in %d", device);
    return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult error, const char **name)
{
    *name = error == NO_DEVICE ? "CUDA_ERROR_NO_DEVICE" : "CUDA_ERROR_OF_THE_STAND_IN";
    return CUDA_SUCCESS;
}

/* ---- contexts ---- */

bool standin_is_context(const void *context)
{
    const struct CUctx_st *at = context;
    return at >= contexts && at < contexts + 8 && at->retained > 0;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device)
{
    CUresult r = begin("cuDevicePrimaryCtxRetain", false);
    if (r == CUDA_SUCCESS) {
        contexts[device].retained++;
        standin()->contexts++;
        *context = &contexts[device];
    }
    return end(r);
}

CUresult cuDevicePrimaryCtxRelease(CUdevice device)
{
    begin("cuDevicePrimaryCtxRelease", false);
    if (contexts[device].retained-- <= 0)
        standin_misuse("a context is released more often than retained");
    standin()->contexts--;
    return end(CUDA_SUCCESS);
}

CUresult cuCtxPushCurrent_v2(CUcontext context)
{
    begin("cuCtxPushCurrent", false);
    if (!standin_is_context(context))
        standin_misuse("pushed what is no context");
    depth++;
    standin()->current++;
    return end(CUDA_SUCCESS);
}

CUresult cuCtxPopCurrent_v2(CUcontext *context)
{
    begin("cuCtxPopCurrent", true);
    depth--;
    standin()->current--;
    *context = NULL;
    return end(CUDA_SUCCESS);
}

/* ---- memory ---- */

static CUresult allocate(size_t len, bool pinned, uint8_t **out)
{
    for (unsigned i = 0; i < MAX_BUFFERS; i++) {
        if (buffers[i].data)
            continue;
        buffers[i] = (struct buffer){malloc(len), len, pinned};
        if (!buffers[i].data)
            return OUT_OF_MEMORY;
        memset(buffers[i].data, 0x55, len);
        *out = buffers[i].data;
        return CUDA_SUCCESS;
    }
    return OUT_OF_MEMORY;
}

static bool release(const void *data, bool pinned)
{
    for (unsigned i = 0; i < MAX_BUFFERS; i++) {
        if (buffers[i].data && buffers[i].data == data && buffers[i].pinned == pinned) {
            free(buffers[i].data);
            buffers[i].data = NULL;
            return true;
        }
    }
    standin_misuse("freed what was not allocated");
    return false;
}

static bool is_in(const uint8_t *at, size_t len, bool pinned)
{
    for (unsigned i = 0; i < MAX_BUFFERS; i++) {
        const struct buffer *b = &buffers[i];
        if (b->data && b->pinned == pinned && at >= b->data && len <= b->len &&
            (size_t)(at - b->data) <= b->len - len)
            return true;
    }
    return false;
}

bool standin_is_device_memory(CUdeviceptr at, size_t len)
{
    return is_in((const uint8_t *)(uintptr_t)at, len, false);
}

CUresult cuMemHostAlloc(void **out, size_t len, unsigned flags)
{
    CUresult r = begin("cuMemHostAlloc", true);
    uint8_t *data = NULL;
    (void)flags;
    if (r == CUDA_SUCCESS)
        r = allocate(len, true, &data);
    if (r == CUDA_SUCCESS)
        standin()->pinned_buffers++;
    *out = data;
    return end(r);
}

CUresult cuMemFreeHost(void *mem)
{
    begin("cuMemFreeHost", true);
    if (release(mem, true))
        standin()->pinned_buffers--;
    return end(CUDA_SUCCESS);
}

CUresult cuMemAllocPitch_v2(CUdeviceptr *out, size_t *pitch, size_t width, size_t rows,
                            unsigned item)
{
    CUresult r = begin("cuMemAllocPitch", true);
    uint8_t *data = NULL;
    if (item != 4 && item != 8 && item != 16)
        r = INVALID_VALUE;
    *pitch = (width + PITCH - 1) / PITCH * PITCH;
    if (r == CUDA_SUCCESS)
        r = allocate(*pitch * rows, false, &data);
    if (r == CUDA_SUCCESS)
        standin()->device_buffers++;
    *out = (CUdeviceptr)(uintptr_t)data;
    return end(r);
}

CUresult cuMemFree_v2(CUdeviceptr mem)
{
    begin("cuMemFree", true);
    if (release((const void *)(uintptr_t)mem, false))
        standin()->device_buffers--;
    return end(CUDA_SUCCESS);
}

/* ---- streams ---- */

static bool is_stream(CUstream stream)
{
    for (unsigned i = 0; i < MAX_STREAMS; i++) {
        if (stream && streams[i] == stream)
            return true;
    }
    standin_misuse("used what is no stream");
    return false;
}

static void do_copy(const CUDA_MEMCPY2D *copy)
{
    const uint8_t *from = copy->srcHost;
    uint8_t *to =
        (uint8_t *)(uintptr_t)copy->dstDevice; /* the device's memory is the host's here */
    for (size_t y = 0; y < copy->Height; y++)
        memcpy(to + y * copy->dstPitch, from + y * copy->srcPitch, copy->WidthInBytes);
}

unsigned standin_stream_queued(CUstream stream)
{
    return is_stream(stream) ? stream->queued : 0;
}

void standin_stream_do(CUstream stream, unsigned n)
{
    for (; is_stream(stream) && stream->done < n; stream->done++)
        do_copy(&stream->copies[stream->done % MAX_COPIES]);
}

static void check_copy(const CUDA_MEMCPY2D *copy)
{
    const size_t from = (copy->Height - 1) * copy->srcPitch + copy->WidthInBytes,
                 to = (copy->Height - 1) * copy->dstPitch + copy->WidthInBytes;
    if (copy->srcMemoryType != CU_MEMORYTYPE_HOST || copy->dstMemoryType != CU_MEMORYTYPE_DEVICE)
        standin_misuse("a copy that is not from the host to the device");
    else if (!is_in(copy->srcHost, from, true))
        standin_misuse("a copy from memory that is not pinned");
    else if (!standin_is_device_memory(copy->dstDevice, to))
        standin_misuse("a copy to what is not the device's memory");
}

CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D *copy, CUstream stream)
{
    CUresult r = begin("cuMemcpy2DAsync", true);
    check_copy(copy);
    if (r == CUDA_SUCCESS && is_stream(stream)) {
        if (stream->queued - stream->done == MAX_COPIES)
            standin_stream_do(stream, stream->done + 1);
        stream->copies[stream->queued++ % MAX_COPIES] = *copy;
    }
    return end(r);
}

CUresult cuStreamCreate(CUstream *out, unsigned flags)
{
    CUresult r = begin("cuStreamCreate", true);
    (void)flags;
    *out = r == CUDA_SUCCESS ? calloc(1, sizeof(**out)) : NULL;
    for (unsigned i = 0; *out && i < MAX_STREAMS; i++) {
        if (!streams[i]) {
            streams[i] = *out;
            standin()->streams++;
            break;
        }
    }
    return end(r);
}

CUresult cuStreamSynchronize(CUstream stream)
{
    CUresult r = begin("cuStreamSynchronize", true);
    if (r == CUDA_SUCCESS)
        standin_stream_do(stream, standin_stream_queued(stream));
    return end(r);
}

CUresult cuStreamDestroy_v2(CUstream stream)
{
    begin("cuStreamDestroy", true);
    for (unsigned i = 0; i < MAX_STREAMS && is_stream(stream); i++) {
        if (streams[i] == stream) {
            streams[i] = NULL;
            free(stream);
            standin()->streams--;
            break;
        }
    }
    return end(CUDA_SUCCESS);
}
