#include "registrar/protocol/keyless_library.h"

#include <openssl/provider.h>

#include <stdlib.h>

struct keyless_library {
    OSSL_LIB_CTX *context;
    OSSL_PROVIDER *nothing;
};

/* Without a provider OpenSSL would load its own. */
struct keyless_library *keyless_library_create(void)
{
    struct keyless_library *library = calloc(1, sizeof *library);
    if (library == NULL)
        return NULL;
    library->context = OSSL_LIB_CTX_new();
    if (library->context != NULL)
        library->nothing = OSSL_PROVIDER_load(library->context, "null");
    if (library->nothing == NULL) {
        keyless_library_free(library);
        return NULL;
    }
    return library;
}

void keyless_library_free(struct keyless_library *library)
{
    if (library == NULL)
        return;
    if (library->nothing != NULL)
        OSSL_PROVIDER_unload(library->nothing);
    OSSL_LIB_CTX_free(library->context);
    free(library);
}

OSSL_LIB_CTX *keyless_library_context(const struct keyless_library *library)
{
    return library->context;
}
