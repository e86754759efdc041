/* A pool of threads that runs pieces of work in the order they were pushed, urgent ones first.
 *
 * The caller embeds struct work in its own job and keeps it alive until run() has been entered;
 * run() owns the job from then on. What bounds a queue is what bounds its jobs (the spool for
 * encoding, the kernel's request limit for requests). */
#ifndef SQYFS_BASE_WORKQ_H
#define SQYFS_BASE_WORKQ_H

struct workq;

struct work {
    void (*run)(struct work *work);
    struct work *next;
};

/* `name` (at most 12 bytes used) names the threads. 0 or a negative errno. */
int workq_create(const char *name, unsigned n_threads, struct workq **out);

void workq_push(struct workq *queue, struct work *work);

/* Goes before all that is not urgent: somebody waits for it, or will in a moment. */
void workq_push_urgent(struct workq *queue, struct work *work);

/* Pushed work waiting for a thread, at this moment. */
unsigned workq_depth(struct workq *queue);

/* Runs what is queued, joins the threads, frees. Nobody may push meanwhile. */
void workq_destroy(struct workq **queue);

#endif
