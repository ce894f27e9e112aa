/* Load for the fan-out and request benchmarks: one thread, epoll, N WebSocket connections.
 *
 *   load fanout HOST PORT N W SECONDS ACKS DIR   deliveries of published events to N subscribers
 *   load spread HOST PORT N W SECONDS ACKS DIR   the same, each event to one of N subscribers
 *   load rpc    HOST PORT N SECONDS DIR          one request outstanding on each of N connections
 *   load idle   HOST PORT N SECONDS DIR          N connections that only stay
 *
 * DIR holds what is sent, complete masked WebSocket frames: upgrade.bin, init.bin, subscribe.bin,
 * publish.bin; for rpc request-0.bin …; for spread subscribe-0.bin … and publish-0.bin …, sent in
 * turn. Empty files are not sent, so the same program drives a bare server that speaks no protocol:
 * it gets one byte for a publication.
 *
 * Each event is acknowledged as the official client does it, by a frame that repeats its id. ACKS is
 * "each", one send for each frame as that client does, or "joined", one send for those of all events
 * that came in one read: where "each" keeps this program's core busy, it measures this program.
 * Prints "measuring", then one line of figures: key=value.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 16384, MOST_EVENTS = 1 << 20 };

typedef struct { unsigned char *bytes; size_t size; } Blob;
typedef struct {
    int fd;
    int messages;      /* whole WebSocket messages received since the upgrade */
    int is_open;       /* the upgrade was answered */
    int stage;         /* 0 connecting, 1 init sent, 2 subscribe sent, 3 ready */
    long events;
    unsigned char *in; /* allocated while a message is incomplete */
    size_t used;
} Peer;

static Blob upgrade, init_frame, subscribe, publish, *subscribes;
static Peer *peers;
static int count, epoll_fd;
static double *published_at;
static float *latencies;
static long latency_count, latency_capacity, deliveries;
static long first_counted;
static int is_spread;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static Blob read_blob(const char *dir, const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    Blob blob = {NULL, 0};
    FILE *file = fopen(path, "rb");
    if (!file) return blob;
    blob.bytes = malloc(1 << 20);
    blob.size = fread(blob.bytes, 1, 1 << 20, file);
    fclose(file);
    return blob;
}

static void die(const char *what) { perror(what); exit(2); }

static void send_all(int fd, const void *bytes, size_t size) {
    const char *at = bytes;
    while (size) {
        ssize_t sent = send(fd, at, size, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EAGAIN) { usleep(50); continue; }
            die("send");
        }
        at += sent;
        size -= sent;
    }
}

static void open_peer(Peer *peer, struct sockaddr_in *address) {
    peer->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (peer->fd < 0) die("socket");
    if (connect(peer->fd, (struct sockaddr *)address, sizeof *address)) die("connect");
    int one = 1;
    setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(peer->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = peer};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, peer->fd, &event);
    if (upgrade.size) send_all(peer->fd, upgrade.bytes, upgrade.size);
    else { peer->is_open = 1; peer->stage = 3; }
}

/* Acknowledge an event: {"id":"…","method":"reply",…}, masked with zeros. */
static unsigned char unsent[1 << 16];
static size_t unsent_size;
static int acknowledgements_are_joined;

static void send_acknowledgements(Peer *peer) {
    if (unsent_size) send_all(peer->fd, unsent, unsent_size);
    unsent_size = 0;
}

static void acknowledge(Peer *peer, const unsigned char *message, size_t size) {
    static const char rest[] = "\",\"method\":\"reply\",\"payload_type\":\"application/json\","
        "\"status\":{\"code\":200,\"status\":\"OK\"},\"payload_size\":0}\r\n";
    const unsigned char *id = memmem(message, size < 200 ? size : 200, "\"id\":\"", 6);
    if (!id) return;
    id += 6;
    const unsigned char *end = memchr(id, '"', message + size - id);
    size_t id_size = end - id, header_size = 7 + id_size + sizeof rest - 3;
    if (id_size > 100) die("id");
    unsigned char *frame = unsent + unsent_size, *body = frame + 8;
    size_t body_size = sprintf((char *)body, "TWILSOCK V3.0 %zu\r\n{\"id\":\"", header_size);
    memcpy(body + body_size, id, id_size);
    body_size += id_size;
    memcpy(body + body_size, rest, sizeof rest - 1);
    body_size += sizeof rest - 1;
    frame[0] = 0x82;
    frame[1] = 0x80 | 126;
    frame[2] = body_size >> 8;
    frame[3] = body_size & 255;
    memset(frame + 4, 0, 4);
    unsent_size += 8 + body_size;
    if (!acknowledgements_are_joined || unsent_size > sizeof unsent - 1024)
        send_acknowledgements(peer);
}

static void take_message(Peer *peer, const unsigned char *message, size_t size, double at) {
    peer->messages++;
    if (peer->stage == 1) {
        if (!subscribe.size) { peer->stage = 3; return; }
        const Blob *own = is_spread ? &subscribes[peer - peers] : &subscribe;
        send_all(peer->fd, own->bytes, own->size);
        peer->stage = 2;
        return;
    }
    if (memmem(message, size < 300 ? size : 300, "\"method\":\"notification\"", 23) == NULL) return;
    acknowledge(peer, message, size);
    if (memmem(message, size < 400 ? size : 400, "\"subscription_established\"", 26)) { peer->stage = 3; return; }
    /* With spread each event reaches one peer: how long it took is known if it was alone. */
    long event = is_spread ? deliveries : peer->events++;
    deliveries++;
    if (event >= first_counted && event < MOST_EVENTS && latency_count < latency_capacity)
        latencies[latency_count++] = (float)(at - published_at[event]);
}

static void take_bytes(Peer *peer) {
    unsigned char local[BUFFER * 4];
    size_t used = peer->used;
    if (used) memcpy(local, peer->in, used);
    ssize_t got = recv(peer->fd, local + used, sizeof local - used, 0);
    if (got == 0) { fprintf(stderr, "closed by the server\n"); exit(3); }
    if (got < 0) { if (errno == EAGAIN) return; die("recv"); }
    double at = now();
    size_t size = used + got, start = 0;
    if (!peer->is_open) {
        unsigned char *end = memmem(local, size, "\r\n\r\n", 4);
        if (end) {
            if (memcmp(local, "HTTP/1.1 101", 12)) { fprintf(stderr, "%.60s\n", local); exit(3); }
            peer->is_open = 1;
            start = end + 4 - local;
            send_all(peer->fd, init_frame.bytes, init_frame.size);
            peer->stage = 1;
        }
    }
    while (peer->is_open && size - start >= 2) {
        size_t head = 2, length = local[start + 1] & 127;
        if (length == 126) {
            if (size - start < 4) break;
            length = local[start + 2] << 8 | local[start + 3];
            head = 4;
        } else if (length == 127) {
            if (size - start < 10) break;
            length = (size_t)local[start + 6] << 24 | local[start + 7] << 16 | local[start + 8] << 8 | local[start + 9];
            head = 10;
        }
        if (size - start < head + length) break;
        take_message(peer, local + start + head, length, at);
        start += head + length;
    }
    send_acknowledgements(peer);
    peer->used = size - start;
    if (peer->used) {
        if (!peer->in) peer->in = malloc(sizeof local);
        memcpy(peer->in, local + start, peer->used);
    }
}

static void turn(int timeout_ms) {
    struct epoll_event events[512];
    int ready = epoll_wait(epoll_fd, events, 512, timeout_ms);
    for (int i = 0; i < ready; i++) take_bytes(events[i].data.ptr);
}

static int compare(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

static double processor_seconds(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return used.ru_utime.tv_sec + used.ru_stime.tv_sec
        + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
}

static void connect_all(const char *host, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, host, &address.sin_addr);
    double began = now();
    for (int i = 0; i < count; i++) {
        open_peer(&peers[i], &address);
        while (peers[i > 64 ? i - 64 : 0].stage < 3) {
            turn(1);
            if (now() - began > 120) { fprintf(stderr, "not ready in time\n"); exit(3); }
        }
    }
    for (int i = 0; i < count; i++)
        while (peers[i].stage < 3) {
            turn(1);
            if (now() - began > 120) { fprintf(stderr, "not ready in time\n"); exit(3); }
        }
}

static Blob *read_numbered(const char *dir, const char *kind, int *number) {
    Blob *blobs = NULL;
    for (*number = 0;; ++*number) {
        char name[64];
        snprintf(name, sizeof name, "%s-%d.bin", kind, *number);
        Blob blob = read_blob(dir, name);
        if (!blob.bytes) return blobs;
        blobs = realloc(blobs, (*number + 1) * sizeof *blobs);
        blobs[*number] = blob;
        blobs[*number].bytes = realloc(blob.bytes, blob.size);
    }
}

static void run_fanout(const char *host, int port, int in_flight, double seconds, const char *dir) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, host, &address.sin_addr);
    Peer *publisher = calloc(1, sizeof *publisher);
    int spread = is_spread, publications = 1;
    Blob subscribed = subscribe, *publish_in_turn = &publish;
    if (spread) publish_in_turn = read_numbered(dir, "publish", &publications);
    subscribe.size = 0; /* the publisher listens to nothing */
    open_peer(publisher, &address);
    double began = now();
    while (publisher->stage < 3) {
        turn(1);
        if (now() - began > 10) { fprintf(stderr, "publisher not ready\n"); exit(3); }
    }
    subscribe = subscribed;
    /* A peer with many subscriptions has several confirmations to wait for. */
    for (double until = now() + (spread ? 2 : 0); now() < until;) turn(10);
    int receivers = spread ? 1 : count;
    long published = 0;
    double start = now(), counted_from = 0, warm_until = start + 0.3;
    double until = start + 0.3 + seconds, used_before = 0;
    long counted_deliveries = 0;
    for (;;) {
        double at = now();
        if (counted_from == 0 && at >= warm_until) {
            counted_from = at;
            counted_deliveries = deliveries;
            first_counted = published;
            used_before = processor_seconds();
            printf("measuring\n");
            fflush(stdout);
        }
        if (at >= until) break;
        while (published - deliveries / receivers < in_flight && published < MOST_EVENTS) {
            const Blob *next = &publish_in_turn[published % publications];
            published_at[published++] = now();
            send_all(publisher->fd, next->bytes, next->size);
        }
        turn(10);
    }
    double took = now() - counted_from;
    qsort(latencies, latency_count, sizeof *latencies, compare);
    printf("deliveries_per_second=%.0f p50_ms=%.3f p99_ms=%.3f load=%.2f\n",
        (deliveries - counted_deliveries) / took,
        latency_count ? latencies[latency_count / 2] * 1e3 : 0,
        latency_count ? latencies[latency_count * 99 / 100] * 1e3 : 0,
        (processor_seconds() - used_before) / took);
    fflush(stdout);
}

static void run_rpc(const char *dir, double seconds) {
    Blob *requests = calloc(count, sizeof *requests);
    for (int i = 0; i < count; i++) {
        char name[64];
        snprintf(name, sizeof name, "request-%d.bin", i);
        requests[i] = read_blob(dir, name);
        peers[i].messages = 0;
    }
    double *sent_at = calloc(count, sizeof *sent_at);
    int *seen = calloc(count, sizeof *seen);
    for (int i = 0; i < count; i++) {
        sent_at[i] = now();
        send_all(peers[i].fd, requests[i].bytes, requests[i].size);
    }
    double start = now(), until = start + seconds;
    printf("measuring\n");
    fflush(stdout);
    long replies = 0;
    while (now() < until) {
        turn(10);
        for (int i = 0; i < count; i++)
            if (peers[i].messages > seen[i]) {
                seen[i] = peers[i].messages;
                replies++;
                double at = now();
                if (latency_count < latency_capacity)
                    latencies[latency_count++] = (float)(at - sent_at[i]);
                sent_at[i] = at;
                send_all(peers[i].fd, requests[i].bytes, requests[i].size);
            }
    }
    double took = now() - start;
    qsort(latencies, latency_count, sizeof *latencies, compare);
    printf("requests_per_second=%.0f p50_ms=%.3f p99_ms=%.3f\n", replies / took,
        latency_count ? latencies[latency_count / 2] * 1e3 : 0,
        latency_count ? latencies[latency_count * 99 / 100] * 1e3 : 0);
}

int main(int argc, char **argv) {
    if (argc < 7) { fprintf(stderr, "usage: see the head of load.c\n"); return 2; }
    const char *mode = argv[1], *host = argv[2], *dir = argv[argc - 1];
    int port = atoi(argv[3]);
    count = atoi(argv[4]);
    upgrade = read_blob(dir, "upgrade.bin");
    init_frame = read_blob(dir, "init.bin");
    subscribe = read_blob(dir, "subscribe.bin");
    publish = read_blob(dir, "publish.bin");
    epoll_fd = epoll_create1(0);
    peers = calloc(count, sizeof *peers);
    published_at = calloc(MOST_EVENTS, sizeof *published_at);
    latency_capacity = 20000000;
    latencies = malloc(latency_capacity * sizeof *latencies);
    if (!strcmp(mode, "rpc") || !strcmp(mode, "idle")) subscribe.size = 0;
    is_spread = !strcmp(mode, "spread");
    if (is_spread) {
        int given;
        subscribes = read_numbered(dir, "subscribe", &given);
        if (given < count) { fprintf(stderr, "too few subscriptions\n"); return 2; }
        subscribe = subscribes[0];
    }
    connect_all(host, port);
    if (is_spread || !strcmp(mode, "fanout")) {
        acknowledgements_are_joined = !strcmp(argv[7], "joined");
        run_fanout(host, port, atoi(argv[5]), atof(argv[6]), dir);
    }
    else if (!strcmp(mode, "rpc")) run_rpc(dir, atof(argv[5]));
    else {
        printf("ready connections=%d\n", count);
        fflush(stdout);
        double until = now() + atof(argv[5]);
        while (now() < until) turn(100);
    }
    return 0;
}
