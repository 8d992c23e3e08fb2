#include "registrar/translate/multipart_core.h"

#include "common/cbor_count.h"

#define HEAD_OCTETS_MAX 9
#define OCTETS_MAX      ((size_t)1 << 24)

/* libcbor's streaming interface: it copies nothing, so that no copy of a key is left anywhere. */
enum item_kind {
    ITEM_OTHER,
    ITEM_UNSIGNED, /* number */
    ITEM_BYTES,    /* content */
    ITEM_NULL,
    ITEM_ARRAY,   /* number of items */
    ITEM_ENDLESS, /* an array of indefinite length */
    ITEM_BREAK
};

struct item {
    enum item_kind kind;
    uint64_t number;
    struct bytes content;
};

static void append_head(struct buffer *octets, size_t len, const unsigned char *head);
static enum status read_parts(struct bytes *rest, const struct item *array, struct multipart_core *message);
static enum status read_part(const struct item *format, struct bytes *rest, struct multipart_core *message);
static enum status take_item(struct bytes *rest, struct item *item);

enum status multipart_core_write(const struct multipart_core *message, struct buffer *octets)
{
    unsigned char head[HEAD_OCTETS_MAX];
    append_head(octets, cbor_encode_array_start(2 * message->count, head, sizeof(head)), head);
    for (size_t i = 0; i < message->count; i++) {
        const struct multipart_core_part *part = &message->parts[i];
        append_head(octets, cbor_encode_uint(part->content_format, head, sizeof(head)), head);
        append_head(octets,
                    part->is_null ? cbor_encode_null(head, sizeof(head))
                                  : cbor_encode_bytestring_start(part->content.len, head, sizeof(head)),
                    head);
        if (!part->is_null)
            buffer_append(octets, part->content);
    }
    return octets->status;
}

static void append_head(struct buffer *octets, size_t len, const unsigned char *head)
{
    buffer_append(octets, (struct bytes){head, len});
}

enum status multipart_core_read(struct bytes octets, struct multipart_core *message)
{
    struct item array;
    message->count = 0;
    if (octets.len > OCTETS_MAX)
        return STATUS_TOO_LARGE;
    if (take_item(&octets, &array) != STATUS_OK || (array.kind != ITEM_ARRAY && array.kind != ITEM_ENDLESS))
        return STATUS_MALFORMED;
    enum status status = read_parts(&octets, &array, message);
    return status == STATUS_OK && octets.len > 0 ? STATUS_MALFORMED : status;
}

static enum status read_parts(struct bytes *rest, const struct item *array, struct multipart_core *message)
{
    bool endless = array->kind == ITEM_ENDLESS;
    for (uint64_t i = 0; endless || i < array->number; i += 2) {
        struct item format;
        if (take_item(rest, &format) != STATUS_OK)
            return STATUS_MALFORMED;
        if (endless && format.kind == ITEM_BREAK)
            return STATUS_OK;
        if (!endless && i + 1 == array->number)
            return STATUS_MALFORMED;
        enum status status = read_part(&format, rest, message);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

static enum status read_part(const struct item *format, struct bytes *rest, struct multipart_core *message)
{
    struct item content;
    if (format->kind != ITEM_UNSIGNED || format->number > UINT16_MAX ||
        take_item(rest, &content) != STATUS_OK || (content.kind != ITEM_BYTES && content.kind != ITEM_NULL))
        return STATUS_MALFORMED;
    if (message->count == MULTIPART_CORE_PARTS_MAX)
        return STATUS_TOO_LARGE;
    message->parts[message->count++] = (struct multipart_core_part){
        .content_format = (uint16_t)format->number,
        .is_null = content.kind == ITEM_NULL,
        .content = content.content,
    };
    return STATUS_OK;
}

/* What libcbor calls for the item that it has read. */

static void on_unsigned(void *user, uint64_t number)
{
    *(struct item *)user = (struct item){.kind = ITEM_UNSIGNED, .number = number};
}

static void on_uint8(void *user, uint8_t number)
{
    on_unsigned(user, number);
}

static void on_uint16(void *user, uint16_t number)
{
    on_unsigned(user, number);
}

static void on_uint32(void *user, uint32_t number)
{
    on_unsigned(user, number);
}

static void on_bytes(void *user, cbor_data at, cbor_count len)
{
    *(struct item *)user = (struct item){.kind = ITEM_BYTES, .content = {at, (size_t)len}};
}

static void on_array(void *user, cbor_count count)
{
    *(struct item *)user = (struct item){.kind = ITEM_ARRAY, .number = count};
}

static void on_endless(void *user)
{
    ((struct item *)user)->kind = ITEM_ENDLESS;
}

static void on_null(void *user)
{
    ((struct item *)user)->kind = ITEM_NULL;
}

static void on_break(void *user)
{
    ((struct item *)user)->kind = ITEM_BREAK;
}

/* Cuts the next item off; of an array, its head. */
static enum status take_item(struct bytes *rest, struct item *item)
{
    struct cbor_callbacks callbacks = cbor_empty_callbacks;
    callbacks.uint8 = on_uint8;
    callbacks.uint16 = on_uint16;
    callbacks.uint32 = on_uint32;
    callbacks.uint64 = on_unsigned;
    callbacks.byte_string = on_bytes;
    callbacks.array_start = on_array;
    callbacks.indef_array_start = on_endless;
    callbacks.null = on_null;
    callbacks.indef_break = on_break;
    *item = (struct item){.kind = ITEM_OTHER};
    if (rest->len == 0)
        return STATUS_MALFORMED;
    struct cbor_decoder_result result = cbor_stream_decode(rest->at, rest->len, &callbacks, item);
    if (result.status != CBOR_DECODER_FINISHED || result.read > rest->len)
        return STATUS_MALFORMED;
    *rest = bytes_slice(*rest, result.read, rest->len);
    return STATUS_OK;
}
