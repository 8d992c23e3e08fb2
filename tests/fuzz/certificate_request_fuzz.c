/* SEC-1: a CSR from a device, and every question that is asked of it; a library without keys makes no
 * difference. */
#include "registrar/protocol/certificate_request.h"

#include "registrar/protocol/keyless_library.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum status parse_without_keys(struct bytes der, struct certificate_request **request)
{
    static struct keyless_library *library;
    if (library == NULL)
        library = keyless_library_create();
    return certificate_request_parse_in(keyless_library_context(library), false, der, request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct certificate_request *request = NULL, *lean = NULL;
    struct bytes text;
    uint8_t digest[32];
    enum status status = certificate_request_parse((struct bytes){data, size}, &request);
    if (parse_without_keys((struct bytes){data, size}, &lean) != status)
        abort();
    if (status != STATUS_OK)
        return 0;
    if (EVP_PKEY_eq(certificate_request_key(lean), certificate_request_key(request)) != 1)
        abort();
    certificate_request_free(lean);
    if (certificate_request_subject(request) == NULL || certificate_request_key(request) == NULL ||
        certificate_request_digest(request, digest) != STATUS_OK)
        abort();
    certificate_request_verify(request);
    certificate_request_forbidden_power(request);
    certificate_request_challenge_password(request, &text);
    certificate_request_free(request);
    return 0;
}
