/* sqyfs: mounts a store. */
#include <stdio.h>
#include <string.h>

#include "base/quote.h"
#include "base/stdfds.h"
#include "fs/options.h"
#include "fs/session.h"

static int print_and_check(void)
{
    int r = stdfds_flush();
    if (r < 0)
        fprintf(stderr, "sqyfs: standard output cannot be written: %s\n", strerror(-r));
    return r < 0 ? SESSION_FAILED : SESSION_OK;
}

int main(int argc, char **argv)
{
    struct options options;
    char why[512], quoted[1024];
    int code;
    stdfds_fill();
    if (options_parse(argc, argv, &options, why, sizeof(why)) < 0) {
        fprintf(stderr, "sqyfs: %s; usage: " OPTIONS_USAGE "; sqyfs --help says more\n",
                quote(why, quoted, sizeof(quoted)));
        code = SESSION_USAGE;
    } else if (options.help) {
        options_usage(stdout);
        code = print_and_check();
    } else if (options.version) {
        puts("sqyfs " SQYFS_VERSION);
        code = print_and_check();
    } else {
        code = session_run(&options);
    }
    options_clear(&options);
    return code;
}
