/* x264's and x265's parsers judge what libavcodec would only hand on to them and then ignore. */
#include "codec/video_check.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#ifdef HAVE_X264

#include <x264.h>

#define TEXT_OF(x)  #x
#define TEXT(x)     TEXT_OF(x)
#define VERSION_264 TEXT(X264_BUILD)

static bool is_one_of(const char *const *names, const char *value)
{
    while (*names && strcmp(*names, value) != 0)
        names++;
    return *names;
}

/* x264 says on standard error what it does not know of these. */
static int check_x264(const char *name, const char *value)
{
    x264_param_t param;
    if (!strcmp(name, "preset"))
        return is_one_of(x264_preset_names, value) ? 0 : -EINVAL;
    if (!strcmp(name, "tune"))
        return is_one_of(x264_tune_names, value) ? 0 : -EINVAL;
    if (!strcmp(name, "profile"))
        return is_one_of(x264_profile_names, value) ? 0 : -EINVAL;
    x264_param_default(&param);
    param.i_log_level = X264_LOG_NONE;
    int r = x264_param_parse(&param, name, value);
    x264_param_cleanup(&param);
    return r == X264_PARAM_BAD_NAME ? -ENOENT : r < 0 ? -EINVAL : 0;
}

#else

#define VERSION_264 ""

static int check_x264(const char *name, const char *value)
{
    (void)name, (void)value;
    return -ENOTSUP;
}

#endif

#ifdef HAVE_X265

#include <x265.h>

static const char *version_265(void)
{
    return x265_version_str;
}

static int check_x265(const char *name, const char *value)
{
    x265_param *param = x265_param_alloc();
    int r;
    if (!param)
        return -ENOMEM;
    x265_param_default(param);
    param->logLevel = X265_LOG_NONE;
    if (!strcmp(name, "preset"))
        r = x265_param_default_preset(param, value, NULL) < 0 ? -EINVAL : 0;
    else if (!strcmp(name, "tune"))
        r = x265_param_default_preset(param, NULL, value) < 0 ? -EINVAL : 0;
    else if (!strcmp(name, "profile"))
        r = x265_param_apply_profile(param, value) < 0 ? -EINVAL : 0;
    else
        r = x265_param_parse(param, name, value);
    x265_param_free(param);
    return r == X265_PARAM_BAD_NAME ? -ENOENT : r < 0 ? -EINVAL : 0;
}

#else

static const char *version_265(void)
{
    return "";
}

static int check_x265(const char *name, const char *value)
{
    (void)name, (void)value;
    return -ENOTSUP;
}

#endif

int video_names_check(enum video_codec codec, const char *name, const char *value)
{
    return codec == VIDEO_H264 ? check_x264(name, value) : check_x265(name, value);
}

const char *video_names_version(enum video_codec codec)
{
    return codec == VIDEO_H264 ? VERSION_264 : version_265();
}
