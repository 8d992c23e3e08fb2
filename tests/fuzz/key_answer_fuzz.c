/* SEC-1, MP-4 to MP-7: a key and a certificate from an EST server, below their multipart/mixed and base64,
 * which have targets of their own; and what csrattrs ask for. The first octet chooses format and operation,
 * the next two say how long the key is. */
#include "common/base64.h"
#include "registrar/keygen/key_type.h"
#include "registrar/translate/key_answer.h"
#include "registrar/translate/multipart_core.h"

#include <stdlib.h>

#define LIMIT ((size_t)1 << 20)
#define HEAD  3

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct certificate_request *protected_csr; /* a fuzz target has nowhere else to keep it */

/* One that asks for a protected key. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const unsigned char capabilities[] =
        "\x30\x0d\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x01\x05";
    unsigned char *der = NULL;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509_REQ *csr = X509_REQ_new();
    (void)argc, (void)argv;
    X509_REQ_set_pubkey(csr, key);
    X509_REQ_add1_attr_by_txt(csr, "1.2.840.113549.1.9.15", V_ASN1_SEQUENCE, capabilities,
                              sizeof(capabilities) - 1);
    X509_REQ_add1_attr_by_txt(csr, "1.2.840.113549.1.9.16.2.37", V_ASN1_OCTET_STRING, capabilities, 1);
    X509_REQ_sign(csr, key, EVP_sha256());
    int len = i2d_X509_REQ(csr, &der);
    if (certificate_request_parse_keyless((struct bytes){der, (size_t)len}, &protected_csr) != STATUS_OK)
        abort();
    OPENSSL_free(der);
    X509_REQ_free(csr);
    EVP_PKEY_free(key);
    return 0;
}

static void append_part(struct buffer *body, const char *content_type, struct bytes content)
{
    buffer_printf(body, "--b\r\nContent-Type: %s\r\n\r\n", content_type);
    base64_encode(content, BASE64_64_LF, body);
    buffer_append_string(body, "\r\n");
}

static void check(enum status status, struct bytes answer)
{
    struct multipart_core core;
    if ((status == STATUS_OK) != (answer.len > 0))
        abort();
    if (status != STATUS_OK)
        return;
    if (multipart_core_read(answer, &core) != STATUS_OK || core.count != 2 ||
        core.parts[0].content.len == 0 || core.parts[1].content.len == 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum key_type type;
    if (size < HEAD)
        return 0;
    struct bytes rest = {data + HEAD, size - HEAD};
    struct bytes key = bytes_slice(rest, 0, (size_t)data[1] << 8 | data[2]);
    struct bytes certificates = bytes_slice(rest, key.len, rest.len);
    struct settings settings = {.upstream.max_response_bytes = LIMIT};
    const struct response_context context = {est_operation(data[0] & 2 ? EST_SKC : EST_SKG), &settings,
                                             data[0] & 1 ? protected_csr : NULL};
    struct buffer body, core, serial;
    buffer_init(&body, LIMIT);
    buffer_init_locked(&core, LIMIT);
    buffer_init(&serial, LIMIT);
    append_part(&body,
                data[0] & 1 ? "application/pkcs7-mime; smime-type=server-generated-key" : "application/pkcs8",
                key);
    append_part(&body, "application/pkcs7-mime; smime-type=certs-only", certificates);
    buffer_append_string(&body, "--b--\r\n");
    check(key_answer_decode(&context, BYTES_LITERAL("multipart/mixed; boundary=b"), buffer_view(&body), &core,
                            &serial),
          buffer_view(&core));
    key_answer_serial(rest, &serial);
    key_type_of_csrattrs(rest, &type);
    buffer_free(&body);
    buffer_wipe(&core);
    buffer_free(&serial);
    return 0;
}
