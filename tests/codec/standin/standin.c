/* The state, and what is checked at the end. */
#include "standin_impl.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static struct standin state = {.n_devices = 1,
                               .version = NVENCAPI_MAJOR_VERSION << 4 | NVENCAPI_MINOR_VERSION,
                               .min_size = 2,
                               .max_size = 8192};
static bool lost;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

STANDIN_API struct standin *standin(void)
{
    return &state;
}

STANDIN_API void standin_reset(void)
{
    const struct standin was = state;
    lost = false;
    state = (struct standin){
        .n_devices = 1,
        .version = NVENCAPI_MAJOR_VERSION << 4 | NVENCAPI_MINOR_VERSION,
        .min_size = 2,
        .max_size = 8192,
        .sessions = was.sessions,
        .contexts = was.contexts,
        .current = was.current,
        .device_buffers = was.device_buffers,
        .pinned_buffers = was.pinned_buffers,
        .streams = was.streams,
        .registered = was.registered,
        .mapped = was.mapped,
        .bitstreams = was.bitstreams,
        .locked = was.locked,
    };
}

void standin_lock(void)
{
    pthread_mutex_lock(&mutex);
}

void standin_unlock(void)
{
    pthread_mutex_unlock(&mutex);
}

void standin_misuse(const char *format, ...)
{
    va_list args;
    if (state.misuses++)
        return;
    va_start(args, format);
    vsnprintf(state.misuse, sizeof(state.misuse), format, args);
    va_end(args);
    fprintf(stderr, "stand-in driver: %s\n", state.misuse);
}

bool standin_lost(void)
{
    return lost;
}

void standin_lose(void)
{
    lost = true;
}

__attribute__((destructor)) static void check_end(void)
{
    const int open = state.sessions + state.contexts + state.current + state.device_buffers +
                     state.pinned_buffers + state.streams + state.registered + state.mapped +
                     state.bitstreams + state.locked;
    if (!open && !state.misuses)
        return;
    fprintf(
        stderr,
        "stand-in driver: %d misuses (%s); left: %d sessions, %d contexts, %d current, %d device "
        "and %d pinned buffers, %d streams, %d registered, %d mapped, %d bitstreams, %d locked\n",
        state.misuses, state.misuse, state.sessions, state.contexts, state.current,
        state.device_buffers, state.pinned_buffers, state.streams, state.registered, state.mapped,
        state.bitstreams, state.locked);
    abort();
}
