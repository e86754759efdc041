#include "fs/handle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

struct handle_list {
    pthread_mutex_t lock; /* guards the links; a leaf */
    struct handle *head;
};

int handle_list_create(struct handle_list **out)
{
    struct handle_list *list = calloc(1, sizeof(*list));
    if (list == NULL)
        return -ENOMEM;
    pthread_mutex_init(&list->lock, NULL);
    *out = list;
    return 0;
}

void handle_list_destroy(struct handle_list **list_p, struct inode_table *inodes)
{
    struct handle_list *list = *list_p;
    if (list == NULL)
        return;
    while (list->head != NULL) {
        struct handle *handle = list->head;
        handle_close(list, inodes, &handle);
    }
    pthread_mutex_destroy(&list->lock);
    free(list);
    *list_p = NULL;
}

static int add(struct handle_list *list, struct inode_table *inodes, const struct handle *like,
               struct handle **out)
{
    struct handle *handle = malloc(sizeof(*handle));
    if (handle == NULL)
        return -ENOMEM;
    *handle = *like;
    pthread_mutex_init(&handle->lock, NULL);
    inode_hold(inodes, handle->inode);
    pthread_mutex_lock(&list->lock);
    handle->next = list->head;
    handle->link = &list->head;
    if (list->head != NULL)
        list->head->link = &handle->next;
    list->head = handle;
    pthread_mutex_unlock(&list->lock);
    *out = handle;
    return 0;
}

int handle_open(struct handle_list *list, struct inode_table *inodes, struct inode *inode,
                bool write, struct handle **out)
{
    return add(list, inodes, &(struct handle){.inode = inode, .write = write}, out);
}

int handle_opendir(struct handle_list *list, struct inode_table *inodes, struct inode *inode,
                   DIR *dir, struct handle **out)
{
    return add(list, inodes, &(struct handle){.inode = inode, .dir = dir}, out);
}

void handle_close(struct handle_list *list, struct inode_table *inodes, struct handle **handle_p)
{
    struct handle *handle = *handle_p;
    pthread_mutex_lock(&list->lock);
    *handle->link = handle->next;
    if (handle->next != NULL)
        handle->next->link = handle->link;
    pthread_mutex_unlock(&list->lock);
    if (handle->dir != NULL) {
        closedir(handle->dir);
    } else {
        stack_reader_end(handle->inode->stack, &handle->reader);
        stack_release(handle->inode->stack, handle->write);
    }
    inode_release(inodes, handle->inode);
    pthread_mutex_destroy(&handle->lock);
    free(handle->list.entries);
    free(handle->list.names);
    free(handle);
    *handle_p = NULL;
}

size_t handle_writers(struct handle_list *list, int **fds)
{
    size_t n = 0, room = 0;
    pthread_mutex_lock(&list->lock);
    for (const struct handle *h = list->head; h != NULL; h = h->next)
        room += h->write;
    *fds = calloc(room + 1, sizeof(**fds));
    for (const struct handle *h = list->head; h != NULL && *fds != NULL; h = h->next) {
        int fd = h->write ? fcntl(h->inode->fd, F_DUPFD_CLOEXEC, 0) : -1;
        if (fd >= 0)
            (*fds)[n++] = fd;
    }
    pthread_mutex_unlock(&list->lock);
    return n;
}
