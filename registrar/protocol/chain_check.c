#include "registrar/protocol/chain_check.h"

X509_STORE_CTX *chain_check_create(X509_STORE *store, X509_STORE_CTX *presented)
{
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    if (context == NULL || X509_STORE_CTX_init(context, store, X509_STORE_CTX_get0_cert(presented),
                                               X509_STORE_CTX_get0_untrusted(presented)) == 1)
        return context;
    X509_STORE_CTX_free(context);
    return NULL;
}

int chain_check(X509_STORE_CTX *context)
{
    if (X509_verify_cert(context) == 1)
        return X509_V_OK;
    int error = X509_STORE_CTX_get_error(context);
    return error != X509_V_OK ? error : X509_V_ERR_UNSPECIFIED;
}

bool chain_error_says_nothing(int error)
{
    return error == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY ||
           error == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT ||
           error == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE ||
           error == X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN || error == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT;
}
