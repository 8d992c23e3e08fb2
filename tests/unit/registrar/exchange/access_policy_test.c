#include "registrar/exchange/access_policy.h"

#include "tests/unit/registrar/credentials.h"
#include "tests/unit/registrar/made_rules.h"
#include "tests/unit/registrar/test_chain.h"

#define SERIAL  "the CSR's serialNumber is not that of the client certificate"
#define NAME    "the CSR has a commonName, emailAddress or userId that the client certificate has not"
#define SUBJECT "the CSR's subject is not that of the client certificate"
#define SAN     "the CSR has a subjectAltName that the client certificate has not"
#define NOBODY  "the CSR names nobody"
#define CHANGE  "the CSR asks for another name by ChangeSubjectName"

static EVP_PKEY *key;

/* That allowed what is checked; NULL: none did. */
static const struct access_rule *test_rule;

/* Checks one CSR of one client. reason is NULL when it is to pass. Takes der. */
static void assert_request_checked(enum csr_identity rule, const struct made_certificate *made_client,
                                   struct buffer *der, const char *reason)
{
    const struct access_decision decision = {.csr_identity = rule, .rule = test_rule};
    X509 *certificate = make_certificate(made_client);
    struct client_identity *client = client_identity_create(certificate, test_chain(TRUST_MANUFACTURER));
    struct buffer diagnostic;
    struct certificate_request *request = NULL;
    assert_int_equal(certificate_request_parse(buffer_view(der), &request), STATUS_OK);
    buffer_init(&diagnostic, 128);
    enum status status = access_policy_check(&decision, client, request, &diagnostic);
    if (status != (reason == NULL ? STATUS_OK : STATUS_FORBIDDEN))
        fail_msg("%s by \"%s\": %s, %s", reason == NULL ? "to pass" : reason, made_client->subject,
                 status_text(status), buffer_string(&diagnostic));
    assert_string_equal(buffer_string(&diagnostic), reason == NULL ? "" : reason);
    assert_int_equal(diagnostic.status, STATUS_OK);
    buffer_free(&diagnostic);
    buffer_free(der);
    certificate_request_free(request);
    client_identity_release(client);
    X509_free(certificate);
}

static void assert_checked(enum csr_identity rule, const struct made_certificate *made_client,
                           const struct made_request *made, const char *reason)
{
    struct buffer der = make_request(made);
    assert_request_checked(rule, made_client, &der, reason);
}

struct subject_row {
    enum csr_identity rule;
    const char *client, *request, *reason;
};

/* RE-8 */
static void the_csr_names_its_sender(void **state)
{
    (void)state;
    static const struct subject_row rows[] = {
        {CSR_IDENTITY_SAME_SERIAL, "O=Maker/serialNumber=42", "O=Maker/serialNumber=42", NULL},
        {CSR_IDENTITY_SAME_SERIAL, "O=Maker/serialNumber=42", "O=Us/OU=Pumps/serialNumber=42", NULL},
        {CSR_IDENTITY_SAME_SERIAL, "O=Maker/serialNumber=42", "CN=Pump/serialNumber=42", NAME},
        {CSR_IDENTITY_SAME_SERIAL, "CN=Pump/serialNumber=42", "CN=Pump/serialNumber=42", NULL},
        {CSR_IDENTITY_SAME_SERIAL, "CN=Pump/serialNumber=42", "CN=pump/serialNumber=42", NAME},
        {CSR_IDENTITY_SAME_SERIAL, "CN=Pump/serialNumber=42", "CN=Pump/CN=Fan/serialNumber=42", NAME},
        {CSR_IDENTITY_SAME_SERIAL, "CN=Pump/CN=Fan/serialNumber=42", "CN=Fan/serialNumber=42", NULL},
        {CSR_IDENTITY_SAME_SERIAL, "CN=Pump/serialNumber=42", "emailAddress=Pump/serialNumber=42", NAME},
        {CSR_IDENTITY_SAME_SERIAL, "CN=Pump/serialNumber=42", "UID=Pump/serialNumber=42", NAME},
        {CSR_IDENTITY_SAME_SERIAL, "emailAddress=a@b/serialNumber=42", "emailAddress=a@b/serialNumber=42",
         NULL},
        {CSR_IDENTITY_SERIAL_ONLY, "O=Maker/serialNumber=42", "CN=Pump/serialNumber=42", NULL},
        {CSR_IDENTITY_SERIAL_ONLY, "CN=Fan/serialNumber=42", "CN=Pump/serialNumber=42", NULL},
        {CSR_IDENTITY_SERIAL_ONLY, "CN=Pump/serialNumber=42", "CN=Pump/serialNumber=43", SERIAL},
        {CSR_IDENTITY_SERIAL_ONLY, "O=Maker/CN=Pump", "O=Maker/CN=Fan", SUBJECT},
        {CSR_IDENTITY_SAME_SERIAL, "O=Maker/serialNumber=42", "serialNumber=42", NULL},
        {CSR_IDENTITY_SAME_SERIAL, "O=Maker/serialNumber=42", "O=Maker/serialNumber=43", SERIAL},
        {CSR_IDENTITY_SAME_SERIAL, "O=Maker/serialNumber=42", "O=Maker/serialNumber=042", SERIAL},
        {CSR_IDENTITY_SAME_SERIAL, "O=Maker/serialNumber=a1", "O=Maker/serialNumber=A1", SERIAL},
        {CSR_IDENTITY_SAME_SERIAL, "O=Maker/serialNumber=42", "O=Maker/CN=42", SERIAL},
        {CSR_IDENTITY_SAME_SERIAL, "O=Maker/serialNumber=42", "O=Maker", SERIAL},
        {CSR_IDENTITY_SAME_SERIAL, "O=Maker/serialNumber=42", "", SERIAL},
        {CSR_IDENTITY_SAME_SERIAL, "O=Maker/serialNumber=42", "serialNumber=42/serialNumber=43", SERIAL},
        {CSR_IDENTITY_SAME_SERIAL, "O=Maker/serialNumber=42", "serialNumber=42/serialNumber=42", SERIAL},
        /* without one serialNumber the whole subject counts */
        {CSR_IDENTITY_SAME_SERIAL, "O=Maker/CN=Pump", "O=Maker/CN=Pump", NULL},
        {CSR_IDENTITY_SAME_SERIAL, "O=Maker/CN=Pump", "O=Maker/CN=Fan", SUBJECT},
        {CSR_IDENTITY_SAME_SERIAL, "O=Maker/CN=Pump", "O=Maker/CN=pump", SUBJECT},
        {CSR_IDENTITY_SAME_SERIAL, "O=Maker/CN=Pump", "O=Maker/CN=Pump/serialNumber=1", SUBJECT},
        {CSR_IDENTITY_SAME_SERIAL, "O=Maker/CN=Pump", "O=Maker", SUBJECT},
        {CSR_IDENTITY_SAME_SERIAL, "O=Maker/CN=Pump", "", SUBJECT},
        {CSR_IDENTITY_SAME_SERIAL, "serialNumber=1/serialNumber=2", "serialNumber=1/serialNumber=2", NULL},
        {CSR_IDENTITY_SAME_SERIAL, "serialNumber=1/serialNumber=2", "serialNumber=1", SUBJECT},
        /* the stricter rule */
        {CSR_IDENTITY_SAME_SUBJECT, "O=Maker/serialNumber=42", "O=Maker/serialNumber=42", NULL},
        {CSR_IDENTITY_SAME_SUBJECT, "O=Maker/serialNumber=42", "CN=Pump/serialNumber=42", SUBJECT},
        {CSR_IDENTITY_SAME_SUBJECT, "O=Maker/CN=Pump", "CN=Pump/O=Maker", SUBJECT},
        {CSR_IDENTITY_SAME_SUBJECT, "O=Maker/CN=Pump", "O=Maker/OU=Pump", SUBJECT},
        {CSR_IDENTITY_SAME_SUBJECT, "CN=Pum\xc3\xa4", "CN=Pum\xc3\xa4", NULL},
        /* nobody */
        {CSR_IDENTITY_SAME_SERIAL, "", "", NOBODY},
        {CSR_IDENTITY_SAME_SUBJECT, "", "", NOBODY},
        {CSR_IDENTITY_SAME_SERIAL, "", "CN=Pump", SUBJECT},
        /* and no rule */
        {CSR_IDENTITY_ANY, "O=Maker/serialNumber=42", "CN=anybody/serialNumber=43", NULL},
        {CSR_IDENTITY_ANY, "O=Maker/serialNumber=42", "", NULL},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_checked(rows[i].rule, &(struct made_certificate){.key = key, .subject = rows[i].client},
                       &(struct made_request){.key = key, .subject = rows[i].request}, rows[i].reason);
}

struct san_row {
    enum csr_identity rule;
    const char *client, *request, *reason;
};

/* RE-8: alternative names are compared by their encoding. */
static void alternative_names_are_those_of_the_client(void **state)
{
    (void)state;
    static const struct san_row rows[] = {
        {CSR_IDENTITY_SAME_SERIAL, "DNS:a.example", "DNS:a.example", NULL},
        {CSR_IDENTITY_SAME_SERIAL, "DNS:a.example,IP:192.0.2.1", "IP:192.0.2.1", NULL},
        {CSR_IDENTITY_SAME_SERIAL, "DNS:a.example,IP:192.0.2.1", NULL, NULL},
        {CSR_IDENTITY_SAME_SERIAL, "DNS:a.example", "DNS:b.example", SAN},
        {CSR_IDENTITY_SAME_SERIAL, "DNS:a.example", "DNS:a.example,DNS:b.example", SAN},
        {CSR_IDENTITY_SAME_SERIAL, "DNS:a.example", "email:a.example", SAN},
        {CSR_IDENTITY_SAME_SERIAL, "DNS:a.example", "DNS:A.example", SAN},
        {CSR_IDENTITY_SAME_SERIAL, NULL, "DNS:a.example", SAN},
        {CSR_IDENTITY_SAME_SERIAL, "otherName:1.2.3;UTF8:x", "otherName:1.2.3;UTF8:x", NULL},
        {CSR_IDENTITY_SAME_SERIAL, "otherName:1.2.3;UTF8:x", "otherName:1.2.3;UTF8:y", SAN},
        {CSR_IDENTITY_SAME_SUBJECT, "DNS:a.example", "DNS:b.example", SAN},
        {CSR_IDENTITY_SERIAL_ONLY, "DNS:a.example", "DNS:b.example", SAN},
        {CSR_IDENTITY_ANY, "DNS:a.example", "DNS:b.example", NULL},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct made_certificate client = {.key = key, .subject = "serialNumber=42"};
        struct made_request request = {.key = key, .subject = "serialNumber=42"};
        if (rows[i].client != NULL)
            client.extensions[0] = (struct made_extension){"subjectAltName", rows[i].client};
        if (rows[i].request != NULL)
            request.extensions[0] = (struct made_extension){"subjectAltName", rows[i].request};
        assert_checked(rows[i].rule, &client, &request, rows[i].reason);
    }
}

/* RE-8: SANs of the client certificate, or allowed by a rule; and what is allowed does not make up for
 * another device's serial number. */
static void a_rule_allows_further_alternative_names(void **state)
{
    (void)state;
    struct access_rules *rules =
        make_rules("{\"rules\":[{\"action\":\"allow\",\"allow_san\":[\"dns:*.meters.example\"]}]}");
    struct made_certificate client = {
        .key = key, .subject = "serialNumber=42", .extensions = {{"subjectAltName", "DNS:a.example"}}};
    struct made_request request = {.key = key,
                                   .subject = "serialNumber=42",
                                   .extensions = {{"subjectAltName", "DNS:a.example,DNS:42.meters.example"}}};
    assert_checked(CSR_IDENTITY_SAME_SERIAL, &client, &request, SAN);

    X509 *certificate = make_certificate(&client);
    struct client_identity *identity = client_identity_create(certificate, test_chain(TRUST_MANUFACTURER));
    const struct access_request asked = {identity, est_operation(EST_SEN), {NULL, 0}};
    struct access_decision decision;
    assert_int_equal(access_rules_decide(rules, &asked, &decision), STATUS_OK);
    test_rule = decision.rule;
    assert_checked(CSR_IDENTITY_SAME_SERIAL, &client, &request, NULL);
    request.subject = "serialNumber=43";
    assert_checked(CSR_IDENTITY_SAME_SERIAL, &client, &request, SERIAL);
    request.subject = "serialNumber=42";
    request.extensions[0].value = "DNS:42.meters.example,DNS:b.example";
    assert_checked(CSR_IDENTITY_SAME_SERIAL, &client, &request, SAN);
    request.extensions[1] = (struct made_extension){"basicConstraints", "CA:TRUE"};
    request.extensions[0].value = "DNS:42.meters.example";
    assert_checked(CSR_IDENTITY_ANY, &client, &request, /* RE-7 */
                   "the CSR may not ask for this: basicConstraints CA:TRUE");
    test_rule = NULL;
    client_identity_release(identity);
    X509_free(certificate);
    access_rules_release(rules);
}

/* RE-8: a device that is only known by its alternative names must repeat one. */
static void an_empty_subject_needs_an_alternative_name(void **state)
{
    (void)state;
    struct made_certificate client = {
        .key = key, .subject = "", .extensions = {{"subjectAltName", "DNS:a.example,DNS:b.example"}}};
    struct made_request request = {
        .key = key, .subject = "", .extensions = {{"subjectAltName", "DNS:b.example"}}};
    assert_checked(CSR_IDENTITY_SAME_SERIAL, &client, &request, NULL);
    request.extensions[0].name = NULL;
    assert_checked(CSR_IDENTITY_SAME_SERIAL, &client, &request, NOBODY);
    request.extensions[0] = (struct made_extension){"subjectAltName", "DER:3000"};
    assert_checked(CSR_IDENTITY_SAME_SERIAL, &client, &request, NOBODY);
}

/* Checks the CSR of a device whose subject is CN=Pump, O=Maker in two RDNs. */
static enum status check_name(X509_NAME *name)
{
    X509_REQ *unsigned_request =
        make_unsigned_request(&(struct made_request){.key = key, .subject = "CN=other"});
    X509_REQ_set_subject_name(unsigned_request, name);
    struct buffer der = sign_request(unsigned_request, key), diagnostic;
    struct certificate_request *request = NULL;
    assert_int_equal(certificate_request_parse(buffer_view(&der), &request), STATUS_OK);
    X509 *certificate =
        make_certificate(&(struct made_certificate){.key = key, .subject = "CN=Pump/O=Maker"});
    struct client_identity *client = client_identity_create(certificate, test_chain(TRUST_DOMAIN));
    const struct access_decision decision = {.csr_identity = CSR_IDENTITY_SAME_SUBJECT};
    buffer_init(&diagnostic, 128);
    enum status status = access_policy_check(&decision, client, request, &diagnostic);
    buffer_free(&diagnostic);
    client_identity_release(client);
    X509_free(certificate);
    certificate_request_free(request);
    buffer_free(&der);
    X509_NAME_free(name);
    return status;
}

/* A name made of CN=Pump and O=Maker: of a string type, and in one RDN (set -1) or in two (set 0). */
static X509_NAME *make_two_part_name(int type, int set)
{
    X509_NAME *name = X509_NAME_new();
    X509_NAME_add_entry_by_txt(name, "CN", type, (const unsigned char *)"Pump", -1, -1, 0);
    X509_NAME_add_entry_by_txt(name, "O", type, (const unsigned char *)"Maker", -1, -1, set);
    return name;
}

/* One RDN with two attributes is another name than two RDNs with one each. */
static void the_shape_of_a_name_matters(void **state)
{
    (void)state;
    assert_int_equal(check_name(make_two_part_name(V_ASN1_UTF8STRING, 0)), STATUS_OK);
    assert_int_equal(check_name(make_two_part_name(V_ASN1_UTF8STRING, -1)), STATUS_FORBIDDEN);
}

/* A PrintableString and a UTF8String of the same letters are the same name. */
static void string_types_do_not_matter(void **state)
{
    (void)state;
    X509_NAME *utf8 = make_name("CN=Pump");
    assert_int_equal(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(utf8, 0))->type, V_ASN1_UTF8STRING);
    X509_NAME_free(utf8);
    assert_int_equal(check_name(make_two_part_name(V_ASN1_PRINTABLESTRING, 0)), STATUS_OK);
    assert_int_equal(check_name(make_two_part_name(V_ASN1_BMPSTRING, 0)), STATUS_FORBIDDEN); /* 2 letters */
}

/* RE-2, RE-8: the subject is the device's own, and an attribute asks the CA for another one. */
static void the_name_is_not_changed_by_an_attribute(void **state)
{
    (void)state;
    static const struct {
        enum csr_identity rule;
        enum status status;
    } rows[] = {{CSR_IDENTITY_SAME_SERIAL, STATUS_FORBIDDEN},
                {CSR_IDENTITY_SAME_SUBJECT, STATUS_FORBIDDEN},
                {CSR_IDENTITY_ANY, STATUS_OK}};
    static const unsigned char change[] = "\x30\x12\x30\x10\x31\x0e\x30\x0c\x06\x03\x55\x04\x03\x0c\x05other";
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        X509_REQ *made =
            make_unsigned_request(&(struct made_request){.key = key, .subject = "serialNumber=1"});
        assert_int_equal(X509_REQ_add1_attr_by_txt(made, "1.3.6.1.5.5.7.7.36", V_ASN1_SEQUENCE, change,
                                                   sizeof(change) - 1),
                         1);
        struct buffer der = sign_request(made, key);
        assert_request_checked(rows[i].rule,
                               &(struct made_certificate){.key = key, .subject = "serialNumber=1"}, &der,
                               rows[i].status == STATUS_OK ? NULL : CHANGE);
    }
}

/* RE-7: "whatever the access rules say". */
static void powers_are_refused_under_every_rule(void **state)
{
    (void)state;
    static const enum csr_identity rules[] = {CSR_IDENTITY_SAME_SERIAL, CSR_IDENTITY_SAME_SUBJECT,
                                              CSR_IDENTITY_ANY};
    static const struct {
        struct made_extension extension;
        const char *reason;
    } rows[] = {
        {{"basicConstraints", "CA:TRUE"}, "the CSR may not ask for this: basicConstraints CA:TRUE"},
        {{"keyUsage", "keyCertSign"}, "the CSR may not ask for this: keyUsage keyCertSign"},
        {{"keyUsage", "cRLSign"}, "the CSR may not ask for this: keyUsage cRLSign"},
        {{"extendedKeyUsage", "1.3.6.1.5.5.7.3.28"}, "the CSR may not ask for this: extendedKeyUsage cmcRA"},
        {{"extendedKeyUsage", "1.3.6.1.5.5.7.3.27"}, "the CSR may not ask for this: extendedKeyUsage cmcCA"},
        {{"extendedKeyUsage", "2.5.29.37.0"}, "the CSR may not ask for this: extendedKeyUsage any"},
        {{"subjectAltName", "DER:ff"}, "the CSR may not ask for this: undecodable extension"},
    };
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
        for (size_t j = 0; j < sizeof(rows) / sizeof(rows[0]); j++)
            assert_checked(rules[i], &(struct made_certificate){.key = key, .subject = "serialNumber=1"},
                           &(struct made_request){
                               .key = key, .subject = "serialNumber=1", .extensions = {rows[j].extension}},
                           rows[j].reason);
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
        cmocka_unit_test(the_csr_names_its_sender),
        cmocka_unit_test(alternative_names_are_those_of_the_client),
        cmocka_unit_test(a_rule_allows_further_alternative_names),
        cmocka_unit_test(an_empty_subject_needs_an_alternative_name),
        cmocka_unit_test(the_shape_of_a_name_matters),
        cmocka_unit_test(string_types_do_not_matter),
        cmocka_unit_test(the_name_is_not_changed_by_an_attribute),
        cmocka_unit_test(powers_are_refused_under_every_rule),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
