/* bench-baseline: what a full mutual handshake costs a server that is OpenSSL in memory and nothing else.
 *
 * usage: bench-baseline SERVER.pem SERVER.key TRUST.pem DEVICE.crt DEVICE.key COUNT
 *
 * Sixteen handshakes are under way at a time, as in bench-load. Only the server's calls into OpenSSL are
 * counted, from SSL_new to SSL_free; the device's part, in the same thread, is not. Prints one line of JSON.
 */
#include "contexts.h"
#include "cpu_time.h"

#include <openssl/err.h>

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define CONCURRENT 16
#define STEPS_MAX  16 /* of one side; a handshake without losses takes three */

struct pair {
    SSL *device, *server;
    BIO *to_device, *to_server;
};

struct bench {
    SSL_CTX *device, *server;
    struct pair pairs[CONCURRENT];
    bool failed;
    double server_cpu_s;
};

static unsigned run(struct bench *bench, unsigned wanted);
static unsigned run_batch(struct bench *bench);
static bool open_devices(struct bench *bench);
static unsigned never_repeat(SSL *ssl, unsigned timer_us);
static BIO *queue_create(void);
static void count_server(struct bench *bench, void (*part)(struct bench *));
static void open_servers(struct bench *bench);
static void step_servers(struct bench *bench);
static void close_servers(struct bench *bench);
static void step_devices(struct bench *bench);
static void step(struct bench *bench, SSL *ssl);
static unsigned count_finished(const struct bench *bench);
static void close_devices(struct bench *bench);

int main(int count, char *arguments[])
{
    struct bench bench = {0};

    if (count != 7) {
        fprintf(stderr,
                "usage: bench-baseline SERVER.pem SERVER.key TRUST.pem DEVICE.crt DEVICE.key COUNT\n");
        return 2;
    }
    const unsigned wanted = (unsigned)strtoul(arguments[6], NULL, 10);
    bench.server = server_context_create(arguments[1], arguments[2], arguments[3]);
    bench.device = device_context_create(arguments[4], arguments[5]);
    unsigned done = bench.server != NULL && bench.device != NULL ? run(&bench, wanted) : 0;
    SSL_CTX_free(bench.server);
    SSL_CTX_free(bench.device);
    printf("{\"done\": %u, \"server_cpu_s\": %.6f}\n", done, bench.server_cpu_s);
    return done >= wanted ? 0 : 1;
}

/* The first batch is not counted: OpenSSL fetches its algorithms. */
static unsigned run(struct bench *bench, unsigned wanted)
{
    unsigned done = 0;
    run_batch(bench);
    bench->server_cpu_s = 0;
    while (done < wanted && !bench->failed)
        done += run_batch(bench);
    return done;
}

/* Returns how many handshakes finished. */
static unsigned run_batch(struct bench *bench)
{
    unsigned finished = 0;

    if (open_devices(bench)) {
        count_server(bench, open_servers);
        for (unsigned i = 0; i < STEPS_MAX && finished < CONCURRENT && !bench->failed; i++) {
            step_devices(bench);
            count_server(bench, step_servers);
            finished = count_finished(bench);
        }
    }
    bench->failed = finished < CONCURRENT;
    count_server(bench, close_servers);
    close_devices(bench);
    return finished;
}

static bool open_devices(struct bench *bench)
{
    for (unsigned i = 0; i < CONCURRENT; i++) {
        struct pair *pair = &bench->pairs[i];
        pair->to_device = queue_create();
        pair->to_server = queue_create();
        pair->device = device_open(bench->device);
        if (pair->to_device == NULL || pair->to_server == NULL || pair->device == NULL)
            return false;
        BIO_up_ref(pair->to_device);
        BIO_up_ref(pair->to_server);
        SSL_set_bio(pair->device, pair->to_device, pair->to_server);
        DTLS_set_timer_cb(pair->device, never_repeat);
    }
    return true;
}

/* Nothing is lost here, but under callgrind a second may pass. The next timeout is far off. */
static unsigned never_repeat(SSL *ssl, unsigned timer_us)
{
    (void)ssl, (void)timer_us;
    return UINT_MAX;
}

/* Datagrams join in it, which DTLS does not mind: records tell their length. */
static BIO *queue_create(void)
{
    BIO *queue = BIO_new(BIO_s_mem());
    if (queue != NULL)
        BIO_set_mem_eof_return(queue, -1);
    return queue;
}

/* Not inlined: callgrind counts within this function (see ./run). */
__attribute__((noinline)) static void count_server(struct bench *bench, void (*part)(struct bench *))
{
    double begin = thread_cpu_s();
    part(bench);
    bench->server_cpu_s += thread_cpu_s() - begin;
}

static void open_servers(struct bench *bench)
{
    for (unsigned i = 0; i < CONCURRENT; i++) {
        struct pair *pair = &bench->pairs[i];
        pair->server = server_open(bench->server);
        if (pair->server == NULL) {
            bench->failed = true;
            return;
        }
        BIO_up_ref(pair->to_device);
        BIO_up_ref(pair->to_server);
        SSL_set_bio(pair->server, pair->to_server, pair->to_device);
        DTLS_set_timer_cb(pair->server, never_repeat);
    }
}

static void step_servers(struct bench *bench)
{
    for (unsigned i = 0; i < CONCURRENT && !bench->failed; i++)
        step(bench, bench->pairs[i].server);
}

static void close_servers(struct bench *bench)
{
    for (unsigned i = 0; i < CONCURRENT; i++) {
        SSL_free(bench->pairs[i].server);
        bench->pairs[i].server = NULL;
    }
}

static void step_devices(struct bench *bench)
{
    for (unsigned i = 0; i < CONCURRENT && !bench->failed; i++)
        step(bench, bench->pairs[i].device);
}

static void step(struct bench *bench, SSL *ssl)
{
    if (SSL_is_init_finished(ssl))
        return;
    ERR_clear_error();
    int result = SSL_do_handshake(ssl);
    if (result == 1 || SSL_get_error(ssl, result) == SSL_ERROR_WANT_READ)
        return;
    tell_openssl("handshake");
    bench->failed = true;
}

static unsigned count_finished(const struct bench *bench)
{
    unsigned finished = 0;
    for (unsigned i = 0; i < CONCURRENT; i++) {
        const struct pair *pair = &bench->pairs[i];
        finished += SSL_is_init_finished(pair->server) && SSL_is_init_finished(pair->device);
    }
    return finished;
}

static void close_devices(struct bench *bench)
{
    for (unsigned i = 0; i < CONCURRENT; i++) {
        struct pair *pair = &bench->pairs[i];
        SSL_free(pair->device);
        BIO_free(pair->to_device);
        BIO_free(pair->to_server);
        *pair = (struct pair){0};
    }
}
