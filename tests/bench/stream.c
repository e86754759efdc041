#include "stream.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage_text[] =
    "usage: stream COMMAND [OPTION...] PATH...\n"
    "Each path is one thread's, all at once; what it took is printed as a line of JSON.\n"
    "  write     a stack a path, in calls of --block; check: it is there, every byte\n"
    "  libtiff   a stack a path, by libtiff in strips of --block\n"
    "  many      --count files of a plane each in the folder PATH; stat: of all of them\n"
    "  read      a file a path, in calls of --block\n"
    "  forget    files and trees are made durable and dropped from the page cache\n"
    "  watch     memory, threads and descriptors of --daemon, a line each --count ms\n"
    "  --frames FILE.raw:WxH  what is written: 16-bit planes, again and again\n"
    "  --bytes SIZE   a path (256M)     --block SIZE   a call (8M)\n"
    "  --tiff         TIFF, not raw     --skew N       planes, or buffers, begin N bytes into a "
    "page\n"
    "  --rate SIZE    a second and path: planes come at fixed times\n"
    "  --mode sequential|descending|planes|mmap        of read\n"
    "  --plane SIZE   of read (8M)      --count N      (128)\n"
    "  --sync         fsync, of many syncfs, belongs to it\n"
    "  --then COMMAND and so does this command's end\n"
    "  --daemon PID   whose CPU time is told, too\n"
    "  --warm SIZE    of memory is touched beforehand\n"
    "  --say FIELDS   the JSON begins with them\n";

static const struct command {
    const char *name;
    int (*run)(const struct stream *stream);
    bool without_path;
} commands[] = {
    {"write", stream_write, false},     {"check", stream_check, false},
    {"libtiff", stream_libtiff, false}, {"many", stream_many, false},
    {"stat", stream_stat, false},       {"read", stream_read, false},
    {"forget", stream_forget, false},   {"watch", stream_watch, true},
};

static const struct option options[] = {
    {"frames", 1, NULL, 'f'}, {"bytes", 1, NULL, 'n'}, {"block", 1, NULL, 'b'},
    {"tiff", 0, NULL, 't'},   {"skew", 1, NULL, 'k'},  {"rate", 1, NULL, 'r'},
    {"mode", 1, NULL, 'm'},   {"plane", 1, NULL, 'p'}, {"count", 1, NULL, 'c'},
    {"sync", 0, NULL, 's'},   {"then", 1, NULL, 'e'},  {"daemon", 1, NULL, 'd'},
    {"warm", 1, NULL, 'w'},   {"say", 1, NULL, 'j'},   {NULL, 0, NULL, 0},
};

static bool parse_bytes(const char *text, uint64_t *out)
{
    char *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    unsigned shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
    end += shift > 0;
    if (errno != 0 || end == text || *end != '\0' || *text == '-' || v > (UINT64_MAX >> 1 >> shift))
        return false;
    *out = (uint64_t)v << shift;
    return true;
}

static bool take_text(struct stream *stream, int c)
{
    switch (c) {
    case 'f':
        stream->frames = optarg;
        return true;
    case 'm':
        stream->mode = optarg;
        return true;
    case 'e':
        stream->then = optarg;
        return true;
    case 'j':
        stream->said = optarg;
        return true;
    case 't':
        stream->tiff = true;
        return true;
    case 's':
        stream->sync = true;
        return true;
    default:
        return false;
    }
}

static bool take_number(struct stream *stream, int c)
{
    uint64_t n;
    if (c == '?' || optarg == NULL || !parse_bytes(optarg, &n))
        return false;
    switch (c) {
    case 'n':
        stream->bytes = n;
        return true;
    case 'b':
        stream->block = (size_t)n;
        return n > 0;
    case 'p':
        stream->plane = (size_t)n;
        return n > 0;
    case 'k':
        stream->skew = (unsigned)n;
        return n < 4096 && n % 2 == 0;
    case 'r':
        stream->rate = (double)n;
        return true;
    case 'c':
        stream->count = (unsigned)n;
        return n <= INT32_MAX;
    case 'd':
        stream->daemon = (pid_t)n;
        return n > 0 && n <= INT32_MAX;
    default:
        stream->warm = n;
        return c == 'w';
    }
}

static const struct command *command_of(const char *name)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

int main(int argc, char **argv)
{
    struct stream stream = {.said = "",
                            .mode = "sequential",
                            .bytes = 256u << 20,
                            .block = 8u << 20,
                            .plane = 8u << 20,
                            .count = 128};
    const struct command *command = argc > 1 ? command_of(argv[1]) : NULL;
    bool good = command != NULL;
    for (int c; good && (c = getopt_long(argc - 1, argv + 1, "", options, NULL)) != -1;)
        good = take_text(&stream, c) || take_number(&stream, c);
    for (int i = optind + 1; good && i < argc; i++) {
        good = stream.n_paths < STREAM_MAX_PATHS;
        if (good)
            stream.paths[stream.n_paths++] = argv[i];
    }
    if (!good || (stream.n_paths == 0) != command->without_path) {
        fputs(usage_text, stderr);
        return 2;
    }
    int r = command->run(&stream);
    if (r < 0)
        fprintf(stderr, "stream %s: %s\n", command->name, strerror(-r));
    return r < 0;
}
