/* SEC-1: a certs-only message from an EST server; and as the answer to a CSR, in a library without keys. */
#include "registrar/protocol/keyless_library.h"
#include "registrar/translate/certs_only.h"

#include <stdio.h>
#include <stdlib.h>

#define CSR_OCTETS_MAX 4096

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct keyless_library *library; /* a fuzz target has nowhere else to keep them */
static struct certificate_request *csr;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    uint8_t octets[CSR_OCTETS_MAX];
    FILE *file = fopen(VECTORS "/rfc9148-A2-sen-request.csr.der", "rb");
    if (file == NULL)
        abort();
    struct bytes der = {octets, fread(octets, 1, sizeof octets, file)};
    fclose(file);
    library = keyless_library_create();
    if (certificate_request_parse_in(keyless_library_context(library), false, der, &csr) != STATUS_OK)
        abort();
    return 0;
}

/* Whatever is found where OpenSSL has decoded the keys is found here. */
static void parse_without_keys(struct bytes der, enum status expected, bool is_found)
{
    struct certs_only *certs = NULL;
    X509 *found;
    if (certs_only_parse_for(csr, der, &certs) != expected)
        abort();
    if (expected != STATUS_OK)
        return;
    enum status status = certs_only_find_for(certs, csr, &found);
    if (is_found && status != STATUS_OK)
        abort();
    if (status == STATUS_OK) {
        struct buffer serial;
        buffer_init(&serial, CSR_OCTETS_MAX);
        certs_only_append_serial(found, &serial);
        buffer_free(&serial);
    }
    certs_only_free(certs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct bytes der = {data, size};
    struct certs_only *certs = NULL;
    X509 *chosen = NULL, *found = NULL;
    enum status status = certs_only_parse(der, &certs);
    parse_without_keys(der, status,
                       status == STATUS_OK &&
                           certs_only_find(certs, certificate_request_key(csr), &found) == STATUS_OK);
    if (status != STATUS_OK)
        return 0;
    for (int policy = CRTS_287_ISSUING_CA; policy <= CRTS_287_REFUSE; policy++)
        certs_only_choose_ca(certs, (enum est_crts_287)policy, &chosen);
    EVP_PKEY *key = chosen == NULL ? NULL : X509_get0_pubkey(chosen);
    if (key != NULL && certs_only_find(certs, key, &found) != STATUS_OK)
        abort();
    certs_only_free(certs);
    return 0;
}
