#include "certification_request.h"

bool certification_request_read(struct octets der, struct certification_request *result)
{
    const unsigned char *at = der.at;
    X509_REQ *request = d2i_X509_REQ(NULL, &at, (long)der.len);
    EVP_PKEY *key = request != NULL ? X509_REQ_get0_pubkey(request) : NULL;
    if (key == NULL || at != der.at + der.len) {
        X509_REQ_free(request);
        return false;
    }
    result->request = request;
    result->key = key;
    result->fingerprint = fingerprint_of(der);
    result->key_fingerprint = fingerprint_of_key(X509_REQ_get_X509_PUBKEY(request));
    return true;
}

void certification_request_clear(struct certification_request *result)
{
    X509_REQ_free(result->request);
    result->request = NULL;
}

bool certification_request_is_signed(const struct certification_request *request)
{
    return X509_REQ_verify(request->request, request->key) == 1;
}

char *certification_request_challenge_password(const struct certification_request *request)
{
    int place = X509_REQ_get_attr_by_NID(request->request, NID_pkcs9_challengePassword, -1);
    X509_ATTRIBUTE *attribute = place >= 0 ? X509_REQ_get_attr(request->request, place) : NULL;
    const ASN1_TYPE *value = attribute != NULL ? X509_ATTRIBUTE_get0_type(attribute, 0) : NULL;
    unsigned char *text = NULL;
    if (attribute == NULL)
        return NULL;
    bool is_text =
        value != NULL && (value->type == V_ASN1_PRINTABLESTRING || value->type == V_ASN1_UTF8STRING ||
                          value->type == V_ASN1_IA5STRING || value->type == V_ASN1_T61STRING);
    if (is_text && ASN1_STRING_to_UTF8(&text, value->value.asn1_string) >= 0)
        return (char *)text;
    return OPENSSL_strdup(""); /* present, and never right */
}
