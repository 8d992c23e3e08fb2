/* Mbed TLS: the stack of many devices. */
#include "stack.h"

#define MBEDTLS_ALLOW_PRIVATE_ACCESS /* 3.x: the octets of Finished are nobody's but its own */
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/error.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/ssl.h>
#include <mbedtls/timing.h>
#include <mbedtls/version.h>
#include <stdlib.h>
#include <string.h>
#if MBEDTLS_VERSION_MAJOR >= 3
#include <psa/crypto.h>
#endif

struct stack {
    mbedtls_entropy_context entropy;
    mbedtls_ctr_drbg_context random;
    mbedtls_x509_crt certificate, trust;
    mbedtls_pk_context key;
    mbedtls_ssl_config config;
    mbedtls_ssl_context ssl;
    mbedtls_ssl_session session;
    mbedtls_timing_delay_context timer;
    mbedtls_net_context udp;
    bool has_session, resumes;
    int error;
};

static int load(struct stack *stack, const struct stack_options *options);
static int parse_key(struct stack *stack, const char *path);
static int configure(struct stack *stack, const struct stack_options *options);
static enum progress judge(struct stack *stack, int result);

static const int ciphers[] = {MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8, 0};

struct stack *stack_create(const struct stack_options *options)
{
    struct stack *stack = calloc(1, sizeof(*stack));
    if (stack == NULL)
        return NULL;
    mbedtls_entropy_init(&stack->entropy);
    mbedtls_ctr_drbg_init(&stack->random);
    mbedtls_x509_crt_init(&stack->certificate);
    mbedtls_x509_crt_init(&stack->trust);
    mbedtls_pk_init(&stack->key);
    mbedtls_ssl_config_init(&stack->config);
    mbedtls_ssl_init(&stack->ssl);
    mbedtls_ssl_session_init(&stack->session);
    if (load(stack, options) == 0 && configure(stack, options) == 0)
        return stack;
    stack_free(stack);
    return NULL;
}

static int load(struct stack *stack, const struct stack_options *options)
{
#if MBEDTLS_VERSION_MAJOR >= 3
    psa_crypto_init();
#endif
    int error = mbedtls_ctr_drbg_seed(&stack->random, mbedtls_entropy_func, &stack->entropy, NULL, 0);
    if (error == 0)
        error = mbedtls_x509_crt_parse_file(&stack->certificate, options->certificate);
    if (error == 0)
        error = mbedtls_x509_crt_parse_file(&stack->trust, options->trust);
    return error != 0 ? error : parse_key(stack, options->key);
}

static int parse_key(struct stack *stack, const char *path)
{
#if MBEDTLS_VERSION_MAJOR >= 3
    return mbedtls_pk_parse_keyfile(&stack->key, path, NULL, mbedtls_ctr_drbg_random, &stack->random);
#else
    return mbedtls_pk_parse_keyfile(&stack->key, path, NULL);
#endif
}

static int configure(struct stack *stack, const struct stack_options *options)
{
    mbedtls_ssl_config *config = &stack->config;
    int error = mbedtls_ssl_config_defaults(config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_DATAGRAM,
                                            MBEDTLS_SSL_PRESET_DEFAULT);
    mbedtls_ssl_conf_rng(config, mbedtls_ctr_drbg_random, &stack->random);
    mbedtls_ssl_conf_ciphersuites(config, ciphers);
    mbedtls_ssl_conf_ca_chain(config, &stack->trust, NULL);
    mbedtls_ssl_conf_authmode(config, MBEDTLS_SSL_VERIFY_REQUIRED);
    mbedtls_ssl_conf_handshake_timeout(config, RETRANSMIT_AFTER_MS, GIVE_UP_AFTER_MS);
    mbedtls_ssl_conf_renegotiation(config, MBEDTLS_SSL_RENEGOTIATION_ENABLED);
    if (error == 0 && options->max_fragment_length != 0)
        error = mbedtls_ssl_conf_max_frag_len(config, options->max_fragment_length == 512
                                                          ? MBEDTLS_SSL_MAX_FRAG_LEN_512
                                                          : MBEDTLS_SSL_MAX_FRAG_LEN_1024);
    if (error == 0)
        error = mbedtls_ssl_conf_own_cert(config, &stack->certificate, &stack->key);
    if (error == 0)
        error = mbedtls_ssl_setup(&stack->ssl, config);
    if (error == 0)
        error = mbedtls_ssl_set_hostname(&stack->ssl, "localhost");
    if (error == 0 && options->mtu != 0)
        mbedtls_ssl_set_mtu(&stack->ssl, (uint16_t)options->mtu);
    mbedtls_ssl_set_timer_cb(&stack->ssl, &stack->timer, mbedtls_timing_set_delay, mbedtls_timing_get_delay);
    return error;
}

void stack_free(struct stack *stack)
{
    mbedtls_ssl_session_free(&stack->session);
    mbedtls_ssl_free(&stack->ssl);
    mbedtls_ssl_config_free(&stack->config);
    mbedtls_pk_free(&stack->key);
    mbedtls_x509_crt_free(&stack->trust);
    mbedtls_x509_crt_free(&stack->certificate);
    mbedtls_ctr_drbg_free(&stack->random);
    mbedtls_entropy_free(&stack->entropy);
    free(stack);
}

bool stack_open(struct stack *stack, int udp)
{
    stack->udp.fd = udp;
    stack->error = mbedtls_ssl_session_reset(&stack->ssl);
    mbedtls_ssl_set_bio(&stack->ssl, &stack->udp, mbedtls_net_send, mbedtls_net_recv, NULL);
    if (stack->error == 0 && stack->has_session)
        stack->error = mbedtls_ssl_set_session(&stack->ssl, &stack->session);
    return stack->error == 0;
}

enum progress stack_handshake(struct stack *stack)
{
    while (stack->ssl.state != MBEDTLS_SSL_HANDSHAKE_OVER) {
        /* Looked at here, because it is gone with the handshake. */
        if (stack->ssl.state == MBEDTLS_SSL_SERVER_CERTIFICATE)
            stack->resumes = false;
        else if (stack->ssl.state == MBEDTLS_SSL_SERVER_HELLO)
            stack->resumes = true;
        enum progress progress = judge(stack, mbedtls_ssl_handshake_step(&stack->ssl));
        if (progress != PROGRESS_DONE)
            return progress;
    }
    mbedtls_ssl_session_free(&stack->session);
    mbedtls_ssl_session_init(&stack->session);
    stack->has_session = mbedtls_ssl_get_session(&stack->ssl, &stack->session) == 0;
    return PROGRESS_DONE;
}

enum progress stack_renegotiate(struct stack *stack)
{
    return judge(stack, mbedtls_ssl_renegotiate(&stack->ssl));
}

enum progress stack_read(struct stack *stack, uint8_t *to, size_t room, size_t *size)
{
    int result = mbedtls_ssl_read(&stack->ssl, to, room);
    *size = result > 0 ? (size_t)result : 0;
    return result > 0 ? PROGRESS_DONE
                      : judge(stack, result == 0 ? MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY : result);
}

bool stack_write(struct stack *stack, const uint8_t *octets, size_t size)
{
    return judge(stack, mbedtls_ssl_write(&stack->ssl, octets, size)) == PROGRESS_DONE;
}

void stack_facts(struct stack *stack, struct stack_facts *facts)
{
    facts->cipher = mbedtls_ssl_get_ciphersuite(&stack->ssl);
    facts->resumed = stack->resumes;
    memcpy(facts->tls_unique, stack->resumes ? stack->ssl.peer_verify_data : stack->ssl.own_verify_data,
           VERIFY_DATA_OCTETS);
}

void stack_close(struct stack *stack)
{
    mbedtls_ssl_close_notify(&stack->ssl);
}

void stack_trouble(const struct stack *stack, char text[TROUBLE_MAX])
{
    mbedtls_strerror(stack->error, text, TROUBLE_MAX);
}

static enum progress judge(struct stack *stack, int result)
{
    if (result >= 0)
        return PROGRESS_DONE;
    if (result == MBEDTLS_ERR_SSL_WANT_READ || result == MBEDTLS_ERR_SSL_WANT_WRITE)
        return PROGRESS_WAIT;
    if (result == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY)
        return PROGRESS_CLOSED;
    stack->error = result;
    return PROGRESS_FAILED;
}
