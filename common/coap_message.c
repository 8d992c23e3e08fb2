/* libcoap reads and writes single options (coap_opt_parse, coap_opt_encode); the frame around them, and what
 * the options may be, is judged here. coap_pdu_parse is not used: it refuses the whole message for one
 * elective option of impossible length, which RFC 7252 section 5.4.3 wants ignored, allocates, and writes
 * warnings about what anybody may send to stderr. */
#include "common/coap_message.h"

#include <coap3/coap.h>

#include <stdio.h>
#include <string.h>

#define HEADER_OCTETS   4
#define VERSION         1
#define PAYLOAD_MARKER  0xff
#define OPTION_MAX      UINT16_MAX /* the largest option number, RFC 7252 section 12.2 */
#define BLOCK_NUM_MAX   0xfffff
#define UINT_OCTETS_MAX 4
#define RULES_COUNT     (sizeof rules / sizeof rules[0])

enum option_use {
    OPTION_UNRECOGNISED,
    OPTION_SKIPPED, /* recognised, of no use to us */
    OPTION_PROXY,
    OPTION_UINT,
    OPTION_BLOCK,
    OPTION_ETAG,
    OPTION_PATH,
    OPTION_QUERY
};

/* RFC 7252 section 5.10 and RFC 7959 sections 2.1 and 4; index is the option number. */
struct option_rule {
    enum option_use use;
    bool repeatable;
    uint16_t least, most; /* octets of the value */
    size_t field;         /* offset in struct coap_message */
};

#define FIELD(name) offsetof(struct coap_message, name)

static const struct option_rule rules[] = {
    [COAP_OPTION_URI_HOST] = {OPTION_SKIPPED, false, 1, 255, 0},
    [COAP_OPTION_ETAG] = {OPTION_ETAG, true, 1, COAP_ETAG_MAX, 0},
    [COAP_OPTION_URI_PORT] = {OPTION_SKIPPED, false, 0, 2, 0},
    [COAP_OPTION_URI_PATH] = {OPTION_PATH, true, 0, 255, 0},
    [COAP_OPTION_CONTENT_FORMAT] = {OPTION_UINT, false, 0, 2, FIELD(content_format)},
    [COAP_OPTION_MAXAGE] = {OPTION_UINT, false, 0, 4, FIELD(max_age)},
    [COAP_OPTION_URI_QUERY] = {OPTION_QUERY, true, 0, 255, 0},
    [COAP_OPTION_ACCEPT] = {OPTION_UINT, false, 0, 2, FIELD(accept)},
    [COAP_OPTION_BLOCK2] = {OPTION_BLOCK, false, 0, 3, FIELD(block2)},
    [COAP_OPTION_BLOCK1] = {OPTION_BLOCK, false, 0, 3, FIELD(block1)},
    [COAP_OPTION_SIZE2] = {OPTION_UINT, false, 0, 4, FIELD(size2)},
    [COAP_OPTION_PROXY_URI] = {OPTION_PROXY, false, 1, 1034, 0},
    [COAP_OPTION_PROXY_SCHEME] = {OPTION_PROXY, false, 1, 255, 0},
    [COAP_OPTION_SIZE1] = {OPTION_UINT, false, 0, 4, FIELD(size1)},
};

/* Where a message is being written, and the option number that the next delta counts from. */
struct option_writer {
    struct buffer *out;
    uint16_t previous;
    bool failed; /* a value that no option can hold */
};

static enum status read_header(struct bytes datagram, struct coap_message *message);
static enum status read_options(struct bytes rest, struct coap_message *message);
static size_t read_option(struct bytes rest, uint32_t *number, struct bytes *value);
static void take_option(uint16_t number, bool repeated, struct bytes value, struct coap_message *message);
static void take_value(const struct option_rule *rule, struct bytes value, struct coap_message *message);
static void take_segment(struct bytes value, struct bytes *segments, size_t *count, bool *too_many);
static void take_etag(struct bytes value, struct coap_message *message);
static void take_uint(struct bytes value, struct coap_uint_option *option);
static void take_block(struct bytes value, struct coap_block *block);
static void refuse_option(uint16_t number, struct coap_message *message);
static void write_header(const struct coap_message *message, struct buffer *out);
static void write_options(const struct coap_message *message, struct option_writer *writer);
static void write_option(const struct coap_message *message, uint16_t number, struct option_writer *writer);
static void write_value(struct option_writer *writer, uint16_t number, struct bytes value);
static void write_segments(struct option_writer *writer, uint16_t number, const struct bytes *segments,
                           size_t count);
static void write_etags(struct option_writer *writer, const struct coap_message *message);
static void write_uint(struct option_writer *writer, uint16_t number, uint32_t value);
static void write_block(struct option_writer *writer, uint16_t number, const struct coap_block *block);

enum status coap_message_parse(struct bytes datagram, struct coap_message *message)
{
    *message = (struct coap_message){.type = CM_NON};
    enum status status = read_header(datagram, message);
    if (status != STATUS_OK)
        return status;
    return read_options(bytes_slice(datagram, HEADER_OCTETS + message->token_len, datagram.len), message);
}

enum status coap_message_write(const struct coap_message *message, struct buffer *datagram)
{
    size_t before = datagram->len;
    struct option_writer writer = {.out = datagram};
    if (message->token_len > COAP_TOKEN_MAX)
        return STATUS_MALFORMED;
    write_header(message, datagram);
    write_options(message, &writer);
    if (message->payload.len > 0) {
        buffer_append_byte(datagram, PAYLOAD_MARKER);
        buffer_append(datagram, message->payload);
    }
    if (!writer.failed && datagram->status == STATUS_OK)
        return STATUS_OK;
    datagram->len = before;
    return writer.failed ? STATUS_MALFORMED : datagram->status;
}

const char *coap_code_text(uint8_t code, char text[static 5])
{
    snprintf(text, 5, "%u.%02u", CM_CODE_CLASS(code) & 7U, CM_CODE_DETAIL(code) & 31U);
    return text;
}

/* RFC 7252 section 3. */
static enum status read_header(struct bytes datagram, struct coap_message *message)
{
    if (datagram.len < HEADER_OCTETS || datagram.at[0] >> 6 != VERSION)
        return STATUS_MALFORMED;
    size_t token_len = datagram.at[0] & 0xf;
    message->type = (datagram.at[0] >> 4) & 3;
    message->code = datagram.at[1];
    message->id = (uint16_t)(datagram.at[2] << 8 | datagram.at[3]);

    unsigned class = CM_CODE_CLASS(message->code);
    if (class == 1 || class >= 6) /* section 4.2: reserved, and signalling (RFC 8323) */
        return STATUS_MALFORMED;
    if (message->code == CM_EMPTY && datagram.len > HEADER_OCTETS) /* section 4.1 */
        return STATUS_MALFORMED;
    if (token_len > COAP_TOKEN_MAX || datagram.len < HEADER_OCTETS + token_len)
        return STATUS_MALFORMED;
    memcpy(message->token, datagram.at + HEADER_OCTETS, token_len);
    message->token_len = token_len;
    return STATUS_OK;
}

static enum status read_options(struct bytes rest, struct coap_message *message)
{
    uint32_t number = 0;
    while (rest.len > 0 && rest.at[0] != PAYLOAD_MARKER) {
        struct bytes value;
        uint32_t before = number;
        size_t len = read_option(rest, &number, &value);
        if (len == 0)
            return STATUS_MALFORMED;
        take_option((uint16_t)number, before == number, value, message);
        rest = bytes_slice(rest, len, rest.len);
    }
    if (rest.len == 1) /* a marker without payload */
        return STATUS_MALFORMED;
    message->payload = bytes_slice(rest, 1, rest.len);
    return STATUS_OK;
}

/* Returns how many octets the option takes; 0: it is malformed. */
static size_t read_option(struct bytes rest, uint32_t *number, struct bytes *value)
{
    coap_option_t option;
    size_t len = coap_opt_parse(rest.at, rest.len, &option);
    if (len == 0)
        return 0;
    /* A delta of more than 16 bits wraps around in coap_option_t. */
    if (rest.at[0] >> 4 == 14 && option.delta < 269)
        return 0;
    *number += option.delta;
    *value = (struct bytes){option.value, option.length};
    return *number <= OPTION_MAX ? len : 0;
}

/* RFC 7252 sections 5.4.1, 5.4.3 and 5.4.5: an option that is repeated or sized against its definition is
 * treated like one that is not recognised. */
static void take_option(uint16_t number, bool repeated, struct bytes value, struct coap_message *message)
{
    const struct option_rule *rule = number < RULES_COUNT ? &rules[number] : &rules[0];
    if (rule->use == OPTION_UNRECOGNISED || (repeated && !rule->repeatable) || value.len < rule->least ||
        value.len > rule->most)
        refuse_option(number, message);
    else
        take_value(rule, value, message);
}

static void take_value(const struct option_rule *rule, struct bytes value, struct coap_message *message)
{
    void *field = (uint8_t *)message + rule->field;
    switch (rule->use) {
    case OPTION_PROXY:
        message->proxy = true;
        break;
    case OPTION_UINT:
        take_uint(value, field);
        break;
    case OPTION_BLOCK:
        take_block(value, field);
        break;
    case OPTION_ETAG:
        take_etag(value, message);
        break;
    case OPTION_PATH:
        take_segment(value, message->uri_path, &message->uri_path_count, &message->too_many_segments);
        break;
    case OPTION_QUERY:
        take_segment(value, message->uri_query, &message->uri_query_count, &message->too_many_segments);
        break;
    case OPTION_SKIPPED:
    case OPTION_UNRECOGNISED:
        break;
    }
}

static void take_segment(struct bytes value, struct bytes *segments, size_t *count, bool *too_many)
{
    if (*count < COAP_SEGMENTS_MAX)
        segments[(*count)++] = value;
    else
        *too_many = true;
}

/* Validation with one more than there is room for is validation without it: elective. */
static void take_etag(struct bytes value, struct coap_message *message)
{
    if (message->etag_count == COAP_ETAGS_MAX)
        return;
    struct coap_etag *etag = &message->etags[message->etag_count++];
    memcpy(etag->octets, value.at, value.len);
    etag->len = (uint8_t)value.len;
}

static void take_uint(struct bytes value, struct coap_uint_option *option)
{
    option->present = true;
    option->value = coap_decode_var_bytes(value.at, value.len);
}

static void take_block(struct bytes value, struct coap_block *block)
{
    uint32_t bits = coap_decode_var_bytes(value.at, value.len);
    *block = (struct coap_block){true, bits >> 4, (bits & 8) != 0, bits & 7};
}

/* Odd numbers are critical (RFC 7252 section 5.4.6); elective options are ignored. */
static void refuse_option(uint16_t number, struct coap_message *message)
{
    if ((number & 1) != 0 && message->unrecognised_critical == 0)
        message->unrecognised_critical = number;
}

static void write_header(const struct coap_message *message, struct buffer *out)
{
    uint8_t header[HEADER_OCTETS] = {
        (uint8_t)(VERSION << 6 | (message->type & 3) << 4 | (int)message->token_len),
        message->code,
        (uint8_t)(message->id >> 8),
        (uint8_t)message->id,
    };
    buffer_append(out, (struct bytes){header, sizeof header});
    buffer_append(out, (struct bytes){message->token, message->token_len});
}

/* Options stand in the order of their numbers. */
static void write_options(const struct coap_message *message, struct option_writer *writer)
{
    for (size_t number = 0; number < RULES_COUNT; number++)
        if (rules[number].use != OPTION_UNRECOGNISED)
            write_option(message, (uint16_t)number, writer);
}

static void write_option(const struct coap_message *message, uint16_t number, struct option_writer *writer)
{
    const void *field = (const uint8_t *)message + rules[number].field;
    const struct coap_uint_option *integer = field;
    const struct coap_block *block = field;
    switch (rules[number].use) {
    case OPTION_UINT:
        if (integer->present)
            write_uint(writer, number, integer->value);
        break;
    case OPTION_BLOCK:
        if (block->present)
            write_block(writer, number, block);
        break;
    case OPTION_ETAG:
        write_etags(writer, message);
        break;
    case OPTION_PATH:
        write_segments(writer, number, message->uri_path, message->uri_path_count);
        break;
    case OPTION_QUERY:
        write_segments(writer, number, message->uri_query, message->uri_query_count);
        break;
    case OPTION_SKIPPED:
    case OPTION_PROXY:
    case OPTION_UNRECOGNISED:
        break;
    }
}

static void write_value(struct option_writer *writer, uint16_t number, struct bytes value)
{
    if (value.len < rules[number].least || value.len > rules[number].most) {
        writer->failed = true;
        return;
    }
    uint16_t delta = (uint16_t)(number - writer->previous);
    size_t size = coap_opt_encode_size(delta, value.len);
    uint8_t *to = buffer_extend(writer->out, size);
    if (to != NULL && coap_opt_encode(to, size, delta, value.at, value.len) != size)
        writer->failed = true;
    writer->previous = number;
}

static void write_segments(struct option_writer *writer, uint16_t number, const struct bytes *segments,
                           size_t count)
{
    if (count > COAP_SEGMENTS_MAX)
        writer->failed = true;
    for (size_t i = 0; i < count && i < COAP_SEGMENTS_MAX; i++)
        write_value(writer, number, segments[i]);
}

static void write_etags(struct option_writer *writer, const struct coap_message *message)
{
    if (message->etag_count > COAP_ETAGS_MAX)
        writer->failed = true;
    for (size_t i = 0; i < message->etag_count && i < COAP_ETAGS_MAX; i++)
        write_value(writer, COAP_OPTION_ETAG,
                    (struct bytes){message->etags[i].octets, message->etags[i].len});
}

static void write_uint(struct option_writer *writer, uint16_t number, uint32_t value)
{
    uint8_t octets[UINT_OCTETS_MAX];
    size_t len = coap_encode_var_safe(octets, sizeof octets, value);
    write_value(writer, number, (struct bytes){octets, len});
}

static void write_block(struct option_writer *writer, uint16_t number, const struct coap_block *block)
{
    if (block->num > BLOCK_NUM_MAX || block->szx > 7)
        writer->failed = true;
    else
        write_uint(writer, number, block->num << 4 | (uint32_t)block->more << 3 | block->szx);
}
