#include "volume/policy.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

#define POLICY_TEMP ".sqyfs/policy.new"
/* Nobody writes a policy file by hand that is longer; a longer one is not read. */
#define POLICY_MAX_BYTES (16u << 20)

/* A line of the file; `path` NULL where it is a comment or not understood: kept as it is. */
struct line {
    char *text; /* the pipeline, or the line itself */
    char *path;
};

struct policy {
    int root_fd;
    pthread_mutex_t lock; /* guards the lines; held while the file is replaced, which is rare */
    struct line *lines;
    size_t n_lines;
};

static void free_line(struct line *line)
{
    free(line->text);
    free(line->path);
}

static char *unescape(const char *escaped)
{
    char *plain = malloc(strlen(escaped) + 1), *to = plain;
    if (plain == NULL)
        return NULL;
    for (const char *p = escaped; *p != '\0'; p++) {
        unsigned code;
        if (p[0] == '\\' && sscanf(p + 1, "%3o", &code) == 1 && strspn(p + 1, "01234567") >= 3) {
            *to++ = (char)code;
            p += 3;
        } else {
            *to++ = *p;
        }
    }
    *to = '\0';
    return plain;
}

static void print_escaped(FILE *file, const char *plain)
{
    for (const unsigned char *p = (const unsigned char *)plain; *p != '\0'; p++) {
        if (*p == '\\' || *p < 0x20 || *p == 0x7f)
            fprintf(file, "\\%03o", *p);
        else
            fputc(*p, file);
    }
}

static int add_line(struct policy *policy, char *text, char *path)
{
    struct line *grown = realloc(policy->lines, (policy->n_lines + 1) * sizeof(*grown));
    if (grown != NULL)
        policy->lines = grown;
    if (grown == NULL || text == NULL) {
        free(text);
        free(path);
        return -ENOMEM;
    }
    policy->lines[policy->n_lines++] = (struct line){text, path};
    return 0;
}

static int parse_line(struct policy *policy, char *line)
{
    char *text = strchr(line, '\t');
    char *path = text != NULL ? strchr(text + 1, '\t') : NULL;
    if (path == NULL || text - line != 8 || strncmp(line, "pipeline", 8) != 0) {
        if (line[0] != '#' && line[0] != '\0')
            log_warn("%s: a line is not understood and left alone: %s", POLICY_FILE, line);
        return add_line(policy, strdup(line), NULL);
    }
    char *plain = unescape(path + 1);
    if (plain == NULL)
        return -ENOMEM;
    return add_line(policy, strndup(text + 1, (size_t)(path - text - 1)), plain);
}

static int read_file(struct policy *policy)
{
    int fd = openat(policy->root_fd, POLICY_FILE, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    FILE *file = fdopen(fd, "r");
    if (file == NULL) {
        close(fd);
        return -ENOMEM;
    }
    char *line = NULL;
    size_t cap = 0, total = 0;
    ssize_t len;
    int r = 0;
    while (r >= 0 && total < POLICY_MAX_BYTES && (len = getline(&line, &cap, file)) > 0) {
        total += (size_t)len;
        line[strcspn(line, "\n")] = '\0';
        r = parse_line(policy, line);
    }
    free(line);
    fclose(file);
    return r;
}

int policy_open(int root_fd, struct policy **out)
{
    struct policy *policy = calloc(1, sizeof(*policy));
    if (policy == NULL)
        return -ENOMEM;
    policy->root_fd = root_fd;
    pthread_mutex_init(&policy->lock, NULL);
    int r = read_file(policy);
    if (r < 0) {
        policy_close(&policy);
        return r;
    }
    *out = policy;
    return 0;
}

void policy_close(struct policy **policy_p)
{
    struct policy *policy = *policy_p;
    if (policy == NULL)
        return;
    for (size_t i = 0; i < policy->n_lines; i++)
        free_line(&policy->lines[i]);
    free(policy->lines);
    pthread_mutex_destroy(&policy->lock);
    free(policy);
    *policy_p = NULL;
}

static struct line *find(struct policy *policy, const char *path, size_t len)
{
    for (size_t i = policy->n_lines; i-- > 0;) { /* the last line counts */
        struct line *line = &policy->lines[i];
        if (line->path != NULL && strlen(line->path) == len && memcmp(line->path, path, len) == 0)
            return line;
    }
    return NULL;
}

int policy_get(struct policy *policy, const char *path, int inherit, char **text)
{
    pthread_mutex_lock(&policy->lock);
    size_t len = strlen(path);
    struct line *line = find(policy, path, len);
    while (line == NULL && inherit && len > 0) {
        while (len > 0 && path[len - 1] != '/')
            len--;
        if (len > 0)
            len--;
        line = find(policy, path, len);
    }
    int r = -ENODATA;
    if (line != NULL) {
        *text = strdup(line->text);
        r = *text != NULL ? 0 : -ENOMEM;
    }
    pthread_mutex_unlock(&policy->lock);
    return r;
}

static void print_lines(const struct policy *policy, FILE *file)
{
    for (size_t i = 0; i < policy->n_lines; i++) {
        const struct line *line = &policy->lines[i];
        if (line->path == NULL) {
            fprintf(file, "%s\n", line->text);
            continue;
        }
        fprintf(file, "pipeline\t%s\t", line->text);
        print_escaped(file, line->path);
        fputc('\n', file);
    }
}

/* To a new file, synced, then over the old one. Lock held. */
static int save(struct policy *policy)
{
    int fd = openat(policy->root_fd, POLICY_TEMP, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return -errno;
    FILE *file = fdopen(fd, "w");
    if (file == NULL) {
        close(fd);
        return -ENOMEM;
    }
    print_lines(policy, file);
    bool written = fflush(file) == 0 && fsync(fd) == 0;
    int r = written ? 0 : -errno;
    fclose(file);
    if (r >= 0 && renameat(policy->root_fd, POLICY_TEMP, policy->root_fd, POLICY_FILE) < 0)
        r = -errno;
    if (r >= 0 && fsync(policy->root_fd) < 0)
        r = -errno;
    return r;
}

static void remove_line(struct policy *policy, struct line *line)
{
    free_line(line);
    size_t at = (size_t)(line - policy->lines);
    memmove(line, line + 1, (policy->n_lines - at - 1) * sizeof(*line));
    policy->n_lines--;
}

int policy_set(struct policy *policy, const char *path, const char *text)
{
    pthread_mutex_lock(&policy->lock);
    struct line *line = find(policy, path, strlen(path));
    int r = text == NULL && line == NULL ? -ENODATA : 0;
    while (line != NULL) {
        remove_line(policy, line);
        line = find(policy, path, strlen(path));
    }
    if (r >= 0 && text != NULL) {
        char *copy = strdup(path);
        r = copy != NULL ? add_line(policy, strdup(text), copy) : -ENOMEM;
    }
    if (r >= 0)
        r = save(policy);
    pthread_mutex_unlock(&policy->lock);
    return r;
}

/* What follows `dir` in `path` ("" or "/..."), or NULL where it is not below. */
static const char *below(const char *path, const char *dir)
{
    size_t len = strlen(dir);
    if (strncmp(path, dir, len) != 0 || (path[len] != '\0' && path[len] != '/'))
        return NULL;
    return path + len;
}

int policy_rename(struct policy *policy, const char *from, const char *to)
{
    pthread_mutex_lock(&policy->lock);
    int r = 0;
    bool any = false;
    for (size_t i = 0; i < policy->n_lines && r >= 0; i++) {
        struct line *line = &policy->lines[i];
        const char *rest = line->path != NULL ? below(line->path, from) : NULL;
        char *renamed;
        if (rest == NULL)
            continue;
        if (asprintf(&renamed, "%s%s", to, rest) < 0) {
            r = -ENOMEM;
            break;
        }
        free(line->path);
        line->path = renamed;
        any = true;
    }
    if (r >= 0 && any)
        r = save(policy);
    pthread_mutex_unlock(&policy->lock);
    return r;
}

int policy_remove(struct policy *policy, const char *path)
{
    pthread_mutex_lock(&policy->lock);
    bool any = false;
    for (size_t i = policy->n_lines; i-- > 0;) {
        struct line *line = &policy->lines[i];
        if (line->path != NULL && below(line->path, path) != NULL) {
            remove_line(policy, line);
            any = true;
        }
    }
    int r = any ? save(policy) : 0;
    pthread_mutex_unlock(&policy->lock);
    return r;
}
