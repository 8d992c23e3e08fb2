#include "certs_only.h"

#include <event2/buffer.h>
#include <openssl/pkcs7.h>

static bool append(PKCS7 *message, struct evbuffer *der);

bool certs_only_write(X509 *const certificates[], size_t count, struct evbuffer *der)
{
    PKCS7 *message = PKCS7_new();
    bool done = message != NULL && PKCS7_set_type(message, NID_pkcs7_signed) == 1;
    if (done) {
        ASN1_OBJECT_free(message->d.sign->contents->type);
        message->d.sign->contents->type =
            OBJ_nid2obj(NID_pkcs7_data); /* without content: RFC 5652 section 5.2 */
    }
    for (size_t i = 0; done && i < count; i++)
        done = PKCS7_add_certificate(message, certificates[i]) == 1;
    done = done && append(message, der);
    PKCS7_free(message);
    return done;
}

static bool append(PKCS7 *message, struct evbuffer *der)
{
    unsigned char *octets = NULL;
    int len = i2d_PKCS7(message, &octets);
    if (len > 0)
        evbuffer_add(der, octets, (size_t)len);
    OPENSSL_free(octets);
    return len > 0;
}
