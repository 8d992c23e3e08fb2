#include "registrar/protocol/certificate_request.h"

#include "registrar/protocol/der.h"
#include "registrar/protocol/keyless_library.h"
#include "tests/unit/registrar/credentials.h"

static EVP_PKEY *key;

static struct certificate_request *parse(struct buffer *der)
{
    struct certificate_request *request = NULL;
    enum status status = certificate_request_parse(buffer_view(der), &request);
    if (status != STATUS_OK)
        fail_msg("not parsed: %s", status_text(status));
    buffer_free(der); /* the request has copied what it needs */
    return request;
}

/* OpenSSL refuses to add an attribute twice, so this puts attributes behind those of a CSR by hand and signs
 * it anew. Takes der. */
static struct buffer add_attributes(struct buffer der, struct bytes attributes)
{
    struct bytes rest = buffer_view(&der);
    struct der_element outer, info, part, old;
    assert_int_equal(der_read(&rest, &outer), STATUS_OK);
    assert_int_equal(der_read(&outer.content, &info), STATUS_OK);
    rest = info.content;
    for (int i = 0; i < 3; i++)
        assert_int_equal(der_read(&rest, &part), STATUS_OK);
    assert_int_equal(der_read_tagged(&rest, DER_CONTEXT_0, &old), STATUS_OK);
    struct bytes fixed = bytes_slice(info.content, 0, info.content.len - old.whole.len);

    struct buffer field, body, signature, made;
    buffer_init(&field, MADE_LIMIT);
    buffer_init(&body, MADE_LIMIT);
    buffer_init(&signature, 256);
    buffer_init(&made, MADE_LIMIT);
    der_append_head(&field, DER_CONTEXT_0, old.content.len + attributes.len);
    buffer_append(&field, old.content);
    buffer_append(&field, attributes);
    der_append_head(&body, DER_SEQUENCE, fixed.len + field.len);
    buffer_append(&body, fixed);
    buffer_append(&body, buffer_view(&field));

    EVP_MD_CTX *context = EVP_MD_CTX_new();
    size_t len = 256;
    assert_int_equal(EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key), 1);
    assert_int_equal(EVP_DigestSign(context, buffer_extend(&signature, len), &len, body.at, body.len), 1);
    signature.len = len;
    EVP_MD_CTX_free(context);
    assert_int_equal(der_read(&outer.content, &part), STATUS_OK); /* signatureAlgorithm */

    der_append_head(&made, DER_SEQUENCE, body.len + part.whole.len + 3 + len);
    buffer_append(&made, buffer_view(&body));
    buffer_append(&made, part.whole);
    der_append_head(&made, DER_BIT_STRING, len + 1);
    buffer_append_byte(&made, 0);
    buffer_append(&made, buffer_view(&signature));
    assert_int_equal(made.status, STATUS_OK);
    buffer_free(&field);
    buffer_free(&body);
    buffer_free(&signature);
    buffer_free(&der);
    return made;
}

static void assert_malformed(struct bytes der)
{
    struct certificate_request *request = NULL;
    assert_int_equal(certificate_request_parse(der, &request), STATUS_MALFORMED);
    assert_null(request);
}

/* PAY-10: the CSRs of the RFCs parse, and their signatures hold. */
static void vectors_parse_and_verify(void **state)
{
    (void)state;
    static const struct {
        const char *file, *challenge_password;
    } rows[] = {
        {"rfc9148-A2-sen-request.csr.der", ""}, /* 37 octets that are no base64 */
        {"rfc9148-A3-skg-request.csr.der", NULL},
        {"rfc7030-A3-simpleenroll.csr.der", "+rrCir/7+EYu50T4"},
        {"rfc7030-A4-serverkeygen.csr.der", "dFsAXmJnjokBtDvr"},
        {"draft08to12-A3-skg-request.csr.der", NULL},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct buffer der = read_vector(rows[i].file);
        struct certificate_request *request = parse(&der);
        assert_int_equal(certificate_request_verify(request), STATUS_OK);
        assert_null(certificate_request_forbidden_power(request));
        assert_non_null(certificate_request_key(request));
        assert_non_null(certificate_request_subject(request));
        struct bytes text;
        bool has = certificate_request_challenge_password(request, &text);
        assert_int_equal(has, rows[i].challenge_password != NULL);
        if (rows[i].challenge_password != NULL && rows[i].challenge_password[0] != '\0')
            assert_true(bytes_equal(text, bytes_from_string(rows[i].challenge_password)));
        else
            assert_int_equal(text.len, has ? 37 : 0);
        certificate_request_free(request);
    }
}

/* PAY-10: a CSR with any octet changed is malformed, does not verify, or is another CSR. */
static void no_changed_octet_goes_unnoticed(void **state)
{
    (void)state;
    struct buffer der = read_vector("rfc9148-A2-sen-request.csr.der");
    for (size_t i = 0; i < der.len; i++) {
        der.at[i] ^= 0x01;
        struct certificate_request *request = NULL;
        if (certificate_request_parse(buffer_view(&der), &request) == STATUS_OK)
            assert_int_equal(certificate_request_verify(request), STATUS_UNTRUSTED);
        certificate_request_free(request);
        der.at[i] ^= 0x01;
    }
    buffer_free(&der);
}

/* PAY-10, SEC-1: truncated or with something behind it. */
static void exactly_one_request_is_parsed(void **state)
{
    (void)state;
    struct buffer der = read_vector("rfc9148-A2-sen-request.csr.der");
    for (size_t len = 0; len < der.len; len++)
        assert_malformed((struct bytes){der.at, len});
    buffer_append_byte(&der, 0);
    assert_malformed(buffer_view(&der));
    buffer_free(&der);
    assert_malformed(BYTES_LITERAL("MIIBizCCATECAQAw"));
    assert_malformed(BYTES_LITERAL("\x30\x00"));
    der = read_vector("rfc9148-A2-sen-response.p7.der");
    assert_malformed(buffer_view(&der));
    buffer_free(&der);
}

/* The signed content may be re-wrapped in BER without the signature noticing: OpenSSL would take it. */
static void ber_is_refused(void **state)
{
    (void)state;
    struct buffer der = read_vector("rfc9148-A2-sen-request.csr.der"), ber;
    struct bytes rest = buffer_view(&der);
    struct der_element whole;
    assert_int_equal(der_read(&rest, &whole), STATUS_OK);
    buffer_init(&ber, MADE_LIMIT);
    buffer_append(&ber, BYTES_LITERAL("\x30\x80"));
    buffer_append(&ber, whole.content);
    buffer_append(&ber, BYTES_LITERAL("\x00\x00"));
    const unsigned char *at = ber.at;
    X509_REQ *taken = d2i_X509_REQ(NULL, &at, (long)ber.len);
    assert_non_null(taken); /* so the check below is ours */
    X509_REQ_free(taken);
    assert_malformed(buffer_view(&ber));
    buffer_free(&ber);
    buffer_free(&der);
}

/* An attribute {1.2.3.4, SET { value }} in DER, but for the value. */
#define ATTRIBUTE_AROUND(len, value) "\x30" len "\x06\x03\x2a\x03\x04\x31" value

/* Deep inside, where OpenSSL takes it and the signature holds. */
static void ber_is_refused_at_any_depth(void **state)
{
    (void)state;
    static const struct {
        const char *attribute;
        size_t len;
        bool good;
    } rows[] = {
        {ATTRIBUTE_AROUND("\x0c", "\x05\x30\x03\x01\x01\xff"), 14, true},
        {ATTRIBUTE_AROUND("\x0c", "\x05\x30\x03\x01\x01\x01"), 14, false}, /* TRUE is ff */
        {ATTRIBUTE_AROUND("\x0b", "\x04\x30\x80\x00\x00"), 13, false},     /* indefinite */
        {ATTRIBUTE_AROUND("\x0c", "\x05\x30\x81\x02\x05\x00"), 14, false}, /* a long short length */
        {ATTRIBUTE_AROUND("\x0c", "\x05\x24\x03\x04\x01\x41"), 14, false}, /* a string in parts */
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct buffer der =
            add_attributes(make_request(&(struct made_request){.key = key, .subject = "CN=a"}),
                           (struct bytes){(const uint8_t *)rows[i].attribute, rows[i].len});
        const unsigned char *at = der.at;
        X509_REQ *taken = d2i_X509_REQ(NULL, &at, (long)der.len);
        assert_non_null(taken);
        assert_int_equal(X509_REQ_verify(taken, key), 1);
        X509_REQ_free(taken);
        struct certificate_request *request = NULL;
        enum status status = certificate_request_parse(buffer_view(&der), &request);
        if (status != (rows[i].good ? STATUS_OK : STATUS_MALFORMED))
            fail_msg("row %zu: %s", i, status_text(status));
        certificate_request_free(request);
        buffer_free(&der);
    }
}

/* RFC 2986: version 0, and attributes that may be empty but not absent. */
static void version_and_attributes_are_required(void **state)
{
    (void)state;
    struct buffer der = make_request(&(struct made_request){.key = key, .subject = "CN=a"});
    struct bytes rest = buffer_view(&der);
    struct der_element outer, info;
    assert_int_equal(der_read(&rest, &outer), STATUS_OK);
    assert_int_equal(der_read(&outer.content, &info), STATUS_OK);
    uint8_t *version = der.at + (info.content.at - der.at) + 2; /* behind the INTEGER's tag and length */
    assert_int_equal(*version, 0);
    *version = 1;
    assert_malformed(buffer_view(&der));
    *version = 0;

    struct buffer cut;
    buffer_init(&cut, MADE_LIMIT);
    der_append_head(&cut, DER_SEQUENCE, info.whole.len - 2 + outer.content.len);
    der_append_head(&cut, DER_SEQUENCE, info.content.len - 2);
    buffer_append(&cut, bytes_slice(info.content, 0, info.content.len - 2));
    buffer_append(&cut, outer.content);
    assert_malformed(buffer_view(&cut));
    buffer_free(&cut);
    buffer_free(&der);
}

/* RFC 5480: a curve with its parameters spelt out is not computed with. */
static void explicit_curves_are_refused(void **state)
{
    (void)state;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    EVP_PKEY *explicit_key = NULL;
    EVP_PKEY_keygen_init(context);
    EVP_PKEY_CTX_set_ec_paramgen_curve_nid(context, NID_X9_62_prime256v1);
    EVP_PKEY_CTX_set_ec_param_enc(context, OPENSSL_EC_EXPLICIT_CURVE);
    assert_int_equal(EVP_PKEY_generate(context, &explicit_key), 1);
    struct buffer der = make_request(&(struct made_request){.key = explicit_key, .subject = "CN=a"});
    assert_malformed(buffer_view(&der));
    buffer_free(&der);
    EVP_PKEY_free(explicit_key);
    EVP_PKEY_CTX_free(context);
}

static void other_key_types_are_taken(void **state)
{
    (void)state;
    EVP_PKEY *keys[] = {EVP_RSA_gen(2048), EVP_EC_gen("P-384")};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        struct buffer der = make_request(&(struct made_request){.key = keys[i], .subject = "CN=a"});
        struct certificate_request *request = parse(&der);
        assert_int_equal(certificate_request_verify(request), STATUS_OK);
        assert_int_equal(EVP_PKEY_eq(certificate_request_key(request), keys[i]), 1);
        certificate_request_free(request);
        EVP_PKEY_free(keys[i]);
    }
}

/* POP-6: the forms of a DirectoryString are read, other types and doubles are not. */
static void challenge_password_forms(void **state)
{
    (void)state;
    static const struct {
        int type;
        bool good;
    } rows[] = {{V_ASN1_PRINTABLESTRING, true}, {V_ASN1_UTF8STRING, true},    {V_ASN1_IA5STRING, true},
                {V_ASN1_T61STRING, true},       {V_ASN1_OCTET_STRING, false}, {V_ASN1_BIT_STRING, false}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        X509_REQ *made = make_unsigned_request(&(struct made_request){.key = key, .subject = "CN=a"});
        X509_REQ_add1_attr_by_NID(made, NID_pkcs9_challengePassword, rows[i].type,
                                  (const unsigned char *)"AAAA", 4);
        struct buffer der = sign_request(made, key);
        struct certificate_request *request = NULL;
        enum status status = certificate_request_parse(buffer_view(&der), &request);
        assert_int_equal(status, rows[i].good ? STATUS_OK : STATUS_MALFORMED);
        struct bytes text;
        if (rows[i].good) {
            assert_true(certificate_request_challenge_password(request, &text));
            assert_true(bytes_equal(text, BYTES_LITERAL("AAAA")));
        }
        certificate_request_free(request);
        buffer_free(&der);
    }
    struct buffer der =
        make_request(&(struct made_request){.key = key, .subject = "CN=a", .challenge_password = "AAAA"});
    der = add_attributes(der, BYTES_LITERAL("\x30\x13\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x07"
                                            "\x31\x06\x0c\x04"
                                            "BBBB"));
    assert_malformed(buffer_view(&der));
    buffer_free(&der);
}

static void digest_of(const struct made_request *made, uint8_t digest[static 32])
{
    struct buffer der = make_request(made);
    struct certificate_request *request = parse(&der);
    assert_int_equal(certificate_request_digest(request, digest), STATUS_OK);
    certificate_request_free(request);
}

/* DLY-4: the CSR that a device rebuilds after a new handshake (same content, new challengePassword, new
 * signature) has the same digest; anything else differs. */
static void the_digest_ignores_challenge_password_and_signature_only(void **state)
{
    (void)state;
    struct made_request made = {.key = key,
                                .subject = "CN=Device/serialNumber=1",
                                .extensions = {{"subjectAltName", "DNS:device.example"}}};
    uint8_t first[32], other[32];
    digest_of(&made, first);
    digest_of(&made, other); /* ECDSA signatures differ from one to the next */
    assert_memory_equal(first, other, 32);
    made.challenge_password = "+rrCir/7+EYu50T4";
    digest_of(&made, other);
    assert_memory_equal(first, other, 32);
    made.challenge_password = "a longer text than the first, so that all lengths around it change as well; "
                              "it has more than one hundred and twenty-seven octets, that is to say";
    digest_of(&made, other);
    assert_memory_equal(first, other, 32);

    made.subject = "CN=Device/serialNumber=2";
    digest_of(&made, other);
    assert_memory_not_equal(first, other, 32);
    made.subject = "CN=Device/serialNumber=1";
    made.extensions[0].value = "DNS:device.example.org";
    digest_of(&made, other);
    assert_memory_not_equal(first, other, 32);
    made.extensions[0].value = "DNS:device.example";
    made.key = make_key();
    digest_of(&made, other);
    assert_memory_not_equal(first, other, 32);
    EVP_PKEY_free(made.key);
}

/* DLY-7: the fingerprint is that of every octet, signature and challengePassword included. */
static void the_fingerprint_is_of_the_whole(void **state)
{
    (void)state;
    struct buffer der = read_vector("rfc7030-A3-simpleenroll.csr.der");
    struct certificate_request *request = NULL;
    uint8_t expected[32], fingerprint[32];
    assert_int_equal(certificate_request_parse(buffer_view(&der), &request), STATUS_OK);
    assert_int_equal(EVP_Digest(der.at, der.len, expected, NULL, EVP_sha256(), NULL), 1);
    assert_int_equal(certificate_request_fingerprint(request, fingerprint), STATUS_OK);
    assert_memory_equal(fingerprint, expected, 32);
    certificate_request_free(request);
    buffer_free(&der);
}

/* Without challengePassword the digest is that of the CertificationRequestInfo itself. */
static void the_digest_is_sha256_of_the_info(void **state)
{
    (void)state;
    struct buffer der = read_vector("rfc9148-A3-skg-request.csr.der");
    struct bytes rest = buffer_view(&der);
    struct der_element outer, info;
    assert_int_equal(der_read(&rest, &outer), STATUS_OK);
    assert_int_equal(der_read(&outer.content, &info), STATUS_OK);
    uint8_t expected[32], digest[32];
    assert_int_equal(EVP_Digest(info.whole.at, info.whole.len, expected, NULL, EVP_sha256(), NULL), 1);
    struct certificate_request *request = parse(&der);
    assert_int_equal(certificate_request_digest(request, digest), STATUS_OK);
    assert_memory_equal(digest, expected, 32);
    certificate_request_free(request);
}

struct power_row {
    struct made_extension extensions[MADE_EXTENSIONS_MAX];
    const char *power;
};

static const struct power_row power_rows[] = {
    /* RE-7 */
    {{{"basicConstraints", "CA:TRUE"}}, "basicConstraints CA:TRUE"},
    {{{"basicConstraints", "critical,CA:TRUE,pathlen:0"}}, "basicConstraints CA:TRUE"},
    {{{"keyUsage", "digitalSignature,keyCertSign"}}, "keyUsage keyCertSign"},
    {{{"keyUsage", "critical,cRLSign"}}, "keyUsage cRLSign"},
    {{{"extendedKeyUsage", "clientAuth,1.3.6.1.5.5.7.3.28"}}, "extendedKeyUsage cmcRA"},
    {{{"extendedKeyUsage", "1.3.6.1.5.5.7.3.27"}}, "extendedKeyUsage cmcCA"},
    {{{"extendedKeyUsage", "anyExtendedKeyUsage"}}, "extendedKeyUsage any"},
    {{{"subjectAltName", "DNS:a"}, {"basicConstraints", "CA:TRUE"}}, "basicConstraints CA:TRUE"},
    /* what else only a CA has */
    {{{"extendedKeyUsage", "OCSPSigning"}}, "extendedKeyUsage OCSPSigning"},
    {{{"extendedKeyUsage", "1.3.6.1.5.5.7.3.29"}}, "extendedKeyUsage cmcArchive"},
    {{{"extendedKeyUsage", "1.3.6.1.5.5.7.3.32"}}, "extendedKeyUsage cmKGA"},
    {{{"extendedKeyUsage", "1.3.6.1.4.1.311.20.2.1"}}, "extendedKeyUsage enrollmentAgent"},
    {{{"nameConstraints", "permitted;DNS:example.com"}}, "nameConstraints"},
    {{{"1.3.6.1.4.1.311.20.2", "ASN1:BMPSTRING:SubCA"}}, "certificate template"},
    {{{"1.3.6.1.4.1.311.21.7", "DER:3003060103"}}, "certificate template"},
    {{{"1.3.6.1.4.1.311.21.10", "DER:300830060604551d2500"}}, "application policies"},
    {{{"1.3.6.1.4.1.311.25.2", "DER:3000"}}, "security identifier"},
    {{{"policyConstraints", "requireExplicitPolicy:3"}}, "policyConstraints"},
    {{{"inhibitAnyPolicy", "2"}}, "inhibitAnyPolicy"},
    {{{"nsCertType", "client,sslCA"}}, "netscape-cert-type CA"},
    /* what cannot be read, or stands twice */
    {{{"basicConstraints", "DER:ff"}}, "undecodable extension"},
    {{{"basicConstraints", "DER:30030101ff00"}}, "undecodable extension"},
    {{{"basicConstraints", "DER:3003010101"}}, "undecodable extension"}, /* BER's TRUE */
    {{{"keyUsage", "DER:0500"}}, "undecodable extension"},
    {{{"extendedKeyUsage", "DER:3003020101"}}, "undecodable extension"},
    {{{"subjectAltName", "DER:3005820461"}}, "undecodable extension"},
    {{{"basicConstraints", "CA:FALSE"}, {"basicConstraints", "CA:FALSE"}}, "repeated extension"},
    {{{"1.2.3.4", "DER:0500"}, {"1.2.3.4", "DER:0500"}}, "repeated extension"},
    /* what devices ask for */
    {{{"basicConstraints", "CA:FALSE"}}, NULL},
    {{{"keyUsage", "digitalSignature,keyAgreement"}, {"extendedKeyUsage", "clientAuth,serverAuth"}}, NULL},
    {{{"subjectAltName", "DNS:a,IP:192.0.2.1"}}, NULL},
    {{{"nsCertType", "client,server"}}, NULL},
    {{{"subjectKeyIdentifier", "DER:04020102"}}, NULL},
    {{{"1.2.3.4", "DER:ff"}}, NULL},
    {{{NULL, NULL}}, NULL},
};

/* RE-7, with the extensions in either of the two attributes that carry them. */
static void forbidden_powers_are_named(void **state)
{
    (void)state;
    static const int nids[] = {NID_ext_req, NID_ms_ext_req};
    for (size_t i = 0; i < sizeof(power_rows) / sizeof(power_rows[0]); i++) {
        for (size_t j = 0; j < sizeof(nids) / sizeof(nids[0]); j++) {
            struct made_request made = {.key = key, .subject = "CN=a", .extensions_nid = nids[j]};
            memcpy(made.extensions, power_rows[i].extensions, sizeof(made.extensions));
            struct buffer der = make_request(&made);
            struct certificate_request *request = parse(&der);
            const char *power = certificate_request_forbidden_power(request);
            if (power_rows[i].power == NULL)
                assert_null(power);
            else if (power == NULL)
                fail_msg("row %zu: %s went through", i, power_rows[i].power);
            else
                assert_string_equal(power, power_rows[i].power);
            certificate_request_free(request);
        }
    }
}

/* Whole attributes in DER. */
#define EXTENSION_REQUEST           "\x30\x0f\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x0e\x31\x02\x30\x00"
#define MICROSOFT_EXTENSION_REQUEST "\x30\x10\x06\x0a\x2b\x06\x01\x04\x01\x82\x37\x02\x01\x0e\x31\x02\x30\x00"
#define UNSTRUCTURED_NAME           "\x30\x10\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x02\x31\x03\x0c\x01"

/* RE-7: a second set of extensions, be it under the other name, counts as forbidden whatever it holds. */
static void repeated_attributes_are_forbidden(void **state)
{
    (void)state;
    const struct bytes additions[] = {BYTES_LITERAL(EXTENSION_REQUEST),
                                      BYTES_LITERAL(MICROSOFT_EXTENSION_REQUEST),
                                      BYTES_LITERAL(UNSTRUCTURED_NAME "x" UNSTRUCTURED_NAME "y")};
    for (size_t i = 0; i < sizeof(additions) / sizeof(additions[0]); i++) {
        struct made_request made = {
            .key = key, .subject = "CN=a", .extensions = {{"basicConstraints", "CA:FALSE"}}};
        struct buffer der = add_attributes(make_request(&made), additions[i]);
        struct certificate_request *request = parse(&der);
        assert_int_equal(certificate_request_verify(request), STATUS_OK);
        const char *power = certificate_request_forbidden_power(request);
        if (power == NULL)
            fail_msg("addition %zu went through", i);
        else
            assert_string_equal(power, "repeated attribute");
        certificate_request_free(request);
    }
}

#define UNSTRUCTURED_NAME_TYPE "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x02"

/* SKG-3: an attribute is found by its type; one that stands twice, or has not one value, is not guessed at.
 */
static void attributes_are_found(void **state)
{
    (void)state;
    const struct {
        struct bytes addition;
        enum status status;
    } rows[] = {
        {BYTES_LITERAL(UNSTRUCTURED_NAME "x"), STATUS_OK},
        {BYTES_LITERAL(MICROSOFT_EXTENSION_REQUEST UNSTRUCTURED_NAME "x"), STATUS_OK},
        {BYTES_LITERAL(EXTENSION_REQUEST), STATUS_NOT_FOUND},
        {BYTES_LITERAL(""), STATUS_NOT_FOUND},
        {BYTES_LITERAL(UNSTRUCTURED_NAME "x" UNSTRUCTURED_NAME "x"), STATUS_MALFORMED},
        {BYTES_LITERAL("\x30\x13\x06\x09" UNSTRUCTURED_NAME_TYPE "\x31\x06\x0c\x01x\x0c\x01y"),
         STATUS_MALFORMED},
        {BYTES_LITERAL("\x30\x0d\x06\x09" UNSTRUCTURED_NAME_TYPE "\x31\x00"), STATUS_MALFORMED},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct buffer der = add_attributes(
            make_request(&(struct made_request){.key = key, .subject = "CN=a"}), rows[i].addition);
        struct certificate_request *request = NULL;
        enum status status = certificate_request_parse(buffer_view(&der), &request);
        buffer_free(&der);
        struct bytes value;
        if (status == STATUS_OK)
            status = certificate_request_attribute(request, BYTES_LITERAL(UNSTRUCTURED_NAME_TYPE), &value);
        if (status != rows[i].status)
            fail_msg("row %zu: %s", i, status_text(status));
        if (status == STATUS_OK)
            assert_true(bytes_equal(value, BYTES_LITERAL("\x0c\x01x")));
        certificate_request_free(request);
    }
}

static void attributes_are_counted(void **state)
{
    (void)state;
    struct buffer der = add_attributes(make_request(&(struct made_request){.key = key, .subject = "CN=a"}),
                                       BYTES_LITERAL(EXTENSION_REQUEST UNSTRUCTURED_NAME "x"));
    struct certificate_request *request = parse(&der);
    const struct bytes *attributes;
    assert_int_equal(certificate_request_attributes(request, &attributes), 2);
    assert_true(bytes_equal(attributes[0], BYTES_LITERAL(EXTENSION_REQUEST)));
    assert_true(bytes_equal(attributes[1], BYTES_LITERAL(UNSTRUCTURED_NAME "x")));
    certificate_request_free(request);
}

/* SKG-2: the values of the public key are ignored, so one that is no point on the curve is no fault. */
static void a_keyless_request_needs_no_readable_key(void **state)
{
    (void)state;
    struct buffer der = read_vector("rfc9148-A3-skg-request.csr.der");
    uint8_t *point = memmem(der.at, der.len, "\x03\x42\x00\x04", 4);
    assert_non_null(point);
    memset(point + 4, 0, 64);
    assert_malformed(buffer_view(&der));
    struct certificate_request *request = NULL;
    assert_int_equal(certificate_request_parse_keyless(buffer_view(&der), &request), STATUS_OK);
    assert_null(certificate_request_key(request));
    assert_int_equal(certificate_request_verify(request), STATUS_UNTRUSTED);
    assert_true(bytes_equal(certificate_request_key_algorithm(request),
                            BYTES_LITERAL("\x06\x07\x2a\x86\x48\xce\x3d\x02\x01"
                                          "\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07")));
    uint8_t digest[32];
    assert_int_equal(certificate_request_digest(request, digest), STATUS_OK);
    certificate_request_free(request);
    for (size_t len = 0; len < der.len; len++)
        assert_int_equal(certificate_request_parse_keyless((struct bytes){der.at, len}, &request),
                         STATUS_MALFORMED);
    buffer_free(&der);
}

static enum status parse_in(struct keyless_library *library, const struct buffer *der,
                            struct certificate_request **request)
{
    *request = NULL;
    return certificate_request_parse_in(library == NULL ? NULL : keyless_library_context(library), false,
                                        buffer_view(der), request);
}

/* POP-7, PAY-10: where OpenSSL decodes no keys, all is as it is elsewhere. */
static void a_library_without_keys_makes_no_difference(void **state)
{
    (void)state;
    struct keyless_library *library = keyless_library_create();
    EVP_PKEY *compressed = EVP_PKEY_dup(key);
    assert_int_equal(EVP_PKEY_set_utf8_string_param(compressed, "point-format", "compressed"), 1);
    EVP_PKEY *const keys[] = {EVP_EC_gen("P-256"), EVP_EC_gen("P-384"), EVP_RSA_gen(2048), compressed};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        struct buffer der = make_request(&(struct made_request){.key = keys[i], .subject = "CN=a"});
        struct certificate_request *lean, *request;
        assert_int_equal(parse_in(library, &der, &lean), STATUS_OK);
        assert_int_equal(parse_in(NULL, &der, &request), STATUS_OK);
        assert_ptr_equal(certificate_request_library(lean), keyless_library_context(library));
        assert_null(certificate_request_library(request));
        assert_int_equal(EVP_PKEY_eq(certificate_request_key(lean), certificate_request_key(request)), 1);
        assert_int_equal(certificate_request_verify(lean), STATUS_OK);
        assert_true(bytes_equal(certificate_request_key_info(lean), certificate_request_key_info(request)));
        certificate_request_free(lean);
        certificate_request_free(request);
        der.at[der.len - 1] ^= 1; /* the signature */
        assert_int_equal(parse_in(library, &der, &lean), STATUS_OK);
        assert_int_equal(certificate_request_verify(lean), STATUS_UNTRUSTED);
        certificate_request_free(lean);
        EVP_PKEY_free(keys[i]);
        buffer_free(&der);
    }
    keyless_library_free(library);
}

/* SEC-1: whatever is wrong with a CSR is seen without OpenSSL's look at the key as well. */
static void a_library_without_keys_is_as_strict(void **state)
{
    (void)state;
    struct keyless_library *library = keyless_library_create();
    struct buffer der = read_vector("rfc9148-A2-sen-request.csr.der");
    for (size_t i = 0; i < der.len; i++) {
        der.at[i] ^= 1;
        struct certificate_request *lean, *request;
        enum status status = parse_in(library, &der, &lean);
        assert_int_equal(status, parse_in(NULL, &der, &request));
        if (status == STATUS_OK)
            assert_int_equal(certificate_request_verify(lean), certificate_request_verify(request));
        certificate_request_free(lean);
        certificate_request_free(request);
        der.at[i] ^= 1;
    }
    buffer_free(&der);
    keyless_library_free(library);
}

/* An extensionRequest that holds no extensions cannot be judged. */
static void unreadable_extension_requests_are_malformed(void **state)
{
    (void)state;
    static const struct {
        int type;
        const char *octets;
        int len;
    } rows[] = {
        {V_ASN1_OCTET_STRING, "\x30", 1},
        {V_ASN1_SEQUENCE, "\x30\x03\x02\x01\x05", 5},
        {V_ASN1_SEQUENCE, "\x30\x05\x30\x03\x06\x01\x2a", 7}, /* an extension without value */
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        X509_REQ *request = make_unsigned_request(&(struct made_request){.key = key, .subject = "CN=a"});
        X509_REQ_add1_attr_by_NID(request, NID_ext_req, rows[i].type, (const unsigned char *)rows[i].octets,
                                  rows[i].len);
        struct buffer der = sign_request(request, key);
        assert_malformed(buffer_view(&der));
        buffer_free(&der);
    }
}

static int set_up(void **state)
{
    (void)state;
    key = make_key();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    EVP_PKEY_free(key);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_parse_and_verify),
        cmocka_unit_test(no_changed_octet_goes_unnoticed),
        cmocka_unit_test(exactly_one_request_is_parsed),
        cmocka_unit_test(ber_is_refused),
        cmocka_unit_test(ber_is_refused_at_any_depth),
        cmocka_unit_test(version_and_attributes_are_required),
        cmocka_unit_test(explicit_curves_are_refused),
        cmocka_unit_test(other_key_types_are_taken),
        cmocka_unit_test(challenge_password_forms),
        cmocka_unit_test(the_digest_ignores_challenge_password_and_signature_only),
        cmocka_unit_test(the_digest_is_sha256_of_the_info),
        cmocka_unit_test(the_fingerprint_is_of_the_whole),
        cmocka_unit_test(forbidden_powers_are_named),
        cmocka_unit_test(repeated_attributes_are_forbidden),
        cmocka_unit_test(attributes_are_found),
        cmocka_unit_test(attributes_are_counted),
        cmocka_unit_test(a_keyless_request_needs_no_readable_key),
        cmocka_unit_test(a_library_without_keys_makes_no_difference),
        cmocka_unit_test(a_library_without_keys_is_as_strict),
        cmocka_unit_test(unreadable_extension_requests_are_malformed),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
