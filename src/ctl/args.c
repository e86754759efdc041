#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ctl/command.h"

#define MAX_LONGS 16

int args_wrong(const struct command *command, const char *fmt, ...)
{
    va_list ap;
    fprintf(stderr, "sqyctl %s: ", command->name);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\nusage: sqyctl %s %s\n", command->name, command->arguments);
    return EXIT_USAGE;
}

static void print_help(const struct command *command)
{
    printf("usage: sqyctl %s %s\n%s\n\n%s", command->name, command->arguments, command->summary,
           command->help);
    printf("  -h, --help            show this\n");
}

static int wrong_option(const struct command *command, int c, char **argv)
{
    const char *what = c == ':' ? "needs a value" : "is not an option here";
    if (optopt > 0 && optopt < 256 && strncmp(argv[optind - 1], "--", 2) != 0)
        return args_wrong(command, "-%c %s", optopt, what);
    return args_wrong(command, "%s %s", argv[optind - 1], what);
}

int args_next(const struct command *command, int argc, char **argv, const char *shorts,
              const struct option *longs, int *exit_code)
{
    struct option all[MAX_LONGS + 2] = {{"help", no_argument, NULL, 'h'}};
    for (unsigned i = 0; longs != NULL && longs[i].name != NULL && i < MAX_LONGS; i++)
        all[i + 1] = longs[i];
    char letters[64];
    snprintf(letters, sizeof(letters), ":h%s", shorts);
    int c = getopt_long(argc, argv, letters, all, NULL);
    if (c == '?' || c == ':') {
        *exit_code = wrong_option(command, c, argv);
        return ARGS_EXIT;
    }
    if (c == 'h') {
        print_help(command);
        *exit_code = EXIT_OK;
        return ARGS_EXIT;
    }
    return c;
}

bool args_count(const struct command *command, int argc, int min, int max, int *exit_code)
{
    int n = argc - optind;
    if (n >= min && n <= max)
        return true;
    *exit_code = args_wrong(command, n < min ? "an argument is missing" : "too many arguments");
    return false;
}

bool args_plain(const struct command *command, int argc, char **argv, int min, int max, bool *json,
                int *exit_code)
{
    static const struct option longs[] = {{"json", no_argument, NULL, 'j'}, {NULL, 0, NULL, 0}};
    int c;
    while ((c = args_next(command, argc, argv, "", json != NULL ? longs : NULL, exit_code)) == 'j')
        *json = true;
    return c == ARGS_END && args_count(command, argc, min, max, exit_code);
}
