/* DTLS 1.2 records and handshake headers as they stand in a datagram: read, never kept (RFC 6347 sections 4.1
 * and 4.2). */
#ifndef ESTUARY_REGISTRAR_DOWNSTREAM_DTLS_RECORD_H
#define ESTUARY_REGISTRAR_DOWNSTREAM_DTLS_RECORD_H

#include "common/bytes.h"

#include <stdbool.h>

enum dtls_content_type {
    DTLS_CHANGE_CIPHER_SPEC = 20,
    DTLS_ALERT = 21,
    DTLS_HANDSHAKE = 22,
    DTLS_APPLICATION_DATA = 23
};

enum dtls_handshake_type { DTLS_CLIENT_HELLO = 1, DTLS_HELLO_VERIFY_REQUEST = 3 };

#define DTLS_VERSION_1_0 0xfeff /* first records of both versions may say either */
#define DTLS_VERSION_1_2 0xfefd

#define DTLS_RECORD_HEADER    13 /* octets */
#define DTLS_HANDSHAKE_HEADER 12 /* octets */
#define DTLS_RANDOM_OCTETS    32

/* Views borrow from the datagram. */
struct dtls_record {
    uint8_t type;
    uint16_t version, epoch;
    uint64_t sequence; /* 48 bits, without the epoch */
    struct bytes fragment;
    struct bytes whole; /* header and fragment */
};

/* Takes the first record off datagram. False: it is none of DTLS 1.x, or cut off; datagram is unchanged. */
bool dtls_record_take(struct bytes *datagram, struct dtls_record *record);

/* Gives each plaintext record (epoch 0) of a datagram of ours the number *next, which moves on. No checksum
 * covers it. */
void dtls_record_renumber(uint8_t *datagram, size_t len, uint64_t *next);

/* A handshake message or a fragment of one. */
struct dtls_handshake {
    uint8_t type;
    uint32_t length; /* of the whole message */
    uint16_t message_seq;
    uint32_t fragment_offset;
    struct bytes body; /* what this fragment holds of it */
};

/* Takes the first one off the fragment of a plaintext handshake record. False: cut off, or outside its
 * message; rest is unchanged. */
bool dtls_handshake_take(struct bytes *rest, struct dtls_handshake *handshake);

/* What of a ClientHello has to be known before anything is kept of its sender. */
struct dtls_client_hello {
    uint64_t record_sequence;
    uint16_t message_seq;
    uint8_t random[DTLS_RANDOM_OCTETS];
    struct bytes cookie; /* empty: none */
};

/* Reads the record that opens datagram. False: it is not the first fragment of a ClientHello in epoch 0 (and
 * nothing else), or that fragment does not hold the whole cookie. */
bool dtls_client_hello_read(struct bytes datagram, struct dtls_client_hello *hello);

#endif
