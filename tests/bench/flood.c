#include "flood.h"

#include "common/monotonic.h"
#include "contexts.h"

#include <openssl/rand.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define SOURCES       64
#define DATAGRAM_MAX  2048
#define GIVE_UP_MS    1000 /* on one answer */
#define RANDOM_AT     27   /* octets before it: record header 13, handshake header 12, version 2 */
#define RANDOM_OCTETS 32
#define COOKIELESS    61 /* octets that a ClientHello has at least: the random and two empty lengths */

/* Where a datagram from the server tells what it is (RFC 6347 section 4.1 and 4.2.2). */
#define RECORD_TYPE_AT       0
#define HANDSHAKE_TYPE_AT    13
#define RECORD_HANDSHAKE     22
#define HELLO_VERIFY_REQUEST 3

struct source {
    int fd;
    uint64_t sent_ms;
    bool waiting;
};

struct flood {
    unsigned count;
    struct flood_result *result;
    struct source sources[SOURCES];
    unsigned waiting;
    int epoll;
    uint8_t hello[DATAGRAM_MAX];
    size_t hello_len;
};

static bool make_hello(struct flood *flood, SSL_CTX *context);
static bool open_sources(struct flood *flood, const struct endpoint *server);
static bool open_source(struct flood *flood, unsigned number, const struct endpoint *server);
static void run(struct flood *flood);
static void send_hello(struct flood *flood, struct source *source);
static void receive(struct flood *flood, struct source *source);
static void give_up_late_ones(struct flood *flood);
static void stop_waiting(struct flood *flood, struct source *source);

bool flood_run(const struct endpoint *server, SSL_CTX *context, unsigned count, struct flood_result *result)
{
    struct flood flood = {.count = count, .result = result};
    bool ready;

    *result = (struct flood_result){0};
    for (unsigned i = 0; i < SOURCES; i++)
        flood.sources[i].fd = -1;
    flood.epoll = epoll_create1(EPOLL_CLOEXEC);
    ready = flood.epoll >= 0 && make_hello(&flood, context) && open_sources(&flood, server);
    if (ready)
        run(&flood);
    else
        fprintf(stderr, "bench: flood: %s\n", strerror(errno));
    for (unsigned i = 0; i < SOURCES; i++)
        if (flood.sources[i].fd >= 0)
            close(flood.sources[i].fd);
    if (flood.epoll >= 0)
        close(flood.epoll);
    return ready;
}

/* What OpenSSL's client says first. */
static bool make_hello(struct flood *flood, SSL_CTX *context)
{
    SSL *ssl = device_open(context);
    BIO *out = BIO_new(BIO_s_mem()), *in = BIO_new(BIO_s_mem());
    int length = -1;

    if (ssl == NULL || out == NULL || in == NULL) {
        BIO_free(out);
        BIO_free(in);
    } else {
        BIO_set_mem_eof_return(in, -1);
        SSL_set_bio(ssl, in, out);
        SSL_do_handshake(ssl);
        length = BIO_read(out, flood->hello, sizeof flood->hello);
    }
    SSL_free(ssl);
    flood->hello_len = length > 0 ? (size_t)length : 0;
    return flood->hello_len >= COOKIELESS;
}

static bool open_sources(struct flood *flood, const struct endpoint *server)
{
    for (unsigned i = 0; i < SOURCES; i++)
        if (!open_source(flood, i, server))
            return false;
    return true;
}

static bool open_source(struct flood *flood, unsigned number, const struct endpoint *server)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};
    int fd = socket(server->address.any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    flood->sources[number].fd = fd;
    return fd >= 0 && connect(fd, &server->address.any, server->len) == 0 &&
           epoll_ctl(flood->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

static void run(struct flood *flood)
{
    struct epoll_event events[SOURCES];

    for (unsigned i = 0; i < SOURCES; i++)
        send_hello(flood, &flood->sources[i]);
    while (flood->waiting > 0) {
        int ready = epoll_wait(flood->epoll, events, SOURCES, GIVE_UP_MS);
        for (int i = 0; i < ready; i++)
            receive(flood, &flood->sources[events[i].data.u32]);
        give_up_late_ones(flood);
    }
}

static void send_hello(struct flood *flood, struct source *source)
{
    if (flood->result->sent == flood->count)
        return;
    RAND_bytes(flood->hello + RANDOM_AT, RANDOM_OCTETS);
    (void)!send(source->fd, flood->hello, flood->hello_len, 0);
    source->sent_ms = monotonic_ms();
    source->waiting = true;
    flood->waiting++;
    flood->result->sent++;
}

static void receive(struct flood *flood, struct source *source)
{
    uint8_t answer[DATAGRAM_MAX];
    ssize_t length = recv(source->fd, answer, sizeof answer, 0);

    if (!source->waiting || (length < 0 && (errno == EAGAIN || errno == EINTR)))
        return;
    if (length > HANDSHAKE_TYPE_AT && answer[RECORD_TYPE_AT] == RECORD_HANDSHAKE &&
        answer[HANDSHAKE_TYPE_AT] == HELLO_VERIFY_REQUEST)
        flood->result->answered++;
    else
        flood->result->other++;
    stop_waiting(flood, source);
    send_hello(flood, source);
}

static void give_up_late_ones(struct flood *flood)
{
    uint64_t now_ms = monotonic_ms();
    for (unsigned i = 0; i < SOURCES; i++) {
        struct source *source = &flood->sources[i];
        if (!source->waiting || now_ms - source->sent_ms < GIVE_UP_MS)
            continue;
        stop_waiting(flood, source);
        send_hello(flood, source);
    }
}

static void stop_waiting(struct flood *flood, struct source *source)
{
    source->waiting = false;
    flood->waiting--;
}
