/* SEC-1: a CSR from a device, and every question that is asked of it. */
#include "registrar/protocol/certificate_request.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct certificate_request *request = NULL;
    struct bytes text;
    uint8_t digest[32];
    if (certificate_request_parse((struct bytes){data, size}, &request) != STATUS_OK)
        return 0;
    if (certificate_request_subject(request) == NULL || certificate_request_key(request) == NULL ||
        certificate_request_digest(request, digest) != STATUS_OK)
        abort();
    certificate_request_verify(request);
    certificate_request_forbidden_power(request);
    certificate_request_challenge_password(request, &text);
    certificate_request_free(request);
    return 0;
}
