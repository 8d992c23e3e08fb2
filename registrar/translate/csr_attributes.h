/* The one thing that a registrar adds to an EST server's CSR attributes (RFC 7030 and RFC 8951 section 4.5.2,
 * POP-8). */
#ifndef ESTUARY_REGISTRAR_TRANSLATE_CSR_ATTRIBUTES_H
#define ESTUARY_REGISTRAR_TRANSLATE_CSR_ATTRIBUTES_H

#include "common/bytes.h"

/* Appends der, a CsrAttrs, with the object identifier of challengePassword at its end: the sign that PoP
 * linking is required. One that is there already is left, to the octet; all else stays as it is, read or not.
 * No octets at all stand for a CsrAttrs without an element. STATUS_MALFORMED: not a SEQUENCE. */
enum status csr_attributes_announce_pop(struct bytes der, struct buffer *representation);

#endif
