/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "registrar/downstream/coap_server.h"

#include "common/monotonic.h"
#include "registrar/counters.h"
#include "registrar/downstream/message_layer.h"
#include "tests/unit/registrar/downstream/datagrams.h"

#include <coap3/coap.h>

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#define LIFETIME_MS     247000
#define OVERHEAD_MAX    49 /* octets of a response beside its payload */
#define CSR_OCTETS      900
#define CERT_OCTETS     1300
#define IDLE_OCTETS_MAX 2048

/* One association: bytes in, bytes out. */
struct fixture {
    struct settings settings;
    struct label_settings label;
    struct metrics *metrics;
    struct coap_server *server;
    struct outbox out;
    uint64_t now_ms;

    uint32_t request; /* the last one that was started */
    struct est_request est_request;
    struct datagram body;
    size_t started;
    struct exchange_admission admission;
    size_t asked;              /* for it */
    struct est_answer at_once; /* given from within start, where its code is set */

    uint8_t csr[CSR_OCTETS], cert[CERT_OCTETS];
    uint16_t last_id;
};

static char root[] = "/est";
static char label_p1[] = "p1";

/* RSP-5: superseded options and codes never leave, whatever a test does. */
static void assert_nothing_superseded(struct bytes datagram)
{
    assert_int_not_equal(datagram.at[1], CM_CODE(2, 1));
    struct bytes rest = bytes_slice(datagram, 4 + (datagram.at[0] & 0xfu), datagram.len);
    uint16_t number = 0;
    while (rest.len > 0 && rest.at[0] != 0xff) {
        coap_option_t option;
        size_t len = coap_opt_parse(rest.at, rest.len, &option);
        assert_int_not_equal(len, 0);
        number = (uint16_t)(number + option.delta);
        assert_int_not_equal(number, COAP_OPTION_OBSERVE);
        assert_int_not_equal(number, COAP_OPTION_LOCATION_PATH);
        assert_int_not_equal(number, COAP_OPTION_LOCATION_QUERY);
        rest = bytes_slice(rest, len, rest.len);
    }
}

static void send_datagram(void *user, struct bytes datagram)
{
    struct fixture *fixture = user;
    assert_nothing_superseded(datagram);
    outbox_send(&fixture->out, datagram);
}

static struct exchange_admission admit(void *user)
{
    struct fixture *fixture = user;
    fixture->asked++;
    return fixture->admission;
}

static void start(void *user, uint32_t request, struct est_request *est_request)
{
    struct fixture *fixture = user;
    fixture->started++;
    fixture->request = request;
    fixture->est_request = *est_request;
    fixture->body.len = est_request->body.len;
    if (est_request->body.len > 0)
        memcpy(fixture->body.octets, est_request->body.at, est_request->body.len);
    if (fixture->at_once.code == 0)
        return;
    coap_server_answer(fixture->server, fixture->now_ms, request, &fixture->at_once);
    if (est_request->body.len > 0) /* it is ours until we return */
        assert_memory_equal(fixture->body.octets, est_request->body.at, est_request->body.len);
}

static struct coap_server *create_server(struct fixture *fixture)
{
    const struct coap_server_context context = {.settings = &fixture->settings,
                                                .metrics = fixture->metrics,
                                                .send = send_datagram,
                                                .admit = admit,
                                                .start = start,
                                                .user = fixture};
    struct coap_server *server = coap_server_create(&context);
    assert_non_null(server);
    return server;
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    fixture->settings.coap = default_coap_settings();
    fixture->settings.est.root = root;
    fixture->settings.est.att = true;
    fixture->label.name = label_p1;
    fixture->settings.est.labels = (struct settings_objects){&fixture->label, 1};
    fixture->metrics = counters_create();
    fixture->now_ms = 1000000;
    fixture->server = create_server(fixture);
    for (size_t i = 0; i < CERT_OCTETS; i++)
        fixture->cert[i] = (uint8_t)(i * 5 + i / 16);
    memcpy(fixture->csr, fixture->cert + 17, CSR_OCTETS);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    coap_server_free(fixture->server);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_BUFFERED_BYTES), 0);
    metrics_free(fixture->metrics);
    free(fixture);
    return 0;
}

static void receive(struct fixture *fixture, struct bytes octets)
{
    coap_server_receive(fixture->server, fixture->now_ms, octets);
}

static void receive_message(struct fixture *fixture, const struct coap_message *message)
{
    const struct datagram datagram = datagram_write(message);
    receive(fixture, datagram_view(&datagram));
}

static void wait_ms(struct fixture *fixture, uint64_t ms)
{
    uint64_t until_ms = fixture->now_ms + ms;
    while (coap_server_deadline(fixture->server) <= until_ms) {
        uint64_t deadline = coap_server_deadline(fixture->server);
        fixture->now_ms = deadline > fixture->now_ms ? deadline : fixture->now_ms;
        coap_server_tick(fixture->server, fixture->now_ms);
    }
    fixture->now_ms = until_ms;
}

static struct coap_message request(struct fixture *fixture, uint8_t code, const char *path)
{
    struct coap_message message = request_message(CM_CON, code, ++fixture->last_id);
    set_path(&message, path);
    if (code == CM_POST)
        message.content_format = uint_option(CONTENT_FORMAT_PKCS10);
    return message;
}

/* The block of the CSR that the numbers name. */
static struct coap_message csr_block(struct fixture *fixture, const char *path, uint32_t num, uint8_t szx)
{
    struct coap_message message = request(fixture, CM_POST, path);
    size_t octets = coap_block_octets(szx), offset = num * octets;
    message.block1 = block_option(num, offset + octets < CSR_OCTETS, szx);
    message.payload = bytes_slice((struct bytes){fixture->csr, CSR_OCTETS}, offset, octets);
    return message;
}

/* Sends the CSR in blocks, each of which but the last must be answered with 2.31; gives the last one. */
static struct coap_message upload(struct fixture *fixture, const char *path, uint8_t szx)
{
    for (uint32_t num = 0;; num++) {
        const struct coap_message message = csr_block(fixture, path, num, szx);
        receive_message(fixture, &message);
        if (!message.block1.more)
            return message;
        const struct coap_message response = outbox_message(&fixture->out);
        assert_int_equal(response.type, CM_ACK);
        assert_int_equal(response.id, message.id);
        assert_int_equal(response.code, CM_CONTINUE);
        assert_true(response.block1.present && response.block1.more && !response.block2.present);
        assert_int_equal(response.block1.num, num);
    }
}

static struct est_answer success(const struct fixture *fixture, uint8_t code, size_t octets)
{
    return (struct est_answer){.code = code,
                               .content_format = CONTENT_FORMAT_CERTS_ONLY,
                               .payload = {fixture->cert, octets},
                               .had_effect = code == CM_CHANGED};
}

static void answer(struct fixture *fixture, struct est_answer est_answer)
{
    coap_server_answer(fixture->server, fixture->now_ms, fixture->request, &est_answer);
}

static struct datagram read_vector(const char *name)
{
    char path[512];
    struct datagram vector;
    snprintf(path, sizeof path, "%s/%s", VECTORS, name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    vector.len = fread(vector.octets, 1, sizeof vector.octets, file);
    fclose(file);
    assert_in_range(vector.len, 1, sizeof vector.octets - 1);
    return vector;
}

static void assert_sent(const struct fixture *fixture, const struct datagram *expected)
{
    const struct datagram *sent = outbox_last(&fixture->out);
    assert_int_equal(sent->len, expected->len);
    assert_memory_equal(sent->octets, expected->octets, expected->len);
}

static void assert_code(const struct fixture *fixture, uint8_t code)
{
    char expected[5], sent[5];
    const struct coap_message response = outbox_message(&fixture->out);
    assert_string_equal(coap_code_text(response.code, sent), coap_code_text(code, expected));
}

/* RFC 9148 A.1, byte by byte; Uri-Host and Uri-Port are accepted (URI-7). */
static void crts_of_rfc_9148_a1(void **state)
{
    struct fixture *fixture = *state;
    fixture->settings.coap.block_size = 1024;
    coap_server_limit_record(fixture->server, SIZE_MAX);
    const struct datagram asked = read_vector("rfc9148-A1-crts-request.coap.mid0001.bin");
    const struct datagram p7 = read_vector("rfc9148-A1-crts-response.p7.der");
    const struct datagram expected = read_vector("rfc9148-A1-crts-response.coap.mid0001.bin");
    receive(fixture, datagram_view(&asked));
    assert_int_equal(fixture->started, 1);
    assert_int_equal(fixture->est_request.route.operation->id, EST_CRTS);
    assert_int_equal(fixture->est_request.method, CM_GET);
    assert_true(fixture->est_request.accept.present);
    assert_int_equal(fixture->est_request.accept.value, CONTENT_FORMAT_CERTS_ONLY);
    assert_int_equal(fixture->est_request.body.len, 0);
    answer(fixture, (struct est_answer){.code = CM_CONTENT,
                                        .content_format = CONTENT_FORMAT_CERTS_ONLY,
                                        .payload = datagram_view(&p7)});
    assert_sent(fixture, &expected);
}

/* RFC 9148 B.1, byte by byte: ten blocks of 64 octets, the last of 63, from one exchange (BLK-4, BLK-5). */
static void crts_in_blocks_of_rfc_9148_b1(void **state)
{
    struct fixture *fixture = *state;
    const struct datagram first = read_vector("rfc9148-A1-crts-request.coap.mid0001.bin");
    const struct datagram p7 = read_vector("draft08to12-A1-crts-response.p7.der");
    for (uint32_t num = 0; num <= 9; num++) {
        struct coap_message message;
        assert_int_equal(coap_message_parse(datagram_view(&first), &message), STATUS_OK);
        message.id = (uint16_t)(num + 2);
        message.block2 = block_option(num, false, 2);
        receive_message(fixture, &message);
        if (num == 0)
            answer(fixture, (struct est_answer){.code = CM_CONTENT,
                                                .content_format = CONTENT_FORMAT_CERTS_ONLY,
                                                .payload = datagram_view(&p7)});
        if (num == 0 || num == 1 || num == 9) {
            char name[64];
            snprintf(name, sizeof name, "rfc9148-B1-block%u-response.coap.mid%04x.bin", num, num + 2);
            const struct datagram expected = read_vector(name);
            assert_sent(fixture, &expected);
        }
    }
    assert_int_equal(fixture->started, 1);
    assert_int_equal(fixture->out.count, 10);
}

/* The derived vectors of RFC 9148 A.2: the empty ACK (DLY-1), and the 5.03 with Max-Age 120 (Q5). */
static void sen_of_rfc_9148_a2(void **state)
{
    struct fixture *fixture = *state;
    const struct datagram asked = read_vector("derived-A2-sen-request.coap.mid0010.bin");
    const struct datagram csr = read_vector("rfc9148-A2-sen-request.csr.der");
    const struct datagram empty_ack = read_vector("derived-empty-ack.coap.mid0010.bin");
    const struct datagram later = read_vector("derived-503-maxage120.coap.mid0010.bin");
    const struct est_answer wait = {
        .code = CM_SERVICE_UNAVAILABLE, .content_format = CONTENT_FORMAT_NONE, .max_age = {true, 120}};

    receive(fixture, datagram_view(&asked));
    assert_int_equal(fixture->est_request.route.operation->id, EST_SEN);
    assert_int_equal(fixture->body.len, csr.len);
    assert_memory_equal(fixture->body.octets, csr.octets, csr.len);
    answer(fixture, wait);
    assert_sent(fixture, &later);

    wait_ms(fixture, LIFETIME_MS + 1000);
    receive(fixture, datagram_view(&asked));
    wait_ms(fixture, 1000);
    assert_sent(fixture, &empty_ack);
    assert_int_equal(fixture->started, 2);
}

/* RFC 9148 Figure 3: Block1, a short wait, a separate response, Block2; DLY-1, BLK-2, BLK-3, BLK-4. */
static void enrolment_with_a_short_wait(void **state)
{
    struct fixture *fixture = *state;
    const struct coap_message last = upload(fixture, "est/sen", 4);
    assert_int_equal(fixture->started, 1);
    assert_int_equal(fixture->body.len, CSR_OCTETS);
    assert_memory_equal(fixture->body.octets, fixture->csr, CSR_OCTETS);
    wait_ms(fixture, 3000);
    struct coap_message response = outbox_message(&fixture->out);
    assert_int_equal(response.type, CM_ACK);
    assert_int_equal(response.code, CM_EMPTY);
    assert_int_equal(response.id, last.id);
    assert_true(coap_server_busy(fixture->server));

    answer(fixture, success(fixture, CM_CHANGED, CERT_OCTETS));
    response = outbox_message(&fixture->out);
    assert_int_equal(response.type, CM_CON);
    assert_int_equal(response.code, CM_CHANGED);
    assert_memory_equal(response.token, last.token, 2);
    assert_int_equal(response.block1.num, last.block1.num);
    assert_false(response.block1.more);
    assert_int_equal(response.block1.szx, 4);
    assert_true(response.block2.present && response.block2.more && response.block2.num == 0);
    assert_int_equal(response.content_format.value, CONTENT_FORMAT_CERTS_ONLY);
    assert_false(response.max_age.present);
    const struct coap_message ack = {.type = CM_ACK, .id = response.id};
    receive_message(fixture, &ack);
    assert_false(coap_server_busy(fixture->server));

    struct coap_message follow_up = request(fixture, CM_POST, "est/sen");
    follow_up.block2 = block_option(2, false, 5);
    for (size_t copy = 0; copy < 3; copy++) {
        receive_message(fixture, &follow_up);
        response = outbox_message(&fixture->out);
        assert_int_equal(response.type, CM_ACK);
        assert_int_equal(response.code, CM_CHANGED);
        assert_false(response.block1.present || response.block2.more);
        assert_int_equal(response.payload.len, CERT_OCTETS - 1024);
        assert_memory_equal(response.payload.at, fixture->cert + 1024, CERT_OCTETS - 1024);
    }
    receive_message(fixture, &last); /* a late copy of the POST */
    assert_int_equal(outbox_message(&fixture->out).code, CM_EMPTY);
    assert_int_equal(fixture->started, 1);
}

/* RFC 9148 Figure 4: 5.03 with Max-Age carries Block1 but no Block2; the client sends all blocks again. */
static void enrolment_with_a_long_wait(void **state)
{
    struct fixture *fixture = *state;
    const struct est_answer wait = {.code = CM_SERVICE_UNAVAILABLE,
                                    .content_format = CONTENT_FORMAT_NONE,
                                    .max_age = {true, 60},
                                    .had_effect = true};
    for (size_t round = 1; round <= 2; round++) {
        const struct coap_message last = upload(fixture, "est/sen", 4);
        assert_int_equal(fixture->started, round);
        answer(fixture, wait);
        const struct coap_message response = outbox_message(&fixture->out);
        assert_int_equal(response.type, CM_ACK);
        assert_int_equal(response.code, CM_SERVICE_UNAVAILABLE);
        assert_int_equal(response.max_age.value, 60);
        assert_true(response.block1.present && !response.block2.present);
        assert_int_equal(response.block1.num, last.block1.num);
        assert_int_equal(coap_server_keep_until(fixture->server), fixture->now_ms + 60000);
        assert_int_equal(metrics_get(fixture->metrics, COUNTER_BUFFERED_BYTES), 0);
        wait_ms(fixture, 60000);
    }
    upload(fixture, "est/sen", 4);
    answer(fixture, success(fixture, CM_CHANGED, CERT_OCTETS));
    assert_code(fixture, CM_CHANGED);
    assert_int_equal(fixture->started, 3);
}

/* URI-1 to URI-6, URI-8. */
static void paths_and_methods(void **state)
{
    static const struct {
        uint8_t method;
        const char *path;
        uint8_t code; /* 0: an exchange is started */
        enum est_operation_id id;
        const char *label;
    } cases[] = {
        {CM_GET, "est/crts", 0, EST_CRTS, ""},
        {CM_POST, "est/sen", 0, EST_SEN, ""},
        {CM_POST, "est/sren", 0, EST_SREN, ""},
        {CM_GET, "est/att", 0, EST_ATT, ""},
        {CM_GET, ".well-known/est/crts", 0, EST_CRTS, ""},
        {CM_POST, ".well-known/est/sen", 0, EST_SEN, ""},
        {CM_POST, "est/p1/sen", 0, EST_SEN, "p1"},
        {CM_GET, ".well-known/est/p1/att", 0, EST_ATT, "p1"},
        {CM_POST, "est/p2/sen", CM_NOT_FOUND, 0, ""},
        {CM_POST, "est/../sen", CM_NOT_FOUND, 0, ""},
        {CM_POST, "est/%2e%2e/sen", CM_NOT_FOUND, 0, ""},
        {CM_POST, "est/sen/sen", CM_NOT_FOUND, 0, ""},
        {CM_GET, "est/cacerts", CM_NOT_FOUND, 0, ""},
        {CM_POST, "est/fullcmc", CM_NOT_FOUND, 0, ""},
        {CM_POST, "est/skg", CM_NOT_FOUND, 0, ""},
        {CM_GET, "est", CM_NOT_FOUND, 0, ""},
        {CM_GET, "", CM_NOT_FOUND, 0, ""},
        {CM_GET, "crts", CM_NOT_FOUND, 0, ""},
        {CM_GET, "est/a/b/c/d/e/f/g", CM_NOT_FOUND, 0, ""},
        {CM_GET, "est/sen", CM_METHOD_NOT_ALLOWED, 0, ""},
        {CM_GET, "est/p1/sren", CM_METHOD_NOT_ALLOWED, 0, ""},
        {CM_POST, "est/crts", CM_METHOD_NOT_ALLOWED, 0, ""},
        {CM_POST, ".well-known/core", CM_METHOD_NOT_ALLOWED, 0, ""},
        {CM_PUT, "est/sen", CM_METHOD_NOT_ALLOWED, 0, ""},
        {CM_DELETE, "est/crts", CM_METHOD_NOT_ALLOWED, 0, ""},
        {CM_CODE(0, 5), "est/crts", CM_METHOD_NOT_ALLOWED, 0, ""},
        {CM_CODE(0, 31), "nowhere", CM_METHOD_NOT_ALLOWED, 0, ""},
    };
    struct fixture *fixture = *state;
    fixture->at_once = success(fixture, CM_CONTENT, 10);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fixture->started = 0;
        struct coap_message message = request(fixture, cases[i].method, cases[i].path);
        message.payload = cases[i].method == CM_POST ? BYTES_LITERAL("csr") : (struct bytes){NULL, 0};
        receive_message(fixture, &message);
        assert_int_equal(fixture->started, cases[i].code == 0);
        assert_code(fixture, cases[i].code == 0 ? CM_CONTENT : cases[i].code);
        if (cases[i].code != 0)
            continue;
        assert_int_equal(fixture->est_request.route.operation->id, cases[i].id);
        assert_true(bytes_equal(fixture->est_request.route.label, bytes_from_string(cases[i].label)));
    }
}

/* URI-4: octets that no path may hold. RFC 7252 section 5.10.1: nine segments are more than we take. */
static void strange_segments_are_not_found(void **state)
{
    struct fixture *fixture = *state;
    const struct bytes labels[] = {BYTES_LITERAL("p1/.."), BYTES_LITERAL("p\0001"), BYTES_LITERAL(""),
                                   BYTES_LITERAL("."), BYTES_LITERAL("p1\n")};
    for (size_t i = 0; i < sizeof labels / sizeof labels[0]; i++) {
        struct coap_message message = request(fixture, CM_POST, "est/label/sen");
        message.uri_path[1] = labels[i];
        receive_message(fixture, &message);
        assert_code(fixture, CM_NOT_FOUND);
    }
    uint8_t nine[] = "\x40\x01\x12\x34\xb3"
                     "est\x02p1\x04"
                     "crts\x01x\x01x\x01x\x01x\x01x\x01x";
    receive(fixture, (struct bytes){nine, sizeof nine - 1});
    assert_code(fixture, CM_NOT_FOUND);
    uint8_t nine_queries[] = "\x40\x01\x12\x35\xb3"
                             "est\x04"
                             "crts\x41x\x01x\x01x\x01x\x01x\x01x\x01x\x01x\x01x";
    receive(fixture, (struct bytes){nine_queries, sizeof nine_queries - 1});
    assert_code(fixture, CM_NOT_FOUND);
    assert_int_equal(fixture->started, 0);
}

/* Requests for /est/crts with an option or two put around the path. */
/* clang-format off */
#define OCTETS(text) {(const uint8_t *)(text), sizeof(text) - 1}
#define CRTS(first)  first "est\x04" "crts" /* first: delta and length of the first Uri-Path */
static const struct {
    struct bytes octets;
    uint8_t code; /* 0: an exchange is started */
} option_cases[] = {
    {OCTETS("\x40\x01\x00\x01\x91!" CRTS("\x23")), CM_BAD_OPTION},             /* critical 9 */
    {OCTETS("\x40\x01\x00\x02" CRTS("\xb3") "\xe1\x00\x00!"), 0},              /* elective 280 */
    {OCTETS("\x40\x01\x00\x03" CRTS("\xb3") "\xe1\x00\x01!"), CM_BAD_OPTION},  /* critical 281 */
    {OCTETS("\x40\x01\x00\x04\x11!" CRTS("\xa3")), CM_BAD_OPTION},             /* If-Match */
    {OCTETS("\x40\x01\x00\x05\x60" CRTS("\x53")), 0},                          /* Observe 0 */
    {OCTETS("\x40\x01\x00\x06" CRTS("\xb3") "\x31\x3c"), 0},                   /* Max-Age 60 */
    {OCTETS("\x40\x01\x00\x07\x34host\x42\x16\x34" CRTS("\x43")), 0},          /* Uri-Host, Uri-Port */
    {OCTETS("\x40\x01\x00\x08" CRTS("\xb3") "\xd8\x0b" "coap://a"), CM_PROXYING_NOT_SUPPORTED},
    {OCTETS("\x40\x01\x00\x09" CRTS("\xb3") "\xd4\x0f" "coap"), CM_PROXYING_NOT_SUPPORTED},
    {OCTETS("\x40\x01\x00\x0a" CRTS("\xb3") "\x62\x01\x19\x02\x01\x19"), CM_BAD_OPTION}, /* Accept twice */
    {OCTETS("\x40\x01\x00\x0b" CRTS("\xb3") "\x63\x01\x19\x00"), CM_BAD_OPTION}, /* Accept of three octets */
    {OCTETS("\x40\x01\x00\x0c" CRTS("\xb3") "\xd1\x03\x02"), CM_BAD_OPTION},     /* Block1 on a GET */
};
/* clang-format on */

/* URI-7, URI-8. */
static void options(void **state)
{
    struct fixture *fixture = *state;
    fixture->at_once = success(fixture, CM_CONTENT, 10);
    for (size_t i = 0; i < sizeof option_cases / sizeof option_cases[0]; i++) {
        fixture->started = 0;
        receive(fixture, option_cases[i].octets);
        assert_int_equal(fixture->started, option_cases[i].code == 0);
        assert_code(fixture, option_cases[i].code == 0 ? CM_CONTENT : option_cases[i].code);

        outbox_clear(&fixture->out);
        uint8_t non[64]; /* the same as NON: 4.02 becomes silence */
        memcpy(non, option_cases[i].octets.at, option_cases[i].octets.len);
        non[0] = 0x50;
        non[2] = 0x7f;
        receive(fixture, (struct bytes){non, option_cases[i].octets.len});
        assert_int_equal(fixture->out.count, option_cases[i].code != CM_BAD_OPTION);
    }
}

/* RFC 7252 section 5.4.1: the diagnostic names the option. */
static void diagnostic_names_the_critical_option(void **state)
{
    struct fixture *fixture = *state;
    receive(fixture, BYTES_LITERAL("\x40\x01\x70\x01\x91!"));
    struct coap_message response = outbox_message(&fixture->out);
    assert_true(bytes_equal(response.payload, BYTES_LITERAL("critical option 9")));
    assert_false(response.content_format.present);

    struct coap_message get = request(fixture, CM_GET, "est/crts");
    get.block1 = block_option(0, false, 2); /* of no meaning in a GET */
    receive_message(fixture, &get);
    response = outbox_message(&fixture->out);
    assert_int_equal(response.code, CM_BAD_OPTION);
    assert_true(bytes_equal(response.payload, BYTES_LITERAL("critical option 27")));
}

/* A network may deliver a copy of the first block when later ones have been taken already: it does not begin
 * the body anew (RFC 7252 section 4.5). */
static void late_copy_of_a_block_changes_nothing(void **state)
{
    struct fixture *fixture = *state;
    const struct coap_message first = csr_block(fixture, "est/sen", 0, 3);
    receive_message(fixture, &first);
    for (uint32_t num = 1; num <= MESSAGE_KEPT_MAX + 1; num++) {
        const struct coap_message next = csr_block(fixture, "est/sen", num, 3);
        receive_message(fixture, &next);
    }
    size_t sent = fixture->out.count;
    receive_message(fixture, &first);
    assert_int_equal(fixture->out.count, sent);
    for (uint32_t num = MESSAGE_KEPT_MAX + 2; num * 128 < CSR_OCTETS; num++) {
        const struct coap_message next = csr_block(fixture, "est/sen", num, 3);
        receive_message(fixture, &next);
    }
    assert_int_equal(fixture->started, 1);
    assert_int_equal(fixture->body.len, CSR_OCTETS);
    assert_memory_equal(fixture->body.octets, fixture->csr, CSR_OCTETS);
}

/* CF-1, CF-2: before a body is assembled, and with Block1. A 4.06 is empty. */
static void formats_are_checked_on_the_first_block(void **state)
{
    struct fixture *fixture = *state;
    struct coap_message message = csr_block(fixture, "est/sen", 0, 4);
    message.accept = uint_option(60);
    receive_message(fixture, &message);
    struct coap_message response = outbox_message(&fixture->out);
    assert_int_equal(response.code, CM_NOT_ACCEPTABLE);
    assert_int_equal(response.payload.len, 0);
    assert_true(response.block1.present && !response.block1.more);

    message = csr_block(fixture, "est/sen", 0, 4);
    message.content_format = uint_option(CONTENT_FORMAT_CERTS_ONLY);
    receive_message(fixture, &message);
    assert_code(fixture, CM_UNSUPPORTED_CONTENT_FORMAT);
    message = csr_block(fixture, "est/sen", 0, 4);
    message.content_format.present = false;
    receive_message(fixture, &message);
    assert_code(fixture, CM_UNSUPPORTED_CONTENT_FORMAT);
    assert_int_equal(fixture->started, 0);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_BUFFERED_BYTES), 0);
}

/* CF-9: a later block with another Content-Format is 4.08, not 4.15. */
static void content_format_of_a_later_block(void **state)
{
    struct fixture *fixture = *state;
    struct coap_message message = csr_block(fixture, "est/sen", 0, 4);
    receive_message(fixture, &message);
    assert_code(fixture, CM_CONTINUE);
    message = csr_block(fixture, "est/sen", 1, 4);
    message.content_format = uint_option(CONTENT_FORMAT_CERTS_ONLY);
    receive_message(fixture, &message);
    assert_code(fixture, CM_REQUEST_ENTITY_INCOMPLETE);
}

/* BLK-7 in bytes: 4.13 names the limit in Size1. */
static void too_large_body_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct coap_message message = csr_block(fixture, "est/sen", 0, 4);
    message.size1 = uint_option(16385);
    receive_message(fixture, &message);
    const struct coap_message response = outbox_message(&fixture->out);
    assert_int_equal(response.code, CM_REQUEST_ENTITY_TOO_LARGE);
    assert_int_equal(response.size1.value, 16384);
    assert_int_equal(fixture->started, 0);
}

static void discover(struct fixture *fixture, const char *query)
{
    struct coap_message message = request(fixture, CM_GET, ".well-known/core");
    if (query != NULL)
        message.uri_query[message.uri_query_count++] = bytes_from_string(query);
    receive_message(fixture, &message);
}

/* DISC-1, DISC-3, DISC-6 over coaps: relative links, a filter, and an empty 2.05 where none matches. */
static void discovery_is_answered(void **state)
{
    struct fixture *fixture = *state;
    discover(fixture, NULL);
    struct coap_message response = outbox_message(&fixture->out);
    assert_int_equal(response.code, CM_CONTENT);
    assert_int_equal(response.content_format.value, CONTENT_FORMAT_LINK);
    assert_memory_equal(response.payload.at, "</est/crts>", 11);

    discover(fixture, "rt=ace.est.sen");
    response = outbox_message(&fixture->out);
    assert_memory_equal(response.payload.at, "</est/sen>", 10);
    assert_null(memchr(response.payload.at, ',', response.payload.len));

    discover(fixture, "rt=nosuch");
    response = outbox_message(&fixture->out);
    assert_int_equal(response.code, CM_CONTENT);
    assert_int_equal(response.payload.len, 0);
    assert_int_equal(fixture->started, 0);
}

/* BLK-1: "for every resource". */
static void discovery_comes_in_blocks_too(void **state)
{
    struct fixture *fixture = *state;
    discover(fixture, NULL);
    const struct datagram whole = *outbox_last(&fixture->out);
    struct coap_message expected;
    assert_int_equal(coap_message_parse(datagram_view(&whole), &expected), STATUS_OK);

    uint8_t links[1024];
    size_t len = 0;
    bool more = true;
    for (uint32_t num = 0; more; num++) {
        struct coap_message message = request(fixture, CM_GET, ".well-known/core");
        message.block2 = block_option(num, false, 1);
        receive_message(fixture, &message);
        const struct coap_message response = outbox_message(&fixture->out);
        assert_int_equal(response.code, CM_CONTENT);
        assert_int_equal(response.block2.num, num);
        memcpy(links + len, response.payload.at, response.payload.len);
        len += response.payload.len;
        more = response.block2.more;
    }
    assert_int_equal(len, expected.payload.len);
    assert_memory_equal(links, expected.payload.at, len);

    struct coap_message message = request(fixture, CM_GET, ".well-known/core");
    message.accept = uint_option(CONTENT_FORMAT_CERTS_ONLY);
    receive_message(fixture, &message);
    assert_code(fixture, CM_NOT_ACCEPTABLE);
}

/* An answer that comes from within start; the body stays valid meanwhile. */
static void answer_may_come_from_within_start(void **state)
{
    struct fixture *fixture = *state;
    fixture->at_once = success(fixture, CM_CHANGED, CERT_OCTETS);
    const struct coap_message last = upload(fixture, "est/sen", 5);
    const struct coap_message response = outbox_message(&fixture->out);
    assert_int_equal(response.type, CM_ACK);
    assert_int_equal(response.id, last.id);
    assert_int_equal(response.code, CM_CHANGED);
    assert_int_equal(response.payload.len, 512);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_BUFFERED_BYTES), CERT_OCTETS);
}

/* DLY-2, BLK-4: whatever is repeated, one POST is one exchange. */
static void repetition_never_starts_a_second_exchange(void **state)
{
    struct fixture *fixture = *state;
    const struct coap_message last = upload(fixture, "est/sen", 5);
    for (size_t i = 0; i < 5; i++) {
        receive_message(fixture, &last);
        wait_ms(fixture, 1000);
    }
    answer(fixture, success(fixture, CM_CHANGED, CERT_OCTETS));
    for (uint32_t num = 1; num <= 2; num++) {
        struct coap_message follow_up = request(fixture, CM_POST, "est/sen");
        follow_up.block2 = block_option(num, false, 5);
        receive_message(fixture, &follow_up);
        receive_message(fixture, &follow_up);
        receive_message(fixture, &last);
    }
    for (size_t i = 0; i < 70; i++) /* enough to push every other message id out of the ring */
        discover(fixture, "rt=nosuch");
    receive_message(fixture, &last);
    assert_int_equal(fixture->started, 1);
}

/* DLY-8: NON requests in blocks, answered with NON, no ACK anywhere. */
static void non_confirmable_enrolment(void **state)
{
    struct fixture *fixture = *state;
    for (uint32_t num = 0; num < 2; num++) {
        struct coap_message message = csr_block(fixture, "est/sen", num, 5);
        message.type = CM_NON;
        receive_message(fixture, &message);
    }
    assert_int_equal(fixture->out.count, 1);
    wait_ms(fixture, 3000);
    assert_int_equal(fixture->out.count, 1);
    answer(fixture, success(fixture, CM_CHANGED, CERT_OCTETS));
    assert_int_equal(fixture->out.count, 2);
    const struct coap_message response = outbox_message(&fixture->out);
    assert_int_equal(response.type, CM_NON);
    assert_int_equal(response.code, CM_CHANGED);
    assert_true(response.block2.more);
    assert_false(coap_server_busy(fixture->server));
}

/* SEC-4: an answer leaves through the association that asked, or not at all. */
static void answers_stay_in_their_association(void **state)
{
    struct fixture *fixture = *state;
    void *other_state = NULL;
    setup(&other_state);
    struct fixture *other = other_state;
    struct coap_message message = request(fixture, CM_GET, "est/crts");
    receive_message(fixture, &message);
    answer(other, success(other, CM_CONTENT, 10));
    const struct est_answer done = success(fixture, CM_CONTENT, 10);
    coap_server_answer(other->server, other->now_ms, fixture->request, &done);
    assert_int_equal(other->out.count, 0);
    assert_int_equal(fixture->out.count, 0);
    answer(fixture, done);
    assert_int_equal(fixture->out.count, 1);
    teardown(&other_state);
}

static void late_and_repeated_answers_are_ignored(void **state)
{
    struct fixture *fixture = *state;
    struct coap_message message = request(fixture, CM_GET, "est/crts");
    receive_message(fixture, &message);
    answer(fixture, success(fixture, CM_CONTENT, CERT_OCTETS));
    answer(fixture, success(fixture, CM_CONTENT, 10));
    assert_int_equal(fixture->out.count, 1);

    struct coap_message follow_up = request(fixture, CM_GET, "est/crts");
    follow_up.block2 = block_option(2, false, 5);
    receive_message(fixture, &follow_up);
    assert_int_equal(outbox_message(&fixture->out).payload.len, CERT_OCTETS - 1024);
}

/* What an exchange answers arrives option by option. */
static void answer_is_mapped(void **state)
{
    struct fixture *fixture = *state;
    struct coap_message message = request(fixture, CM_GET, "est/crts");
    receive_message(fixture, &message);
    struct est_answer done = success(fixture, CM_CONTENT, 10);
    done.max_age = uint_option(300);
    answer(fixture, done);
    struct coap_message response = outbox_message(&fixture->out);
    assert_int_equal(response.code, CM_CONTENT);
    assert_int_equal(response.content_format.value, CONTENT_FORMAT_CERTS_ONLY);
    assert_int_equal(response.max_age.value, 300);
    assert_false(response.size1.present || response.block1.present || response.block2.present);

    message = request(fixture, CM_POST, "est/sen");
    message.payload = BYTES_LITERAL("csr");
    receive_message(fixture, &message);
    answer(fixture, (struct est_answer){.code = CM_REQUEST_ENTITY_TOO_LARGE,
                                        .content_format = CONTENT_FORMAT_NONE,
                                        .size1 = {true, 6000},
                                        .payload = BYTES_LITERAL("too much")});
    response = outbox_message(&fixture->out);
    assert_int_equal(response.code, CM_REQUEST_ENTITY_TOO_LARGE);
    assert_int_equal(response.size1.value, 6000);
    assert_false(response.content_format.present || response.max_age.present);
    assert_true(bytes_equal(response.payload, BYTES_LITERAL("too much")));
}

/* SES-2: the latest moment named by a 5.03, an earlier one changes nothing. */
static void keep_until_is_the_latest_moment(void **state)
{
    static const struct {
        uint8_t code;
        struct coap_uint_option max_age;
        uint64_t keep_s;
    } cases[] = {
        {CM_CONTENT, {true, 1000}, 0},
        {CM_SERVICE_UNAVAILABLE, {false, 0}, 0},
        {CM_SERVICE_UNAVAILABLE, {true, 100}, 100},
        {CM_SERVICE_UNAVAILABLE, {true, 30}, 100},
        {CM_TOO_MANY_REQUESTS, {true, 500}, 100},
        {CM_SERVICE_UNAVAILABLE, {true, UINT32_MAX}, UINT32_MAX},
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct coap_message message = request(fixture, CM_GET, "est/crts");
        receive_message(fixture, &message);
        answer(fixture, (struct est_answer){.code = cases[i].code,
                                            .content_format = CONTENT_FORMAT_NONE,
                                            .max_age = cases[i].max_age});
        uint64_t expected = cases[i].keep_s == 0 ? 0 : fixture->now_ms + cases[i].keep_s * 1000;
        assert_int_equal(coap_server_keep_until(fixture->server), expected);
    }
}

/* BLK-10, DTLS-7: whatever the direction, no response is longer than a record may be. */
static void responses_fit_the_record(void **state)
{
    static const size_t limits[] = {SIZE_MAX, 1024, 512, 256};
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        coap_server_limit_record(fixture->server, limits[i]);
        fixture->out.largest = 0;
        struct coap_message first = request(fixture, CM_GET, "est/crts");
        first.token_len = COAP_TOKEN_MAX;
        first.size2 = uint_option(0);
        receive_message(fixture, &first);
        struct est_answer done = success(fixture, CM_CONTENT, CERT_OCTETS);
        done.max_age = uint_option(UINT32_MAX);
        answer(fixture, done);
        const struct coap_message response = outbox_message(&fixture->out);
        assert_true(response.block2.more);
        assert_in_range(fixture->out.largest, coap_block_octets(response.block2.szx),
                        coap_block_octets(response.block2.szx) + OVERHEAD_MAX);
        assert_true(fixture->out.largest <= limits[i]);
    }
}

/* The process-wide account: many associations that leave bodies unfinished get 5.03, and nothing grows. */
static void abandoned_uploads_are_bounded(void **state)
{
    struct fixture *fixture = *state;
    struct coap_server *servers[64];
    size_t refused = 0;
    fixture->settings.coap.max_buffered_bytes = 16384;
    struct coap_server *own = fixture->server;
    for (size_t i = 0; i < 64; i++) {
        fixture->server = servers[i] = create_server(fixture);
        const struct coap_message message = csr_block(fixture, "est/sen", 0, 5);
        receive_message(fixture, &message);
        const struct coap_message response = outbox_message(&fixture->out);
        refused += response.code == CM_SERVICE_UNAVAILABLE && response.max_age.present;
        assert_true(metrics_get(fixture->metrics, COUNTER_BUFFERED_BYTES) <= 16384);
    }
    assert_int_equal(refused, 32);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_TRANSFERS_REFUSED), 32);
    for (size_t i = 0; i < 64; i++) {
        assert_int_equal(coap_server_deadline(servers[i]), fixture->now_ms + LIFETIME_MS);
        coap_server_tick(servers[i], fixture->now_ms + LIFETIME_MS);
    }
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_BUFFERED_BYTES), 0);
    assert_int_equal(metrics_get(fixture->metrics, COUNTER_TRANSFERS_EXPIRED), 32);
    for (size_t i = 0; i < 64; i++)
        coap_server_free(servers[i]);
    fixture->server = own;
}

/* At most 2 kB for an association that has done its work and is idle. (Sanitizers replace malloc; there
 * mallinfo2 says 0.) */
static void idle_association_is_small(void **state)
{
    enum { ASSOCIATIONS = 100 };
    struct fixture *fixture = *state;
    struct coap_server *servers[ASSOCIATIONS], *own = fixture->server;
    fixture->at_once = success(fixture, CM_CHANGED, CERT_OCTETS);
    size_t before = mallinfo2().uordblks;
    uint64_t started_ms = fixture->now_ms;
    for (size_t i = 0; i < ASSOCIATIONS; i++) {
        fixture->now_ms = started_ms;
        fixture->server = servers[i] = create_server(fixture);
        upload(fixture, "est/sen", 4);
        wait_ms(fixture, LIFETIME_MS);
        assert_int_equal(coap_server_deadline(servers[i]), MONOTONIC_NEVER);
        assert_false(coap_server_busy(servers[i]));
    }
    size_t idle = (mallinfo2().uordblks - before) / ASSOCIATIONS;
    for (size_t i = 0; i < ASSOCIATIONS; i++)
        coap_server_free(servers[i]);
    fixture->server = own;
    assert_true(idle <= IDLE_OCTETS_MAX);
}

/* SEC-3: who is not let in gets his answer before a body is taken in; what follows a request is part of it.
 */
static void requests_are_let_in_once(void **state)
{
    struct fixture *fixture = *state;
    const struct {
        struct exchange_admission admission;
        uint8_t code;
    } refusals[] = {{{CM_TOO_MANY_REQUESTS, 7}, CM_TOO_MANY_REQUESTS},
                    {{CM_SERVICE_UNAVAILABLE, 60}, CM_SERVICE_UNAVAILABLE}};
    for (size_t i = 0; i < 2; i++) {
        fixture->admission = refusals[i].admission;
        struct coap_message block = csr_block(fixture, "est/sen", 0, 2);
        receive_message(fixture, &block);
        const struct coap_message refusal = outbox_message(&fixture->out);
        assert_int_equal(refusal.code, refusals[i].code);
        assert_int_equal(refusal.max_age.value, refusals[i].admission.max_age_s);
        assert_true(refusal.max_age.present && refusal.block1.present && !refusal.block1.more);
        assert_int_equal(refusal.payload.len, 0);
        assert_int_equal(metrics_get(fixture->metrics, COUNTER_BUFFERED_BYTES), 0);
    }
    assert_int_equal(fixture->started, 0);
    assert_int_equal(fixture->asked, 2);
    fixture->admission = (struct exchange_admission){0, 0};
    upload(fixture, "est/sen", 2);
    assert_int_equal(fixture->started, 1);
    assert_int_equal(fixture->asked, 3);
}

/* RFC 7959 section 2.4: any block may be asked for first, which is then a request like any other. */
static void a_later_block_is_no_way_in(void **state)
{
    static const char *const paths[] = {"est/crts", ".well-known/core"};
    struct fixture *fixture = *state;
    fixture->admission = (struct exchange_admission){CM_TOO_MANY_REQUESTS, 7};
    for (size_t i = 0; i < 2; i++) {
        struct coap_message message = request(fixture, CM_GET, paths[i]);
        message.block2 = block_option(1, false, 1);
        receive_message(fixture, &message);
        assert_code(fixture, CM_TOO_MANY_REQUESTS);
        assert_int_equal(fixture->asked, i + 1);
    }
    assert_int_equal(fixture->started, 0);
    fixture->admission = (struct exchange_admission){0, 0};
    struct coap_message message = request(fixture, CM_GET, paths[0]);
    message.block2 = block_option(1, false, 1);
    receive_message(fixture, &message);
    assert_int_equal(fixture->started, 1);
    assert_int_equal(fixture->asked, 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(crts_of_rfc_9148_a1),
        TEST(requests_are_let_in_once),
        TEST(a_later_block_is_no_way_in),
        TEST(crts_in_blocks_of_rfc_9148_b1),
        TEST(sen_of_rfc_9148_a2),
        TEST(enrolment_with_a_short_wait),
        TEST(enrolment_with_a_long_wait),
        TEST(paths_and_methods),
        TEST(strange_segments_are_not_found),
        TEST(options),
        TEST(diagnostic_names_the_critical_option),
        TEST(late_copy_of_a_block_changes_nothing),
        TEST(formats_are_checked_on_the_first_block),
        TEST(content_format_of_a_later_block),
        TEST(too_large_body_is_refused),
        TEST(discovery_is_answered),
        TEST(discovery_comes_in_blocks_too),
        TEST(answer_may_come_from_within_start),
        TEST(repetition_never_starts_a_second_exchange),
        TEST(non_confirmable_enrolment),
        TEST(answers_stay_in_their_association),
        TEST(late_and_repeated_answers_are_ignored),
        TEST(answer_is_mapped),
        TEST(keep_until_is_the_latest_moment),
        TEST(responses_fit_the_record),
        TEST(abandoned_uploads_are_bounded),
        TEST(idle_association_is_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
