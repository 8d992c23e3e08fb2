#include "discovery.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "coap_names.h"
#include "session.h"

enum { FOLLOWED_LIMIT = 32 };

struct search {
    const struct discovery *discovery;
    bool multicast;
    struct session *session;
    struct exchange *exchange;
    int64_t begun_ms;
    unsigned good;  /* answers */
    unsigned heard; /* answers, good or not */
    coap_address_t
        followed[FOLLOWED_LIMIT]; /* whose answer has more blocks than a multicast request may ask for */
    size_t followed_count;
    struct explanation silence; /* why nothing came */
};

static void ask_one(struct search *search, const struct server_address *where);
static bool ask(struct search *search, const struct server_address *where);
static void note_silence(struct search *search);
static void listen_until(struct search *search, int64_t deadline_ms);
static bool send_message(struct search *search);
static bool is_over(const struct search *search);
static void take_response(void *receiver, const coap_pdu_t *response, const coap_address_t *from);
static void take_multicast_response(struct search *search, const coap_pdu_t *response,
                                    const coap_address_t *from);
static void ask_again_by_unicast(struct search *search);
static void report_answer(struct search *search, const struct exchange *exchange, const coap_address_t *from);
static void report_silence(struct search *search);
static void begin_result(const struct search *search, struct operation_result *result);

bool discovery_run(const struct discovery *discovery)
{
    struct search search = {.discovery = discovery,
                            .multicast = server_address_is_multicast(discovery->where)};
    if (discovery->where->secure)
        explain(&search.silence, "discovery without a session needs a coap:// URI; coaps is for --server");
    else
        ask_one(&search, discovery->where);
    ask_again_by_unicast(&search);
    if (search.heard == 0)
        report_silence(&search);
    return search.good > 0;
}

static void ask_one(struct search *search, const struct server_address *where)
{
    if (ask(search, where)) {
        listen_until(search, search->begun_ms + search->discovery->wait_ms);
        note_silence(search);
    }
    exchange_free(search->exchange);
    search->exchange = NULL;
    session_close(search->session, true);
    search->session = NULL;
}

static bool ask(struct search *search, const struct server_address *where)
{
    const struct session_settings settings = {.server = where,
                                              .max_retransmit = -1,
                                              .handshake_retransmit = -1,
                                              .on_response = take_response,
                                              .receiver = search};
    const struct exchange_request request = {.method = COAP_REQUEST_CODE_GET,
                                             .path = "/.well-known/core",
                                             .query = search->discovery->query,
                                             .content_format = CONTENT_FORMAT_NONE,
                                             .accept = CONTENT_FORMAT_NONE,
                                             .block_size = search->discovery->block_size,
                                             .confirmable = !search->multicast};
    search->begun_ms = monotonic_ms();
    search->session = session_open(&settings, &search->silence);
    if (search->session == NULL)
        return false;
    search->exchange = exchange_create(&request);
    return search->exchange != NULL || explain(&search->silence, "out of memory");
}

/* Sends what is to be sent, block after block. */
static void listen_until(struct search *search, int64_t deadline_ms)
{
    int64_t left;
    while (!is_over(search) && (left = deadline_ms - monotonic_ms()) > 0) {
        if (exchange_state(search->exchange) == EXCHANGE_SEND && !send_message(search))
            return;
        int due = session_due_ms(search->session);
        struct pollfd watched = {.fd = session_descriptor(search->session), .events = POLLIN};
        poll(&watched, 1, due >= 0 && due < left ? due : (int)left);
        session_process(search->session);
    }
}

static bool send_message(struct search *search)
{
    coap_pdu_t *message = exchange_next_message(search->exchange, session_libcoap(search->session));
    if (message != NULL && session_send(search->session, message))
        return true;
    return explain(&search->silence, "the request could not be sent: is there a route to that address?");
}

static bool is_over(const struct search *search)
{
    enum exchange_state state = exchange_state(search->exchange);
    return state == EXCHANGE_DONE || state == EXCHANGE_BROKEN ||
           session_state(search->session) == SESSION_FAILED;
}

static void note_silence(struct search *search)
{
    if (session_state(search->session) == SESSION_FAILED)
        explain(&search->silence, "%s", session_trouble(search->session));
    else if (exchange_state(search->exchange) == EXCHANGE_BROKEN)
        explain(&search->silence, "%s", exchange_fault(search->exchange));
    else if (search->silence.text[0] == '\0')
        explain(&search->silence, "nobody answered within %u ms", search->discovery->wait_ms);
}

static void take_response(void *receiver, const coap_pdu_t *response, const coap_address_t *from)
{
    struct search *search = receiver;
    if (search->exchange == NULL)
        return;
    if (search->multicast) {
        take_multicast_response(search, response, from);
        return;
    }
    exchange_take_response(search->exchange, response);
    if (exchange_state(search->exchange) == EXCHANGE_DONE)
        report_answer(search, search->exchange, from);
}

static void take_multicast_response(struct search *search, const coap_pdu_t *response,
                                    const coap_address_t *from)
{
    struct exchange *twin = exchange_twin(search->exchange);
    if (twin == NULL)
        return;
    exchange_take_response(twin, response);
    if (exchange_state(twin) == EXCHANGE_DONE)
        report_answer(search, twin, from);
    else if (exchange_state(twin) == EXCHANGE_SEND && search->followed_count < FOLLOWED_LIMIT)
        search->followed[search->followed_count++] = *from;
    exchange_free(twin);
}

/* RFC 7959 section 2.8: further blocks are asked for by unicast. */
static void ask_again_by_unicast(struct search *search)
{
    search->multicast = false;
    for (size_t i = 0; i < search->followed_count; i++) {
        struct server_address where = *search->discovery->where;
        where.socket = search->followed[i];
        ask_one(search, &where);
    }
}

static void report_answer(struct search *search, const struct exchange *exchange, const coap_address_t *from)
{
    struct operation_result result;
    const struct operation_check check = {.accept = CONTENT_FORMAT_NONE};
    struct address_text words = address_in_words(from);
    begin_result(search, &result);
    memcpy(result.from, words.text, sizeof(result.from));
    result.answer = exchange_answer(exchange);
    result.succeeded = operation_judge(&result, &check);
    search->heard++;
    search->good += result.succeeded ? 1 : 0;
    search->discovery->found(search->discovery->observer, &result);
    operation_result_clear(&result);
}

static void report_silence(struct search *search)
{
    struct operation_result result;
    begin_result(search, &result);
    result.trouble = search->silence;
    search->discovery->found(search->discovery->observer, &result);
}

static void begin_result(const struct search *search, struct operation_result *result)
{
    memset(result, 0, sizeof(*result));
    result->operation = OPERATION_DISCOVER;
    result->attempts = 1;
    result->method = COAP_REQUEST_CODE_GET;
    snprintf(result->path, sizeof(result->path), "/.well-known/core%s%s",
             search->discovery->query == NULL ? "" : "?",
             search->discovery->query == NULL ? "" : search->discovery->query);
    result->elapsed_ms = search->begun_ms == 0 ? 0 : monotonic_ms() - search->begun_ms;
}
