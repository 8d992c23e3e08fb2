/* The header of our JPY messages: where the pledge is, sealed so that only we can have written it (JPY-2,
 * JPY-3). The same pledge endpoint gives the same header under one key, for the registrar tells pledges apart
 * by it: AES-SIV (RFC 5297) needs no nonce. */
#ifndef ESTUARY_JOINPROXY_PLEDGE_HEADER_H
#define ESTUARY_JOINPROXY_PLEDGE_HEADER_H

#include "common/endpoint.h"

#define PLEDGE_HEADER_KEY_OCTETS 32 /* AES-128-SIV has two AES keys */
#define PLEDGE_HEADER_OCTETS     30 /* always */

struct pledge_header_key {
    uint8_t octets[PLEDGE_HEADER_KEY_OCTETS];
};

struct pledge_origin {
    struct endpoint pledge; /* without a scope: the link says it */
    uint8_t link;           /* pledge_links */
    uint16_t local_check;   /* of the address that the pledge asked */
};

struct pledge_header_cipher;

/* Headers made for another binding do not open: another registrar, or other interfaces behind the numbers of
 * the links. Copies binding, which must not be empty. Gives; NULL: no memory, or OpenSSL has no AES-SIV. */
struct pledge_header_cipher *pledge_header_cipher_create(struct bytes binding);
void pledge_header_cipher_free(struct pledge_header_cipher *cipher);

/* STATUS_UNSUPPORTED: the address is neither in fe80::/64 nor IPv4, and does not fit. */
enum status pledge_header_seal(struct pledge_header_cipher *cipher, const struct pledge_header_key *key,
                               const struct pledge_origin *origin,
                               uint8_t header[static PLEDGE_HEADER_OCTETS]);

/* STATUS_UNTRUSTED: not sealed with this key, or not by us. STATUS_MALFORMED: sealed, but makes no sense. */
enum status pledge_header_open(struct pledge_header_cipher *cipher, const struct pledge_header_key *key,
                               struct bytes header, struct pledge_origin *origin);

#endif
