/* SEC-1: a certs-only message from an EST server. */
#include "registrar/translate/certs_only.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct certs_only *certs = NULL;
    X509 *chosen = NULL;
    if (certs_only_parse((struct bytes){data, size}, &certs) != STATUS_OK)
        return 0;
    for (int policy = CRTS_287_ISSUING_CA; policy <= CRTS_287_REFUSE; policy++)
        certs_only_choose_ca(certs, (enum est_crts_287)policy, &chosen);
    EVP_PKEY *key = chosen == NULL ? NULL : X509_get0_pubkey(chosen);
    X509 *found = NULL;
    if (key != NULL && certs_only_find(certs, key, &found) != STATUS_OK)
        abort();
    certs_only_free(certs);
    return 0;
}
