/* Where the registrar is: HOST, HOST:PORT, [IPv6%scope]:PORT, or a coap:// or coaps:// URI. */
#ifndef DEVICE_SERVER_ADDRESS_H
#define DEVICE_SERVER_ADDRESS_H

#include <coap3/coap.h>

#include "explanation.h"

struct server_address {
    bool secure;   /* coaps: DTLS; coap: the unsecured discovery port */
    char host[96]; /* as given, without brackets; with %scope if there was one */
    uint16_t port;
    coap_address_t socket;
};

/* Reads text; without a scheme it is taken for coaps. The default ports are 5683 and 5684 (RFC 7252 section
 * 6). */
bool server_address_read(struct server_address *address, const char *text, struct explanation *why);

bool server_address_is_multicast(const struct server_address *address);

struct address_text {
    char text[128];
};

/* "[fe80::1%3]:5683" or "127.0.0.1:5683". */
struct address_text address_in_words(const coap_address_t *address);

#endif
