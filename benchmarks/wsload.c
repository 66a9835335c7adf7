// wsload: N WebSocket viewers (and, if asked, some that never read) on one epoll loop.
//
//   wsload [-s STUCK] [-f TIMES] [-F TEXT] [-w SETTLED] HOST PORT PATH N TRIGGER MATCH [POST_PATH]
//
// It opens N viewers and prints {"viewers": N, "seconds": S}, the time of all handshakes. Then each line on standard
// input is one round: a viewer sends TRIGGER as a text message (with POST_PATH, TRIGGER is POSTed there). The round ends
// when every viewer has a text message that contains MATCH and, with -w, another one that contains SETTLED. It prints
// {"first": MS, "p50": MS, "p99": MS, "last": MS, "bytes": B}: milliseconds from the trigger until the first, half, 99 %
// and all of the viewers had MATCH, and the bytes of that frame. At the end of standard input, it prints {"stuck": N}, the
// number of stuck viewers that are still connected, and ends.
//   -s STUCK  open STUCK more connections, which upgrade and then never read
//   -f TIMES  each stuck one first sends TEXT so many times, so that the replies fill its socket
//   -F TEXT   the text message for -f
// Exit status: 0; 1 usage or connect; 2 nothing received for 20 s; 3 a viewer was cut off; 4 no upgrade; 5 a close frame.
// All connections end with a reset, so that no port is in TIME_WAIT for the next run.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { IN_FLIGHT = 256, TIMEOUT_MS = 20000, MIN_BUFFER_BYTES = 4096, MAX_BYTES = 65536, COMMANDS = -1, PUBLISHER = -2 };
enum { OPENING, IDLE, PUSHING };
enum { TEXT = 1, CLOSE = 8, PING = 9, PONG = 10 };

typedef struct {
    int fd, upgraded, matched, settled, left;
    unsigned char *rest; // the beginning of an incomplete frame, `left` bytes
} Viewer;

static struct sockaddr_in server;
static char head[1024];
static int head_size;

static const char *trigger, *match, *settled, *post_path, *host;
static int port, wanted, state = OPENING, opened, matches, settlements, frame_size;
static double *latency, triggered_at;
static Viewer *viewers;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void fail(int status, const char *what, const char *why) {
    fprintf(stderr, "%s: %s\n", what, why);
    exit(status);
}

static int dial(int receive_buffer) {
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    if (receive_buffer) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    if (fd < 0 || connect(fd, (void *)&server, sizeof server)) fail(1, "connect", strerror(errno));
    return fd;
}

static void put(int fd, const void *data, size_t size) {
    if (send(fd, data, size, MSG_NOSIGNAL) != (ssize_t)size) fail(3, "send", strerror(errno));
}

// Build a masked frame, with a mask of zeroes, and return its size.
static int build_frame(unsigned char *frame, int opcode, const void *data, int size) {
    int start = size < 126 ? 6 : 8;
    memset(frame, 0, start);
    frame[0] = 0x80 | opcode;
    frame[1] = 0x80 | (size < 126 ? size : 126);
    if (size >= 126) frame[2] = size >> 8, frame[3] = size;
    memcpy(frame + start, data, size);
    return start + size;
}

static void send_frame(int fd, int opcode, const void *data, int size) {
    static unsigned char frame[MAX_BYTES + 8];
    put(fd, frame, build_frame(frame, opcode, data, size));
}

// Connect a viewer that never reads: it reads its upgrade and sends `text` so many times in one call.
static int dial_stuck(int times, const char *text) {
    static unsigned char *frames;
    static int size;
    if (!frames && times) {
        frames = malloc((size_t)times * (strlen(text) + 8));
        for (int i = 0; i < times; i++) size += build_frame(frames + size, TEXT, text, strlen(text));
    }
    int fd = dial(MIN_BUFFER_BYTES), got = 0;
    char answer[2048];
    put(fd, head, head_size);
    while (!memmem(answer, got, "\r\n\r\n", 4)) { // one byte at a time, so that the rest stays in the socket
        if (got == sizeof answer || read(fd, answer + got, 1) != 1) fail(4, "no upgrade of a stuck viewer", strerror(errno));
        got++;
    }
    if (times) put(fd, frames, size);
    return fd;
}

static void handle_frame(Viewer *viewer, int opcode, unsigned char *payload, long size, int whole) {
    if (opcode == PING) send_frame(viewer->fd, PONG, payload, size);
    if (opcode == CLOSE) {
        char code[16];
        snprintf(code, sizeof code, "%d", size >= 2 ? payload[0] << 8 | payload[1] : 0);
        fail(5, "close frame with code", code);
    }
    if (opcode != TEXT || state != PUSHING) return;
    if (!viewer->matched && memmem(payload, size, match, strlen(match))) {
        viewer->matched = 1;
        frame_size = whole;
        latency[matches++] = now() - triggered_at;
    } else if (settled && !viewer->settled && memmem(payload, size, settled, strlen(settled))) {
        viewer->settled = 1;
        settlements++;
    }
}

// Handle the complete frames, and return their number of bytes.
static int handle_frames(Viewer *viewer, unsigned char *data, int size) {
    int taken = 0;
    while (size - taken >= 2) {
        unsigned char *frame = data + taken;
        int start = 2;
        long length = frame[1] & 127;
        if (length == 127) fail(1, "a frame", "of more than 64 KiB");
        if (length == 126) {
            if (size - taken < 4) break;
            length = frame[2] << 8 | frame[3];
            start = 4;
        }
        if (size - taken < start + length) break;
        handle_frame(viewer, frame[0] & 15, frame + start, length, start + length);
        taken += start + length;
    }
    return taken;
}

static int handle_upgrade(Viewer *viewer, unsigned char *data, int size) {
    unsigned char *end = memmem(data, size, "\r\n\r\n", 4);
    if (!end) return 0;
    if (memcmp(data, "HTTP/1.1 101", 12)) {
        data[size < 200 ? size : 200] = 0;
        fail(4, "no upgrade", (char *)data);
    }
    viewer->upgraded = 1;
    opened++;
    return end + 4 - data;
}

// All viewers share one buffer: ten thousand buffers would cost more than the reading.
static void receive(Viewer *viewer) {
    static unsigned char data[2 * MAX_BYTES + 1];
    int size = viewer->left;
    memcpy(data, viewer->rest, size);
    int got = read(viewer->fd, data + size, MAX_BYTES);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) fail(3, "a viewer was cut off", got ? strerror(errno) : "end of stream");
    size += got;
    int taken = viewer->upgraded ? 0 : handle_upgrade(viewer, data, size);
    if (viewer->upgraded) taken += handle_frames(viewer, data + taken, size - taken);
    viewer->left = size - taken;
    free(viewer->rest);
    viewer->rest = NULL;
    if (viewer->left) memcpy(viewer->rest = malloc(viewer->left), data + taken, viewer->left);
}

static void start_round(int publisher) {
    for (int i = 0; i < wanted; i++) viewers[i].matched = viewers[i].settled = 0;
    matches = settlements = 0;
    state = PUSHING;
    triggered_at = now();
    if (post_path) {
        char request[8192];
        int size = snprintf(request, sizeof request,
            "POST %s HTTP/1.1\r\nHost: %s:%d\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n%s",
            post_path, host, port, strlen(trigger), trigger);
        put(publisher, request, size);
    } else {
        send_frame(viewers[0].fd, TEXT, trigger, strlen(trigger));
    }
}

static void end_round(void) {
    qsort(latency, wanted, sizeof *latency, by_value);
    printf("{\"first\": %.3f, \"p50\": %.3f, \"p99\": %.3f, \"last\": %.3f, \"bytes\": %d}\n", latency[0] * 1e3,
           latency[wanted / 2] * 1e3, latency[(int)(wanted * .99)] * 1e3, latency[wanted - 1] * 1e3, frame_size);
    state = IDLE;
}

static int count_connected(const int *stuck, int many) {
    int left = 0;
    for (int i = 0; i < many; i++) {
        struct pollfd one = {.fd = stuck[i], .events = POLLRDHUP};
        left += poll(&one, 1, 0) >= 0 && !(one.revents & (POLLERR | POLLHUP | POLLRDHUP));
    }
    return left;
}

int main(int argc, char **argv) {
    int many_stuck = 0, times = 0, option;
    const char *filling = "";
    while ((option = getopt(argc, argv, "+s:f:F:w:")) != -1) {
        if (option == 's') many_stuck = atoi(optarg);
        else if (option == 'f') times = atoi(optarg);
        else if (option == 'F') filling = optarg;
        else if (option == 'w') settled = optarg;
        else return 1;
    }
    argv += optind;
    if (argc - optind < 6 || atoi(argv[3]) < 1 || strlen(argv[4]) > 4096)
        fail(1, "usage", "wsload [-s STUCK] [-f TIMES] [-F TEXT] [-w SETTLED] HOST PORT PATH N TRIGGER MATCH [POST_PATH]");
    host = argv[0], port = atoi(argv[1]), wanted = atoi(argv[3]), trigger = argv[4], match = argv[5];
    post_path = argc - optind > 6 ? argv[6] : NULL;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    setvbuf(stdout, NULL, _IOLBF, 0);
    server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, host, &server.sin_addr);
    head_size = snprintf(head, sizeof head,
        "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nOrigin: http://%s:%d\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", argv[2], host, port, host, port);

    int *stuck = calloc(many_stuck + 1, sizeof *stuck), poller = epoll_create1(0), publisher = -1, started = 0;
    for (int i = 0; i < many_stuck; i++) stuck[i] = dial_stuck(times, filling);
    viewers = calloc(wanted, sizeof *viewers);
    latency = calloc(wanted, sizeof *latency);
    struct epoll_event event = {.events = EPOLLIN}, events[512];
    if (post_path) {
        publisher = dial(0);
        event.data.u64 = PUBLISHER;
        epoll_ctl(poller, EPOLL_CTL_ADD, publisher, &event);
    }
    double opening_at = now();
    for (;;) {
        while (started < wanted && started - opened < IN_FLIGHT) {
            int fd = viewers[started].fd = dial(0);
            put(fd, head, head_size);
            fcntl(fd, F_SETFL, O_NONBLOCK);
            event.data.u64 = started++;
            epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
        }
        int ready = epoll_wait(poller, events, 512, state == IDLE ? -1 : TIMEOUT_MS);
        if (ready == 0) {
            fprintf(stderr, "nothing received for 20 s: %d of %d viewers are open, %d have their message\n", opened, wanted, matches);
            return 2;
        }
        for (int i = 0; i < ready; i++) {
            long which = (long)events[i].data.u64;
            char text[4096];
            if (which == COMMANDS) { // one line at a time: its writer waits for the result
                if (read(0, text, sizeof text) <= 0) {
                    printf("{\"stuck\": %d}\n", count_connected(stuck, many_stuck));
                    return 0;
                }
                start_round(publisher);
            } else if (which == PUBLISHER) {
                if (read(publisher, text, sizeof text) <= 0) fail(3, "the publisher was cut off", strerror(errno));
            } else {
                receive(&viewers[which]);
            }
        }
        if (state == OPENING && opened == wanted) {
            printf("{\"viewers\": %d, \"seconds\": %.6f}\n", wanted, now() - opening_at);
            state = IDLE;
            event.data.u64 = COMMANDS;
            epoll_ctl(poller, EPOLL_CTL_ADD, 0, &event);
        } else if (state == PUSHING && matches == wanted && (!settled || settlements == wanted)) {
            end_round();
        }
    }
}
