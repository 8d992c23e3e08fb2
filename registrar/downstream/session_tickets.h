/* The keys of session tickets (RFC 5077 section 4): with them any worker resumes a session that any other has
 * begun, and nothing of it is kept here. Pure: milliseconds in, keys out. */
#ifndef ESTUARY_REGISTRAR_DOWNSTREAM_SESSION_TICKETS_H
#define ESTUARY_REGISTRAR_DOWNSTREAM_SESSION_TICKETS_H

#include "common/status.h"

#include <stdbool.h>
#include <stdint.h>

/* How long after its full handshake a session may be resumed. */
#define SESSION_LIFETIME_S 7200

/* New tickets get another key this often; with the one before they are taken for as long again, so that each
 * lives out its time and none has to be renewed. */
#define SESSION_TICKET_PERIOD_MS (UINT64_C(1000) * SESSION_LIFETIME_S)

#define SESSION_TICKET_NAME_OCTETS 16 /* RFC 5077 section 4: key_name */
#define SESSION_TICKET_KEY_OCTETS  32

/* What all workers share, for the life of the process: the keys of each period follow from it, so that there
 * is nothing to rotate. Another process has another one, and takes no ticket of ours. */
struct session_ticket_secret {
    uint8_t octets[32];
};

enum status session_ticket_secret_make(struct session_ticket_secret *secret);

/* Wipe it after use. */
struct session_ticket_key {
    uint8_t name[SESSION_TICKET_NAME_OCTETS];
    uint8_t cipher[SESSION_TICKET_KEY_OCTETS], mac[SESSION_TICKET_KEY_OCTETS];
};

/* The key for new tickets. False: OpenSSL fails. */
bool session_ticket_key_now(const struct session_ticket_secret *secret, uint64_t now_ms,
                            struct session_ticket_key *key);

/* The key of a ticket, by the name that stands in front of it: of this period or of the one before. False: it
 * has neither. */
bool session_ticket_key_named(const struct session_ticket_secret *secret, uint64_t now_ms,
                              const uint8_t name[static SESSION_TICKET_NAME_OCTETS],
                              struct session_ticket_key *key);

#endif
