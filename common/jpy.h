/* The JPY message between a stateless join proxy and the registrar: one UDP payload of a pledge, wrapped with
 * the proxy's own note of where it came from (constrained-join-proxy -20 section 4.4, requirements B0). */
#ifndef ESTUARY_COMMON_JPY_H
#define ESTUARY_COMMON_JPY_H

#include "common/bytes.h"

#define JPY_HEADER_MAX 255 /* octets of a header that is taken (JPR-2) */

/* A message is answered in the form that it came in. */
enum jpy_form {
    JPY_PAIR, /* 82 <bstr header> <bstr content>, and what we send */
    JPY_FIVE, /* 85 <bstr> <int> <int> <int> <bstr content>, drafts -01 to -10; header is the encoded first
                 four, verbatim (JPR-9) */
    JPY_MULTIPART /* 84 18 3C <bstr header> 18 2A <bstr content>, draft-vanderstok -01 made valid by RFC 8710
                   */
};

/* Which forms are taken beside JPY_PAIR. */
#define JPY_TAKE_FIVE      1u
#define JPY_TAKE_MULTIPART 2u

/* Both views borrow from the datagram that was decoded, or from whoever fills them in to be encoded. */
struct jpy_message {
    enum jpy_form form;
    struct bytes header; /* opaque to the registrar: returned as it came */
    struct bytes content;
};

/* Reads one whole datagram. Elements beyond those of the form are skipped, if they are well formed (JPR-3).
 * STATUS_MALFORMED: no such form, an indefinite length, something missing or something behind the end.
 * STATUS_TOO_LARGE: the header is longer than JPY_HEADER_MAX. STATUS_UNSUPPORTED: a form not in take. Never
 * allocates; its time is proportional to the datagram. */
enum status jpy_decode(struct bytes datagram, unsigned take, struct jpy_message *message);

/* Appends the message in its form, lengths in the shortest encoding. */
enum status jpy_encode(const struct jpy_message *message, struct buffer *datagram);

/* Octets that jpy_encode adds to a content of this length, the header's among them: by how much a flight must
 * be smaller to fit (JPR-5, JPY-5). */
size_t jpy_overhead(enum jpy_form form, size_t header_len, size_t content_len);

#endif
