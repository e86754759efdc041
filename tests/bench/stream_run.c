#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "stream.h"

/* All threads begin at once, when frames and memory are there. */
struct run {
    stream_part_fn *fn;
    pthread_barrier_t begin;
};

struct thread {
    pthread_t id;
    struct run *run;
    struct stream_part *part;
};

/* In a virtual machine the first touch of memory is slow, whoever touches it. */
static void warm_memory(uint64_t bytes)
{
    if (bytes == 0)
        return;
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
                    -1, 0);
    if (at != MAP_FAILED)
        munmap(at, bytes);
}

static void *thread_main(void *arg)
{
    struct thread *thread = arg;
    pthread_barrier_wait(&thread->run->begin);
    thread->run->fn(thread->part);
    return NULL;
}

static int run_threads(struct run *run, struct stream_part *parts, unsigned n, struct usage *begin)
{
    struct thread threads[STREAM_MAX_PATHS];
    pthread_barrier_init(&run->begin, NULL, n + 1);
    for (unsigned i = 0; i < n; i++) {
        threads[i] = (struct thread){.run = run, .part = &parts[i]};
        if (pthread_create(&threads[i].id, NULL, thread_main, &threads[i]) != 0) {
            fprintf(stderr, "stream: no thread\n");
            exit(1); /* those that wait for one another cannot be told */
        }
    }
    *begin = usage_take(parts[0].stream->daemon);
    pthread_barrier_wait(&run->begin);
    int r = 0;
    for (unsigned i = 0; i < n; i++) {
        pthread_join(threads[i].id, NULL);
        if (parts[i].error < 0) {
            fprintf(stderr, "stream: %s: %s\n", parts[i].path, strerror(-parts[i].error));
            r = parts[i].error;
        }
    }
    pthread_barrier_destroy(&run->begin);
    return r;
}

static int run_then(const char *command)
{
    if (command == NULL)
        return 0;
    int status = system(command);
    if (status != 0)
        fprintf(stderr, "stream: %s: status %d\n", command, status);
    return status == 0 ? 0 : -EIO;
}

static int tell(const struct stream *stream, const struct stream_part *parts,
                const struct usage *begin, const struct usage *spent, stream_more_fn *more)
{
    struct latency series[STREAM_MAX_PATHS], calls;
    uint64_t bytes = 0;
    double accepted = begin->wall, late = 0;
    for (unsigned i = 0; i < stream->n_paths; i++) {
        series[i] = parts[i].calls;
        bytes += parts[i].bytes;
        accepted = parts[i].accepted > accepted ? parts[i].accepted : accepted;
        late = parts[i].late > late ? parts[i].late : late;
    }
    int r = latency_join(series, stream->n_paths, &calls);
    if (r < 0)
        return r;
    double gb = (double)bytes * 1e-9;
    printf("{%s%s\"bytes\": %llu, \"accepted_s\": %.6f, \"durable_s\": %.6f, ", stream->said,
           *stream->said ? ", " : "", (unsigned long long)bytes, accepted - begin->wall,
           spent->wall);
    printf("\"calls\": %zu, \"p50_ms\": %.4f, \"p99_ms\": %.4f, \"p999_ms\": %.4f, "
           "\"max_ms\": %.3f, \"late_ms\": %.3f, ",
           calls.n, latency_at(&calls, 0.5), latency_at(&calls, 0.99), latency_at(&calls, 0.999),
           latency_at(&calls, 1), late * 1e3);
    if (bytes > 0)
        printf("\"accepted_gbs\": %.4f, \"durable_gbs\": %.4f, \"client_s_gb\": %.4f, "
               "\"daemon_s_gb\": %.4f, \"machine_s_gb\": %.4f, ",
               gb / (accepted - begin->wall), gb / spent->wall, spent->client / gb,
               spent->daemon / gb, spent->machine / gb);
    else
        printf("\"calls_s\": %.1f, \"client_s\": %.4f, \"daemon_s\": %.4f, ",
               (double)calls.n / spent->wall, spent->client, spent->daemon);
    if (more != NULL)
        more(parts, stream->n_paths);
    printf("\"paths\": %u}\n", stream->n_paths);
    latency_destroy(&calls);
    return 0;
}

static int measure(const struct stream *stream, struct stream_part *parts, stream_part_fn *fn,
                   stream_more_fn *more)
{
    struct run run = {.fn = fn};
    struct usage begin;
    warm_memory(stream->warm);
    int r = run_threads(&run, parts, stream->n_paths, &begin);
    if (r == 0)
        r = run_then(stream->then);
    struct usage end = usage_take(stream->daemon);
    struct usage spent = usage_between(&begin, &end);
    return r < 0 ? r : tell(stream, parts, &begin, &spent, more);
}

int stream_run(const struct stream *stream, size_t n_calls, bool with_frames, stream_part_fn *fn,
               stream_more_fn *more)
{
    struct stream_part parts[STREAM_MAX_PATHS] = {0};
    struct frames frames = {.bytes = NULL};
    int r = 0;
    if (with_frames) {
        r = stream->frames == NULL ? -EINVAL : frames_load(stream->frames, stream->skew, &frames);
        if (r < 0)
            fprintf(stderr, "stream: frames %s: %s\n", stream->frames, strerror(-r));
    }
    for (unsigned i = 0; i < stream->n_paths && r == 0; i++) {
        parts[i] = (struct stream_part){
            .stream = stream, .frames = &frames, .path = stream->paths[i], .index = i};
        r = latency_create(n_calls, &parts[i].calls);
    }
    if (r == 0)
        r = measure(stream, parts, fn, more);
    for (unsigned i = 0; i < stream->n_paths; i++)
        latency_destroy(&parts[i].calls);
    frames_unload(&frames);
    return r;
}

unsigned *stream_shuffled(unsigned n)
{
    unsigned *order = malloc(((size_t)n + 1) * sizeof(*order));
    if (order == NULL)
        return NULL;
    uint64_t state = 1;
    for (unsigned i = 0; i < n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        unsigned at = (unsigned)((state >> 33) % (i + 1u));
        order[i] = order[at];
        order[at] = i;
    }
    return order;
}
