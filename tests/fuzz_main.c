/* Runs a fuzz target without a fuzzing engine, as an ordinary test: first every file given (or
 * found in a folder given), then mutations of them, which depend on nothing but the seed.
 *
 *   fuzz_x [-n RUNS] [-s SEED] [-m MAX_BYTES] [-r RUN [-o FILE]] [FILE|FOLDER]...
 *
 * Where the target dies, a line on standard error names the file or the run; `-r RUN` repeats just
 * that run, `-o FILE` keeps its input. A path that does not exist is skipped, so that optional
 * collections may be named. Link a target with this file, or with -fsanitize=fuzzer instead of it.
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

#define DEFAULT_RUNS 20000
#define DEFAULT_MAX_BYTES                                                                          \
    ((size_t)64 << 10) /* larger files are replayed whole, and cut for mutation */
#define MAX_DEPTH 8    /* of folders */

struct input {
    uint8_t *data;
    size_t len;
};

struct corpus {
    struct input *inputs;
    size_t n;
    size_t max_bytes; /* of what is kept for mutation */
};

/* What is being run: a signal handler has no other way to know. */
static char running[512];

static void say_what_was_running(void)
{
    size_t len = strnlen(running, sizeof(running));
    if (write(STDERR_FILENO, running, len) < 0)
        return; /* nothing is left to be done about it */
}

static void on_signal(int number)
{
    say_what_was_running();
    signal(number, SIG_DFL);
    raise(number);
}

static void watch_for_death(void)
{
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
    if (__sanitizer_set_death_callback) {
        __sanitizer_set_death_callback(say_what_was_running);
        signal(SIGABRT, on_signal);
        return;
    }
    for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
        signal(fatal[i], on_signal);
}

/* ---- the corpus ---- */

static void *must_alloc(void *p)
{
    if (!p) {
        fprintf(stderr, "fuzz: out of memory\n");
        exit(2);
    }
    return p;
}

/* The target gets a copy of exactly the right size, so that a sanitizer sees every byte past its
 * end. */
static void run_once(const uint8_t *data, size_t len)
{
    uint8_t *copy = must_alloc(malloc(len ? len : 1));
    if (len)
        memcpy(copy, data, len);
    LLVMFuzzerTestOneInput(copy, len);
    free(copy);
}

static void corpus_add(struct corpus *c, const uint8_t *data, size_t len)
{
    struct input in = {.len = len < c->max_bytes ? len : c->max_bytes};
    in.data = must_alloc(malloc(in.len ? in.len : 1));
    if (in.len)
        memcpy(in.data, data, in.len);
    c->inputs = must_alloc(realloc(c->inputs, (c->n + 1) * sizeof(*c->inputs)));
    c->inputs[c->n++] = in;
}

static void corpus_free(struct corpus *c)
{
    for (size_t i = 0; i < c->n; i++)
        free(c->inputs[i].data);
    free(c->inputs);
}

static void load_file(struct corpus *c, const char *path, off_t size, bool replay)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        fprintf(stderr, "fuzz: %s: %s\n", path, strerror(errno));
        exit(2);
    }
    uint8_t *data = must_alloc(malloc(size ? (size_t)size : 1));
    size_t len = fread(data, 1, (size_t)size, f);
    fclose(f);
    if (replay) {
        snprintf(running, sizeof(running), "\nfuzz: died on file %.440s\n", path);
        run_once(data, len);
    }
    corpus_add(c, data, len);
    free(data);
}

static void load(struct corpus *c, const char *path, bool replay, unsigned depth);

static void load_folder(struct corpus *c, const char *path, bool replay, unsigned depth)
{
    struct dirent **names;
    int n = scandir(path, &names, NULL, alphasort); /* sorted: the same runs everywhere */
    for (int i = 0; i < n; i++) {
        char *child = NULL;
        if (names[i]->d_name[0] != '.' && asprintf(&child, "%s/%s", path, names[i]->d_name) >= 0)
            load(c, child, replay, depth + 1);
        free(child);
        free(names[i]);
    }
    if (n >= 0)
        free(names);
}

static void load(struct corpus *c, const char *path, bool replay, unsigned depth)
{
    struct stat st;
    if (depth > MAX_DEPTH || stat(path, &st) < 0)
        return;
    if (S_ISDIR(st.st_mode))
        load_folder(c, path, replay, depth);
    else if (S_ISREG(st.st_mode))
        load_file(c, path, st.st_size, replay);
}

/* ---- mutations ---- */

struct rng {
    uint64_t state;
};

/* splitmix64 (Steele, Lea, Flood 2014): each run can start its own stream at any number */
static uint64_t rng_next(struct rng *r)
{
    uint64_t z = (r->state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static size_t rng_below(struct rng *r, size_t n)
{
    return n ? (size_t)(rng_next(r) % n) : 0;
}

/* Lengths are mostly small: long ones only destroy. */
static size_t rng_length(struct rng *r, size_t most)
{
    size_t limit = (size_t)1 << rng_below(r, 12);
    size_t n = 1 + rng_below(r, limit);
    return n < most ? n : most;
}

struct buffer {
    uint8_t *data;
    size_t len, cap;
};

static void change_bit(struct buffer *b, struct rng *r)
{
    if (b->len)
        b->data[rng_below(r, b->len)] ^= (uint8_t)(1u << rng_below(r, 8));
}

static void change_byte(struct buffer *b, struct rng *r)
{
    if (b->len)
        b->data[rng_below(r, b->len)] = (uint8_t)rng_next(r);
}

/* A number at the edge of something, 1 to 8 bytes, either byte order. */
static void change_number(struct buffer *b, struct rng *r)
{
    static const uint64_t edges[] = {0,          1,          0x7f,      0x80,    0xff,
                                     0x7fff,     0x8000,     0xffff,    0x10000, 0x7fffffff,
                                     0x80000000, 0xffffffff, 4096,      1 << 20, 1ull << 32,
                                     1ull << 62, 1ull << 63, UINT64_MAX};
    uint64_t v = edges[rng_below(r, sizeof(edges) / sizeof(edges[0]))] + rng_below(r, 3) - 1;
    size_t width = (size_t)1 << rng_below(r, 4);
    bool big = rng_below(r, 2);
    if (b->len < width)
        return;
    uint8_t *at = b->data + rng_below(r, b->len - width + 1);
    for (size_t i = 0; i < width; i++)
        at[big ? width - 1 - i : i] = (uint8_t)(v >> (8 * i));
}

static void cut_out(struct buffer *b, struct rng *r)
{
    if (!b->len)
        return;
    size_t at = rng_below(r, b->len);
    size_t n = rng_length(r, b->len - at);
    memmove(b->data + at, b->data + at + n, b->len - at - n);
    b->len -= n;
}

static void truncate_it(struct buffer *b, struct rng *r)
{
    b->len = rng_below(r, b->len + 1);
}

static void insert(struct buffer *b, struct rng *r, const uint8_t *from, size_t n)
{
    if (n > b->cap - b->len)
        n = b->cap - b->len;
    size_t at = rng_below(r, b->len + 1);
    memmove(b->data + at + n, b->data + at, b->len - at);
    for (size_t i = 0; i < n; i++)
        b->data[at + i] = from ? from[i] : (uint8_t)rng_next(r);
    b->len += n;
}

static void repeat(struct buffer *b, struct rng *r)
{
    if (!b->len)
        return;
    size_t at = rng_below(r, b->len);
    size_t n = rng_length(r, b->len - at);
    uint8_t *copy = must_alloc(malloc(n));
    memcpy(copy, b->data + at, n);
    insert(b, r, copy, n);
    free(copy);
}

static void splice(struct buffer *b, struct rng *r, const struct corpus *c)
{
    const struct input *other = &c->inputs[rng_below(r, c->n)];
    if (!other->len)
        return;
    size_t at = rng_below(r, other->len);
    insert(b, r, other->data + at, rng_length(r, other->len - at));
}

static void mutate(struct buffer *b, struct rng *r, const struct corpus *c)
{
    switch (rng_below(r, 8)) {
    case 0:
        change_bit(b, r);
        break;
    case 1:
        change_byte(b, r);
        break;
    case 2:
        change_number(b, r);
        break;
    case 3:
        cut_out(b, r);
        break;
    case 4:
        truncate_it(b, r);
        break;
    case 5:
        insert(b, r, NULL, rng_length(r, 64));
        break;
    case 6:
        repeat(b, r);
        break;
    default:
        splice(b, r, c);
    }
}

static void run_mutated(const struct corpus *c, uint64_t seed, uint64_t run, struct buffer *b)
{
    struct rng r = {.state = seed * 0xD1342543DE82EF95u + run};
    const struct input *base = &c->inputs[rng_below(&r, c->n)];
    b->len = base->len;
    if (base->len)
        memcpy(b->data, base->data, base->len);
    for (size_t n = 1 + rng_below(&r, 6); n; n--)
        mutate(b, &r, c);
    snprintf(running, sizeof(running),
             "\nfuzz: died in run %llu of seed %llu (repeat it: -s %llu -r %llu)\n",
             (unsigned long long)run, (unsigned long long)seed, (unsigned long long)seed,
             (unsigned long long)run);
}

static void keep(const struct buffer *b, const char *path)
{
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(b->data, 1, b->len, f) != b->len || fclose(f)) {
        fprintf(stderr, "fuzz: %s: %s\n", path, strerror(errno));
        exit(2);
    }
}

int main(int argc, char **argv)
{
    struct corpus c = {.max_bytes = DEFAULT_MAX_BYTES};
    unsigned long long runs = DEFAULT_RUNS, seed = 1, only = 0;
    const char *keep_at = NULL;
    bool one = false;
    for (int opt; (opt = getopt(argc, argv, "n:s:m:r:o:")) != -1;) {
        if (opt == 'n')
            runs = strtoull(optarg, NULL, 0);
        else if (opt == 's')
            seed = strtoull(optarg, NULL, 0);
        else if (opt == 'm')
            c.max_bytes = strtoull(optarg, NULL, 0);
        else if (opt == 'r')
            only = strtoull(optarg, NULL, 0), one = true;
        else if (opt == 'o')
            keep_at = optarg;
        else
            return 2;
    }
    watch_for_death();
    for (int i = optind; i < argc; i++)
        load(&c, argv[i], !one, 0);
    size_t n_files = c.n;
    if (!c.n)
        corpus_add(&c, NULL, 0);

    struct buffer b = {.cap = 2 * c.max_bytes + 4096};
    b.data = must_alloc(malloc(b.cap));
    for (uint64_t run = one ? only : 0; run < (one ? only + 1 : runs); run++) {
        run_mutated(&c, seed, run, &b);
        if (keep_at)
            keep(&b, keep_at);
        run_once(b.data, b.len);
    }
    printf("fuzz: %zu files, %llu mutations, seed %llu\n", n_files, one ? 1 : runs, seed);
    free(b.data);
    corpus_free(&c);
    return 0;
}
