#include "peer.h"

#ifdef HAVE_BLOSC
#define PEERS_BLOSC peers_blosc
#else
#define PEERS_BLOSC NULL
#endif
#ifdef HAVE_ZLIB
#define PEERS_DEFLATE peers_deflate
#else
#define PEERS_DEFLATE NULL
#endif
#ifdef HAVE_CHARLS
#define PEERS_JPEGLS peers_jpegls
#else
#define PEERS_JPEGLS NULL
#endif
#ifdef HAVE_OPENJPH
#define PEERS_HTJ2K peers_htj2k
#else
#define PEERS_HTJ2K NULL
#endif
#ifdef HAVE_BZIP2
#define PEERS_BZIP2 peers_bzip2
#else
#define PEERS_BZIP2 NULL
#endif

const struct peer_family peer_families[] = {
    {"libsqy", "", peers_sqy},
    {"zstd", "libzstd-dev", peers_zstd},
    {"lz4", "liblz4-dev", peers_lz4},
    {"blosc", "libblosc-dev", PEERS_BLOSC},
    {"delta", "libzstd-dev", peers_delta},
    {"deflate", "zlib1g-dev", PEERS_DEFLATE},
    {"JPEG-LS", "libcharls-dev", PEERS_JPEGLS},
    {"HTJ2K", "libopenjph-dev", PEERS_HTJ2K},
    {"bzip2", "libbz2-dev", PEERS_BZIP2},
    {NULL, NULL, NULL},
};
