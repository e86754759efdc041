/* Open files and directories. The list of them is kept because an unmount does not send every
 * release: what is left is closed from here. */
#ifndef SQYFS_FS_HANDLE_H
#define SQYFS_FS_HANDLE_H

#include <dirent.h>
#include <pthread.h>
#include <stdbool.h>

#include "fs/inode.h"

/* A directory as it was when its stream was begun or rewound; bounded by the directory. */
struct dir_list {
    struct dir_entry {
        ino_t ino;
        size_t name; /* stored name, where in `names` */
        unsigned char type;
    } * entries;
    bool taken;
    size_t n, cap;
    char *names;
    size_t names_len, names_cap;
};

struct handle {
    struct inode *inode;        /* held */
    bool write;                 /* of a file: opened for writing */
    bool refreshes;             /* of a file: the kernel drops pages when it is opened */
    struct stack_reader reader; /* of a file: where it is read */
    DIR *dir;                   /* of a directory, else NULL */
    pthread_mutex_t lock;       /* of a directory: its list; held over reading it, taken last */
    struct dir_list list;
    struct handle *next, **link; /* the list's */
};

struct handle_list;

int handle_list_create(struct handle_list **out);
/* Closes what is open. [waits] */
void handle_list_destroy(struct handle_list **list, struct inode_table *inodes);

/* Of a file whose stack has been opened: handle_close() releases it. */
int handle_open(struct handle_list *list, struct inode_table *inodes, struct inode *inode,
                bool write, struct handle **out);
/* Takes `dir` on success. */
int handle_opendir(struct handle_list *list, struct inode_table *inodes, struct inode *inode,
                   DIR *dir, struct handle **out);
/* [waits] */
void handle_close(struct handle_list *list, struct inode_table *inodes, struct handle **handle);

/* The files that are open for writing: a new descriptor (O_PATH) of each, in an array; the caller
 * closes and frees. Returns how many. */
size_t handle_writers(struct handle_list *list, int **fds);

#endif
