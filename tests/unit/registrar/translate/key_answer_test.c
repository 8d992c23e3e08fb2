#include "registrar/translate/key_answer.h"

#include "common/base64.h"
#include "registrar/protocol/certificate_request.h"
#include "registrar/protocol/der.h"
#include "registrar/translate/multipart_core.h"
#include "tests/unit/registrar/credentials.h"

#include <openssl/cms.h>
#include <openssl/err.h>

#define LIMIT        65536
#define SCALAR_AT    36 /* in PKCS#8 of a key on P-256 */
#define A4_TYPE      "multipart/mixed ; boundary=estServerExampleBoundary"
#define MIXED        "multipart/mixed; boundary=b"
#define KEY_TYPE     "application/pkcs8"
#define SEALED_TYPE  "application/pkcs7-mime; smime-type=server-generated-key"
#define CERTS_TYPE   "application/pkcs7-mime; smime-type=certs-only"
#define CAPABILITIES "\x30\x0f\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x0f\x31\x02\x30\x00"
#define KEY_NAME     "\x30\x14\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x02\x25\x31\x05\x04\x03kek"
#define OTHER_NAME   "\x30\x14\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x02\x36\x31\x05\x04\x03ski"
#define UNREADABLE   "\x30\x0f\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x0f\x31\x02\x05\x00"

/* What an EST server may send: the parts of RFC 9148 A.3, and others that do not fit them. */
struct fixture {
    struct buffer key, certificates, other_key, sealed, several;
    struct buffer body, core, serial;
};

static const struct settings no_settings = {.est = {.skg = true}};

static void append_part(struct fixture *fixture, const char *type, const struct buffer *content)
{
    buffer_printf(&fixture->body, "--b\r\nContent-Type: %s\r\n\r\n", type);
    base64_encode(buffer_view(content), BASE64_64_CRLF, &fixture->body);
}

static struct buffer make_sealed(void)
{
    static const unsigned char kek[16] = {1};
    BIO *content = BIO_new_mem_buf("key", 3), *out = BIO_new(BIO_s_mem());
    CMS_ContentInfo *cms = CMS_encrypt(NULL, NULL, EVP_aes_128_cbc(), CMS_BINARY | CMS_PARTIAL);
    assert_non_null(CMS_add0_recipient_key(cms, NID_undef, OPENSSL_memdup(kek, sizeof(kek)), sizeof(kek),
                                           (unsigned char *)OPENSSL_strdup("kek"), 3, NULL, NULL, NULL));
    assert_int_equal(CMS_final(cms, content, NULL, CMS_BINARY), 1);
    assert_int_equal(i2d_CMS_bio(out, cms), 1);
    char *octets;
    long len = BIO_get_mem_data(out, &octets);
    struct buffer der;
    buffer_init(&der, LIMIT);
    buffer_append(&der, (struct bytes){(uint8_t *)octets, (size_t)len});
    CMS_ContentInfo_free(cms);
    BIO_free(content);
    BIO_free(out);
    return der;
}

static int set_up(void **state)
{
    static struct fixture fixture;
    fixture.key = read_vector("rfc9148-A3-skg-key.pkcs8.der");
    fixture.certificates = read_vector("rfc9148-A3-skg-cert.p7.der");
    fixture.other_key = read_vector("draft08to12-A3-skg-key.pkcs8.der");
    fixture.several = read_vector("rfc7030-A1-cacerts.p7.der");
    fixture.sealed = make_sealed();
    buffer_init(&fixture.body, LIMIT);
    buffer_init_locked(&fixture.core, LIMIT);
    buffer_init(&fixture.serial, 64);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    struct buffer *all[] = {&fixture->key,    &fixture->certificates, &fixture->other_key, &fixture->several,
                            &fixture->sealed, &fixture->body,         &fixture->core,      &fixture->serial};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        buffer_wipe(all[i]);
    assert_int_equal(ERR_peek_error(), 0);
    return 0;
}

static enum status decode(struct fixture *fixture, enum est_operation_id id,
                          const struct certificate_request *csr, const char *type)
{
    const struct response_context context = {est_operation(id), &no_settings, csr};
    buffer_reset(&fixture->core);
    buffer_reset(&fixture->serial);
    return key_answer_decode(&context, bytes_from_string(type), buffer_view(&fixture->body), &fixture->core,
                             &fixture->serial);
}

/* Two parts, and the delimiter at the end. */
static void write_two(struct fixture *fixture, const char *type, const struct buffer *key,
                      const struct buffer *certificates)
{
    buffer_reset(&fixture->body);
    append_part(fixture, type, key);
    append_part(fixture, CERTS_TYPE, certificates);
    buffer_append_string(&fixture->body, "--b--\r\n");
}

static void assert_core(struct fixture *fixture, const char *vector)
{
    struct buffer wanted = read_vector(vector), serial;
    assert_true(bytes_equal(buffer_view(&fixture->core), buffer_view(&wanted)));
    assert_true(fixture->serial.len > 0);
    buffer_init(&serial, 64);
    key_answer_serial(buffer_view(&fixture->core), &serial);
    assert_true(bytes_equal(buffer_view(&serial), buffer_view(&fixture->serial)));
    buffer_free(&serial);
    buffer_free(&wanted);
}

/* MP-1: RFC 9148 A.3, and what /skc makes of the same parts, in either order. */
static void the_vectors_of_rfc_9148(void **state)
{
    struct fixture *fixture = *state;
    write_two(fixture, KEY_TYPE, &fixture->key, &fixture->certificates);
    assert_int_equal(decode(fixture, EST_SKG, NULL, MIXED), STATUS_OK);
    assert_core(fixture, "rfc9148-A3-skg-response.multipart-core.bin");
    assert_int_equal(decode(fixture, EST_SKC, NULL, MIXED), STATUS_OK);
    assert_core(fixture, "derived-skc-response.multipart-core.bin");
    buffer_reset(&fixture->body);
    append_part(fixture, "Application/PKCS7-mime", &fixture->certificates);
    append_part(fixture, "APPLICATION/PKCS8; x=y", &fixture->key);
    buffer_append_string(&fixture->body, "--b--");
    assert_int_equal(decode(fixture, EST_SKG, NULL, MIXED), STATUS_OK);
    assert_core(fixture, "rfc9148-A3-skg-response.multipart-core.bin");
}

/* MP-3: RFC 7030 A.4 with CRLF, with LF, and as RFC 8951 would have it: the same key, the same certificate.
 */
static void the_vectors_of_rfc_7030(void **state)
{
    struct fixture *fixture = *state;
    static const char *const files[] = {"rfc7030-A4-serverkeygen.multipart-mixed.crlf.txt",
                                        "rfc7030-A4-serverkeygen.multipart-mixed.lf.txt",
                                        "rfc8951-style-serverkeygen.multipart-mixed.nocte.txt"};
    struct buffer key = read_vector("rfc7030-A4-serverkeygen.key.pkcs8.der"),
                  certificates = read_vector("rfc7030-A4-serverkeygen.p7.der");
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        struct multipart_core message;
        buffer_free(&fixture->body);
        fixture->body = read_vector(files[i]);
        assert_int_equal(decode(fixture, EST_SKG, NULL, A4_TYPE), STATUS_OK);
        assert_int_equal(multipart_core_read(buffer_view(&fixture->core), &message), STATUS_OK);
        assert_int_equal(message.count, 2);
        assert_int_equal(message.parts[0].content_format, CONTENT_FORMAT_PKCS8);
        assert_true(bytes_equal(message.parts[0].content, buffer_view(&key)));
        assert_int_equal(message.parts[1].content_format, CONTENT_FORMAT_CERTS_ONLY);
        assert_true(bytes_equal(message.parts[1].content, buffer_view(&certificates)));
    }
    buffer_free(&fixture->body);
    buffer_init(&fixture->body, LIMIT);
    buffer_free(&key);
    buffer_free(&certificates);
}

/* draft-ietf-ace-coap-est-08 A.3: its key and certificate belong together as well, and go through as they
 * are. */
static void the_vectors_of_the_drafts(void **state)
{
    struct fixture *fixture = *state;
    struct buffer certificates = read_vector("draft08to12-A3-skg-cert.p7.der");
    write_two(fixture, KEY_TYPE, &fixture->other_key, &certificates);
    assert_int_equal(decode(fixture, EST_SKG, NULL, MIXED), STATUS_OK);
    struct multipart_core message;
    assert_int_equal(multipart_core_read(buffer_view(&fixture->core), &message), STATUS_OK);
    assert_true(bytes_equal(message.parts[0].content, buffer_view(&fixture->other_key)));
    assert_true(bytes_equal(message.parts[1].content, buffer_view(&certificates)));
    buffer_free(&certificates);
}

/* MP-4, MP-6: on any failure nothing is handed out. */
static void what_does_not_fit(void **state)
{
    struct fixture *fixture = *state;
    struct buffer nonsense, forged;
    buffer_init(&nonsense, 64);
    buffer_append_string(&nonsense, "nonsense");
    buffer_init(&forged, LIMIT);
    buffer_append(&forged, buffer_view(&fixture->key));
    assert_memory_equal(forged.at + SCALAR_AT - 2, "\x04\x20", 2);
    forged.at[SCALAR_AT + 31] ^= 1; /* beside the public key that the certificate is for */
    const struct {
        struct {
            const char *type;
            const struct buffer *content;
        } parts[3];
        enum status status;
    } cases[] = {
        {{{KEY_TYPE, &fixture->key}}, STATUS_MALFORMED},
        {{{CERTS_TYPE, &fixture->certificates}}, STATUS_MALFORMED},
        {{{KEY_TYPE, &fixture->key}, {KEY_TYPE, &fixture->key}}, STATUS_MALFORMED},
        {{{KEY_TYPE, &fixture->key}, {KEY_TYPE, &fixture->key}, {CERTS_TYPE, &fixture->certificates}},
         STATUS_MALFORMED},
        {{{KEY_TYPE, &fixture->key}, {SEALED_TYPE, &fixture->sealed}, {CERTS_TYPE, &fixture->certificates}},
         STATUS_MALFORMED},
        {{{KEY_TYPE, &fixture->key},
          {CERTS_TYPE, &fixture->certificates},
          {CERTS_TYPE, &fixture->certificates}},
         STATUS_MALFORMED},
        {{{KEY_TYPE, &fixture->key}, {CERTS_TYPE, &fixture->certificates}, {"text/plain", &nonsense}},
         STATUS_MALFORMED},
        {{{"application/octet-stream", &fixture->key}, {CERTS_TYPE, &fixture->certificates}},
         STATUS_MALFORMED},
        {{{KEY_TYPE, &fixture->certificates}, {CERTS_TYPE, &fixture->key}}, STATUS_MALFORMED}, /* swapped */
        {{{KEY_TYPE, &nonsense}, {CERTS_TYPE, &fixture->certificates}}, STATUS_MALFORMED},
        {{{KEY_TYPE, &fixture->key}, {CERTS_TYPE, &nonsense}}, STATUS_MALFORMED},
        {{{KEY_TYPE, &fixture->other_key}, {CERTS_TYPE, &fixture->certificates}}, STATUS_MISMATCH},
        {{{KEY_TYPE, &forged}, {CERTS_TYPE, &fixture->certificates}}, STATUS_MISMATCH},
        {{{KEY_TYPE, &fixture->key}, {CERTS_TYPE, &fixture->several}}, STATUS_MISMATCH},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        buffer_reset(&fixture->body);
        for (size_t j = 0; j < 3 && cases[i].parts[j].type != NULL; j++)
            append_part(fixture, cases[i].parts[j].type, cases[i].parts[j].content);
        buffer_append_string(&fixture->body, "--b--\r\n");
        for (enum est_operation_id id = EST_SKG; id <= EST_SKC; id++) {
            assert_int_equal(decode(fixture, id, NULL, MIXED), cases[i].status);
            assert_int_equal(fixture->core.len, 0);
            assert_int_equal(fixture->serial.len, 0);
        }
    }
    write_two(fixture, KEY_TYPE, &fixture->key, &fixture->certificates);
    assert_int_equal(decode(fixture, EST_SKG, NULL, "application/pkcs7-mime"), STATUS_MALFORMED);
    assert_int_equal(decode(fixture, EST_SKG, NULL, "multipart/mixed; boundary=c"), STATUS_MALFORMED);
    fixture->core.limit = 600;
    assert_int_equal(decode(fixture, EST_SKG, NULL, MIXED), STATUS_TOO_LARGE);
    assert_int_equal(fixture->core.len, 0);
    fixture->core.limit = LIMIT;
    buffer_free(&nonsense);
    buffer_free(&forged);
}

/* The CSR of RFC 9148 A.3 with more attributes. */
static struct certificate_request *request_with(const char *attributes, size_t len)
{
    struct buffer csr = read_vector("rfc9148-A3-skg-request.csr.der"), changed;
    struct bytes der = buffer_view(&csr);
    struct der_element outer, info, old = {0};
    assert_int_equal(der_read(&der, &outer), STATUS_OK);
    struct bytes behind = outer.content;
    assert_int_equal(der_read(&behind, &info), STATUS_OK);
    struct bytes rest = info.content;
    while (rest.len > 0 && old.tag != DER_CONTEXT_0)
        assert_int_equal(der_read(&rest, &old), STATUS_OK);
    struct bytes fixed = bytes_slice(info.content, 0, info.content.len - old.whole.len);
    struct buffer new_info, new_attributes;
    buffer_init(&changed, LIMIT);
    buffer_init(&new_info, LIMIT);
    buffer_init(&new_attributes, LIMIT);
    der_append_head(&new_attributes, DER_CONTEXT_0, old.content.len + len);
    buffer_append(&new_attributes, old.content);
    buffer_append(&new_attributes, (struct bytes){(const uint8_t *)attributes, len});
    der_append_head(&new_info, DER_SEQUENCE, fixed.len + new_attributes.len);
    buffer_append(&new_info, fixed);
    buffer_append(&new_info, buffer_view(&new_attributes));
    der_append_head(&changed, DER_SEQUENCE, new_info.len + behind.len);
    buffer_append(&changed, buffer_view(&new_info));
    buffer_append(&changed, behind);
    struct certificate_request *request = NULL;
    assert_int_equal(certificate_request_parse_keyless(buffer_view(&changed), &request), STATUS_OK);
    buffer_free(&csr);
    buffer_free(&changed);
    buffer_free(&new_info);
    buffer_free(&new_attributes);
    return request;
}

/* MP-5, MP-7, SKG-3: who asked for protection gets no plain key, and who did not gets no other; of half a
 * wish the EST server decides, but two identifiers or capabilities that cannot be read are no half one. A
 * protected key goes through octet for octet. */
static void wishes(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        const char *attributes;
        size_t len;
        bool plain_passes, sealed_passes;
    } cases[] = {
        {"", 0, true, false},
        {CAPABILITIES KEY_NAME, sizeof(CAPABILITIES KEY_NAME) - 1, false, true},
        {CAPABILITIES, sizeof(CAPABILITIES) - 1, true, true},
        {KEY_NAME, sizeof(KEY_NAME) - 1, true, true},
        {UNREADABLE, sizeof(UNREADABLE) - 1, true, true},
        {UNREADABLE KEY_NAME, sizeof(UNREADABLE KEY_NAME) - 1, false, true},
        {CAPABILITIES KEY_NAME OTHER_NAME, sizeof(CAPABILITIES KEY_NAME OTHER_NAME) - 1, false, true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct certificate_request *csr = request_with(cases[i].attributes, cases[i].len);
        for (enum est_operation_id id = EST_SKG; id <= EST_SKC; id++) {
            write_two(fixture, KEY_TYPE, &fixture->key, &fixture->certificates);
            assert_int_equal(decode(fixture, id, csr, MIXED),
                             cases[i].plain_passes ? STATUS_OK : STATUS_FORBIDDEN);
            assert_int_equal(fixture->core.len > 0, cases[i].plain_passes);
            write_two(fixture, SEALED_TYPE, &fixture->sealed, &fixture->certificates);
            assert_int_equal(decode(fixture, id, csr, MIXED),
                             cases[i].sealed_passes ? STATUS_OK : STATUS_FORBIDDEN);
            assert_int_equal(fixture->core.len > 0, cases[i].sealed_passes);
            struct multipart_core message;
            if (!cases[i].sealed_passes)
                continue;
            assert_int_equal(multipart_core_read(buffer_view(&fixture->core), &message), STATUS_OK);
            assert_int_equal(message.parts[0].content_format, CONTENT_FORMAT_SERVER_KEY);
            assert_true(bytes_equal(message.parts[0].content, buffer_view(&fixture->sealed)));
            assert_int_equal(message.parts[1].content_format,
                             id == EST_SKC ? CONTENT_FORMAT_ONE_CERT : CONTENT_FORMAT_CERTS_ONLY);
        }
        certificate_request_free(csr);
    }
}

/* SKG-8: EnvelopedData outermost, and nothing behind it. */
static void what_is_no_protected_key(void **state)
{
    struct fixture *fixture = *state;
    struct certificate_request *csr = request_with(CAPABILITIES KEY_NAME, sizeof(CAPABILITIES KEY_NAME) - 1);
    write_two(fixture, SEALED_TYPE, &fixture->certificates, &fixture->certificates); /* SignedData */
    assert_int_equal(decode(fixture, EST_SKG, csr, MIXED), STATUS_MALFORMED);
    write_two(fixture, SEALED_TYPE, &fixture->key, &fixture->certificates); /* a plain key under its label */
    assert_int_equal(decode(fixture, EST_SKG, csr, MIXED), STATUS_MALFORMED);
    buffer_append_byte(&fixture->sealed, 0);
    write_two(fixture, SEALED_TYPE, &fixture->sealed, &fixture->certificates);
    assert_int_equal(decode(fixture, EST_SKG, csr, MIXED), STATUS_MALFORMED);
    assert_int_equal(fixture->core.len, 0);
    certificate_request_free(csr);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_vectors_of_rfc_9148, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_vectors_of_rfc_7030, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_vectors_of_the_drafts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_does_not_fit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wishes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_protected_key, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
