/* A server of the image API that costs next to nothing, so that a benchmark measures the client.
 *
 *   stub PORT IMAGE.png [MEDIAN_S [SIGMA [THROTTLE [ESTIMATE [RETRY_AFTER_S]]]]]
 *
 * One thread on epoll, on 127.0.0.1 only. It takes every request for an image, lets its task run for a
 * lognormal time (median, sigma; the same times in each run), answers reads of one task or of many, and gives
 * out IMAGE with a chunk of text of its own in it, so that no two images are the same file. THROTTLE is the
 * share of paid requests that are answered 429, and RETRY_AFTER_S the wait that it asks for then (0: it says
 * nothing of that); ESTIMATE is what the service says of a task's time, in parts of the median. It checks nothing: the embedded service does that. /stub/counts tells what it was asked,
 * /stub/times how long each task took, in order of their requests.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { MOST_FDS = 1 << 16, PNG_HEAD = 33, NAME_BYTES = 16 };

typedef struct {
    char *in;
    size_t have, room;
    char *text;             /* head, and body where that is text */
    size_t text_size;
    char mark[12 + 2 + NAME_BYTES]; /* this image's own chunk */
    struct iovec parts[4];
    int part, parts_left, closes;
} Connection;

typedef struct {
    double due, took;
    char model[64];
} Task;

static Connection *connections[MOST_FDS];
static Task *tasks;
static size_t task_count, task_room;
static unsigned char *image;
static size_t image_size;
static double median_s = 1.0, sigma = 0.0, throttle = 0.0, estimate = 1.0, retry_after_s = 0.0;
static int port;
static long submits, throttled, reads, reads_of_many, ids_read, downloads, accepted, others;
static uint64_t seed = 88172645463325252ULL;
static uint32_t crc_table[256];

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static double uniform(void) { /* xorshift: the same in each run */
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return ((seed >> 11) + 0.5) / 9007199254740992.0;
}

static double task_time(void) {
    double normal = sqrt(-2 * log(uniform())) * cos(2 * M_PI * uniform());
    return median_s * exp(sigma * normal);
}

static void make_crc_table(void) {
    for (uint32_t n = 0; n < 256; n++) {
        uint32_t c = n;
        for (int k = 0; k < 8; k++) c = c & 1 ? 0xedb88320U ^ (c >> 1) : c >> 1;
        crc_table[n] = c;
    }
}

static void put32(char *at, uint32_t value) {
    value = htonl(value);
    memcpy(at, &value, 4);
}

static void mark_image(char *chunk, size_t number) {
    char name[NAME_BYTES + 1];
    snprintf(name, sizeof name, "%016zu", number);
    put32(chunk, 2 + NAME_BYTES);
    memcpy(chunk + 4, "tEXtn", 6);
    memcpy(chunk + 10, name, NAME_BYTES);
    uint32_t crc = 0xffffffffU;
    for (int i = 4; i < 10 + NAME_BYTES; i++) crc = crc_table[(crc ^ (unsigned char)chunk[i]) & 255] ^ (crc >> 8);
    put32(chunk + 10 + NAME_BYTES, crc ^ 0xffffffffU);
}

static void need(size_t *room, char **buffer, size_t bytes) {
    if (*room >= bytes) return;
    *room = bytes * 2;
    *buffer = realloc(*buffer, *room);
    if (!*buffer) abort();
}

static void end(int fd) {
    Connection *c = connections[fd];
    free(c->in), free(c->text), free(c);
    connections[fd] = NULL;
    close(fd);
}

static const char *date(void) {
    static char text[40];
    static time_t of;
    time_t t = time(NULL);
    if (t != of) strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", gmtime(&t)), of = t;
    return text;
}

/* What is sent: a head, and a body that is text, or the image in three pieces. */
static void answer(Connection *c, const char *status, const char *more, const char *body, size_t size) {
    need(&c->text_size, &c->text, size + 512);
    int head = sprintf(c->text,
                       "HTTP/1.1 %s\r\nDate: %s\r\nContent-Type: application/json\r\n%sContent-Length: %zu\r\n%s\r\n",
                       status, date(), more, size, c->closes ? "Connection: close\r\n" : "");
    memcpy(c->text + head, body, size);
    c->parts[0] = (struct iovec){c->text, head + size};
    c->part = 0, c->parts_left = 1;
}

static void answer_image(Connection *c, size_t number) {
    need(&c->text_size, &c->text, 512);
    mark_image(c->mark, number);
    int head = sprintf(c->text, "HTTP/1.1 200 OK\r\nDate: %s\r\nContent-Type: image/png\r\nContent-Length: %zu\r\n%s\r\n",
                       date(), image_size + sizeof c->mark, c->closes ? "Connection: close\r\n" : "");
    c->parts[0] = (struct iovec){c->text, head};
    c->parts[1] = (struct iovec){image, PNG_HEAD};
    c->parts[2] = (struct iovec){c->mark, sizeof c->mark};
    c->parts[3] = (struct iovec){image + PNG_HEAD, image_size - PNG_HEAD};
    c->part = 0, c->parts_left = 4;
}

static int say_task(char *to, size_t number) {
    Task *task = &tasks[number];
    int ended = now() >= task->due;
    int size = sprintf(to,
                       "{\"created\":%ld,\"id\":\"task-unified-1790000000-%08zu\",\"model\":\"%s\","
                       "\"object\":\"image.generation.task\",\"progress\":%d,\"status\":\"%s\","
                       "\"task_info\":{\"can_cancel\":true,\"estimated_time\":%g},\"type\":\"image\","
                       "\"usage\":{\"billing_rule\":\"per_call\",\"credits_reserved\":1.6,\"user_group\":\"default\"}",
                       (long)time(NULL), number, task->model, ended ? 100 : 10, ended ? "completed" : "processing",
                       median_s * estimate);
    if (ended) size += sprintf(to + size, ",\"results\":[\"http://127.0.0.1:%d/files/%08zu.png\"]", port, number);
    return size + sprintf(to + size, "}");
}

static void not_found(Connection *c) {
    const char *text = "{\"error\":{\"code\":\"task_not_found\",\"message\":\"no such thing here\"}}";
    answer(c, "404 Not Found", "", text, strlen(text));
}

static void submit(Connection *c, const char *body) {
    submits++;
    if (throttle > 0 && uniform() < throttle) {
        const char *text = "{\"error\":{\"code\":\"rate_limit_exceeded\",\"message\":\"slower, please\"}}";
        char wait[64] = "";
        if (retry_after_s > 0) snprintf(wait, sizeof wait, "Retry-After: %.0f\r\n", ceil(retry_after_s));
        throttled++;
        answer(c, "429 Too Many Requests", wait, text, strlen(text));
        return;
    }
    if (task_count == task_room) {
        task_room = task_room ? task_room * 2 : 1024;
        tasks = realloc(tasks, task_room * sizeof *tasks);
        if (!tasks) abort();
    }
    Task *task = &tasks[task_count];
    task->took = task_time(), task->due = now() + task->took;
    const char *model = strstr(body, "\"model\":");
    model = model ? strchr(model + 8, '"') : NULL;
    size_t size = model ? strcspn(model + 1, "\"") : 0;
    snprintf(task->model, sizeof task->model, "%.*s", (int)size, model ? model + 1 : "");
    char text[1024];
    int said = say_task(text, task_count++);
    answer(c, "200 OK", "", text, said);
}

static void read_many(Connection *c, const char *body) {
    static char text[1 << 17];
    int size = sprintf(text, "{\"data\":[");
    reads_of_many++;
    for (const char *at = body; (at = strstr(at, "task-unified-1790000000-")) && size < (1 << 17) - 1024; at += 24) {
        size_t number = strtoul(at + 24, NULL, 10);
        ids_read++;
        if (number >= task_count) continue;
        if (text[size - 1] == '}') text[size++] = ',';
        size += say_task(text + size, number);
    }
    size += sprintf(text + size, "]}");
    answer(c, "200 OK", "", text, size);
}

static void counts(Connection *c) {
    char text[512];
    int size = sprintf(text,
                       "{\"submits\":%ld,\"throttled\":%ld,\"reads\":%ld,\"batch_reads\":%ld,\"ids_read\":%ld,"
                       "\"downloads\":%ld,\"connections\":%ld,\"others\":%ld,\"tasks\":%zu}",
                       submits, throttled, reads, reads_of_many, ids_read, downloads, accepted, others, task_count);
    answer(c, "200 OK", "", text, size);
}

static void times(Connection *c) {
    char *text = malloc(task_count * 24 + 8);
    int size = sprintf(text, "[");
    for (size_t i = 0; i < task_count; i++) size += sprintf(text + size, "%s%.6f", i ? "," : "", tasks[i].took);
    size += sprintf(text + size, "]");
    answer(c, "200 OK", "", text, size);
    free(text);
}

static void route(Connection *c, const char *line, const char *body) {
    char one[1024];
    if (!strncmp(line, "GET /files/", 11)) {
        downloads++;
        answer_image(c, strtoul(line + 11, NULL, 10));
    } else if (!strncmp(line, "POST /v1/images/generations ", 28)) {
        submit(c, body);
    } else if (!strncmp(line, "POST /v1/tasks/batch ", 21)) {
        read_many(c, body);
    } else if (!strncmp(line, "GET /v1/tasks/task-unified-1790000000-", 38)) {
        size_t number = strtoul(line + 38, NULL, 10);
        reads++, ids_read++;
        if (number < task_count) answer(c, "200 OK", "", one, say_task(one, number));
        else not_found(c);
    } else if (!strncmp(line, "GET /stub/counts ", 17)) {
        counts(c);
    } else if (!strncmp(line, "GET /stub/times ", 16)) {
        times(c);
    } else {
        others++;
        not_found(c);
    }
}

/* Whether all of what is to be sent has left; -1: the other side is gone. */
static int push(int fd, Connection *c) {
    while (c->parts_left) {
        ssize_t sent = writev(fd, c->parts + c->part, c->parts_left);
        if (sent < 0) return errno == EAGAIN ? 0 : -1;
        while (c->parts_left && (size_t)sent >= c->parts[c->part].iov_len) {
            sent -= c->parts[c->part].iov_len;
            c->part++, c->parts_left--;
        }
        if (c->parts_left) {
            c->parts[c->part].iov_base = (char *)c->parts[c->part].iov_base + sent;
            c->parts[c->part].iov_len -= sent;
        }
    }
    return 1;
}

/* Take one request, if it is whole: 1 when one was answered. */
static int take(Connection *c) {
    if (!c->have) return 0;
    need(&c->room, &c->in, c->have + 1);
    c->in[c->have] = 0;
    char *stop = memmem(c->in, c->have, "\r\n\r\n", 4);
    if (!stop) return 0;
    *stop = 0;
    char *length = strcasestr(c->in, "\r\ncontent-length:");
    size_t size = length ? strtoul(length + 17, NULL, 10) : 0, whole = stop + 4 - c->in + size;
    if (c->have < whole) {
        *stop = '\r';
        return 0;
    }
    c->closes = strcasestr(c->in, "\r\nconnection: close") != NULL;
    char kept = c->in[whole];
    c->in[whole] = 0;
    route(c, c->in, stop + 4);
    c->in[whole] = kept;
    memmove(c->in, c->in + whole, c->have - whole);
    c->have -= whole;
    return 1;
}

static int fill(int fd, Connection *c) {
    for (;;) {
        need(&c->room, &c->in, c->have + 16384);
        ssize_t got = read(fd, c->in + c->have, c->room - c->have - 1);
        if (got > 0) c->have += got;
        else return got < 0 && errno == EAGAIN ? 0 : -1;
    }
}

static void serve(int poll, int fd, uint32_t events) {
    Connection *c = connections[fd];
    int is_gone = events & EPOLLIN ? fill(fd, c) : 0, sent = push(fd, c);
    while (sent == 1 && take(c)) {
        sent = push(fd, c);
        if (sent == 1 && c->closes) sent = -1;
    }
    if (sent < 0 || (is_gone && !c->parts_left)) {
        end(fd);
        return;
    }
    struct epoll_event event = {.events = EPOLLIN | (sent ? 0 : EPOLLOUT), .data.fd = fd};
    if (is_gone) event.events = EPOLLOUT;
    epoll_ctl(poll, EPOLL_CTL_MOD, fd, &event);
}

static void greet(int poll, int listener) {
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        if (fd >= MOST_FDS) {
            close(fd);
            continue;
        }
        accepted++;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        connections[fd] = calloc(1, sizeof(Connection));
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
    }
}

static int listen_there(int wanted) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(wanted)};
    socklen_t size = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, size) || listen(fd, 4096)) {
        perror("stub");
        exit(1);
    }
    getsockname(fd, (struct sockaddr *)&address, &size);
    port = ntohs(address.sin_port);
    return fd;
}

static void load_image(const char *path) {
    struct stat found;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &found) || found.st_size <= PNG_HEAD) {
        fprintf(stderr, "stub: %s is no PNG\n", path);
        exit(1);
    }
    image_size = found.st_size, image = malloc(image_size);
    if (!image || read(fd, image, image_size) != (ssize_t)image_size || memcmp(image + 1, "PNG", 3)) {
        fprintf(stderr, "stub: %s is no PNG\n", path);
        exit(1);
    }
    close(fd);
}

int main(int count, char **words) {
    if (count < 3) {
        fprintf(stderr, "stub PORT IMAGE.png [MEDIAN_S [SIGMA [THROTTLE [ESTIMATE [RETRY_AFTER_S]]]]]\n");
        return 2;
    }
    double *options[] = {&median_s, &sigma, &throttle, &estimate, &retry_after_s};
    for (int i = 3; i < count && i < 8; i++) *options[i - 3] = atof(words[i]);
    signal(SIGPIPE, SIG_IGN);
    make_crc_table();
    load_image(words[2]);
    int listener = listen_there(atoi(words[1])), poll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, ready[512];
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    printf("%d\n", port);
    fflush(stdout);
    for (;;) {
        int some = epoll_wait(poll, ready, 512, -1);
        for (int i = 0; i < some; i++) {
            if (ready[i].data.fd == listener) greet(poll, listener);
            else serve(poll, ready[i].data.fd, ready[i].events);
        }
    }
}
