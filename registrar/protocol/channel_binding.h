/* What names one DTLS association to both of its ends and to nobody else: its channel binding of type
 * tls-unique (RFC 5929 section 3). */
#ifndef ESTUARY_REGISTRAR_PROTOCOL_CHANNEL_BINDING_H
#define ESTUARY_REGISTRAR_PROTOCOL_CHANNEL_BINDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TLS_UNIQUE_OCTETS 12 /* verify_data of every suite that we negotiate (RFC 5246 section 7.4.9) */

struct channel_binding {
    uint8_t tls_unique[TLS_UNIQUE_OCTETS]; /* of the first Finished message of the latest handshake */
    bool is_known;
    bool is_unique; /* the handshake had the extended master secret; without it a man in the middle can give
                       two associations the same value (RFC 7627 section 1) */
};

#endif
