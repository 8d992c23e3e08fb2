#include "registrar/translate/csr_attributes.h"

#include "registrar/protocol/der.h"

/* 1.2.840.113549.1.9.7 */
#define CHALLENGE_PASSWORD BYTES_LITERAL("\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x07")

static bool contains(struct bytes elements, struct bytes wanted);

enum status csr_attributes_announce_pop(struct bytes der, struct buffer *representation)
{
    struct der_element sequence = {0};
    struct bytes rest = der;
    if (der.len > 0 && (der_read_tagged(&rest, DER_SEQUENCE, &sequence) != STATUS_OK || rest.len > 0))
        return STATUS_MALFORMED;
    if (contains(sequence.content, CHALLENGE_PASSWORD)) {
        buffer_append(representation, der);
        return representation->status;
    }
    der_append_head(representation, DER_SEQUENCE, sequence.content.len + CHALLENGE_PASSWORD.len);
    buffer_append(representation, sequence.content);
    buffer_append(representation, CHALLENGE_PASSWORD);
    return representation->status;
}

/* By itself, not as the type of an Attribute, which would be an example of a value. */
static bool contains(struct bytes elements, struct bytes wanted)
{
    struct der_element element;
    while (elements.len > 0 && der_read(&elements, &element) == STATUS_OK)
        if (bytes_equal(element.whole, wanted))
            return true;
    return false;
}
