// floor: what the kernel itself costs. It upgrades WebSocket viewers; on a message from one of them that is not `fill`,
// it sends one prebuilt text frame of BYTES bytes in all, which holds "capturing", to every viewer with send(2): one
// loop, one thread. `fill` has it send that frame to whoever said it until no more goes into the socket. A viewer whose
// socket is full gets nothing any more: the least that a server can do for one that does not read.
//
//   floor BYTES        It listens on a free port of 127.0.0.1 and prints "listening on PORT".
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

enum { MOST = 100000, LONGEST = 4096, SEND_BUFFER = 32 * 1024 }; // the send buffer that D.O.G. gives a viewer, too

static const char UPGRADE[] =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"; // for the key that wsload always sends

static int viewers[MOST], many;
static unsigned char frame[LONGEST];
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

static void hear(int viewer) {
    char said[LONGEST];
    int size = read(viewer, said, sizeof said);
    if (size <= 0) {
        forget(viewer);
    } else if (!memcmp(said, "GET ", 4)) {
        if (send(viewer, UPGRADE, sizeof UPGRADE - 1, MSG_NOSIGNAL) > 0) viewers[many++] = viewer;
    } else if (memmem(said, size, "fill", 4)) {
        while (push(viewer)) {}
    } else {
        push_to_all();
    }
}

int main(int argc, char **argv) {
    int size = argc == 2 ? atoi(argv[1]) : 0, one = 1, buffer = SEND_BUFFER;
    if (size < 16 || size > LONGEST) {
        fprintf(stderr, "usage: floor BYTES (16 to %d)\n", LONGEST);
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
                hear(events[i].data.fd);
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
