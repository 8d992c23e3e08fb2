#include "registrar/protocol/certificate_names.h"

#include "tests/unit/registrar/credentials.h"

static void assert_dn(const char *made, const char *expected)
{
    X509_NAME *name = make_name(made);
    struct buffer text;
    buffer_init(&text, 4096);
    certificate_names_write_dn(name, &text);
    assert_string_equal(buffer_string(&text), expected);
    buffer_free(&text);
    X509_NAME_free(name);
}

/* RFC 4514 */
static void a_distinguished_name_is_written_from_its_end(void **state)
{
    (void)state;
    assert_dn("", "");
    assert_dn("O=Maker/CN=Pump 1", "CN=Pump 1,O=Maker");
    assert_dn("CN=a/serialNumber=SN-1", "serialNumber=SN-1,CN=a");
    assert_dn("CN=a\\,b+c\"d", "CN=a\\\\\\,b\\+c\\\"d");
    assert_dn("CN=\xc3\xa4", "CN=\\C3\\A4");
}

/* The text of the one name that value makes, or NULL when it has none. */
static void assert_alternative(const char *value, const char *expected)
{
    X509_EXTENSION *extension = make_extension(&(struct made_extension){"subjectAltName", value});
    GENERAL_NAMES *names = X509V3_EXT_d2i(extension);
    struct buffer text;
    buffer_init(&text, 4096);
    bool written = certificate_names_write_alternative(sk_GENERAL_NAME_value(names, 0), &text);
    if (written != (expected != NULL) || strcmp(buffer_string(&text), expected == NULL ? "" : expected) != 0)
        fail_msg("%s: \"%s\"", value, buffer_string(&text));
    buffer_free(&text);
    GENERAL_NAMES_free(names);
    X509_EXTENSION_free(extension);
}

static void an_alternative_name_begins_with_its_kind(void **state)
{
    (void)state;
    assert_alternative("DNS:Meter-1.Example", "dns:meter-1.example");
    assert_alternative("URI:urn:uuid:F81D4FAE", "uri:urn:uuid:F81D4FAE");
    assert_alternative("email:Admin@a.example", "email:Admin@a.example");
    assert_alternative("IP:192.0.2.1", "ip:192.0.2.1");
    assert_alternative("IP:2001:db8:0:0:0:0:0:1", "ip:2001:db8::1");
}

/* RFC 4108 section 5 */
static void a_hardware_module_has_type_and_serial_number(void **state)
{
    (void)state;
    assert_alternative("DER:3021A01F06082B06010505070804A013301106092B06010401B43B0A0104040102FF04",
                       "hardware:1.3.6.1.4.1.6715.10.1:0102ff04");
    /* octets left over, a wrong type within, a cut-off type */
    assert_alternative("DER:3023A02106082B06010505070804A015301306092B06010401B43B0A0104040102FF040500",
                       NULL);
    assert_alternative("DER:3021A01F06082B06010505070804A013301106092B06010401B43B0A010C0461626364", NULL);
    assert_alternative("DER:3014A01206082B06010505070804A006300406022B86", NULL);
}

/* What cannot be shown plainly is not compared: no rule is misled by a NUL or a line end. */
static void what_is_not_visible_has_no_text(void **state)
{
    (void)state;
    assert_alternative("DER:30058203610062", NULL); /* dNSName a NUL b */
    assert_alternative("DER:30058203610A62", NULL);
    assert_alternative("DER:30058203612062", NULL);
    assert_alternative("DER:30058203618062", NULL);
    assert_alternative("DER:30028200", NULL);       /* empty */
    assert_alternative("DER:30058703010203", NULL); /* an address of three octets */
    assert_alternative("otherName:1.2.3;UTF8:x", NULL);
    assert_alternative("RID:1.2.3", NULL);
}

static void hexadecimal_is_lower_case(void **state)
{
    (void)state;
    struct buffer text;
    buffer_init(&text, 100);
    certificate_names_write_hex(BYTES_LITERAL("\x00\xab\xff"), &text);
    assert_string_equal(buffer_string(&text), "00abff");
    buffer_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_distinguished_name_is_written_from_its_end),
        cmocka_unit_test(an_alternative_name_begins_with_its_kind),
        cmocka_unit_test(a_hardware_module_has_type_and_serial_number),
        cmocka_unit_test(what_is_not_visible_has_no_text),
        cmocka_unit_test(hexadecimal_is_lower_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
