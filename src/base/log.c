#include "base/log.h"

#include <stdarg.h>
#include <syslog.h>

void log_open(const char *name, bool foreground, bool debug)
{
    openlog(name, LOG_PID | (foreground ? LOG_PERROR : 0), LOG_DAEMON);
    setlogmask(LOG_UPTO(debug ? LOG_DEBUG : LOG_INFO));
}

#define LEVEL(function, level)                                                                     \
    void function(const char *fmt, ...)                                                            \
    {                                                                                              \
        va_list ap;                                                                                \
        va_start(ap, fmt);                                                                         \
        vsyslog(level, fmt, ap);                                                                   \
        va_end(ap);                                                                                \
    }

LEVEL(log_error, LOG_ERR)
LEVEL(log_warn, LOG_WARNING)
LEVEL(log_info, LOG_INFO)
LEVEL(log_debug, LOG_DEBUG)
