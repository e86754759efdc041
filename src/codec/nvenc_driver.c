#include "codec/nvenc_driver.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CUDA_LIBRARY   "libcuda.so.1"
#define ENCODE_LIBRARY "libnvidia-encode.so.1"
#define DECODE_LIBRARY "libnvcuvid.so.1"
#define PATH_BYTES     4096

/* Containers and the like keep a driver where the linker does not look. */
static const char *const folders[] = {"/usr/local/nvidia/lib64", "/usr/lib/wsl/lib", NULL};

/* Loaded once, it stays: a driver has threads of its own, and does not like to go. */
static void *open_at(const char *folder, const char *name)
{
    char path[PATH_BYTES];
    int len = snprintf(path, sizeof(path), "%s/%s", folder, name);
    if (len < 0 || (size_t)len >= sizeof(path))
        return NULL;
    return dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
}

static void *open_library(const char *name)
{
    const char *folder = secure_getenv(NVENC_LIBRARIES_ENV);
    if (folder && folder[0])
        return open_at(folder, name);
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    for (unsigned i = 0; !library && folders[i]; i++)
        library = open_at(folders[i], name);
    return library;
}

static int refuse(char why[VIDEO_WHY_MAX], const char *what, const char *more)
{
    snprintf(why, VIDEO_WHY_MAX, "%s%s%s", what, more[0] ? ": " : "", more);
    return -ENODEV;
}

struct wanted {
    const char *name;
    void *at; /* the pointer to fill */
};

/* POSIX lets data pointers from dlsym() be functions; ISO C wants the detour. */
static int find_symbols(void *library, const struct wanted *wanted, char why[VIDEO_WHY_MAX])
{
    for (; wanted->name; wanted++) {
        void *symbol = dlsym(library, wanted->name);
        if (!symbol)
            return refuse(why, "the driver lacks", wanted->name);
        memcpy(wanted->at, &symbol, sizeof(symbol));
    }
    return 0;
}

static int find_cuda(struct nvenc_driver *driver, char why[VIDEO_WHY_MAX])
{
    struct nvenc_cuda *cuda = &driver->cuda;
    const struct wanted wanted[] = {
        {"cuInit", &cuda->init},
        {"cuDriverGetVersion", &cuda->driver_get_version},
        {"cuDeviceGetCount", &cuda->device_get_count},
        {"cuDeviceGet", &cuda->device_get},
        {"cuDeviceGetName", &cuda->device_get_name},
        {"cuDevicePrimaryCtxRetain", &cuda->ctx_retain},
        {"cuDevicePrimaryCtxRelease", &cuda->ctx_release},
        {"cuCtxPushCurrent_v2", &cuda->ctx_push},
        {"cuCtxPopCurrent_v2", &cuda->ctx_pop},
        {"cuMemHostAlloc", &cuda->mem_host_alloc},
        {"cuMemFreeHost", &cuda->mem_free_host},
        {"cuMemAllocPitch_v2", &cuda->mem_alloc_pitch},
        {"cuMemFree_v2", &cuda->mem_free},
        {"cuMemcpy2DAsync_v2", &cuda->memcpy_2d_async},
        {"cuStreamCreate", &cuda->stream_create},
        {"cuStreamSynchronize", &cuda->stream_synchronize},
        {"cuStreamDestroy_v2", &cuda->stream_destroy},
        {"cuGetErrorName", &cuda->get_error_name},
        {NULL, NULL},
    };
    return find_symbols(driver->libraries[0], wanted, why);
}

static int count_devices(struct nvenc_driver *driver, char why[VIDEO_WHY_MAX])
{
    CUresult r = driver->cuda.init(0);
    if (r == CUDA_SUCCESS)
        r = driver->cuda.device_get_count(&driver->n_devices);
    if (r != CUDA_SUCCESS)
        return refuse(why, "CUDA does not start", nvenc_driver_cuda_error(driver, r));
    if (driver->n_devices < 1)
        return refuse(why, "no NVIDIA device", "");
    if (driver->n_devices > NVENC_MAX_DEVICES)
        driver->n_devices = NVENC_MAX_DEVICES;
    return 0;
}

static int open_api(struct nvenc_driver *driver, char why[VIDEO_WHY_MAX])
{
    const uint32_t ours = NVENCAPI_MAJOR_VERSION << 4 | NVENCAPI_MINOR_VERSION;
    NVENCSTATUS(NVENCAPI * get_version)(uint32_t *);
    NVENCSTATUS(NVENCAPI * create)(NV_ENCODE_API_FUNCTION_LIST *);
    const struct wanted wanted[] = {
        {"NvEncodeAPIGetMaxSupportedVersion", &get_version},
        {"NvEncodeAPICreateInstance", &create},
        {NULL, NULL},
    };
    char text[64];
    int r = find_symbols(driver->libraries[1], wanted, why);
    if (r < 0)
        return r;
    if (get_version(&driver->version) != NV_ENC_SUCCESS || driver->version < ours) {
        snprintf(text, sizeof(text), "its encoder speaks version %u.%u, %d.%d is needed",
                 (unsigned)driver->version >> 4, (unsigned)driver->version & 15,
                 NVENCAPI_MAJOR_VERSION, NVENCAPI_MINOR_VERSION);
        return refuse(why, "the driver is too old", text);
    }
    driver->api.version = NV_ENCODE_API_FUNCTION_LIST_VER;
    NVENCSTATUS status = create(&driver->api);
    if (status != NV_ENC_SUCCESS)
        return refuse(why, "the encoder's interface", nvenc_driver_status(status));
    return 0;
}

static int open_cuda(struct nvenc_driver *driver, char why[VIDEO_WHY_MAX])
{
    *driver = (struct nvenc_driver){.n_devices = 0};
    driver->libraries[0] = open_library(CUDA_LIBRARY);
    if (!driver->libraries[0])
        return refuse(why, "no NVIDIA driver", "no " CUDA_LIBRARY);
    int r = find_cuda(driver, why);
    return r < 0 ? r : count_devices(driver, why);
}

int nvenc_driver_open(struct nvenc_driver *driver, char why[VIDEO_WHY_MAX])
{
    int r = open_cuda(driver, why);
    if (r == 0) {
        driver->libraries[1] = open_library(ENCODE_LIBRARY);
        r = driver->libraries[1] ? open_api(driver, why)
                                 : refuse(why, "the driver has no encoder", "no " ENCODE_LIBRARY);
    }
    if (r < 0)
        nvenc_driver_close(driver);
    return r;
}

int nvenc_driver_find_decoder(char why[VIDEO_WHY_MAX])
{
    struct nvenc_driver driver;
    int r = open_cuda(&driver, why);
    if (r == 0) {
        driver.libraries[1] = open_library(DECODE_LIBRARY);
        if (!driver.libraries[1])
            r = refuse(why, "the driver has no decoder", "no " DECODE_LIBRARY);
    }
    nvenc_driver_close(&driver);
    return r;
}

void nvenc_driver_close(struct nvenc_driver *driver)
{
    for (unsigned i = 2; i-- > 0;) {
        if (driver->libraries[i])
            dlclose(driver->libraries[i]);
        driver->libraries[i] = NULL;
    }
}

const char *nvenc_driver_status(NVENCSTATUS status)
{
    static const char *const texts[] = {
        [NV_ENC_SUCCESS] = "success",
        [NV_ENC_ERR_NO_ENCODE_DEVICE] = "no encode device",
        [NV_ENC_ERR_UNSUPPORTED_DEVICE] = "unsupported device",
        [NV_ENC_ERR_INVALID_ENCODERDEVICE] = "invalid encoder device",
        [NV_ENC_ERR_INVALID_DEVICE] = "invalid device",
        [NV_ENC_ERR_DEVICE_NOT_EXIST] = "device lost",
        [NV_ENC_ERR_INVALID_PTR] = "invalid pointer",
        [NV_ENC_ERR_INVALID_EVENT] = "invalid event",
        [NV_ENC_ERR_INVALID_PARAM] = "invalid parameter",
        [NV_ENC_ERR_INVALID_CALL] = "invalid call",
        [NV_ENC_ERR_OUT_OF_MEMORY] = "out of memory or sessions",
        [NV_ENC_ERR_ENCODER_NOT_INITIALIZED] = "encoder not initialized",
        [NV_ENC_ERR_UNSUPPORTED_PARAM] = "unsupported parameter",
        [NV_ENC_ERR_LOCK_BUSY] = "lock busy",
        [NV_ENC_ERR_NOT_ENOUGH_BUFFER] = "not enough buffer",
        [NV_ENC_ERR_INVALID_VERSION] = "invalid version",
        [NV_ENC_ERR_MAP_FAILED] = "map failed",
        [NV_ENC_ERR_NEED_MORE_INPUT] = "need more input",
        [NV_ENC_ERR_ENCODER_BUSY] = "encoder busy",
        [NV_ENC_ERR_EVENT_NOT_REGISTERD] = "event not registered",
        [NV_ENC_ERR_GENERIC] = "generic error",
        [NV_ENC_ERR_INCOMPATIBLE_CLIENT_KEY] = "no more sessions for this client",
        [NV_ENC_ERR_UNIMPLEMENTED] = "unimplemented",
        [NV_ENC_ERR_RESOURCE_REGISTER_FAILED] = "resource register failed",
        [NV_ENC_ERR_RESOURCE_NOT_REGISTERED] = "resource not registered",
        [NV_ENC_ERR_RESOURCE_NOT_MAPPED] = "resource not mapped",
    };
    if ((unsigned)status >= sizeof(texts) / sizeof(texts[0]) || !texts[status])
        return "unknown error";
    return texts[status];
}

const char *nvenc_driver_cuda_error(const struct nvenc_driver *driver, CUresult error)
{
    const char *name = NULL;
    if (driver->cuda.get_error_name(error, &name) != CUDA_SUCCESS || !name)
        return "unknown error";
    return name;
}

void nvenc_driver_device_name(const struct nvenc_driver *driver, int device,
                              char name[NVENC_NAME_MAX])
{
    CUdevice handle;
    if (driver->cuda.device_get(&handle, device) != CUDA_SUCCESS ||
        driver->cuda.device_get_name(name, NVENC_NAME_MAX, handle) != CUDA_SUCCESS)
        snprintf(name, NVENC_NAME_MAX, "unknown device");
    name[NVENC_NAME_MAX - 1] = '\0';
}
