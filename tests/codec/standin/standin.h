/* A driver for tests that stands in for NVIDIA's: one library that is found under the names of both, with
 * x264 and x265 inside. It checks that its caller keeps to the interface, is as asynchronous as a device
 * may be (copies and pictures are not touched before somebody waits for them), fails on demand, and ends the
 * process where something is left open at its end. */
#ifndef STANDIN_H
#define STANDIN_H

#include <stdbool.h>
#include <stdint.h>

struct standin {
    /* Set by tests, through standin_reset() at first. */
    bool no_device;  /* cuInit() finds none */
    bool no_engine;  /* a card that cannot encode, as data centres have it */
    bool no_streams; /* no nvEncSetIOCudaStreams() */
    bool no_hevc, no_ten_bits, no_lossless;
    int n_devices;
    uint32_t version;       /* of the encoder's interface: major << 4 | minor */
    int min_size, max_size; /* of a plane's sides */
    int session_limit;      /* of the whole process; 0: none */
    int busy;               /* times that each picture is refused as the encoder is busy */
    int slow_us;            /* a picture takes that long */
    int fail_picture;       /* handing in picture 1, 2, ... (of all sessions) fails, 0: none, ... */
    int fail_reading;       /* ... as does reading what became of it */
    int fail_status; /* ... with this NVENCSTATUS; all later calls fail, too: a lost device */

    /* What has happened since. */
    int sessions_opened, pictures, idrs, loads;
    /* What is open now. */
    int sessions, contexts, current, device_buffers, pinned_buffers, streams, registered, mapped,
        bitstreams, locked;
    int misuses;
    char misuse[160]; /* the first */
};

/* The library's one state; found by dlsym() under its own name. */
struct standin *standin(void);
typedef struct standin *standin_get(void);
/* All faults off, all counts at zero but those of what is open. */
void standin_reset(void);
typedef void standin_reset_all(void);

#endif
