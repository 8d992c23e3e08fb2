#include "registrar/keygen/key_package.h"

#include "registrar/keygen/key_directory.h"
#include "registrar/keygen/key_generation.h"
#include "registrar/protocol/certificate_request.h"
#include "registrar/protocol/der.h"
#include "tests/unit/registrar/credentials.h"
#include "tests/unit/registrar/keygen/capabilities.h"
#include "tests/unit/registrar/keygen/freed_memory.h"
#include "tests/unit/registrar/keygen/key_folder.h"

#include <openssl/cms.h>
#include <openssl/core_names.h>

static EVP_PKEY *device_key, *device_rsa_key;
static struct key_package_signer signer;

/* An attribute of a CSR, or none if type is NULL. */
struct made_attribute {
    const char *type;
    int form; /* V_ASN1_... */
    struct bytes value;
};

#define CAPABILITIES_TYPE "1.2.840.113549.1.9.15"
#define KEK_TYPE          "1.2.840.113549.1.9.16.2.37"
#define KEY_TYPE          "1.2.840.113549.1.9.16.2.54"

#define CAPABILITIES(list)                                                                                   \
    {                                                                                                        \
        CAPABILITIES_TYPE, V_ASN1_SEQUENCE, list                                                             \
    }
#define KEK_IDENTIFIER(identifier)                                                                           \
    {                                                                                                        \
        KEK_TYPE, V_ASN1_OCTET_STRING, OCTETS(identifier)                                                    \
    }
#define KEY_IDENTIFIER(identifier)                                                                           \
    {                                                                                                        \
        KEY_TYPE, V_ASN1_OCTET_STRING, OCTETS(identifier)                                                    \
    }
#define ATTRIBUTES_MAX 3

static struct certificate_request *make_csr(const struct made_attribute attributes[static ATTRIBUTES_MAX])
{
    X509_REQ *made = make_unsigned_request(&(struct made_request){.key = device_key, .subject = "CN=a"});
    for (size_t i = 0; i < ATTRIBUTES_MAX && attributes[i].type != NULL; i++) {
        X509_ATTRIBUTE *attribute =
            X509_ATTRIBUTE_create_by_txt(NULL, attributes[i].type, attributes[i].form, attributes[i].value.at,
                                         (int)attributes[i].value.len);
        assert_non_null(attribute);
        assert_int_equal(X509_REQ_add1_attr(made, attribute), 1);
        X509_ATTRIBUTE_free(attribute);
    }
    struct buffer der = sign_request(made, device_key);
    struct certificate_request *csr = NULL;
    assert_int_equal(certificate_request_parse_keyless(buffer_view(&der), &csr), STATUS_OK);
    buffer_free(&der);
    return csr;
}

/* SKG-3: all permutations, and what cannot be read. */
static void the_wish_needs_both_halves(void **state)
{
    (void)state;
    const struct {
        struct made_attribute attributes[ATTRIBUTES_MAX];
        enum key_wish wish;
    } rows[] = {
        {{{NULL, 0, {NULL, 0}}}, KEY_WISH_PLAIN},
        {{CAPABILITIES(LIST("\x0d", WRAP_128))}, KEY_WISH_HALF_CAPABILITIES},
        {{CAPABILITIES(LIST("\x00", ""))}, KEY_WISH_HALF_CAPABILITIES},
        {{CAPABILITIES(LIST("\x0d", WRAP_128)), KEK_IDENTIFIER("x")}, KEY_WISH_SYMMETRIC},
        {{KEK_IDENTIFIER("x"), CAPABILITIES(LIST("\x00", ""))}, KEY_WISH_SYMMETRIC},
        {{CAPABILITIES(LIST("\x0d", WRAP_128)), KEY_IDENTIFIER("x")}, KEY_WISH_ASYMMETRIC},
        {{CAPABILITIES(LIST("\x0d", WRAP_128)), KEY_IDENTIFIER("x"), KEK_IDENTIFIER("x")}, KEY_WISH_UNCLEAR},
        {{KEY_IDENTIFIER("x"), KEK_IDENTIFIER("x")}, KEY_WISH_REFUSED},
        {{KEK_IDENTIFIER("x")}, KEY_WISH_REFUSED},
        {{KEY_IDENTIFIER("x")}, KEY_WISH_REFUSED},
        {{CAPABILITIES(LIST("\x02", "\x05\x00"))}, KEY_WISH_REFUSED},
        {{CAPABILITIES(LIST("\x02", "\x05\x00")), KEK_IDENTIFIER("x")}, KEY_WISH_UNCLEAR},
        {{CAPABILITIES(LIST("\x0d", WRAP_128)), {KEK_TYPE, V_ASN1_UTF8STRING, OCTETS("x")}},
         KEY_WISH_UNCLEAR},
        {{CAPABILITIES(LIST("\x0d", WRAP_128)), {KEY_TYPE, V_ASN1_UTF8STRING, OCTETS("x")}},
         KEY_WISH_UNCLEAR},
        {{{CAPABILITIES_TYPE, V_ASN1_OCTET_STRING, OCTETS("x")}, KEK_IDENTIFIER("x")}, KEY_WISH_UNCLEAR},
        {{{KEK_TYPE, V_ASN1_UTF8STRING, OCTETS("x")}}, KEY_WISH_REFUSED},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct certificate_request *csr = make_csr(rows[i].attributes);
        if (key_package_wish(csr) != rows[i].wish)
            fail_msg("row %zu: %d", i, key_package_wish(csr));
        certificate_request_free(csr);
    }
}

static void the_vectors_wish_for_a_plain_key(void **state)
{
    (void)state;
    static const char *const names[] = {"rfc9148-A3-skg-request.csr.der", "rfc7030-A4-serverkeygen.csr.der"};
    for (size_t i = 0; i < 2; i++) {
        struct buffer der = read_vector(names[i]);
        struct certificate_request *csr = NULL;
        assert_int_equal(certificate_request_parse(buffer_view(&der), &csr), STATUS_OK);
        assert_int_equal(key_package_wish(csr), KEY_WISH_PLAIN);
        certificate_request_free(csr);
        buffer_free(&der);
    }
}

/* The keys of devices on both sides: what the registrar has of them, and what they have themselves. */

#define KEK_128 "000102030405060708090a0b0c0d0e0f"
#define KEK_192 KEK_128 "1011121314151617"
#define KEK_256 KEK_192 "18191a1b1c1d1e1f"

static void write_private_key(const struct key_folder *folder, const char *name, EVP_PKEY *key)
{
    FILE *file = key_folder_open(folder, name);
    assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
    assert_int_equal(fclose(file), 0);
}

/* Those for RSA are the same in all tests. */
static EVP_PKEY *make_device_key(const char *type)
{
    EVP_PKEY *key = strcmp(type, "RSA") == 0 ? device_rsa_key : EVP_EC_gen(type);
    assert_non_null(key);
    if (key == device_rsa_key)
        EVP_PKEY_up_ref(key);
    return key;
}

/* KEKs "a" (128), "b" (192), "c" (256); certificates "r" (RSA), "p" (P-256), "q" (P-384), whose
 * subjectKeyIdentifiers are these; public keys "s" (RSA), "t" (P-521). NAME.device is the private key. */
static struct key_folder make_folder(void)
{
    static const struct {
        const char *name, *type, *identifier, *usage; /* identifier NULL: a bare public key */
    } keys[] = {
        {"72", "RSA", "DER:040172", "keyEncipherment"},
        {"70", "P-256", "DER:040170", "keyAgreement"},
        {"71", "P-384", "DER:040171", "keyAgreement"},
        {"73", "RSA", NULL, NULL},
        {"74", "P-521", NULL, NULL},
    };
    struct key_folder folder = key_folder_create();
    key_folder_write(&folder, "61.key", KEK_128 "\n", 0600);
    key_folder_write(&folder, "62.key", KEK_192 "\n", 0600);
    key_folder_write(&folder, "63.key", KEK_256 "\n", 0600);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        EVP_PKEY *key = make_device_key(keys[i].type);
        char name[64];
        snprintf(name, sizeof(name), "%s.pem", keys[i].name);
        if (keys[i].identifier == NULL)
            key_folder_write_public_key(&folder, name, key);
        else
            key_folder_write_certificate(
                &folder, name,
                &(struct made_certificate){.key = key,
                                           .subject = "CN=Device",
                                           .extensions = {{"subjectKeyIdentifier", keys[i].identifier},
                                                          {"keyUsage", keys[i].usage}}});
        snprintf(name, sizeof(name), "%s.device", keys[i].name);
        write_private_key(&folder, name, key);
        EVP_PKEY_free(key);
    }
    FILE *file = key_folder_open(&folder, "signer");
    assert_int_equal(PEM_write_X509(file, signer.certificate), 1);
    assert_int_equal(fclose(file), 0);
    return folder;
}

static struct key_directory *load(const struct key_folder *folder)
{
    struct buffer errors;
    buffer_init(&errors, MADE_LIMIT);
    struct key_directory *directory = key_directory_load(folder->path, &errors);
    if (directory == NULL)
        fail_msg("%s", buffer_string(&errors));
    buffer_free(&errors);
    return directory;
}

static struct generated_key *generate(const struct certificate_request *csr)
{
    struct generated_key *key = NULL;
    assert_int_equal(key_generation_make(csr, KEY_TYPE_P256, NULL, &key), STATUS_OK);
    return key;
}

static void write_octets(const struct key_folder *folder, const char *name, struct bytes octets)
{
    FILE *file = key_folder_open(folder, name);
    assert_int_equal(fwrite(octets.at, 1, octets.len, file), octets.len);
    assert_int_equal(fclose(file), 0);
}

static struct buffer read_octets(const struct key_folder *folder, const char *name)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", folder->path, name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    struct buffer octets;
    buffer_init(&octets, MADE_LIMIT);
    for (int octet; (octet = fgetc(file)) != EOF;)
        buffer_append_byte(&octets, (uint8_t)octet);
    assert_int_equal(fclose(file), 0);
    return octets;
}

/* In the folder. */
static int run(const struct key_folder *folder, const char *command)
{
    char line[1024];
    snprintf(line, sizeof(line), "cd %s && %s 2>run.error", folder->path, command);
    return system(line);
}

static void assert_runs(const struct key_folder *folder, const char *command)
{
    if (run(folder, command) != 0) {
        struct buffer error = read_octets(folder, "run.error");
        fail_msg("%s: %s", command, buffer_string(&error));
    }
}

/* A ContentInfo around SignedData, as openssl cms reads it. */
static void wrap(const struct key_folder *folder)
{
    struct buffer signed_data = read_octets(folder, "signed"), explicit, info;
    struct bytes type = BYTES_LITERAL("\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02");
    buffer_init(&explicit, MADE_LIMIT);
    buffer_init(&info, MADE_LIMIT);
    der_append_head(&explicit, DER_CONTEXT_0, signed_data.len);
    buffer_append(&explicit, buffer_view(&signed_data));
    der_append_head(&info, DER_SEQUENCE, type.len + explicit.len);
    buffer_append(&info, type);
    buffer_append(&info, buffer_view(&explicit));
    write_octets(folder, "signed.p7", buffer_view(&info));
    buffer_free(&explicit);
    buffer_free(&info);
    buffer_free(&signed_data);
}

static void assert_holds_key(struct bytes package, const struct generated_key *key)
{
    struct der_element sequence;
    struct buffer pkcs8;
    buffer_init_locked(&pkcs8, MADE_LIMIT);
    assert_int_equal(key_generation_pkcs8(key, &pkcs8), STATUS_OK);
    assert_int_equal(der_read_tagged(&package, DER_SEQUENCE, &sequence), STATUS_OK);
    assert_int_equal(package.len, 0);
    assert_true(bytes_equal(sequence.content, buffer_view(&pkcs8)));
    buffer_wipe(&pkcs8);
}

#define RECIPIENT_INFO_KARI 0xa1
#define RECIPIENT_INFO_KEK  0xa2

/* RFC 5652 section 6.1: EnvelopedData is the outermost, version 2, with one recipient of that kind and
 * version, around SignedData (SKG-8). */
static void assert_envelope(struct bytes cms, uint8_t tag, uint8_t version)
{
    struct der_element info, type, explicit, envelope, number, recipients, recipient, inner;
    assert_true(der_is_strict(cms));
    assert_int_equal(der_read_tagged(&cms, DER_SEQUENCE, &info), STATUS_OK);
    assert_int_equal(der_read_tagged(&info.content, DER_OBJECT_IDENTIFIER, &type), STATUS_OK);
    assert_true(bytes_equal(type.content, BYTES_LITERAL("\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03")));
    assert_int_equal(der_read_tagged(&info.content, DER_CONTEXT_0, &explicit), STATUS_OK);
    assert_int_equal(der_read_tagged(&explicit.content, DER_SEQUENCE, &envelope), STATUS_OK);
    assert_int_equal(der_read_tagged(&envelope.content, DER_INTEGER, &number), STATUS_OK);
    assert_int_equal(number.content.at[0], 2);
    assert_int_equal(der_read_tagged(&envelope.content, DER_SET, &recipients), STATUS_OK);
    assert_int_equal(der_read_tagged(&recipients.content, tag, &recipient), STATUS_OK);
    assert_int_equal(recipients.content.len, 0);
    assert_int_equal(der_read_tagged(&recipient.content, DER_INTEGER, &number), STATUS_OK);
    assert_int_equal(number.content.at[0], version);
    assert_int_equal(der_read_tagged(&envelope.content, DER_SEQUENCE, &inner), STATUS_OK);
    assert_int_equal(der_read_tagged(&inner.content, DER_OBJECT_IDENTIFIER, &type), STATUS_OK);
    assert_true(bytes_equal(type.content, BYTES_LITERAL("\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02")));
}

static const struct form {
    struct made_attribute attributes[ATTRIBUTES_MAX];
    uint8_t tag, version;
    const char *options;    /* of openssl cms -decrypt */
    const char *algorithms; /* that its print names */
} forms[] = {
    {{CAPABILITIES(LIST("\x0d", WRAP_128)), KEK_IDENTIFIER("a")},
     RECIPIENT_INFO_KEK,
     4,
     "-secretkeyid 61 -secretkey " KEK_128,
     "id-aes128-wrap aes-128-cbc"},
    {{CAPABILITIES(LIST("\x0d", WRAP_192)), KEK_IDENTIFIER("b")},
     RECIPIENT_INFO_KEK,
     4,
     "-secretkeyid 62 -secretkey " KEK_192,
     "id-aes192-wrap aes-192-cbc"},
    {{CAPABILITIES(LIST("\x1a", CBC_128 WRAP_256)), KEK_IDENTIFIER("c")},
     RECIPIENT_INFO_KEK,
     4,
     "-secretkeyid 63 -secretkey " KEK_256,
     "id-aes256-wrap aes-128-cbc"},
    {{CAPABILITIES(LIST("\x0d", RSA_ENCRYPTION)), KEY_IDENTIFIER("r")},
     DER_SEQUENCE,
     2,
     "-recip 72.pem -inkey 72.device",
     "rsaEncryption aes-128-cbc"},
    {{CAPABILITIES(LIST("\x0d", OAEP)), KEY_IDENTIFIER("r")},
     DER_SEQUENCE,
     2,
     "-recip 72.pem -inkey 72.device",
     "rsaesOaep"},
    {{CAPABILITIES(LIST("\x3e", OAEP_256)), KEY_IDENTIFIER("s")},
     DER_SEQUENCE,
     2,
     "-inkey 73.device",
     "rsaesOaep sha256 mgf1 aes-128-cbc"},
    {{CAPABILITIES(LIST("\x0d", WRAP_128)), KEY_IDENTIFIER("p")},
     RECIPIENT_INFO_KARI,
     3,
     "-recip 70.pem -inkey 70.device",
     "dhSinglePass-stdDH-sha256kdf-scheme id-aes128-wrap aes-128-cbc"},
    {{CAPABILITIES(LIST("\x24", STD_DH("\x02", WRAP_256) CBC_128)), KEY_IDENTIFIER("q")},
     RECIPIENT_INFO_KARI,
     3,
     "-recip 71.pem -inkey 71.device",
     "dhSinglePass-stdDH-sha384kdf-scheme id-aes256-wrap aes-128-cbc"},
    {{CAPABILITIES(LIST("\x17", STD_DH("\x03", WRAP_256))), KEY_IDENTIFIER("t")},
     RECIPIENT_INFO_KARI,
     3,
     "-inkey 74.device",
     "dhSinglePass-stdDH-sha512kdf-scheme id-aes256-wrap aes-256-cbc"},
};

#define FORMS (sizeof(forms) / sizeof(forms[0]))

/* What openssl prints of the file "cms" has these words in it. */
static void assert_names(const struct key_folder *folder, const char *words)
{
    char command[512];
    snprintf(command, sizeof(command),
             "openssl cms -cmsout -print -inform DER -in cms >print && "
             "for word in %s; do grep -qw -e $word print || exit 1; done",
             words);
    if (run(folder, command) != 0)
        fail_msg("not all there: %s", words);
}

/* SKG-7, SKG-8: openssl opens every form; what is in it was signed by the registrar, and is the key. */
static void openssl_opens_every_form(void **state)
{
    (void)state;
    struct key_folder folder = make_folder();
    struct key_directory *directory = load(&folder);
    for (size_t i = 0; i < FORMS; i++) {
        struct certificate_request *csr = make_csr(forms[i].attributes);
        struct generated_key *key = generate(csr);
        struct buffer cms;
        char command[512];
        buffer_init(&cms, MADE_LIMIT);
        assert_int_equal(key_package_check(directory, csr), STATUS_OK);
        assert_int_equal(key_package_protect(directory, csr, key, &signer, &cms), STATUS_OK);
        assert_envelope(buffer_view(&cms), forms[i].tag, forms[i].version);
        write_octets(&folder, "cms", buffer_view(&cms));
        snprintf(command, sizeof(command), "openssl cms -decrypt -inform DER -in cms -out signed %s",
                 forms[i].options);
        assert_runs(&folder, command);
        wrap(&folder);
        assert_runs(&folder, "openssl cms -verify -binary -inform DER -in signed.p7 -out package "
                             "-CAfile signer -purpose any");
        struct buffer package = read_octets(&folder, "package");
        assert_holds_key(buffer_view(&package), key);
        assert_names(&folder, forms[i].algorithms);
        assert_runs(&folder, "openssl cms -cmsout -print -inform DER -in signed.p7 | "
                             "grep -q 'eContentType:.*2.16.840.1.101.2.1.2.78.5'");
        buffer_free(&package);
        buffer_free(&cms);
        key_generation_free(key);
        certificate_request_free(csr);
    }
    key_directory_release(directory);
    key_folder_remove(&folder);
}

/* Nobody else opens them: another KEK of that name, another private key. */
static void others_open_none(void **state)
{
    (void)state;
    static const struct {
        size_t form;
        const char *options;
    } rows[] = {
        {0, "-secretkeyid 61 -secretkey 000102030405060708090a0b0c0d0eff"},
        {0, "-secretkeyid 62 -secretkey " KEK_128},
        {6, "-inkey device"},
    };
    struct key_folder folder = make_folder();
    write_private_key(&folder, "device", device_key);
    struct key_directory *directory = load(&folder);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct certificate_request *csr = make_csr(forms[rows[i].form].attributes);
        struct generated_key *key = generate(csr);
        struct buffer cms;
        char command[512];
        buffer_init(&cms, MADE_LIMIT);
        assert_int_equal(key_package_protect(directory, csr, key, &signer, &cms), STATUS_OK);
        write_octets(&folder, "cms", buffer_view(&cms));
        snprintf(command, sizeof(command), "openssl cms -decrypt -inform DER -in cms -out signed %s",
                 rows[i].options);
        assert_int_not_equal(run(&folder, command), 0);
        buffer_free(&cms);
        key_generation_free(key);
        certificate_request_free(csr);
    }
    key_directory_release(directory);
    key_folder_remove(&folder);
}

/* SKG-7: an error, nothing appended, never a plain key. */
static void what_cannot_be_protected_is_not_sent(void **state)
{
    (void)state;
    const struct {
        struct made_attribute attributes[ATTRIBUTES_MAX];
        enum status status;
    } rows[] = {
        {{CAPABILITIES(LIST("\x0d", WRAP_128)), KEK_IDENTIFIER("z")}, STATUS_NOT_FOUND},
        {{CAPABILITIES(LIST("\x0d", WRAP_128)), KEK_IDENTIFIER("")}, STATUS_NOT_FOUND},
        {{CAPABILITIES(LIST("\x0d", WRAP_128)), KEY_IDENTIFIER("a")}, STATUS_NOT_FOUND}, /* a KEK's */
        {{CAPABILITIES(LIST("\x0d", WRAP_128)), KEK_IDENTIFIER("p")}, STATUS_NOT_FOUND},
        {{CAPABILITIES(LIST("\x0d", WRAP_256)), KEK_IDENTIFIER("a")}, STATUS_UNSUPPORTED},
        {{CAPABILITIES(LIST("\x1a", WRAP_128 GCM_128)), KEK_IDENTIFIER("a")}, STATUS_UNSUPPORTED},
        {{CAPABILITIES(LIST("\x00", "")), KEK_IDENTIFIER("a")}, STATUS_UNSUPPORTED},
        {{CAPABILITIES(LIST("\x0d", WRAP_128)), KEY_IDENTIFIER("r")}, STATUS_UNSUPPORTED},
        {{CAPABILITIES(LIST("\x0d", RSA_ENCRYPTION)), KEY_IDENTIFIER("p")}, STATUS_UNSUPPORTED},
        {{{NULL, 0, {NULL, 0}}}, STATUS_MALFORMED},
        {{CAPABILITIES(LIST("\x0d", WRAP_128))}, STATUS_MALFORMED},
        {{KEK_IDENTIFIER("a")}, STATUS_MALFORMED},
        {{CAPABILITIES(LIST("\x0d", WRAP_128)), KEK_IDENTIFIER("a"), KEY_IDENTIFIER("p")}, STATUS_MALFORMED},
    };
    struct key_folder folder = make_folder();
    struct key_directory *directory = load(&folder);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct certificate_request *csr = make_csr(rows[i].attributes);
        struct generated_key *key = generate(csr);
        struct buffer cms;
        buffer_init(&cms, MADE_LIMIT);
        assert_int_equal(key_package_check(directory, csr), rows[i].status);
        assert_int_not_equal(key_package_check(NULL, csr), STATUS_OK);
        enum status status = key_package_protect(directory, csr, key, &signer, &cms);
        if (status != rows[i].status || cms.len != 0)
            fail_msg("row %zu: %s", i, status_text(status));
        assert_int_not_equal(key_package_protect(NULL, csr, key, &signer, &cms), STATUS_OK);
        assert_int_equal(cms.len, 0);
        buffer_free(&cms);
        key_generation_free(key);
        certificate_request_free(csr);
    }
    key_directory_release(directory);
    key_folder_remove(&folder);
}

static void a_package_that_does_not_fit_is_not_begun(void **state)
{
    (void)state;
    struct key_folder folder = make_folder();
    struct key_directory *directory = load(&folder);
    struct certificate_request *csr = make_csr(forms[0].attributes);
    struct generated_key *key = generate(csr);
    struct buffer cms;
    buffer_init(&cms, 100);
    assert_int_equal(key_package_protect(directory, csr, key, &signer, &cms), STATUS_TOO_LARGE);
    assert_int_equal(cms.len, 0);
    buffer_free(&cms);
    key_generation_free(key);
    certificate_request_free(csr);
    key_directory_release(directory);
    key_folder_remove(&folder);
}

static void private_octets(const struct generated_key *key, uint8_t scalar[static 32])
{
    BIGNUM *number = NULL;
    assert_int_equal(EVP_PKEY_get_bn_param(key_generation_key(key), OSSL_PKEY_PARAM_PRIV_KEY, &number), 1);
    assert_int_equal(BN_bn2binpad(number, scalar, 32), 32);
    BN_clear_free(number);
}

/* SKG-9: no freed memory holds the key or a KEK after it was protected in any form. */
static void protecting_a_key_leaves_no_copy(void **state)
{
    (void)state;
    struct key_folder folder = make_folder();
    struct key_directory *directory = load(&folder);
    struct bytes kek = BYTES_LITERAL("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f");
    for (size_t i = 0; i < FORMS; i++) {
        struct certificate_request *csr = make_csr(forms[i].attributes);
        struct generated_key *key = generate(csr);
        uint8_t scalar[32];
        private_octets(key, scalar);
        struct buffer cms;
        buffer_init(&cms, MADE_LIMIT);
        freed_memory_start();
        assert_int_equal(key_package_protect(directory, csr, key, &signer, &cms), STATUS_OK);
        key_generation_free(key);
        if (freed_memory_holds((struct bytes){scalar, 32}) || freed_memory_holds(kek))
            fail_msg("form %zu", i);
        freed_memory_stop();
        buffer_free(&cms);
        certificate_request_free(csr);
    }
    key_directory_release(directory);
    key_folder_remove(&folder);
}

static int set_up(void **state)
{
    (void)state;
    device_key = make_key();
    device_rsa_key = EVP_RSA_gen(2048);
    signer.key = make_key();
    signer.certificate = make_certificate(
        &(struct made_certificate){.key = signer.key,
                                   .subject = "CN=Registrar",
                                   .extensions = {{"keyUsage", "digitalSignature"},
                                                  {"extendedKeyUsage", "serverAuth"},
                                                  {"subjectKeyIdentifier", "DER:04020102"}}});
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    EVP_PKEY_free(device_key);
    EVP_PKEY_free(device_rsa_key);
    EVP_PKEY_free(signer.key);
    X509_free(signer.certificate);
    return 0;
}

int main(void)
{
    freed_memory_set_up();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_wish_needs_both_halves),
        cmocka_unit_test(the_vectors_wish_for_a_plain_key),
        cmocka_unit_test(openssl_opens_every_form),
        cmocka_unit_test(others_open_none),
        cmocka_unit_test(what_cannot_be_protected_is_not_sent),
        cmocka_unit_test(a_package_that_does_not_fit_is_not_begun),
        cmocka_unit_test(protecting_a_key_leaves_no_copy),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
