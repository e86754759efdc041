/* sqyctl: everything that can be done with blobs and stores beside mounting them. */
#include <stdio.h>
#include <string.h>

#include "base/quote.h"
#include "base/stdfds.h"
#include "ctl/command.h"
#include "ctl/say.h"

static const struct command *const commands[] = {
    &encode_command,  &decode_command,  &info_command,   &verify_command,
    &ls_command,      &reindex_command, &drain_command,  &stats_command,
    &compact_command, &bench_command,   &codecs_command,
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void print_usage(FILE *file)
{
    fprintf(file, "usage: sqyctl COMMAND [ARGUMENT...]\n\n");
    for (size_t i = 0; i < N_COMMANDS; i++)
        fprintf(file, "  %-8s %s\n           %s\n", commands[i]->name, commands[i]->arguments,
                commands[i]->summary);
    fprintf(file, "\n  sqyctl COMMAND --help  the options of one command\n"
                  "  sqyctl --help          show this\n"
                  "  sqyctl --version       show the version\n");
}

static int run(int argc, char **argv)
{
    if (argc < 2) {
        print_usage(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_usage(stdout);
        return EXIT_OK;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        args_print_version();
        return EXIT_OK;
    }
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (strcmp(argv[1], commands[i]->name) == 0)
            return commands[i]->run(commands[i], argc - 1, argv + 1);
    char quoted[SAY_PATH_MAX];
    say_failed("there is no command %s", quote(argv[1], quoted, sizeof(quoted)));
    print_usage(stderr);
    return EXIT_USAGE;
}

int main(int argc, char **argv)
{
    stdfds_fill();
    int code = run(argc, argv);
    int r = stdfds_flush();
    return r < 0 && code == EXIT_OK ? say_error("write", "-", r) : code;
}
