#include "ctl/say.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "base/quote.h"
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

const char *say_advice(int error)
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
        return "it is read-only there; do it where it can be written to";
    case EISDIR:
        return "it is a directory; give a file";
    case ENOTDIR:
        return "it, or what should be a directory on the way to it, is not a directory";
    case ESPIPE:
        return "it is a pipe or a device; give a file";
    case ELOOP:
        return "it is a symbolic link that leads nowhere; take it away or give its target";
    case EPIPE:
        return "whoever read it has gone";
    case EBADF:
        return "it is closed";
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
    if (strcmp(path, "-") == 0 && strcmp(what, "write") == 0)
        path = "standard output";
    return say_failed("cannot %s %s: %s", what, quote(path, quoted, sizeof(quoted)),
                      say_advice(error));
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
