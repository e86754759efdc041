#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/quote.h"
#include "ctl/command.h"
#include "ctl/say.h"

#define MAX_LONGS 16

int args_wrong(const struct command *command, const char *fmt, ...)
{
    va_list ap;
    char text[SAY_PATH_MAX], quoted[SAY_PATH_MAX];
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    fprintf(stderr, "sqyctl %s: %s\nusage: sqyctl %s %s\n", command->name,
            quote(text, quoted, sizeof(quoted)), command->name, command->arguments);
    return EXIT_USAGE;
}

static void print_help(const struct command *command)
{
    printf("usage: sqyctl %s %s\n%s\n\n%s", command->name, command->arguments, command->summary,
           command->help);
    printf("  -h, --help            show this\n"
           "  -V, --version         show the version\n");
}

void args_print_version(void)
{
    printf("sqyctl %s\n", SQYFS_VERSION);
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
    struct option all[MAX_LONGS + 3] = {{"help", no_argument, NULL, 'h'},
                                        {"version", no_argument, NULL, 'V'}};
    for (unsigned i = 0; longs != NULL && longs[i].name != NULL && i < MAX_LONGS; i++)
        all[i + 2] = longs[i];
    char letters[64];
    snprintf(letters, sizeof(letters), ":hV%s", shorts);
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
    if (c == 'V') {
        args_print_version();
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
