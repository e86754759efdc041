/* The driver's libraries, libcuda.so.1 and libnvidia-encode.so.1, as loaded. Only nvenc*.c includes this. */
#ifndef SQYFS_CODEC_NVENC_DRIVER_H
#define SQYFS_CODEC_NVENC_DRIVER_H

#include "codec/video_encoder.h"

#include <ffnvcodec/dynlink_cuda.h>
#include <ffnvcodec/nvEncodeAPI.h>

/* Where the two lie, in place of the places that the linker knows. */
#define NVENC_LIBRARIES_ENV "SQY_NVIDIA_LIBRARIES"

#define NVENC_NAME_MAX    64
#define NVENC_MAX_DEVICES 16

/* dynlink_cuda.h lacks these. */
typedef CUresult CUDAAPI nvenc_cu_driver_get_version(int *version);
typedef CUresult CUDAAPI nvenc_cu_mem_host_alloc(void **out, size_t len, unsigned flags);
typedef CUresult CUDAAPI nvenc_cu_mem_free_host(void *mem);

struct nvenc_cuda {
    tcuInit *init;
    nvenc_cu_driver_get_version *driver_get_version;
    tcuDeviceGetCount *device_get_count;
    tcuDeviceGet *device_get;
    tcuDeviceGetName *device_get_name;
    tcuDevicePrimaryCtxRetain *ctx_retain;
    tcuDevicePrimaryCtxRelease *ctx_release;
    tcuCtxPushCurrent_v2 *ctx_push;
    tcuCtxPopCurrent_v2 *ctx_pop;
    nvenc_cu_mem_host_alloc *mem_host_alloc;
    nvenc_cu_mem_free_host *mem_free_host;
    tcuMemAllocPitch_v2 *mem_alloc_pitch;
    tcuMemFree_v2 *mem_free;
    tcuMemcpy2DAsync_v2 *memcpy_2d_async;
    tcuStreamCreate *stream_create;
    tcuStreamSynchronize *stream_synchronize;
    tcuStreamDestroy_v2 *stream_destroy;
    tcuGetErrorName *get_error_name;
};

struct nvenc_driver {
    void *libraries[2];
    struct nvenc_cuda cuda;
    NV_ENCODE_API_FUNCTION_LIST api;
    uint32_t version; /* of the encoder's interface that the driver speaks: major << 4 | minor */
    int n_devices;
};

/* 0, or -ENODEV with the reason in `why`; a driver that did not open needs no closing. */
int nvenc_driver_open(struct nvenc_driver *driver, char why[VIDEO_WHY_MAX]);
/* Without the encoder; checks that the decoder's library can be loaded, and leaves it loaded. */
int nvenc_driver_find_decoder(char why[VIDEO_WHY_MAX]);
void nvenc_driver_close(struct nvenc_driver *driver);
/* "no encode device" */
const char *nvenc_driver_status(NVENCSTATUS status);
const char *nvenc_driver_cuda_error(const struct nvenc_driver *driver, CUresult error);
/* The device's name, of at most NVENC_NAME_MAX - 1 bytes. */
void nvenc_driver_device_name(const struct nvenc_driver *driver, int device,
                              char name[NVENC_NAME_MAX]);

#endif
