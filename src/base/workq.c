#include "base/workq.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

struct workq {
    pthread_mutex_t lock; /* guards all below; a leaf lock */
    pthread_cond_t more;
    struct work *head, **tail;
    struct work **after_urgent; /* the link behind the last urgent one */
    unsigned depth;
    bool closing;
    char name[13];
    unsigned n_threads;
    pthread_t threads[];
};

static void *workq_thread(void *arg)
{
    struct workq *queue = arg;
    pthread_setname_np(pthread_self(), queue->name);
    pthread_mutex_lock(&queue->lock);
    for (;;) {
        while (queue->head == NULL && !queue->closing)
            pthread_cond_wait(&queue->more, &queue->lock);
        struct work *work = queue->head;
        if (work == NULL)
            break;
        queue->head = work->next;
        if (queue->head == NULL)
            queue->tail = &queue->head;
        if (queue->after_urgent == &work->next)
            queue->after_urgent = &queue->head;
        queue->depth--;
        pthread_mutex_unlock(&queue->lock);
        work->run(work);
        pthread_mutex_lock(&queue->lock);
    }
    pthread_mutex_unlock(&queue->lock);
    return NULL;
}

/* Signals belong to the thread that asked for them, never to a pool. */
static int start_thread(struct workq *queue, pthread_t *thread)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = pthread_create(thread, NULL, workq_thread, queue);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return -r;
}

int workq_create(const char *name, unsigned n_threads, struct workq **out)
{
    struct workq *queue = calloc(1, sizeof(*queue) + n_threads * sizeof(queue->threads[0]));
    if (queue == NULL)
        return -ENOMEM;
    pthread_mutex_init(&queue->lock, NULL);
    pthread_cond_init(&queue->more, NULL);
    queue->tail = queue->after_urgent = &queue->head;
    snprintf(queue->name, sizeof(queue->name), "%s", name);
    for (unsigned i = 0; i < n_threads; i++) {
        int r = start_thread(queue, &queue->threads[i]);
        if (r < 0) {
            workq_destroy(&queue);
            return r;
        }
        queue->n_threads++;
    }
    *out = queue;
    return 0;
}

void workq_push(struct workq *queue, struct work *work)
{
    work->next = NULL;
    pthread_mutex_lock(&queue->lock);
    *queue->tail = work;
    queue->tail = &work->next;
    queue->depth++;
    pthread_cond_signal(&queue->more);
    pthread_mutex_unlock(&queue->lock);
}

void workq_push_urgent(struct workq *queue, struct work *work)
{
    pthread_mutex_lock(&queue->lock);
    if (queue->tail == queue->after_urgent)
        queue->tail = &work->next;
    work->next = *queue->after_urgent;
    *queue->after_urgent = work;
    queue->after_urgent = &work->next;
    queue->depth++;
    pthread_cond_signal(&queue->more);
    pthread_mutex_unlock(&queue->lock);
}

unsigned workq_depth(struct workq *queue)
{
    pthread_mutex_lock(&queue->lock);
    unsigned depth = queue->depth;
    pthread_mutex_unlock(&queue->lock);
    return depth;
}

void workq_destroy(struct workq **queue_p)
{
    struct workq *queue = *queue_p;
    if (queue == NULL)
        return;
    pthread_mutex_lock(&queue->lock);
    queue->closing = true;
    pthread_cond_broadcast(&queue->more);
    pthread_mutex_unlock(&queue->lock);
    for (unsigned i = 0; i < queue->n_threads; i++)
        pthread_join(queue->threads[i], NULL);
    pthread_cond_destroy(&queue->more);
    pthread_mutex_destroy(&queue->lock);
    free(queue);
    *queue_p = NULL;
}
