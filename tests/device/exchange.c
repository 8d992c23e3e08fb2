#include "exchange.h"

#include <stdlib.h>
#include <string.h>

#include "coap_names.h"

enum {
    ANSWER_LIMIT = 262144, /* octets of one answer */
    LARGEST_SZX = 6,       /* 1024 octets */
    RESTARTS = 2           /* of an upload, after 4.08 or 4.13 with a smaller size */
};

struct exchange {
    struct exchange_request request;
    struct exchange_answer answer;
    enum exchange_state state;
    uint8_t token[8];
    size_t token_length;
    bool uploading_blocks;
    unsigned szx1;     /* of the block to send next */
    size_t uploaded;   /* octets of the body that the server has confirmed */
    unsigned restarts; /* of the upload, so far */
    bool following;    /* asking for the blocks of the answer after its first */
    unsigned szx2;     /* of the block asked for */
    struct explanation fault;
};

struct block { /* a Block1 or Block2 option (RFC 7959 section 2.2) */
    unsigned number;
    bool more;
    unsigned szx;
};

static unsigned szx_of(unsigned block_size);
static size_t block_octets(unsigned szx);
static bool add_options(struct exchange *exchange, coap_pdu_t *message);
static bool add_path(coap_pdu_t *message, const char *path);
static bool add_number(coap_pdu_t *message, coap_option_num_t option, unsigned value);
static bool add_block(coap_pdu_t *message, coap_option_num_t option, size_t number, bool more, unsigned szx);
static bool add_payload(struct exchange *exchange, coap_pdu_t *message);
static size_t part_length(const struct exchange *exchange);
static bool is_last_part(const struct exchange *exchange);
static void on_upload_response(struct exchange *exchange, const coap_pdu_t *response);
static void on_continue(struct exchange *exchange, const coap_pdu_t *response);
static bool restart_upload(struct exchange *exchange, const coap_pdu_t *response);
static void on_answer(struct exchange *exchange, const coap_pdu_t *response);
static void check_final_block1(struct exchange *exchange, const coap_pdu_t *response);
static void read_head(struct exchange *exchange, const coap_pdu_t *response);
static void on_answer_block(struct exchange *exchange, const coap_pdu_t *response);
static bool same_representation(struct exchange *exchange, const coap_pdu_t *response);
static void take_payload(struct exchange *exchange, const coap_pdu_t *response);
static bool take_block(struct exchange *exchange, struct view payload, const struct block *block);
static void finish(struct exchange *exchange);
static int64_t read_number(const coap_pdu_t *response, coap_option_num_t option, int64_t absent);
static bool read_block(const coap_pdu_t *response, coap_option_num_t option, struct block *block);
static struct view read_option(const coap_pdu_t *response, coap_option_num_t option);
static struct view payload_of(const coap_pdu_t *response);
static void remark(struct exchange *exchange, const char *what);
static void broken(struct exchange *exchange, const char *what);

struct exchange *exchange_create(const struct exchange_request *request)
{
    struct exchange *exchange = calloc(1, sizeof(*exchange));
    if (exchange == NULL)
        return NULL;
    exchange->request = *request;
    exchange->szx1 = request->block_size == 0 ? LARGEST_SZX : szx_of(request->block_size);
    exchange->szx2 = exchange->szx1;
    exchange->uploading_blocks = request->body.len > block_octets(exchange->szx1);
    exchange->answer.content_format = CONTENT_FORMAT_NONE;
    exchange->answer.max_age = -1;
    return exchange;
}

static unsigned szx_of(unsigned block_size)
{
    unsigned szx = 0;
    while (szx < LARGEST_SZX && block_octets(szx) < block_size)
        szx++;
    return szx;
}

static size_t block_octets(unsigned szx)
{
    return (size_t)16 << szx;
}

struct exchange *exchange_twin(const struct exchange *exchange)
{
    struct exchange *twin = exchange_create(&exchange->request);
    if (twin == NULL)
        return NULL;
    twin->state = EXCHANGE_WAIT;
    twin->token_length = exchange->token_length;
    memcpy(twin->token, exchange->token, sizeof(twin->token));
    return twin;
}

void exchange_free(struct exchange *exchange)
{
    if (exchange == NULL)
        return;
    octets_clear(&exchange->answer.payload);
    free(exchange);
}

enum exchange_state exchange_state(const struct exchange *exchange)
{
    return exchange->state;
}

const struct exchange_answer *exchange_answer(const struct exchange *exchange)
{
    return &exchange->answer;
}

const char *exchange_fault(const struct exchange *exchange)
{
    return exchange->fault.text;
}

coap_pdu_t *exchange_next_message(struct exchange *exchange, coap_session_t *session)
{
    const struct exchange_request *request = &exchange->request;
    coap_pdu_t *message =
        coap_pdu_init(request->confirmable ? COAP_MESSAGE_CON : COAP_MESSAGE_NON, request->method,
                      coap_new_message_id(session), coap_session_max_pdu_size(session));
    if (message == NULL) {
        broken(exchange, "no message could be made");
        return NULL;
    }
    exchange->state = EXCHANGE_WAIT;
    coap_session_new_token(session, &exchange->token_length, exchange->token);
    bool good = coap_add_token(message, exchange->token_length, exchange->token) != 0 &&
                add_options(exchange, message) && add_payload(exchange, message);
    if (good)
        return message;
    coap_delete_pdu(message);
    broken(exchange, "a block of this size does not fit into one message; choose a smaller --block-size");
    return NULL;
}

/* In the order of their numbers, which libcoap is happiest with. */
static bool add_options(struct exchange *exchange, coap_pdu_t *message)
{
    const struct exchange_request *request = &exchange->request;
    bool upload = exchange->uploading_blocks && !exchange->following;
    bool last = !upload || is_last_part(exchange);
    bool good = true;
    if (request->etag.len > 0 && !exchange->following)
        good = coap_add_option(message, COAP_OPTION_ETAG, request->etag.len, request->etag.at) > 0;
    good = good && add_path(message, request->path);
    if (good && request->content_format != CONTENT_FORMAT_NONE)
        good = add_number(message, COAP_OPTION_CONTENT_FORMAT, (unsigned)request->content_format);
    if (good && request->query != NULL)
        good = coap_add_option(message, COAP_OPTION_URI_QUERY, strlen(request->query),
                               (const uint8_t *)request->query) > 0;
    if (good && request->accept != CONTENT_FORMAT_NONE)
        good = add_number(message, COAP_OPTION_ACCEPT, (unsigned)request->accept);
    if (good && exchange->following)
        good = add_block(message, COAP_OPTION_BLOCK2,
                         exchange->answer.payload.len / block_octets(exchange->szx2), false, exchange->szx2);
    else if (good && request->block_size != 0 && last) /* early negotiation, RFC 7959 section 2.7 */
        good = add_block(message, COAP_OPTION_BLOCK2, 0, false, exchange->szx2);
    if (good && upload)
        good = add_block(message, COAP_OPTION_BLOCK1, exchange->uploaded / block_octets(exchange->szx1),
                         !last, exchange->szx1);
    if (good && request->ask_size && last && !exchange->following)
        good = add_number(message, COAP_OPTION_SIZE2, 0);
    if (good && upload && exchange->uploaded == 0)
        good = add_number(message, COAP_OPTION_SIZE1, (unsigned)request->body.len);
    return good;
}

static bool add_path(coap_pdu_t *message, const char *path)
{
    for (path += strspn(path, "/"); *path != '\0'; path += strspn(path, "/")) {
        size_t length = strcspn(path, "/");
        if (coap_add_option(message, COAP_OPTION_URI_PATH, length, (const uint8_t *)path) == 0)
            return false;
        path += length;
    }
    return true;
}

static bool add_number(coap_pdu_t *message, coap_option_num_t option, unsigned value)
{
    uint8_t encoded[4];
    unsigned length = coap_encode_var_safe(encoded, sizeof(encoded), value);
    return coap_add_option(message, option, length, encoded) > 0;
}

static bool add_block(coap_pdu_t *message, coap_option_num_t option, size_t number, bool more, unsigned szx)
{
    return add_number(message, option, (unsigned)number << 4 | (more ? 8u : 0u) | szx);
}

static bool add_payload(struct exchange *exchange, coap_pdu_t *message)
{
    size_t length = part_length(exchange);
    if (exchange->following || length == 0)
        return true;
    exchange->answer.blocks_sent++;
    exchange->answer.block1_size = exchange->uploading_blocks ? (unsigned)block_octets(exchange->szx1) : 0;
    return coap_add_data(message, length, exchange->request.body.at + exchange->uploaded) != 0;
}

/* Octets of the body that the next message carries. */
static size_t part_length(const struct exchange *exchange)
{
    size_t left = exchange->request.body.len - exchange->uploaded;
    if (!exchange->uploading_blocks || left < block_octets(exchange->szx1))
        return left;
    return block_octets(exchange->szx1);
}

static bool is_last_part(const struct exchange *exchange)
{
    return exchange->uploaded + part_length(exchange) == exchange->request.body.len;
}

void exchange_take_response(struct exchange *exchange, const coap_pdu_t *response)
{
    coap_bin_const_t token = coap_pdu_get_token(response);
    if (exchange->state != EXCHANGE_WAIT || token.length != exchange->token_length ||
        memcmp(token.s, exchange->token, token.length) != 0)
        return;
    exchange->answer.code = (uint8_t)coap_pdu_get_code(response);
    exchange->answer.separate |=
        exchange->request.confirmable && coap_pdu_get_type(response) != COAP_MESSAGE_ACK;
    if (exchange->following)
        on_answer_block(exchange, response);
    else if (exchange->uploading_blocks)
        on_upload_response(exchange, response);
    else
        on_answer(exchange, response);
}

static void on_upload_response(struct exchange *exchange, const coap_pdu_t *response)
{
    uint8_t code = exchange->answer.code;
    if ((code == COAP_RESPONSE_CODE(408) || code == COAP_RESPONSE_CODE(413)) &&
        restart_upload(exchange, response))
        return;
    if (is_last_part(exchange)) {
        check_final_block1(exchange, response);
        on_answer(exchange, response);
    } else if (code == COAP_RESPONSE_CODE(231)) {
        on_continue(exchange, response);
    } else {
        if (code >> 5 == 2)
            remark(exchange, "answered before the last block of the request");
        on_answer(exchange, response);
    }
}

/* RFC 7959 section 2.3: the server names the block it confirms, and may ask for smaller ones from here on. */
static void on_continue(struct exchange *exchange, const coap_pdu_t *response)
{
    struct block block;
    if (!read_block(response, COAP_OPTION_BLOCK1, &block)) {
        remark(exchange, "2.31 without a Block1 option");
        block = (struct block){.szx = exchange->szx1, .more = true};
    } else if (block.number != exchange->uploaded / block_octets(exchange->szx1)) {
        broken(exchange, "2.31 confirms another block than the one sent");
        return;
    }
    if (!block.more)
        remark(exchange, "2.31 whose Block1 option says that no more blocks are awaited");
    if (read_option(response, COAP_OPTION_BLOCK2).at != NULL)
        remark(exchange, "2.31 with a Block2 option");
    if (block.szx > exchange->szx1)
        remark(exchange, "2.31 with a larger block size than was sent");
    exchange->uploaded += part_length(exchange);
    if (block.szx < exchange->szx1)
        exchange->szx1 = block.szx;
    exchange->state = EXCHANGE_SEND;
}

/* RFC 7959 sections 2.9.2 and 2.9.3: from the start after 4.08, and with smaller blocks after a 4.13 that
 * names them. */
static bool restart_upload(struct exchange *exchange, const coap_pdu_t *response)
{
    struct block block;
    bool smaller = read_block(response, COAP_OPTION_BLOCK1, &block) && block.szx < exchange->szx1;
    if (exchange->restarts == RESTARTS || (exchange->answer.code == COAP_RESPONSE_CODE(413) && !smaller))
        return false;
    exchange->restarts++;
    exchange->uploaded = 0;
    if (smaller)
        exchange->szx1 = block.szx;
    exchange->state = EXCHANGE_SEND;
    return true;
}

/* RFC 7959 section 2.3: the final response carries the Block1 option of the last block. */
static void check_final_block1(struct exchange *exchange, const coap_pdu_t *response)
{
    struct block block;
    size_t last = exchange->uploaded / block_octets(exchange->szx1);
    if (exchange->answer.code == COAP_RESPONSE_CODE(231))
        broken(exchange, "2.31 in answer to the last block");
    else if (!read_block(response, COAP_OPTION_BLOCK1, &block))
        remark(exchange, "the final response has no Block1 option");
    else if (block.number != last || block.more)
        remark(exchange, "the final response's Block1 option is not that of the last block");
}

/* The first message of the answer, which may be the whole of it. */
static void on_answer(struct exchange *exchange, const coap_pdu_t *response)
{
    if (exchange->state == EXCHANGE_BROKEN)
        return;
    read_head(exchange, response);
    take_payload(exchange, response);
}

static void read_head(struct exchange *exchange, const coap_pdu_t *response)
{
    struct exchange_answer *answer = &exchange->answer;
    answer->content_format = (int)read_number(response, COAP_OPTION_CONTENT_FORMAT, CONTENT_FORMAT_NONE);
    answer->max_age = read_number(response, COAP_OPTION_MAXAGE, -1);
    answer->announced_size = (size_t)read_number(response, COAP_OPTION_SIZE2, 0);
    struct view etag = read_option(response, COAP_OPTION_ETAG);
    if (etag.at != NULL && etag.len <= sizeof(exchange->answer.etag)) {
        memcpy(exchange->answer.etag, etag.at, etag.len);
        exchange->answer.etag_length = etag.len;
    }
}

static void on_answer_block(struct exchange *exchange, const coap_pdu_t *response)
{
    if (exchange->answer.code >> 5 != 2) { /* the server gave up on the rest; the code says why */
        octets_clear(&exchange->answer.payload);
        read_head(exchange, response);
        octets_append(&exchange->answer.payload, payload_of(response), ANSWER_LIMIT);
        exchange->state = EXCHANGE_DONE;
        return;
    }
    if (same_representation(exchange, response))
        take_payload(exchange, response);
}

/* RFC 7959 section 2.4: blocks with another ETag or Content-Format are not of the same body. */
static bool same_representation(struct exchange *exchange, const coap_pdu_t *response)
{
    struct view etag = read_option(response, COAP_OPTION_ETAG);
    if (etag.len != exchange->answer.etag_length ||
        (etag.len > 0 && memcmp(etag.at, exchange->answer.etag, etag.len) != 0)) {
        broken(exchange, "the ETag changed between two blocks of the answer");
        return false;
    }
    if (read_number(response, COAP_OPTION_CONTENT_FORMAT, CONTENT_FORMAT_NONE) !=
        exchange->answer.content_format) {
        broken(exchange, "the Content-Format changed between two blocks of the answer");
        return false;
    }
    return true;
}

static void take_payload(struct exchange *exchange, const coap_pdu_t *response)
{
    struct block block;
    struct view payload = payload_of(response);
    bool in_blocks = read_block(response, COAP_OPTION_BLOCK2, &block);
    if (payload.len > 0)
        exchange->answer.blocks_received++;
    if (in_blocks && !take_block(exchange, payload, &block))
        return;
    if (!in_blocks && exchange->following)
        remark(exchange, "a block of the answer came without its Block2 option");
    if (!octets_append(&exchange->answer.payload, payload, ANSWER_LIMIT)) {
        broken(exchange, "the answer is larger than this client accepts");
        return;
    }
    if (!in_blocks || !block.more) {
        finish(exchange);
        return;
    }
    exchange->following = true;
    exchange->szx2 = block.szx;
    exchange->state = EXCHANGE_SEND;
}

static bool take_block(struct exchange *exchange, struct view payload, const struct block *block)
{
    size_t octets = block_octets(block->szx);
    exchange->answer.block2_size = (unsigned)octets;
    if (block->szx > LARGEST_SZX || block->number * octets != exchange->answer.payload.len)
        broken(exchange, "another block of the answer came than the one asked for");
    else if (block->more ? payload.len != octets : payload.len > octets)
        broken(exchange, "a block of the answer does not have the length that its Block2 option says");
    else if (block->szx > exchange->szx2 && (exchange->following || exchange->request.block_size != 0))
        remark(exchange, "a block of the answer is larger than was asked for");
    return exchange->state != EXCHANGE_BROKEN;
}

static void finish(struct exchange *exchange)
{
    struct exchange_answer *answer = &exchange->answer;
    exchange->state = EXCHANGE_DONE;
    if (answer->announced_size != 0 && answer->code >> 5 == 2 &&
        answer->announced_size != answer->payload.len)
        remark(exchange, "Size2 is not the size of the answer");
}

static int64_t read_number(const coap_pdu_t *response, coap_option_num_t option, int64_t absent)
{
    struct view value = read_option(response, option);
    return value.at == NULL ? absent : (int64_t)coap_decode_var_bytes(value.at, value.len);
}

/* libcoap's own reader takes the reserved size 7 for no option at all. */
static bool read_block(const coap_pdu_t *response, coap_option_num_t option, struct block *block)
{
    int64_t value = read_number(response, option, -1);
    *block = (struct block){(unsigned)(value >> 4), (value & 8) != 0, (unsigned)(value & 7)};
    return value >= 0;
}

static struct view read_option(const coap_pdu_t *response, coap_option_num_t option)
{
    coap_opt_iterator_t iterator;
    const coap_opt_t *found = coap_check_option(response, option, &iterator);
    if (found == NULL)
        return (struct view){0};
    return (struct view){coap_opt_value(found), coap_opt_length(found)};
}

static struct view payload_of(const coap_pdu_t *response)
{
    struct view payload = {0};
    coap_get_data(response, &payload.len, &payload.at);
    return payload;
}

static void remark(struct exchange *exchange, const char *what)
{
    if (exchange->answer.remarks.text[0] == '\0')
        explain(&exchange->answer.remarks, "%s", what);
}

static void broken(struct exchange *exchange, const char *what)
{
    explain(&exchange->fault, "%s", what);
    exchange->state = EXCHANGE_BROKEN;
}
