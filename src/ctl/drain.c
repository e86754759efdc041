#include <errno.h>
#include <sys/stat.h>

#include "base/quote.h"
#include "ctl/command.h"
#include "ctl/mounted.h"
#include "ctl/say.h"

static int run(const struct command *command, int argc, char **argv)
{
    int code;
    if (!args_plain(command, argc, argv, 1, 1, NULL, &code))
        return code;
    const char *path = argv[optind];
    char quoted[SAY_PATH_MAX];
    struct stat st;
    if (stat(path, &st) < 0)
        return say_error("drain", path, -errno);
    if (!mounted_is_root(path))
        return say_failed("%s is not the root of a sqyfs mount: give the mount point",
                          quote(path, quoted, sizeof(quoted)));
    int r = mounted_command(path, "drain");
    return r < 0 && r != -EROFS ? say_error("drain", path, r) : EXIT_OK; /* that accepts nothing */
}

const struct command drain_command = {
    .name = "drain",
    .arguments = "MOUNT",
    .summary = "Returns when everything the mount has accepted is encoded and durable.",
    .help = "",
    .run = run,
};
