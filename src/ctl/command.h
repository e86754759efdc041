/* A subcommand of sqyctl, and what all of them share: arguments, messages, exit codes. */
#ifndef SQYFS_CTL_COMMAND_H
#define SQYFS_CTL_COMMAND_H

#include <getopt.h>
#include <stdbool.h>

enum exit_code {
    EXIT_OK = 0,
    EXIT_FAILED = 1, /* damage found, or something could not be done: one line on standard error */
    EXIT_USAGE = 2,  /* unknown or bad arguments: usage on standard error */
};

struct command {
    const char *name;
    const char *arguments; /* "[-p PIPELINE] IN OUT.sqy" */
    const char *summary;   /* one line, for the list of commands */
    const char *help;      /* the options, a line each, then what else there is to say */
    int (*run)(const struct command *command, int argc,
               char **argv); /* exit code; argv[0]: the name */
};

extern const struct command bench_command;
extern const struct command codecs_command;
extern const struct command compact_command;
extern const struct command decode_command;
extern const struct command drain_command;
extern const struct command encode_command;
extern const struct command info_command;
extern const struct command ls_command;
extern const struct command reindex_command;
extern const struct command stats_command;
extern const struct command verify_command;

/* ---- arguments (args.c) ---- */

#define ARGS_END  (-1)
#define ARGS_EXIT (-2) /* help was asked for, or an option is wrong: return *exit_code */

/* The next option's letter, as getopt_long(3) gives it. `shorts` without the leading ':'; -h, -V
 * and their long forms are known everywhere and need not be listed in it. */
int args_next(const struct command *command, int argc, char **argv, const char *shorts,
              const struct option *longs, int *exit_code);

/* After ARGS_END: whether at least `min` and at most `max` arguments are left. If not, *exit_code.
 */
bool args_count(const struct command *command, int argc, int min, int max, int *exit_code);

/* Only -h, -V and --json, the options of most commands; then args_count(). */
bool args_plain(const struct command *command, int argc, char **argv, int min, int max, bool *json,
                int *exit_code);

void args_print_version(void);

/* Usage of one command on standard error, after a line that says what is wrong. Returns EXIT_USAGE.
 */
int args_wrong(const struct command *command, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#endif
