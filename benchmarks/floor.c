// floor: the cost of the kernel alone. It upgrades WebSocket viewers. On any message except `fill`, it sends one
// prebuilt text frame of BYTES bytes, which contains "capturing", to every viewer with send(2): one loop, one thread.
// On `fill`, it sends that frame to the sender until the socket is full. A viewer with a full socket is not sent to any
// more: the least that a server can do for a viewer that does not read.
//
//   floor BYTES        Listen on a free port of 127.0.0.1 and print "listening on PORT".
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_VIEWERS = 100000, MAX_BYTES = 4096, SEND_BUFFER_BYTES = 32 * 1024 }; // the send buffer is that of D.O.G.

static const char UPGRADE[] =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"; // for the key that wsload always sends

static int viewers[MAX_VIEWERS], many;
static unsigned char frame[MAX_BYTES];
static int frame_size;

static void build_frame(int size) {
    int start = size - 2 < 126 ? 2 : 4, length = size - start;
    memset(frame, 'x', size);
    memcpy(frame + start, "capturing", 9);
    frame[0] = 0x81;
    frame[1] = start == 2 ? length : 126;
    if (start == 4) frame[2] = length >> 8, frame[3] = length;
    frame_size = size;
}

static int push(int viewer) {
    return send(viewer, frame, frame_size, MSG_NOSIGNAL | MSG_DONTWAIT) == frame_size;
}

static void push_to_all(void) {
    for (int i = 0; i < many; i++)
        if (!push(viewers[i])) viewers[i--] = viewers[--many];
}

static void forget(int viewer) {
    for (int i = 0; i < many; i++)
        if (viewers[i] == viewer) viewers[i] = viewers[--many];
    close(viewer);
}

static void receive(int viewer) {
    char data[MAX_BYTES];
    int size = read(viewer, data, sizeof data);
    if (size <= 0) {
        forget(viewer);
    } else if (!memcmp(data, "GET ", 4)) {
        if (send(viewer, UPGRADE, sizeof UPGRADE - 1, MSG_NOSIGNAL) > 0) viewers[many++] = viewer;
    } else if (memmem(data, size, "fill", 4)) {
        while (push(viewer)) {}
    } else {
        push_to_all();
    }
}

int main(int argc, char **argv) {
    int size = argc == 2 ? atoi(argv[1]) : 0, one = 1, buffer = SEND_BUFFER_BYTES;
    if (size < 16 || size > MAX_BYTES) {
        fprintf(stderr, "usage: floor BYTES (16 to %d)\n", MAX_BYTES);
        return 1;
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    build_frame(size);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), poller = epoll_create1(0);
    if (bind(listener, (void *)&address, length) || listen(listener, 4096) ||
        getsockname(listener, (void *)&address, &length)) {
        perror("listen");
        return 1;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[256];
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    printf("listening on %d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        int ready = epoll_wait(poller, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.fd != listener) {
                receive(events[i].data.fd);
                continue;
            }
            int viewer = accept(listener, NULL, NULL);
            if (viewer < 0) continue;
            setsockopt(viewer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            setsockopt(viewer, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
            event.data.fd = viewer;
            epoll_ctl(poller, EPOLL_CTL_ADD, viewer, &event);
        }
    }
}
