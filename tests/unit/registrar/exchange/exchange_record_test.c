#include "registrar/exchange/exchange_record.h"

#include "common/coap_message.h"
#include "tests/unit/registrar/exchange/made_client.h"

static void assert_written(const struct exchange_record *record, const char *expected)
{
    struct buffer line;
    buffer_init(&line, 1500);
    exchange_record_write(record, &line);
    assert_string_equal(buffer_string(&line), expected);
    buffer_free(&line);
}

/* SEC-2: client, operation, label, upstream status, serial. */
static void an_enrolment_leaves_its_traces(void **state)
{
    const struct made_client *fixture = *state;
    struct exchange_record record = {.client = fixture->client,
                                     .operation = est_operation(EST_SEN),
                                     .label = BYTES_LITERAL("p1"),
                                     .source = "http",
                                     .http_status = 200,
                                     .code = CM_CHANGED,
                                     .elapsed_ms = 35,
                                     .serial = BYTES_LITERAL("12ab")};
    assert_written(&record,
                   "client=\"CN=Pump \\\\\\\"1\\\\\\\"\" trust=manufacturer operation=sen label=\"p1\" "
                   "upstream=200 code=2.04 ms=35 serial=12ab");
    record.rule = "our \"pumps\"";
    assert_written(&record,
                   "client=\"CN=Pump \\\\\\\"1\\\\\\\"\" trust=manufacturer operation=sen label=\"p1\" "
                   "rule=\"our \\\"pumps\\\"\" upstream=200 code=2.04 ms=35 serial=12ab");
    record.rule = NULL;
    record.code = CM_SERVICE_UNAVAILABLE; /* DLY-3 */
    record.outcome = CM_CHANGED;
    record.label = (struct bytes){NULL, 0};
    assert_written(&record,
                   "client=\"CN=Pump \\\\\\\"1\\\\\\\"\" trust=manufacturer operation=sen upstream=200 "
                   "code=5.03 outcome=2.04 ms=35 serial=12ab");
    record.outcome = 0;
    record.repeats_in_doubt = true; /* perhaps a second issue */
    assert_written(&record,
                   "client=\"CN=Pump \\\\\\\"1\\\\\\\"\" trust=manufacturer operation=sen upstream=200 "
                   "code=5.03 repeats=in-doubt ms=35 serial=12ab");
}

static void a_refusal_says_why(void **state)
{
    (void)state;
    const struct exchange_record record = {.operation = est_operation(EST_CRTS),
                                           .source = "registrar",
                                           .code = CM_UNAUTHORIZED,
                                           .diagnostic = BYTES_LITERAL("a\" code=2.05 b\\")};
    assert_written(&record, "client=\"\" operation=crts upstream=registrar code=4.01 ms=0 "
                            "diagnostic=\"a\\\" code=2.05 b\\\\\"");
}

static int set_up(void **state)
{
    static struct made_client made;
    made_client_create(&made, (struct made_certificate){.subject = "CN=Pump \"1\""});
    *state = &made;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_enrolment_leaves_its_traces),
        cmocka_unit_test(a_refusal_says_why),
    };
    return cmocka_run_group_tests(tests, set_up, made_client_free);
}
