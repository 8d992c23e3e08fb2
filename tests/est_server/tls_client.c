#include "tls_client.h"

#include <openssl/x509v3.h>
#include <string.h>

const X509 *tls_client_certificate(const SSL *ssl)
{
    return SSL_get0_peer_certificate(ssl);
}

bool tls_client_is_ra(const X509 *certificate)
{
    if (certificate == NULL)
        return false;
    EXTENDED_KEY_USAGE *usages = X509_get_ext_d2i(certificate, NID_ext_key_usage, NULL, NULL);
    bool found = false;
    for (int i = 0; i < sk_ASN1_OBJECT_num(usages); i++)
        found |= OBJ_obj2nid(sk_ASN1_OBJECT_value(usages, i)) == NID_cmcRA;
    EXTENDED_KEY_USAGE_free(usages);
    return found;
}

bool tls_client_is_linked(const SSL *ssl, const char *challenge_password)
{
    unsigned char finished[EVP_MAX_MD_SIZE];
    char text[2 * EVP_MAX_MD_SIZE];
    if (SSL_version(ssl) != TLS1_2_VERSION)
        return false;
    /* The first Finished is the client's in a full handshake and the server's in a resumption. */
    size_t len = SSL_session_reused(ssl) ? SSL_get_finished(ssl, finished, sizeof(finished))
                                         : SSL_get_peer_finished(ssl, finished, sizeof(finished));
    EVP_EncodeBlock((unsigned char *)text, finished, (int)len);
    return len > 0 && strcmp(text, challenge_password) == 0;
}
