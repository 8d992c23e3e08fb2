#include "registrar/exchange/renewal_policy.h"

#include "tests/unit/registrar/credentials.h"
#include "tests/unit/registrar/test_chain.h"

#define TRUST   "only a certificate of this domain can be renewed; use /sen"
#define SUBJECT "the CSR's subject is not that of the certificate to be renewed"
#define SAN     "the CSR's subjectAltName is not that of the certificate to be renewed"

static EVP_PKEY *key, *new_key;

static int create(void **state)
{
    (void)state;
    key = make_key();
    new_key = make_key();
    return 0;
}

static int destroy(void **state)
{
    (void)state;
    EVP_PKEY_free(key);
    EVP_PKEY_free(new_key);
    return 0;
}

/* reason is NULL when it is to pass. Takes both. */
static void assert_checked(enum trust_store trust, X509 *certificate, struct buffer *csr, const char *reason)
{
    struct client_identity *client = client_identity_create(certificate, test_chain(trust));
    struct certificate_request *request = NULL;
    struct buffer diagnostic;
    buffer_init(&diagnostic, 128);
    assert_int_equal(certificate_request_parse(buffer_view(csr), &request), STATUS_OK);
    enum status status = renewal_policy_check(client, request, &diagnostic);
    assert_string_equal(buffer_string(&diagnostic), reason == NULL ? "" : reason);
    assert_int_equal(status, reason == NULL ? STATUS_OK : STATUS_FORBIDDEN);
    assert_int_equal(diagnostic.status, STATUS_OK);
    buffer_free(&diagnostic);
    buffer_free(csr);
    certificate_request_free(request);
    client_identity_release(client);
    X509_free(certificate);
}

/* RE-1, RE-3, RE-4 */
static void names_are_those_of_the_certificate(void **state)
{
    (void)state;
    static const struct {
        enum trust_store trust;
        const char *client, *client_names, *request, *request_names, *reason;
    } rows[] = {
        {TRUST_DOMAIN, "O=Us/CN=Pump", NULL, "O=Us/CN=Pump", NULL, NULL},
        {TRUST_DOMAIN, "O=Us/CN=Pump", "DNS:a,IP:192.0.2.1", "O=Us/CN=Pump", "DNS:a,IP:192.0.2.1", NULL},
        {TRUST_DOMAIN, "", "DNS:a", "", "DNS:a", NULL},
        {TRUST_DOMAIN, "", "critical,DNS:a", "", "DNS:a", NULL},
        {TRUST_MANUFACTURER, "O=Us/CN=Pump", NULL, "O=Us/CN=Pump", NULL, TRUST},
        {TRUST_DOMAIN, "O=Us/CN=Pump", NULL, "O=Us/CN=Fan", NULL, SUBJECT},
        {TRUST_DOMAIN, "O=Us/CN=Pump", NULL, "O=Us/CN=pump", NULL, SUBJECT},
        {TRUST_DOMAIN, "O=Us/CN=Pump", NULL, "CN=Pump/O=Us", NULL, SUBJECT},
        {TRUST_DOMAIN, "O=Us/CN=Pump", NULL, "O=Us/CN=Pump/OU=x", NULL, SUBJECT},
        {TRUST_DOMAIN, "O=Us/CN=Pump", NULL, "O=Us", NULL, SUBJECT},
        {TRUST_DOMAIN, "O=Us/CN=Pump", NULL, "", NULL, SUBJECT},
        {TRUST_DOMAIN, "O=Us/CN=Pump", NULL, "O=Us/CN=Pump", "DNS:a", SAN},
        {TRUST_DOMAIN, "O=Us/CN=Pump", "DNS:a", "O=Us/CN=Pump", NULL, SAN},
        {TRUST_DOMAIN, "O=Us/CN=Pump", "DNS:a", "O=Us/CN=Pump", "DNS:b", SAN},
        {TRUST_DOMAIN, "O=Us/CN=Pump", "DNS:a", "O=Us/CN=Pump", "DNS:a,DNS:b", SAN},
        {TRUST_DOMAIN, "O=Us/CN=Pump", "DNS:a,DNS:b", "O=Us/CN=Pump", "DNS:b", SAN},
        {TRUST_DOMAIN, "O=Us/CN=Pump", "DNS:a,DNS:b", "O=Us/CN=Pump", "DNS:b,DNS:a", SAN},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct made_certificate client = {.key = key, .subject = rows[i].client};
        struct made_request request = {.key = i % 2 == 0 ? key : new_key, .subject = rows[i].request};
        if (rows[i].client_names != NULL)
            client.extensions[0] = (struct made_extension){"subjectAltName", rows[i].client_names};
        if (rows[i].request_names != NULL)
            request.extensions[0] = (struct made_extension){"subjectAltName", rows[i].request_names};
        struct buffer csr = make_request(&request);
        assert_checked(rows[i].trust, make_certificate(&client), &csr, rows[i].reason);
    }
}

/* RE-1: the same text in another type of string is another subject. */
static void names_are_compared_as_der(void **state)
{
    (void)state;
    X509_REQ *request = make_unsigned_request(&(struct made_request){.key = key, .subject = "CN=x"});
    X509_NAME *printable = X509_NAME_new();
    X509_NAME_add_entry_by_txt(printable, "CN", V_ASN1_PRINTABLESTRING, (const unsigned char *)"Pump", -1, -1,
                               0);
    X509_REQ_set_subject_name(request, printable);
    X509_NAME_free(printable);
    struct buffer csr = sign_request(request, key);
    struct made_certificate client = {.key = key, .subject = "CN=Pump"};
    X509 *certificate = make_certificate(&client);
    X509_NAME *utf8 = X509_NAME_new();
    X509_NAME_add_entry_by_txt(utf8, "CN", V_ASN1_UTF8STRING, (const unsigned char *)"Pump", -1, -1, 0);
    X509_set_subject_name(certificate, utf8);
    X509_NAME_free(utf8);
    assert_checked(TRUST_DOMAIN, certificate, &csr, SUBJECT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_those_of_the_certificate),
        cmocka_unit_test(names_are_compared_as_der),
    };
    return cmocka_run_group_tests(tests, create, destroy);
}
