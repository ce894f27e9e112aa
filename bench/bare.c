/* The physical limit of fan-out: accept connections, and for every byte that arrives on one of them
 * while it has sent nothing else, write the same bytes to all others with one write(2) each.
 *
 *   bare PORT FRAME N [LOG]    FRAME: file with the bytes of one event; N: how many will listen;
 *                              LOG: append each event to this file and sync it before it is sent
 *
 * The first N connections listen, the next one publishes. What listeners send is read and dropped:
 * their acknowledgements.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    static unsigned char frame[65536], drain[65536];
    FILE *file = fopen(argv[2], "rb");
    size_t size = fread(frame, 1, sizeof frame, file);
    fclose(file);
    int listeners_wanted = atoi(argv[3]);
    int log = argc > 4 ? open(argv[4], O_CREAT | O_WRONLY | O_APPEND, 0600) : -1;
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024)) {
        perror("bind");
        return 2;
    }
    int poll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    int *fds = calloc(listeners_wanted + 1, sizeof *fds), count = 0, publisher = -1;
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        struct epoll_event events[512];
        int ready = epoll_wait(poll, events, 512, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                int peer = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
                if (peer < 0) continue;
                setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                event.events = EPOLLIN;
                event.data.fd = peer;
                epoll_ctl(poll, EPOLL_CTL_ADD, peer, &event);
                if (count < listeners_wanted) fds[count++] = peer;
                else publisher = peer;
                continue;
            }
            ssize_t got = recv(fd, drain, sizeof drain, 0);
            if (got <= 0) {
                if (got < 0 && errno == EAGAIN) continue;
                return 0; /* the run is over */
            }
            if (fd != publisher) continue;
            if (log >= 0) { /* all that have come together, with one sync */
                for (ssize_t n = 0; n < got; n++)
                    if (write(log, frame, size) != (ssize_t)size) return 2;
                if (fdatasync(log)) return 2;
            }
            for (ssize_t n = 0; n < got; n++)
                for (int k = 0; k < count; k++)
                    while (write(fds[k], frame, size) < 0 && errno == EAGAIN) usleep(20);
        }
    }
}
