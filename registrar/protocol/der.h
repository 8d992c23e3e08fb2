/* DER, read strictly (X.690 sections 8 and 10): OpenSSL's decoders also take BER, and keep what they were
 * given. */
#ifndef ESTUARY_REGISTRAR_PROTOCOL_DER_H
#define ESTUARY_REGISTRAR_PROTOCOL_DER_H

#include "common/bytes.h"

/* Identifier octets; the low-tag-number form is the only one that is read. */
enum der_tag {
    DER_BOOLEAN = 0x01,
    DER_INTEGER = 0x02,
    DER_BIT_STRING = 0x03,
    DER_OCTET_STRING = 0x04,
    DER_OBJECT_IDENTIFIER = 0x06,
    DER_ENUMERATED = 0x0a,
    DER_SEQUENCE = 0x30,
    DER_SET = 0x31,
    DER_CONTEXT_0 = 0xa0 /* [0], constructed */
};

/* Borrows from what it was read from. */
struct der_element {
    uint8_t tag;
    struct bytes content, whole; /* whole: identifier and length octets as well */
};

/* Cuts the first element off rest. STATUS_MALFORMED: truncated, indefinite or not minimal in its length, or
 * a tag above 30; rest is then unchanged. */
enum status der_read(struct bytes *rest, struct der_element *element);

/* der_read for one kind of element; another one is STATUS_MALFORMED too. */
enum status der_read_tagged(struct bytes *rest, uint8_t tag, struct der_element *element);

/* Whether octets are exactly one element whose every part is DER as well, down to the form of integers,
 * booleans and bit strings. Neither the order of a SET OF nor defaults that are written out are looked at:
 * they mislead nobody. */
bool der_is_strict(struct bytes octets);

/* Appends the identifier and length octets of an element whose content is len octets. */
void der_append_head(struct buffer *out, uint8_t tag, size_t len);

#endif
