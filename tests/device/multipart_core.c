#include "multipart_core.h"

/* Major types of RFC 8949 section 3.1, and null. */
enum { UNSIGNED = 0, BYTE_STRING = 2, ARRAY = 4, CBOR_NULL = 0xf6 };

static bool read_head(struct view *rest, unsigned *major, uint64_t *number);
static bool read_part(struct view *rest, struct multipart_core *read, struct explanation *why);
static void advance(struct view *rest, size_t octets);

bool multipart_core_read(struct view payload, struct multipart_core *read, struct explanation *why)
{
    unsigned major;
    uint64_t items;
    *read = (struct multipart_core){.count = 0};
    if (!read_head(&payload, &major, &items) || major != ARRAY)
        return explain(why, "the payload is no CBOR array of definite length");
    if (items % 2 != 0)
        return explain(why, "the multipart-core array has an odd number of items");
    if (items / 2 > MULTIPART_CORE_PARTS)
        return explain(why, "the multipart-core array has more than %d parts", MULTIPART_CORE_PARTS);
    while (read->count < items / 2)
        if (!read_part(&payload, read, why))
            return false;
    if (payload.len > 0)
        return explain(why, "%zu octets follow the multipart-core array", payload.len);
    return true;
}

static bool read_part(struct view *rest, struct multipart_core *read, struct explanation *why)
{
    unsigned major;
    uint64_t number;
    size_t at = read->count;
    if (!read_head(rest, &major, &number) || major != UNSIGNED || number > 65535)
        return explain(why, "the type of part %zu is no number up to 65535", at + 1);
    read->parts[at].content_format = (int)number;
    read->parts[at].is_null = rest->len > 0 && rest->at[0] == CBOR_NULL;
    if (read->parts[at].is_null) {
        advance(rest, 1);
    } else {
        if (!read_head(rest, &major, &number) || major != BYTE_STRING)
            return explain(why, "part %zu is neither a byte string of definite length nor null", at + 1);
        if (number > rest->len)
            return explain(why, "part %zu ends before its length says", at + 1);
        read->parts[at].content = (struct view){rest->at, (size_t)number};
        advance(rest, (size_t)number);
    }
    read->count++;
    return true;
}

/* The initial octet of an item and its argument (RFC 8949 section 3); false also for indefinite lengths. */
static bool read_head(struct view *rest, unsigned *major, uint64_t *number)
{
    if (rest->len == 0)
        return false;
    unsigned detail = rest->at[0] & 0x1fu;
    *major = rest->at[0] >> 5;
    advance(rest, 1);
    *number = detail;
    if (detail < 24)
        return true;
    if (detail > 27)
        return false;
    size_t octets = (size_t)1 << (detail - 24);
    if (rest->len < octets)
        return false;
    *number = 0;
    for (size_t i = 0; i < octets; i++)
        *number = *number << 8 | rest->at[i];
    advance(rest, octets);
    return true;
}

static void advance(struct view *rest, size_t octets)
{
    rest->at += octets;
    rest->len -= octets;
}
