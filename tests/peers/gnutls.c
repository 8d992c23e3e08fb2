/* GnuTLS: of border routers and Linux devices. */
#include "stack.h"

#include <gnutls/dtls.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct stack {
    const struct stack_options *options;
    gnutls_certificate_credentials_t credentials;
    gnutls_session_t session; /* NULL: no association */
    gnutls_datum_t kept;      /* the session of the association before */
    int error;
};

static enum progress judge(struct stack *stack, ssize_t result);

struct stack *stack_create(const struct stack_options *options)
{
    struct stack *stack = calloc(1, sizeof(*stack));
    if (stack == NULL)
        return NULL;
    stack->options = options;
    if (gnutls_certificate_allocate_credentials(&stack->credentials) == GNUTLS_E_SUCCESS &&
        gnutls_certificate_set_x509_trust_file(stack->credentials, options->trust, GNUTLS_X509_FMT_PEM) > 0 &&
        gnutls_certificate_set_x509_key_file(stack->credentials, options->certificate, options->key,
                                             GNUTLS_X509_FMT_PEM) == GNUTLS_E_SUCCESS)
        return stack;
    stack_free(stack);
    return NULL;
}

void stack_free(struct stack *stack)
{
    if (stack->session != NULL)
        gnutls_deinit(stack->session);
    gnutls_free(stack->kept.data);
    gnutls_certificate_free_credentials(stack->credentials);
    free(stack);
}

bool stack_open(struct stack *stack, int udp)
{
    const struct stack_options *options = stack->options;
    stack->error = gnutls_init(&stack->session, GNUTLS_CLIENT | GNUTLS_DATAGRAM | GNUTLS_NONBLOCK);
    if (stack->error == 0)
        stack->error = gnutls_priority_set_direct(
            stack->session, "NORMAL:-VERS-ALL:+VERS-DTLS1.2:-KX-ALL:+ECDHE-ECDSA:-CIPHER-ALL:+AES-128-CCM-8",
            NULL);
    if (stack->error == 0)
        stack->error = gnutls_credentials_set(stack->session, GNUTLS_CRD_CERTIFICATE, stack->credentials);
    if (stack->error == 0 && options->max_fragment_length != 0)
        stack->error = (int)gnutls_record_set_max_size(stack->session, options->max_fragment_length);
    if (stack->error == 0 && stack->kept.size > 0)
        stack->error = gnutls_session_set_data(stack->session, stack->kept.data, stack->kept.size);
    if (options->mtu != 0)
        gnutls_dtls_set_mtu(stack->session, options->mtu);
    gnutls_dtls_set_timeouts(stack->session, RETRANSMIT_AFTER_MS, GIVE_UP_AFTER_MS);
    gnutls_session_set_verify_cert(stack->session, "localhost", 0);
    gnutls_transport_set_int(stack->session, udp);
    return stack->error == 0;
}

enum progress stack_handshake(struct stack *stack)
{
    enum progress progress = judge(stack, gnutls_handshake(stack->session));
    if (progress != PROGRESS_DONE)
        return progress;
    gnutls_free(stack->kept.data);
    return judge(stack, gnutls_session_get_data2(stack->session, &stack->kept));
}

enum progress stack_renegotiate(struct stack *stack)
{
    return judge(stack, gnutls_handshake(stack->session));
}

enum progress stack_read(struct stack *stack, uint8_t *to, size_t room, size_t *size)
{
    ssize_t result = gnutls_record_recv(stack->session, to, room);
    *size = result > 0 ? (size_t)result : 0;
    return result == 0 ? PROGRESS_CLOSED : judge(stack, result);
}

bool stack_write(struct stack *stack, const uint8_t *octets, size_t size)
{
    return judge(stack, gnutls_record_send(stack->session, octets, size)) == PROGRESS_DONE;
}

void stack_facts(struct stack *stack, struct stack_facts *facts)
{
    facts->cipher = gnutls_ciphersuite_get(stack->session);
    facts->resumed = gnutls_session_is_resumed(stack->session) != 0;
    gnutls_datum_t binding = {0};
    if (gnutls_session_channel_binding(stack->session, GNUTLS_CB_TLS_UNIQUE, &binding) == 0 &&
        binding.size == VERIFY_DATA_OCTETS)
        memcpy(facts->tls_unique, binding.data, VERIFY_DATA_OCTETS);
    gnutls_free(binding.data);
}

void stack_close(struct stack *stack)
{
    if (stack->session == NULL)
        return;
    gnutls_bye(stack->session, GNUTLS_SHUT_WR);
    gnutls_deinit(stack->session);
    stack->session = NULL;
}

void stack_trouble(const struct stack *stack, char text[TROUBLE_MAX])
{
    snprintf(text, TROUBLE_MAX, "%s", gnutls_strerror(stack->error));
}

static enum progress judge(struct stack *stack, ssize_t result)
{
    if (result >= 0)
        return PROGRESS_DONE;
    if (result == GNUTLS_E_AGAIN || result == GNUTLS_E_INTERRUPTED)
        return PROGRESS_WAIT;
    stack->error = (int)result;
    return PROGRESS_FAILED;
}
