#include "common/jpy.h"

#include "common/cbor_count.h"

#define HEAD_MAX 9 /* octets of a CBOR initial octet and its argument */

/* RFC 8710: Content-Format before each part. */
enum { FORMAT_JPY_HEADER = 60, FORMAT_OCTETS = 42 };

enum kind {
    KIND_UINT,
    KIND_NEGATIVE,
    KIND_BYTES,
    KIND_ARRAY,
    KIND_MAP,
    KIND_TAG,
    KIND_OTHER,
    KIND_INDEFINITE
};

/* One data item, or the head of one that has items inside. */
struct item {
    enum kind kind;
    uint64_t value; /* of a number; how many items an array, or pairs a map, has */
    struct bytes bytes;
};

/* Where in the datagram reading has come to; the first failure sticks. */
struct cursor {
    struct bytes rest;
    bool failed;
};

static enum status decode_pair(struct cursor *cursor, struct bytes header, struct jpy_message *message);
static enum status decode_five(struct cursor *cursor, struct bytes whole, struct jpy_message *message);
static enum status decode_multipart(struct cursor *cursor, struct jpy_message *message);
static enum status finish(struct cursor *cursor, uint64_t items_left, const struct jpy_message *message);
static void skip_items(struct cursor *cursor, uint64_t count);
static struct item next(struct cursor *cursor);
static struct bytes next_bytes(struct cursor *cursor);
static bool next_is_number(struct cursor *cursor, uint64_t number);
static struct cbor_callbacks item_callbacks(void);
static void append_array(struct buffer *out, size_t count);
static void append_bytes(struct buffer *out, struct bytes bytes);
static void append_number(struct buffer *out, uint8_t number);
static size_t head_length(size_t argument);

enum status jpy_decode(struct bytes datagram, unsigned take, struct jpy_message *message)
{
    struct cursor cursor = {datagram, false};
    struct item array = next(&cursor);
    if (cursor.failed || array.kind != KIND_ARRAY || array.value < 2)
        return STATUS_MALFORMED;

    struct bytes whole = cursor.rest;
    struct item first = next(&cursor);
    if (first.kind == KIND_UINT && first.value == FORMAT_JPY_HEADER && array.value == 4) {
        enum status status = decode_multipart(&cursor, message);
        return status != STATUS_OK || (take & JPY_TAKE_MULTIPART) != 0 ? status : STATUS_UNSUPPORTED;
    }
    if (first.kind != KIND_BYTES)
        return STATUS_MALFORMED;

    struct cursor ahead = cursor;
    struct item second = next(&ahead);
    if (array.value >= 5 && (second.kind == KIND_UINT || second.kind == KIND_NEGATIVE)) {
        enum status status = decode_five(&cursor, whole, message);
        status = status == STATUS_OK ? finish(&cursor, array.value - 5, message) : status;
        return status != STATUS_OK || (take & JPY_TAKE_FIVE) != 0 ? status : STATUS_UNSUPPORTED;
    }
    enum status status = decode_pair(&cursor, first.bytes, message);
    return status == STATUS_OK ? finish(&cursor, array.value - 2, message) : status;
}

enum status jpy_encode(const struct jpy_message *message, struct buffer *datagram)
{
    switch (message->form) {
    case JPY_PAIR:
        append_array(datagram, 2);
        append_bytes(datagram, message->header);
        break;
    case JPY_FIVE:
        append_array(datagram, 5);
        buffer_append(datagram, message->header);
        break;
    case JPY_MULTIPART:
        append_array(datagram, 4);
        append_number(datagram, FORMAT_JPY_HEADER);
        append_bytes(datagram, message->header);
        append_number(datagram, FORMAT_OCTETS);
        break;
    }
    append_bytes(datagram, message->content);
    return datagram->status;
}

size_t jpy_overhead(enum jpy_form form, size_t header_len, size_t content_len)
{
    size_t most = 1 + header_len + head_length(content_len);
    if (form == JPY_FIVE)
        return most;
    most += head_length(header_len);
    return form == JPY_PAIR ? most : most + head_length(FORMAT_JPY_HEADER) + head_length(FORMAT_OCTETS);
}

static enum status decode_pair(struct cursor *cursor, struct bytes header, struct jpy_message *message)
{
    *message = (struct jpy_message){JPY_PAIR, header, next_bytes(cursor)};
    return cursor->failed ? STATUS_MALFORMED : STATUS_OK;
}

/* whole starts at the first element; the cursor stands behind it. */
static enum status decode_five(struct cursor *cursor, struct bytes whole, struct jpy_message *message)
{
    for (int i = 0; i < 3; i++) {
        struct item number = next(cursor);
        if (number.kind != KIND_UINT && number.kind != KIND_NEGATIVE)
            return STATUS_MALFORMED;
    }
    struct bytes header = bytes_slice(whole, 0, whole.len - cursor->rest.len);
    *message = (struct jpy_message){JPY_FIVE, header, next_bytes(cursor)};
    return cursor->failed ? STATUS_MALFORMED : STATUS_OK;
}

/* The cursor stands behind the first Content-Format. */
static enum status decode_multipart(struct cursor *cursor, struct jpy_message *message)
{
    struct bytes header = next_bytes(cursor);
    if (!next_is_number(cursor, FORMAT_OCTETS))
        return STATUS_MALFORMED;
    *message = (struct jpy_message){JPY_MULTIPART, header, next_bytes(cursor)};
    return finish(cursor, 0, message);
}

static enum status finish(struct cursor *cursor, uint64_t items_left, const struct jpy_message *message)
{
    skip_items(cursor, items_left);
    if (cursor->failed || cursor->rest.len > 0)
        return STATUS_MALFORMED;
    return message->header.len <= JPY_HEADER_MAX ? STATUS_OK : STATUS_TOO_LARGE;
}

/* Without recursion: what an item holds is counted among those to come. Each takes an octet at least, so that
 * a count that cannot come true ends with the datagram. */
static void skip_items(struct cursor *cursor, uint64_t count)
{
    while (count > 0 && !cursor->failed) {
        struct item item = next(cursor);
        uint64_t inside = item.kind == KIND_TAG ? 1 : 0;
        if (item.kind == KIND_ARRAY || item.kind == KIND_MAP)
            inside = item.value;
        if (inside > cursor->rest.len || count > cursor->rest.len + 1)
            cursor->failed = true;
        count += (item.kind == KIND_MAP ? 2 * inside : inside) - 1;
    }
}

static struct item next(struct cursor *cursor)
{
    const struct cbor_callbacks callbacks = item_callbacks();
    struct item item = {.kind = KIND_OTHER};
    if (cursor->failed || cursor->rest.len == 0) {
        cursor->failed = true;
        return item;
    }
    struct cbor_decoder_result result =
        cbor_stream_decode(cursor->rest.at, cursor->rest.len, &callbacks, &item);
    cursor->failed = result.status != CBOR_DECODER_FINISHED || item.kind == KIND_INDEFINITE;
    cursor->rest = bytes_slice(cursor->rest, result.read, cursor->rest.len);
    return item;
}

static struct bytes next_bytes(struct cursor *cursor)
{
    struct item item = next(cursor);
    if (item.kind != KIND_BYTES)
        cursor->failed = true;
    return item.bytes;
}

static bool next_is_number(struct cursor *cursor, uint64_t number)
{
    struct item item = next(cursor);
    return !cursor->failed && item.kind == KIND_UINT && item.value == number;
}

static void on_uint8(void *user, uint8_t value)
{
    *(struct item *)user = (struct item){.kind = KIND_UINT, .value = value};
}

static void on_uint16(void *user, uint16_t value)
{
    *(struct item *)user = (struct item){.kind = KIND_UINT, .value = value};
}

static void on_uint32(void *user, uint32_t value)
{
    *(struct item *)user = (struct item){.kind = KIND_UINT, .value = value};
}

static void on_uint64(void *user, uint64_t value)
{
    *(struct item *)user = (struct item){.kind = KIND_UINT, .value = value};
}

static void on_negint8(void *user, uint8_t value)
{
    *(struct item *)user = (struct item){.kind = KIND_NEGATIVE, .value = value};
}

static void on_negint16(void *user, uint16_t value)
{
    *(struct item *)user = (struct item){.kind = KIND_NEGATIVE, .value = value};
}

static void on_negint32(void *user, uint32_t value)
{
    *(struct item *)user = (struct item){.kind = KIND_NEGATIVE, .value = value};
}

static void on_negint64(void *user, uint64_t value)
{
    *(struct item *)user = (struct item){.kind = KIND_NEGATIVE, .value = value};
}

static void on_bytes(void *user, cbor_data at, cbor_count len)
{
    *(struct item *)user = (struct item){.kind = KIND_BYTES, .bytes = {at, (size_t)len}};
}

static void on_array(void *user, cbor_count count)
{
    *(struct item *)user = (struct item){.kind = KIND_ARRAY, .value = count};
}

static void on_map(void *user, cbor_count count)
{
    *(struct item *)user = (struct item){.kind = KIND_MAP, .value = count};
}

static void on_tag(void *user, uint64_t tag)
{
    *(struct item *)user = (struct item){.kind = KIND_TAG, .value = tag};
}

static void on_indefinite(void *user)
{
    *(struct item *)user = (struct item){.kind = KIND_INDEFINITE};
}

/* An item that no callback of ours sees (text, null …) is a KIND_OTHER. */
static struct cbor_callbacks item_callbacks(void)
{
    struct cbor_callbacks callbacks = cbor_empty_callbacks;
    callbacks.uint8 = on_uint8;
    callbacks.uint16 = on_uint16;
    callbacks.uint32 = on_uint32;
    callbacks.uint64 = on_uint64;
    callbacks.negint8 = on_negint8;
    callbacks.negint16 = on_negint16;
    callbacks.negint32 = on_negint32;
    callbacks.negint64 = on_negint64;
    callbacks.byte_string = on_bytes;
    callbacks.array_start = on_array;
    callbacks.map_start = on_map;
    callbacks.tag = on_tag;
    callbacks.byte_string_start = on_indefinite;
    callbacks.string_start = on_indefinite;
    callbacks.indef_array_start = on_indefinite;
    callbacks.indef_map_start = on_indefinite;
    callbacks.indef_break = on_indefinite;
    return callbacks;
}

static void append_array(struct buffer *out, size_t count)
{
    uint8_t head[HEAD_MAX];
    buffer_append(out, (struct bytes){head, cbor_encode_array_start(count, head, sizeof head)});
}

static void append_bytes(struct buffer *out, struct bytes bytes)
{
    uint8_t head[HEAD_MAX];
    buffer_append(out, (struct bytes){head, cbor_encode_bytestring_start(bytes.len, head, sizeof head)});
    buffer_append(out, bytes);
}

static void append_number(struct buffer *out, uint8_t number)
{
    uint8_t head[HEAD_MAX];
    buffer_append(out, (struct bytes){head, cbor_encode_uint8(number, head, sizeof head)});
}

/* RFC 8949 section 3: the argument is in the initial octet, or in the 1, 2 or 4 that follow it. */
static size_t head_length(size_t argument)
{
    return argument < 24 ? 1 : argument <= UINT8_MAX ? 2 : argument <= UINT16_MAX ? 3 : 5;
}
