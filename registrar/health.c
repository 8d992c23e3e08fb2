#include "registrar/health.h"

#include "common/endpoint.h"
#include "common/monotonic.h"
#include "registrar/downstream/dtls_record.h"

#include <errno.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define ANSWER_WITHIN_MS  2000
#define PROBES_PER_WORKER 3
#define HELLO_OCTETS_MAX  1024

static enum status check_listener(const struct endpoint *listener, size_t probes, struct bytes hello,
                                  struct buffer *report);
static enum status make_client_hello(struct buffer *hello);
static void replace_wildcard(struct endpoint *endpoint);
static enum status probe(const struct endpoint *endpoint, struct bytes hello);
static enum status await_hello_verify(int fd);
static bool is_hello_verify(struct bytes datagram);

enum status health_check(const struct settings *settings, struct buffer *report)
{
    const struct settings_endpoints *coaps = &settings->listen.coaps;
    size_t probes = settings->workers > 1 ? settings->workers * PROBES_PER_WORKER : 1;
    struct buffer hello;

    buffer_init(&hello, HELLO_OCTETS_MAX);
    enum status status = make_client_hello(&hello);
    if (status != STATUS_OK)
        buffer_printf(report, "no ClientHello could be made: %s\n", status_text(status));
    for (size_t i = 0; i < coaps->count && status == STATUS_OK; i++)
        status = check_listener(&coaps->items[i], probes, buffer_view(&hello), report);
    buffer_free(&hello);
    return status;
}

static enum status check_listener(const struct endpoint *listener, size_t probes, struct bytes hello,
                                  struct buffer *report)
{
    struct endpoint endpoint = *listener;
    enum status status = STATUS_OK;
    char text[ENDPOINT_TEXT_MAX];

    if (endpoint_port(&endpoint) == 0) {
        buffer_printf(report, "listen.coaps: \"%s\" is at a new port each time; give it one to ask at\n",
                      endpoint_format(&endpoint, text));
        return STATUS_UNSUPPORTED;
    }
    replace_wildcard(&endpoint);
    for (size_t i = 0; i < probes && status == STATUS_OK; i++)
        status = probe(&endpoint, hello);
    if (status != STATUS_OK)
        buffer_printf(report, "coaps://%s does not answer a ClientHello: %s\n",
                      endpoint_format(&endpoint, text),
                      status == STATUS_SYSTEM ? strerror(errno) : "it is silent");
    return status;
}

/* The first flight of an OpenSSL client that never goes on. */
static enum status make_client_hello(struct buffer *hello)
{
    enum status status = STATUS_CRYPTO;
    SSL_CTX *context = SSL_CTX_new(DTLS_client_method());
    SSL *ssl = context == NULL ? NULL : SSL_new(context);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    char *at;
    long len;
    if (ssl == NULL || in == NULL || out == NULL)
        goto fail;

    SSL_set_bio(ssl, in, out); /* takes both */
    in = out = NULL;
    SSL_set_connect_state(ssl);
    SSL_set_options(ssl, SSL_OP_NO_QUERY_MTU);
    SSL_set_mtu(ssl, HELLO_OCTETS_MAX);
    SSL_do_handshake(ssl); /* stops after its flight: there is nothing to read */
    len = BIO_get_mem_data(SSL_get_wbio(ssl), &at);
    if (len > 0) {
        buffer_append(hello, (struct bytes){(const uint8_t *)at, (size_t)len});
        status = hello->status;
    }
fail:
    BIO_free(in);
    BIO_free(out);
    SSL_free(ssl);
    SSL_CTX_free(context);
    return status;
}

static void replace_wildcard(struct endpoint *endpoint)
{
    struct sockaddr_in *v4 = &endpoint->address.v4;
    struct sockaddr_in6 *v6 = &endpoint->address.v6;

    if (endpoint->address.any.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr))
        v6->sin6_addr = in6addr_loopback;
    else if (endpoint->address.any.sa_family == AF_INET && v4->sin_addr.s_addr == htonl(INADDR_ANY))
        v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
}

/* A new socket each time: its port decides which worker is asked. */
static enum status probe(const struct endpoint *endpoint, struct bytes hello)
{
    enum status status = STATUS_SYSTEM;
    int fd = socket(endpoint->address.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return STATUS_SYSTEM;
    if (connect(fd, &endpoint->address.any, endpoint->len) == 0 &&
        send(fd, hello.at, hello.len, 0) == (ssize_t)hello.len)
        status = await_hello_verify(fd);
    int reason = errno;
    close(fd);
    errno = reason;
    return status;
}

static enum status await_hello_verify(int fd)
{
    uint64_t deadline_ms = monotonic_ms() + ANSWER_WITHIN_MS;

    for (uint64_t now_ms; (now_ms = monotonic_ms()) < deadline_ms;) {
        struct pollfd readable = {.fd = fd, .events = POLLIN};
        if (poll(&readable, 1, (int)(deadline_ms - now_ms)) <= 0)
            continue;
        uint8_t answer[HELLO_OCTETS_MAX];
        ssize_t len = recv(fd, answer, sizeof answer, 0);
        if (len < 0)
            return STATUS_SYSTEM;
        if (is_hello_verify((struct bytes){answer, (size_t)len}))
            return STATUS_OK;
    }
    return STATUS_CLOSED;
}

/* RFC 6347 section 4.3.2 */
static bool is_hello_verify(struct bytes datagram)
{
    struct dtls_record record;
    struct dtls_handshake handshake;
    return dtls_record_take(&datagram, &record) && record.type == DTLS_HANDSHAKE &&
           dtls_handshake_take(&record.fragment, &handshake) && handshake.type == DTLS_HELLO_VERIFY_REQUEST;
}
