#include "fs/request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SHORT_MS    10
#define SHORT_TRIES 300u

static void request_free(struct request *request)
{
    if (request->buffer != NULL)
        buffer_give(request->fs->buffers, request->buffer);
    free(request->name);
    free(request->name2);
    free(request->data);
    free(request);
}

struct request *request_new(fuse_req_t req, void (*run)(struct request *), const char *name,
                            const char *name2)
{
    struct request *request = calloc(1, sizeof(*request));
    if (request != NULL) {
        request->run = run;
        request->req = req;
        request->fs = fs_of(req);
        request->name = name != NULL ? strdup(name) : NULL;
        request->name2 = name2 != NULL ? strdup(name2) : NULL;
        if ((request->name != NULL) == (name != NULL) &&
            (request->name2 != NULL) == (name2 != NULL))
            return request;
        request_free(request);
    }
    fuse_reply_err(req, ENOMEM);
    return NULL;
}

static void run_work(struct work *work)
{
    struct request *request = (struct request *)work;
    request->run(request);
    request_free(request);
}

void request_defer(struct request *request, enum fs_pool pool)
{
    _Static_assert(offsetof(struct request, work) == 0, "run_work() casts");
    request->work.run = run_work;
    workq_push(request->fs->pools[pool], &request->work);
}

void request_reply(const struct request *request, int r)
{
    fuse_reply_err(request->req, r < 0 ? -r : 0);
}

void request_drop(struct request *request, int r)
{
    request_reply(request, r);
    request_free(request);
}

bool request_try_again(const struct request *request, int r, unsigned *tries)
{
    if (r != -EMFILE || *tries == SHORT_TRIES)
        return false;
    ++*tries;
    inode_refused(request->fs->inodes);
    nanosleep(&(struct timespec){.tv_nsec = SHORT_MS * 1000000l}, NULL);
    return true;
}
