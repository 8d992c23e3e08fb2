#include "registrar/exchange/access_question.h"

#include "tests/unit/registrar/exchange/made_client.h"

#include <jansson.h>

static json_t *ask(const struct made_client *fixture, const struct certificate_request *csr,
                   const char *label)
{
    const struct access_question question = {fixture->client, est_operation(csr != NULL ? EST_SEN : EST_CRTS),
                                             bytes_from_string(label), "inventory", csr};
    struct buffer json;
    buffer_init(&json, MADE_LIMIT);
    assert_int_equal(access_question_write(&question, &json), STATUS_OK);
    assert_null(strstr(buffer_string(&json), "secret"));
    json_t *root = json_loads(buffer_string(&json), JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    buffer_free(&json);
    return root;
}

static void assert_text(const json_t *object, const char *key, const char *expected)
{
    const char *text = json_string_value(json_object_get(object, key));
    if (text == NULL || strcmp(text, expected) != 0)
        fail_msg("%s: %s", key, text);
}

static void assert_list(const json_t *object, const char *key, const char *const *expected, size_t count)
{
    const json_t *list = json_object_get(object, key);
    assert_int_equal(json_array_size(list), count);
    for (size_t i = 0; i < count; i++)
        assert_string_equal(json_string_value(json_array_get(list, i)), expected[i]);
}

/* Everything that a decision can be made by, nothing hidden, nothing secret. */
static void a_question_tells_who_wants_what(void **state)
{
    const struct made_client *fixture = *state;
    static const char *const serials[] = {"SN-1"};
    struct buffer der =
        make_request(&(struct made_request){.key = fixture->key,
                                            .subject = "serialNumber=SN-1",
                                            .extensions = {{"subjectAltName", "DNS:Pump.example,RID:1.2.3"}},
                                            .challenge_password = "secret"});
    struct certificate_request *csr = NULL;
    assert_int_equal(certificate_request_parse(buffer_view(&der), &csr), STATUS_OK);
    json_t *root = ask(fixture, csr, "p1");
    assert_text(root, "request", "access");
    assert_text(root, "operation", "sen");
    assert_text(root, "label", "p1");
    assert_text(root, "rule", "inventory");
    const json_t *device = json_object_get(root, "device"), *wish = json_object_get(root, "csr");
    assert_text(device, "subject", "CN=\\C3\\A4 \\\"x\\\",serialNumber=SN-1");
    assert_text(device, "issuer", "CN=Maker");
    assert_text(device, "trust", "manufacturer");
    assert_text(device, "subject_key_identifier", "0a0b");
    assert_true(json_is_null(json_object_get(device, "authority_key_identifier")));
    assert_int_equal(json_string_length(json_object_get(device, "fingerprint")), 64);
    assert_list(device, "serial_numbers", serials, 1);
    assert_list(device, "san", NULL, 0);
    assert_text(wish, "subject", "serialNumber=SN-1");
    assert_int_equal(json_array_size(json_object_get(wish, "san")), 2);
    assert_string_equal(json_string_value(json_array_get(json_object_get(wish, "san"), 0)),
                        "dns:pump.example");
    assert_string_equal(json_string_value(json_array_get(json_object_get(wish, "san"), 1)), "other:88022a03");
    assert_true(json_is_false(json_object_get(wish, "changes_name")));
    json_decref(root);
    certificate_request_free(csr);
    buffer_free(&der);
}

static void a_get_has_no_csr(void **state)
{
    json_t *root = ask(*state, NULL, "");
    assert_text(root, "operation", "crts");
    assert_text(root, "label", "");
    assert_true(json_is_null(json_object_get(root, "csr")));
    json_decref(root);
}

static void only_a_clear_answer_counts(void **state)
{
    (void)state;
    static const struct {
        const char *json, *reason;
        enum access_answer answer;
    } rows[] = {
        {"{\"decision\":\"allow\"}", "", ANSWER_ALLOW},
        {" { \"decision\" : \"allow\", \"reason\": \"fine\", \"more\": [1] } ", "", ANSWER_ALLOW},
        {"{\"decision\":\"deny\"}", "", ANSWER_DENY},
        {"{\"decision\":\"deny\",\"reason\":\"stolen\"}", "stolen", ANSWER_DENY},
        {"{\"decision\":\"deny\",\"reason\":\"a\\nb\\u00e4\\u001b[2J\"}", "a?b???[2J", ANSWER_DENY},
        {"{\"decision\":\"deny\",\"reason\":\"0123456789abcdef\"}", "0123456789", ANSWER_DENY},
        {"{\"decision\":\"deny\",\"reason\":7}", "", ANSWER_DENY},
        {"", "", ANSWER_UNUSABLE},
        {"allow", "", ANSWER_UNUSABLE},
        {"\"allow\"", "", ANSWER_UNUSABLE},
        {"{}", "", ANSWER_UNUSABLE},
        {"{\"decision\":\"Allow\"}", "", ANSWER_UNUSABLE},
        {"{\"decision\":\"allowed\"}", "", ANSWER_UNUSABLE},
        {"{\"decision\":true}", "", ANSWER_UNUSABLE},
        {"{\"decision\":[\"allow\"]}", "", ANSWER_UNUSABLE},
        {"[{\"decision\":\"allow\"}]", "", ANSWER_UNUSABLE},
        {"{\"decision\":\"deny\",\"decision\":\"allow\"}", "", ANSWER_UNUSABLE},
        {"{\"decision\":\"allow\"} x", "", ANSWER_UNUSABLE},
        {"{\"decision\":\"allow\"", "", ANSWER_UNUSABLE},
        {"{\"decision\":\"allow\\u0000\"}", "", ANSWER_UNUSABLE},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct buffer reason;
        buffer_init(&reason, 10);
        if (access_answer_read(bytes_from_string(rows[i].json), &reason) != rows[i].answer ||
            strcmp(buffer_string(&reason), rows[i].reason) != 0)
            fail_msg("%s: %s", rows[i].json, buffer_string(&reason));
        assert_int_equal(reason.status, STATUS_OK);
        buffer_free(&reason);
    }
}

static int set_up(void **state)
{
    static struct made_client made;
    made_client_create(&made, (struct made_certificate){.subject = "serialNumber=SN-1/CN=\xc3\xa4 \"x\"",
                                                        .extensions = {{"subjectKeyIdentifier", "0a0b"}},
                                                        .issuer = "CN=Maker"});
    *state = &made;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_question_tells_who_wants_what),
        cmocka_unit_test(a_get_has_no_csr),
        cmocka_unit_test(only_a_clear_answer_counts),
    };
    return cmocka_run_group_tests(tests, set_up, made_client_free);
}
