#include "ctl/say.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "ctl/command.h"

int say_failed(const char *fmt, ...)
{
    va_list ap;
    fputs("sqyctl: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return EXIT_FAILED;
}

static const char *advice(int error)
{
    switch (-error) {
    case EBADMSG:
        return "no blob, or a damaged one; get it from a backup, or save what is left with "
               "`sqyctl decode --salvage`";
    case ENOTSUP:
        return "made by a newer version or with a pipeline that is not known here; use a newer "
               "sqyctl";
    case ENOSPC:
    case EDQUOT:
        return "no space left; free some and try again";
    case ENOMEM:
        return "out of memory; try again with less running beside it";
    case EACCES:
    case EPERM:
        return "permission denied; run as the owner or as root";
    case EROFS:
        return "the filesystem is read-only";
    case EIO:
        return "the disk could not be read or written; look into the kernel's log";
    case EFBIG:
        return "the file would be larger than the filesystem or a limit allows";
    case ENOENT:
        return "no such file or directory";
    case ENAMETOOLONG:
        return "the name is too long";
    case ECANCELED:
        return "interrupted; nothing was changed";
    default:
        return strerror(-error);
    }
}

int say_error(const char *what, const char *path, int error)
{
    char quoted[SAY_PATH_MAX];
    return say_failed("cannot %s %s: %s", what, say_quote(path, quoted, sizeof(quoted)),
                      advice(error));
}

const char *say_quote(const char *path, char *buf, size_t len)
{
    size_t at = 0;
    for (const unsigned char *c = (const unsigned char *)path; *c != '\0' && at + 5 < len; c++) {
        if (*c < 0x20 || *c == 0x7f || *c == '\\')
            at += (size_t)snprintf(buf + at, len - at, "\\x%02x", *c);
        else
            buf[at++] = (char)*c;
    }
    buf[at] = '\0';
    return buf;
}

void say_path(FILE *file, const char *path)
{
    for (const unsigned char *c = (const unsigned char *)path; *c != '\0'; c++) {
        if (*c < 0x20 || *c == 0x7f || *c == '\\')
            fprintf(file, "\\x%02x", *c);
        else
            fputc(*c, file);
    }
}
