#include "registrar/protocol/der.h"

#define DER_DEPTH_MAX     24 /* a CSR with extensions in attributes stays below 12 */
#define DER_CONSTRUCTED   0x20
#define DER_CLASS         0xc0
#define DER_NUMBER        0x1f
#define DER_LONG_LENGTH   0x80
#define DER_LENGTH_OCTETS 4 /* 4 GiB are more than anybody sends */

static bool read_length(struct bytes octets, size_t *header, size_t *length);
static bool element_is_strict(const struct der_element *element, unsigned depth);
static bool form_is_allowed(uint8_t tag);
static bool primitive_is_strict(const struct der_element *element);

enum status der_read(struct bytes *rest, struct der_element *element)
{
    size_t header, length;
    if (rest->len < 2 || (rest->at[0] & DER_NUMBER) == DER_NUMBER)
        return STATUS_MALFORMED;
    if (!read_length(*rest, &header, &length) || length > rest->len - header)
        return STATUS_MALFORMED;
    *element = (struct der_element){
        .tag = rest->at[0],
        .content = bytes_slice(*rest, header, length),
        .whole = bytes_slice(*rest, 0, header + length),
    };
    *rest = bytes_slice(*rest, header + length, rest->len);
    return STATUS_OK;
}

/* X.690 section 10.1: definite, in the fewest octets. */
static bool read_length(struct bytes octets, size_t *header, size_t *length)
{
    size_t first = octets.at[1], count = first & ~(size_t)DER_LONG_LENGTH;
    *header = 2;
    *length = first;
    if (first < DER_LONG_LENGTH)
        return true;
    if (count == 0 || count > DER_LENGTH_OCTETS || octets.len - *header < count)
        return false;
    *length = 0;
    for (size_t i = 0; i < count; i++)
        *length = *length << 8 | octets.at[2 + i];
    *header += count;
    return octets.at[2] != 0 && *length >= DER_LONG_LENGTH;
}

enum status der_read_tagged(struct bytes *rest, uint8_t tag, struct der_element *element)
{
    struct bytes after = *rest;
    if (der_read(&after, element) != STATUS_OK || element->tag != tag)
        return STATUS_MALFORMED;
    *rest = after;
    return STATUS_OK;
}

bool der_is_strict(struct bytes octets)
{
    struct der_element element;
    return der_read(&octets, &element) == STATUS_OK && octets.len == 0 && element_is_strict(&element, 0);
}

static bool element_is_strict(const struct der_element *element, unsigned depth)
{
    if (depth == DER_DEPTH_MAX || !form_is_allowed(element->tag))
        return false;
    if (!(element->tag & DER_CONSTRUCTED))
        return primitive_is_strict(element);
    struct bytes rest = element->content;
    struct der_element part;
    while (rest.len > 0)
        if (der_read(&rest, &part) != STATUS_OK || !element_is_strict(&part, depth + 1))
            return false;
    return true;
}

/* X.690 section 10.2: of the universal types, strings are primitive and only sequences and sets are not. */
static bool form_is_allowed(uint8_t tag)
{
    if (tag & DER_CLASS)
        return true;
    bool is_collection = (tag | DER_CONSTRUCTED) == DER_SEQUENCE || (tag | DER_CONSTRUCTED) == DER_SET;
    return is_collection == ((tag & DER_CONSTRUCTED) != 0);
}

static bool primitive_is_strict(const struct der_element *element)
{
    struct bytes content = element->content;
    switch (element->tag) {
    case DER_BOOLEAN:
        return content.len == 1 && (content.at[0] == 0x00 || content.at[0] == 0xff);
    case DER_INTEGER:
    case DER_ENUMERATED:
        if (content.len < 2)
            return content.len == 1;
        return !(content.at[0] == 0x00 && content.at[1] < 0x80) &&
               !(content.at[0] == 0xff && content.at[1] >= 0x80);
    case DER_BIT_STRING:
        if (content.len < 2)
            return content.len == 1 && content.at[0] == 0;
        return content.at[0] < 8 && (content.at[content.len - 1] & ((1U << content.at[0]) - 1)) == 0;
    default:
        return true;
    }
}

void der_append_head(struct buffer *out, uint8_t tag, size_t len)
{
    buffer_append_byte(out, tag);
    if (len < DER_LONG_LENGTH) {
        buffer_append_byte(out, (uint8_t)len);
        return;
    }
    unsigned count = 1;
    while (count < sizeof(len) && len >> (8 * count) != 0)
        count++;
    buffer_append_byte(out, (uint8_t)(DER_LONG_LENGTH | count));
    while (count > 0)
        buffer_append_byte(out, (uint8_t)(len >> (8 * --count)));
}
