#include "registrar/downstream/dtls_record.h"

#include <string.h>

#define SEQUENCE_AT     5 /* in the header of a record */
#define SEQUENCE_OCTETS 6

static bool take_number(struct bytes *rest, size_t octets, uint64_t *number);
static bool take_bytes(struct bytes *rest, size_t len, struct bytes *taken);
static bool take_vector(struct bytes *rest, struct bytes *vector);

bool dtls_record_take(struct bytes *datagram, struct dtls_record *record)
{
    struct bytes rest = *datagram;
    uint64_t type, version, epoch, sequence, length;
    struct bytes fragment;
    if (!take_number(&rest, 1, &type) || !take_number(&rest, 2, &version) || !take_number(&rest, 2, &epoch) ||
        !take_number(&rest, 6, &sequence) || !take_number(&rest, 2, &length) ||
        !take_bytes(&rest, (size_t)length, &fragment))
        return false;
    if (version != DTLS_VERSION_1_0 && version != DTLS_VERSION_1_2)
        return false;
    *record = (struct dtls_record){
        .type = (uint8_t)type,
        .version = (uint16_t)version,
        .epoch = (uint16_t)epoch,
        .sequence = sequence,
        .fragment = fragment,
        .whole = {datagram->at, DTLS_RECORD_HEADER + fragment.len},
    };
    *datagram = rest;
    return true;
}

void dtls_record_renumber(uint8_t *datagram, size_t len, uint64_t *next)
{
    struct bytes rest = {datagram, len};
    struct dtls_record record;
    for (size_t offset = 0; dtls_record_take(&rest, &record); offset += record.whole.len) {
        if (record.epoch > 0)
            continue;
        for (size_t i = 0; i < SEQUENCE_OCTETS; i++)
            datagram[offset + SEQUENCE_AT + i] = (uint8_t)(*next >> 8 * (SEQUENCE_OCTETS - 1 - i));
        ++*next;
    }
}

bool dtls_handshake_take(struct bytes *rest, struct dtls_handshake *handshake)
{
    struct bytes after = *rest;
    uint64_t type, length, message_seq, offset, fragment_length;
    struct bytes body;
    if (!take_number(&after, 1, &type) || !take_number(&after, 3, &length) ||
        !take_number(&after, 2, &message_seq) || !take_number(&after, 3, &offset) ||
        !take_number(&after, 3, &fragment_length) || !take_bytes(&after, (size_t)fragment_length, &body))
        return false;
    if (offset + fragment_length > length)
        return false;
    *handshake = (struct dtls_handshake){
        .type = (uint8_t)type,
        .length = (uint32_t)length,
        .message_seq = (uint16_t)message_seq,
        .fragment_offset = (uint32_t)offset,
        .body = body,
    };
    *rest = after;
    return true;
}

/* RFC 6347 section 4.2.1: client_version, random, session_id, cookie; what follows does not matter here. */
bool dtls_client_hello_read(struct bytes datagram, struct dtls_client_hello *hello)
{
    struct dtls_record record;
    struct dtls_handshake handshake;
    if (!dtls_record_take(&datagram, &record) || record.type != DTLS_HANDSHAKE || record.epoch != 0)
        return false;
    if (!dtls_handshake_take(&record.fragment, &handshake) || record.fragment.len > 0 ||
        handshake.type != DTLS_CLIENT_HELLO || handshake.fragment_offset != 0)
        return false;

    uint64_t version;
    struct bytes body = handshake.body, random, session_id, cookie;
    if (!take_number(&body, 2, &version) || !take_bytes(&body, DTLS_RANDOM_OCTETS, &random) ||
        !take_vector(&body, &session_id) || !take_vector(&body, &cookie))
        return false;
    hello->record_sequence = record.sequence;
    hello->message_seq = handshake.message_seq;
    memcpy(hello->random, random.at, sizeof hello->random);
    hello->cookie = cookie;
    return true;
}

/* Big-endian, at most eight octets. */
static bool take_number(struct bytes *rest, size_t octets, uint64_t *number)
{
    struct bytes taken;
    if (!take_bytes(rest, octets, &taken))
        return false;
    *number = 0;
    for (size_t i = 0; i < taken.len; i++)
        *number = *number << 8 | taken.at[i];
    return true;
}

static bool take_bytes(struct bytes *rest, size_t len, struct bytes *taken)
{
    if (rest->len < len)
        return false;
    *taken = (struct bytes){rest->at, len};
    *rest = bytes_slice(*rest, len, rest->len - len);
    return true;
}

/* opaque vector<0..255> */
static bool take_vector(struct bytes *rest, struct bytes *vector)
{
    uint64_t len;
    return take_number(rest, 1, &len) && take_bytes(rest, (size_t)len, vector);
}
