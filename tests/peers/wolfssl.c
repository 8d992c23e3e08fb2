/* wolfSSL: of devices with a real-time operating system. */
#include "stack.h"

#include <wolfssl/options.h> /* first: how the library was built */

#include <wolfssl/ssl.h>

#include <stdlib.h>
#include <time.h>

struct stack {
    WOLFSSL_CTX *context;
    WOLFSSL *ssl; /* NULL: no association */
    WOLFSSL_SESSION *session;
    unsigned max_fragment_length;
    int64_t due_ms; /* when the flight is sent again */
    int64_t wait_ms;
    int error;
};

static enum progress judge(struct stack *stack, int result);
static int64_t now_ms(void);

struct stack *stack_create(const struct stack_options *options)
{
    struct stack *stack = calloc(1, sizeof(*stack));
    if (stack == NULL)
        return NULL;
    wolfSSL_Init();
    stack->max_fragment_length = options->max_fragment_length;
    stack->context = wolfSSL_CTX_new(wolfDTLSv1_2_client_method());
    if (wolfSSL_CTX_set_cipher_list(stack->context, "ECDHE-ECDSA-AES128-CCM-8") == WOLFSSL_SUCCESS &&
        wolfSSL_CTX_use_certificate_chain_file(stack->context, options->certificate) == WOLFSSL_SUCCESS &&
        wolfSSL_CTX_use_PrivateKey_file(stack->context, options->key, WOLFSSL_FILETYPE_PEM) ==
            WOLFSSL_SUCCESS &&
        wolfSSL_CTX_load_verify_locations(stack->context, options->trust, NULL) == WOLFSSL_SUCCESS &&
        options->mtu == 0)
        return stack; /* Debian's build has no wolfSSL_dtls_set_mtu */
    stack_free(stack);
    return NULL;
}

void stack_free(struct stack *stack)
{
    wolfSSL_SESSION_free(stack->session);
    wolfSSL_free(stack->ssl);
    wolfSSL_CTX_free(stack->context);
    wolfSSL_Cleanup();
    free(stack);
}

bool stack_open(struct stack *stack, int udp)
{
    stack->ssl = wolfSSL_new(stack->context);
    wolfSSL_dtls_set_using_nonblock(stack->ssl, 1);
    stack->wait_ms = RETRANSMIT_AFTER_MS;
    stack->due_ms = now_ms() + stack->wait_ms;
    if (stack->max_fragment_length != 0 &&
        wolfSSL_UseMaxFragment(stack->ssl,
                               stack->max_fragment_length == 512 ? WOLFSSL_MFL_2_9 : WOLFSSL_MFL_2_10) !=
            WOLFSSL_SUCCESS)
        return false;
    if (stack->session != NULL && wolfSSL_set_session(stack->ssl, stack->session) != WOLFSSL_SUCCESS)
        return false;
    return wolfSSL_UseSessionTicket(stack->ssl) == WOLFSSL_SUCCESS &&
           wolfSSL_set_dtls_fd_connected(stack->ssl, udp) == WOLFSSL_SUCCESS;
}

enum progress stack_handshake(struct stack *stack)
{
    if (now_ms() >= stack->due_ms) {
        wolfSSL_dtls_got_timeout(stack->ssl);
        stack->wait_ms *= 2;
        stack->due_ms = now_ms() + stack->wait_ms;
    }
    enum progress progress = judge(stack, wolfSSL_connect(stack->ssl));
    if (progress != PROGRESS_DONE)
        return progress;
    wolfSSL_SESSION_free(stack->session);
    stack->session = wolfSSL_get1_session(stack->ssl);
    return PROGRESS_DONE;
}

enum progress stack_renegotiate(struct stack *stack)
{
    stack->error = SECURE_RENEGOTIATION_E; /* Debian's build has none */
    return PROGRESS_FAILED;
}

enum progress stack_read(struct stack *stack, uint8_t *to, size_t room, size_t *size)
{
    int result = wolfSSL_read(stack->ssl, to, (int)room);
    *size = result > 0 ? (size_t)result : 0;
    return judge(stack, result > 0 ? WOLFSSL_SUCCESS : result);
}

bool stack_write(struct stack *stack, const uint8_t *octets, size_t size)
{
    return wolfSSL_write(stack->ssl, octets, (int)size) == (int)size;
}

void stack_facts(struct stack *stack, struct stack_facts *facts)
{
    facts->cipher = wolfSSL_get_cipher(stack->ssl);
    facts->resumed = wolfSSL_session_reused(stack->ssl) == 1;
    if (facts->resumed)
        wolfSSL_get_peer_finished(stack->ssl, facts->tls_unique, VERIFY_DATA_OCTETS);
    else
        wolfSSL_get_finished(stack->ssl, facts->tls_unique, VERIFY_DATA_OCTETS);
}

void stack_close(struct stack *stack)
{
    wolfSSL_shutdown(stack->ssl);
    wolfSSL_free(stack->ssl);
    stack->ssl = NULL;
}

void stack_trouble(const struct stack *stack, char text[TROUBLE_MAX])
{
    wolfSSL_ERR_error_string_n((unsigned long)stack->error, text, TROUBLE_MAX);
}

static enum progress judge(struct stack *stack, int result)
{
    if (result == WOLFSSL_SUCCESS)
        return PROGRESS_DONE;
    int error = wolfSSL_get_error(stack->ssl, result);
    if (error == WOLFSSL_ERROR_WANT_READ || error == WOLFSSL_ERROR_WANT_WRITE)
        return PROGRESS_WAIT;
    if (error == WOLFSSL_ERROR_ZERO_RETURN)
        return PROGRESS_CLOSED;
    stack->error = error;
    return PROGRESS_FAILED;
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
