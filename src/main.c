/* sqyfs: mounts a store. */
#include <stdio.h>

#include "fs/options.h"
#include "fs/session.h"

int main(int argc, char **argv)
{
    struct options options;
    char why[512];
    int code = SESSION_OK;
    if (options_parse(argc, argv, &options, why, sizeof(why)) < 0) {
        fprintf(stderr, "sqyfs: %s (sqyfs --help says more)\n", why);
        code = SESSION_USAGE;
    } else if (options.help) {
        options_usage(stdout);
    } else if (options.version) {
        puts("sqyfs " SQYFS_VERSION);
    } else {
        code = session_run(&options);
    }
    options_clear(&options);
    return code;
}
