#include "registrar/exchange/access_rules.h"

#include "tests/unit/registrar/exchange/made_client.h"
#include "tests/unit/registrar/made_rules.h"

struct decided {
    enum access_action action;
    char by[64];
    enum csr_identity csr_identity;
};

static struct decided decide_as(const char *access, struct client_identity *client, enum est_operation_id id,
                                const char *label)
{
    struct access_rules *rules = make_rules(access);
    const struct access_request request = {client, est_operation(id), bytes_from_string(label)};
    struct access_decision decision;
    assert_int_equal(access_rules_decide(rules, &request, &decision), STATUS_OK);
    struct decided decided = {.action = decision.action, .csr_identity = decision.csr_identity};
    snprintf(decided.by, sizeof(decided.by), "%s", decision.by);
    access_rules_release(rules);
    return decided;
}

static struct decided decide(const struct made_client *fixture, const char *access, enum est_operation_id id,
                             const char *label)
{
    return decide_as(access, fixture->client, id, label);
}

/* Whether a rule with this condition fits the fixture's client that enrols. */
static bool holds(const struct made_client *fixture, const char *condition)
{
    char access[512];
    snprintf(access, sizeof(access), "{\"rules\":[{\"match\":{%s},\"action\":\"deny\"}]}", condition);
    return decide(fixture, access, EST_SEN, "").action == ACCESS_DENY;
}

/* DTLS-10: each condition, exact and with wildcards. */
static void each_condition_looks_at_its_own(void **state)
{
    const struct made_client *fixture = *state;
    static const struct {
        const char *condition;
        bool holds;
    } rows[] = {
        {"\"subject\":\"CN=Pump 1,serialNumber=SN-1,O=Maker\"", true},
        {"\"subject\":\"CN=Pump 1,serialNumber=SN-1,O=maker\"", false},
        {"\"subject\":\"CN=Pump 1\"", false},
        {"\"subject\":\"CN=Pump ?,*,O=Maker\"", true},
        {"\"subject\":[\"CN=Fan\",\"*O=Maker\"]", true},
        {"\"serial_number\":\"SN-1\"", true},
        {"\"serial_number\":\"SN-?\"", true},
        {"\"serial_number\":\"SN-11\"", false},
        {"\"serial_number\":\"sn-1\"", false},
        {"\"san\":\"dns:pump-1.example\"", true},
        {"\"san\":\"dns:PUMP-1.Example\"", true},
        {"\"san\":\"dns:*.example\"", true},
        {"\"san\":\"uri:pump-1.example\"", false},
        {"\"san\":\"ip:192.0.2.*\"", true},
        {"\"san\":\"*:192.0.2.1\"", true},
        {"\"san\":\"uri:urn:x:1\"", true},
        {"\"san\":\"email:a@b.example\"", true},
        {"\"san\":\"email:*@c.example\"", false},
        {"\"issuer\":\"CN=Maker CA\"", true},
        {"\"issuer\":\"*CA\"", true},
        {"\"issuer\":\"CN=Pump*\"", false},
        {"\"authority_key_identifier\":\"0102AB\"", true},
        {"\"authority_key_identifier\":\"0102*\"", true},
        {"\"authority_key_identifier\":\"0102\"", false},
        {"\"subject_key_identifier\":\"0A0B\"", true},
        {"\"subject_key_identifier\":\"0102ab\"", false},
        {"\"trust\":\"manufacturer\"", true},
        {"\"trust\":\"domain\"", false},
        {"\"trust\":\"*\"", true},
        {"\"operation\":\"sen\"", true},
        {"\"operation\":\"s*en\"", true},
        {"\"operation\":[\"sren\",\"skg\"]", false},
        {"\"label\":\"\"", true},
        {"\"label\":\"*\"", true},
        {"\"label\":\"?*\"", false},
        {"\"label\":\"p1\"", false},
        /* all that are given */
        {"\"trust\":\"manufacturer\",\"serial_number\":\"SN-1\"", true},
        {"\"trust\":\"domain\",\"serial_number\":\"SN-1\"", false},
        {"\"trust\":\"manufacturer\",\"serial_number\":\"SN-2\"", false},
        /* none is given */
        {"", true},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (holds(fixture, rows[i].condition) != rows[i].holds)
            fail_msg("%s", rows[i].condition);
}

/* What a certificate does not have fits no pattern, not even "*". */
static void what_is_not_there_fits_nothing(void **state)
{
    const struct made_client *fixture = *state;
    static const char *const conditions[] = {"serial_number", "san", "authority_key_identifier",
                                             "subject_key_identifier"};
    X509 *certificate =
        make_certificate(&(struct made_certificate){.key = fixture->key, .subject = "CN=Bare"});
    struct client_identity *client = client_identity_create(certificate, test_chain(TRUST_DOMAIN));
    for (size_t i = 0; i < sizeof(conditions) / sizeof(conditions[0]); i++) {
        char access[256];
        snprintf(access, sizeof(access), "{\"rules\":[{\"match\":{\"%s\":\"*\"},\"action\":\"deny\"}]}",
                 conditions[i]);
        assert_int_equal(decide_as(access, client, EST_SEN, "").action, ACCESS_ALLOW);
    }
    client_identity_release(client);
    X509_free(certificate);
}

/* Each of several serialNumbers counts, as the CA vouched for each; what is denied is denied. */
static void every_serial_number_counts(void **state)
{
    const struct made_client *fixture = *state;
    X509 *certificate = make_certificate(
        &(struct made_certificate){.key = fixture->key, .subject = "serialNumber=SN-1/serialNumber=SN-2"});
    struct client_identity *client = client_identity_create(certificate, test_chain(TRUST_DOMAIN));
    static const char access[] = "{\"rules\":[{\"match\":{\"serial_number\":\"SN-2\"},\"action\":\"deny\"}]}";
    assert_int_equal(decide_as(access, client, EST_SEN, "").action, ACCESS_DENY);
    client_identity_release(client);
    X509_free(certificate);
}

static void the_first_rule_that_holds_decides(void **state)
{
    const struct made_client *fixture = *state;
    struct decided decided =
        decide(fixture,
               "{\"rules\":[{\"match\":{\"serial_number\":\"SN-2\"},\"action\":\"deny\"},"
               "{\"match\":{\"serial_number\":\"SN-*\"},\"action\":\"allow\",\"name\":\"our pumps\"},"
               "{\"match\":{\"trust\":\"manufacturer\"},\"action\":\"deny\"}],\"default\":\"deny\"}",
               EST_SEN, "");
    assert_int_equal(decided.action, ACCESS_ALLOW);
    assert_string_equal(decided.by, "our pumps");
    decided = decide(fixture,
                     "{\"rules\":[{\"match\":{\"serial_number\":\"SN-2\"},\"action\":\"allow\"},"
                     "{\"match\":{\"serial_number\":\"SN-*\"},\"action\":\"deny\"}]}",
                     EST_SKG, "");
    assert_int_equal(decided.action, ACCESS_DENY);
    assert_string_equal(decided.by, "access.rules[1]");
}

static void what_no_rule_decides_is_left_to_the_default(void **state)
{
    const struct made_client *fixture = *state;
    assert_int_equal(decide(fixture, "{}", EST_SEN, "").action, ACCESS_ALLOW);
    struct decided decided = decide(
        fixture, "{\"rules\":[{\"match\":{\"trust\":\"domain\"},\"action\":\"allow\"}],\"default\":\"deny\"}",
        EST_SREN, "");
    assert_int_equal(decided.action, ACCESS_DENY);
    assert_string_equal(decided.by, "access.default");
}

/* What everybody gets alike is refused only by rules that say so. */
static void gets_are_judged_by_rules_for_them(void **state)
{
    const struct made_client *fixture = *state;
    static const char deny_all[] = "{\"rules\":[{\"match\":{\"trust\":\"*\"},\"action\":\"deny\"}],"
                                   "\"default\":\"deny\"}";
    assert_int_equal(decide(fixture, deny_all, EST_CRTS, "").action, ACCESS_ALLOW);
    assert_int_equal(decide(fixture, deny_all, EST_ATT, "").action, ACCESS_ALLOW);
    assert_int_equal(decide(fixture, deny_all, EST_SEN, "").action, ACCESS_DENY);
    static const char deny_crts[] = "{\"rules\":[{\"match\":{\"operation\":\"crts\"},\"action\":\"deny\"}]}";
    assert_int_equal(decide(fixture, deny_crts, EST_CRTS, "").action, ACCESS_DENY);
    assert_int_equal(decide(fixture, deny_crts, EST_ATT, "").action, ACCESS_ALLOW);
    static const char deny_any[] = "{\"rules\":[{\"match\":{\"operation\":\"*\"},\"action\":\"deny\"}]}";
    assert_int_equal(decide(fixture, deny_any, EST_ATT, "").action, ACCESS_DENY);
}

/* URI-4: a label that no rule names is refused to everybody, and the default opens none. */
static void a_label_needs_a_rule_that_names_it(void **state)
{
    const struct made_client *fixture = *state;
    struct decided decided = decide(fixture, "{}", EST_SEN, "p1");
    assert_int_equal(decided.action, ACCESS_DENY);
    assert_string_equal(decided.by, "no rule for the label");
    assert_int_equal(decide(fixture, "{}", EST_CRTS, "p1").action, ACCESS_DENY);
    static const char general[] = "{\"rules\":[{\"match\":{\"trust\":\"*\"},\"action\":\"allow\"}]}";
    assert_int_equal(decide(fixture, general, EST_SEN, "p1").action, ACCESS_DENY);

    static const char exact[] = "{\"rules\":[{\"match\":{\"label\":\"p1\"},\"action\":\"allow\"}]}";
    assert_int_equal(decide(fixture, exact, EST_SEN, "p1").action, ACCESS_ALLOW);
    assert_int_equal(decide(fixture, exact, EST_CRTS, "p1").action, ACCESS_ALLOW);
    assert_int_equal(decide(fixture, exact, EST_SEN, "p2").action, ACCESS_DENY);
    static const char glob[] = "{\"rules\":[{\"match\":{\"label\":\"p?\"},\"action\":\"allow\"}]}";
    assert_int_equal(decide(fixture, glob, EST_SEN, "p2").action, ACCESS_ALLOW);
    assert_int_equal(decide(fixture, glob, EST_SEN, "p10").action, ACCESS_DENY);

    static const char other[] = "{\"rules\":[{\"match\":{\"label\":\"p1\",\"trust\":\"domain\"},"
                                "\"action\":\"allow\"}],\"default\":\"allow\"}";
    decided = decide(fixture, other, EST_SEN, "p1");
    assert_int_equal(decided.action, ACCESS_DENY);
    assert_string_equal(decided.by, "no rule for the label and the device");
    assert_int_equal(decide(fixture, other, EST_CRTS, "p1").action, ACCESS_ALLOW);
}

/* RE-8 */
static void a_rule_may_loosen_what_the_csr_may_be(void **state)
{
    const struct made_client *fixture = *state;
    static const char access[] = "{\"csr_identity\":\"same-subject\",\"rules\":["
                                 "{\"match\":{\"operation\":\"sen\"},\"action\":\"allow\","
                                 "\"csr_identity\":\"same-serial\"},"
                                 "{\"match\":{\"operation\":\"sren\"},\"action\":\"allow\"}]}";
    assert_int_equal(decide(fixture, access, EST_SEN, "").csr_identity, CSR_IDENTITY_SAME_SERIAL);
    assert_int_equal(decide(fixture, access, EST_SREN, "").csr_identity, CSR_IDENTITY_SAME_SUBJECT);
    assert_int_equal(decide(fixture, access, EST_SKG, "").csr_identity, CSR_IDENTITY_SAME_SUBJECT);
}

static bool allows(const struct access_rule *rule, const char *san)
{
    X509_EXTENSION *extension = make_extension(&(struct made_extension){"subjectAltName", san});
    GENERAL_NAMES *names = X509V3_EXT_d2i(extension);
    bool allowed = access_rule_allows_san(rule, sk_GENERAL_NAME_value(names, 0));
    GENERAL_NAMES_free(names);
    X509_EXTENSION_free(extension);
    return allowed;
}

/* RE-8 */
static void a_rule_allows_alternative_names_of_a_kind(void **state)
{
    const struct made_client *fixture = *state;
    struct access_rules *rules = make_rules(
        "{\"rules\":[{\"action\":\"allow\",\"allow_san\":[\"dns:*.Meters.example\",\"ip:192.0.2.*\"]}]}");
    const struct access_request request = {fixture->client, est_operation(EST_SEN), {NULL, 0}};
    struct access_decision decision;
    assert_int_equal(access_rules_decide(rules, &request, &decision), STATUS_OK);
    assert_true(allows(decision.rule, "DNS:a.meters.example"));
    assert_true(allows(decision.rule, "DNS:A.METERS.example"));
    assert_true(allows(decision.rule, "IP:192.0.2.77"));
    assert_false(allows(decision.rule, "DNS:meters.example"));
    assert_false(allows(decision.rule, "DNS:a.meters.example.org"));
    assert_false(allows(decision.rule, "URI:x.meters.example"));
    assert_false(allows(decision.rule, "email:x@a.meters.example"));
    assert_false(allows(decision.rule, "DNS:*.meters.example"));
    assert_false(allows(decision.rule, "DER:30178215782e6f7267002e6d65746572732e6578616d706c65"));
    assert_false(allows(NULL, "DNS:a.meters.example"));
    access_rules_release(rules);
}

static void write_list(const char *file, const char *text)
{
    FILE *stream = fopen(file, "w");
    assert_non_null(stream);
    assert_true(fputs(text, stream) >= 0);
    fclose(stream);
}

static void the_file_decides_after_the_rules(void **state)
{
    const struct made_client *fixture = *state;
    char folder[] = "/tmp/access-file-XXXXXX", file[64], access[512];
    assert_non_null(mkdtemp(folder));
    snprintf(file, sizeof(file), "%s/serials", folder);
    write_list(file, "allow SN-1\ndeny SN-3\n");

    snprintf(access, sizeof(access), "{\"file\":\"%s\",\"default\":\"deny\"}", file);
    struct decided decided = decide(fixture, access, EST_SEN, "");
    assert_int_equal(decided.action, ACCESS_ALLOW);
    assert_string_equal(decided.by, "access.file");
    snprintf(access, sizeof(access),
             "{\"file\":\"%s\",\"rules\":[{\"match\":{\"operation\":\"sen\"},\"action\":\"deny\"}]}", file);
    assert_int_equal(decide(fixture, access, EST_SEN, "").action, ACCESS_DENY);

    /* the action "file": who is not there is refused, whatever the default */
    snprintf(access, sizeof(access),
             "{\"file\":\"%s\",\"rules\":[{\"name\":\"inventory\",\"match\":{\"label\":\"p1\"},\"action\":"
             "\"file\"}]}",
             file);
    decided = decide(fixture, access, EST_SEN, "p1");
    assert_int_equal(decided.action, ACCESS_ALLOW);
    assert_string_equal(decided.by, "inventory");
    write_list(file, "allow SN-2\n");
    assert_int_equal(decide(fixture, access, EST_SEN, "p1").action, ACCESS_DENY);
    assert_int_equal(decide(fixture, access, EST_SEN, "").action, ACCESS_ALLOW);
    write_list(file, "deny SN-1\n");
    assert_int_equal(decide(fixture, access, EST_SEN, "").action, ACCESS_DENY);
    assert_int_equal(decide(fixture, access, EST_CRTS, "").action, ACCESS_ALLOW);
    unlink(file);
    rmdir(folder);
}

static void a_bad_file_is_no_rules_at_all(void **state)
{
    (void)state;
    struct settings *settings = read_access_settings("{\"file\":\"/nowhere/serials\"}");
    struct buffer errors, warnings;
    buffer_init(&errors, MADE_LIMIT);
    buffer_init(&warnings, MADE_LIMIT);
    assert_null(access_rules_load(&settings->access, &errors, &warnings));
    assert_string_equal(
        buffer_string(&errors),
        "access.file: \"/nowhere/serials\" cannot be read: No such file or directory; name a file "
        "that est-registrar may read\n");
    settings_free(settings);
    buffer_free(&errors);
    buffer_free(&warnings);
}

static void who_holds_the_rules_keeps_them(void **state)
{
    const struct made_client *fixture = *state;
    struct access_rules *rules = make_rules("{\"default\":\"deny\"}");
    assert_ptr_equal(access_rules_hold(rules), rules);
    access_rules_release(rules);
    const struct access_request request = {fixture->client, est_operation(EST_SEN), {NULL, 0}};
    struct access_decision decision;
    assert_int_equal(access_rules_decide(rules, &request, &decision), STATUS_OK);
    assert_int_equal(decision.action, ACCESS_DENY);
    access_rules_release(rules);
    access_rules_release(NULL);
}

/* CN=Pump 1,O=Maker with serialNumber SN-1, of the manufacturer, issued by CN=Maker CA. */
static int set_up(void **state)
{
    static struct made_client made;
    made_client_create(
        &made,
        (struct made_certificate){
            .subject = "O=Maker/serialNumber=SN-1/CN=Pump 1",
            .extensions =
                {{"subjectAltName",
                  "DNS:Pump-1.example,IP:192.0.2.1,URI:urn:x:1,email:a@b.example,otherName:1.2.3;UTF8:x"},
                 {"subjectKeyIdentifier", "0a0b"},
                 {"authorityKeyIdentifier", "DER:300580030102ab"}},
            .issuer = "CN=Maker CA"});
    *state = &made;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_condition_looks_at_its_own),
        cmocka_unit_test(what_is_not_there_fits_nothing),
        cmocka_unit_test(every_serial_number_counts),
        cmocka_unit_test(the_first_rule_that_holds_decides),
        cmocka_unit_test(what_no_rule_decides_is_left_to_the_default),
        cmocka_unit_test(gets_are_judged_by_rules_for_them),
        cmocka_unit_test(a_label_needs_a_rule_that_names_it),
        cmocka_unit_test(a_rule_may_loosen_what_the_csr_may_be),
        cmocka_unit_test(a_rule_allows_alternative_names_of_a_kind),
        cmocka_unit_test(the_file_decides_after_the_rules),
        cmocka_unit_test(a_bad_file_is_no_rules_at_all),
        cmocka_unit_test(who_holds_the_rules_keeps_them),
    };
    return cmocka_run_group_tests(tests, set_up, made_client_free);
}
