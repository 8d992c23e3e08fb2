/* Renews the registrar's own certificates once, now, without a registrar that runs (--renew). */
#ifndef ESTUARY_REGISTRAR_RENEWAL_RENEWAL_BY_HAND_H
#define ESTUARY_REGISTRAR_RENEWAL_RENEWAL_BY_HAND_H

#include "common/bytes.h"
#include "registrar/settings.h"

/* The RA certificate, and with dtls.renew the one that devices see. Takes a connection of its own to the EST
 * server. Appends to output what is to be done next; a failure is told to errors, and more of it to the log.
 */
enum status renewal_by_hand(const struct settings *settings, struct buffer *output, struct buffer *errors);

#endif
