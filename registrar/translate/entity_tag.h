/* The ETag of a representation: by its content, so that every worker and every registrar gives the same (RFC
 * 7252 section 5.10.6; CF-8). */
#ifndef ESTUARY_REGISTRAR_TRANSLATE_ENTITY_TAG_H
#define ESTUARY_REGISTRAR_TRANSLATE_ENTITY_TAG_H

#include "common/bytes.h"
#include "common/coap_message.h"
#include "registrar/protocol/content_format.h"

/* 8 octets of SHA-256 over Content-Format and representation. STATUS_CRYPTO. */
enum status entity_tag_make(enum content_format format, struct bytes representation, struct coap_etag *etag);

bool entity_tag_is_among(const struct coap_etag *etag, const struct coap_etag *etags, size_t count);

#endif
