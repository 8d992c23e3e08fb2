/* The certificates that their issuers have taken back: the revocation lists of dtls.crls, verified, as sorted
 * digests, so that a million of them take 12 MB and a look-up a microsecond (RFC 5280 section 5, DTLS-9). */
#ifndef ESTUARY_REGISTRAR_PROTOCOL_REVOCATION_LISTS_H
#define ESTUARY_REGISTRAR_PROTOCOL_REVOCATION_LISTS_H

#include "common/bytes.h"
#include "registrar/protocol/client_chain.h"
#include "registrar/settings.h"

#define REVOCATION_FILE_OCTETS_MAX ((size_t)128 << 20)
#define REVOCATION_ENTRIES_MAX     10000000 /* of all lists together */

/* Immutable, reference counted, thread safe. */
struct revocation_lists;

/* Reads dtls.crls, and dtls.manufacturer_trust and dtls.domain_trust for the certificates of the CAs that
 * have to have signed them. Touches files and may take seconds: not for a loop. On failure NULL, and errors
 * names file, what is wrong and the cure; warnings names what is outdated or will soon be. Gives the first
 * reference, also where dtls.crls is empty; borrows settings for the call. */
struct revocation_lists *revocation_lists_load(const struct dtls_settings *settings, struct buffer *errors,
                                               struct buffer *warnings);
struct revocation_lists *revocation_lists_hold(struct revocation_lists *lists);
void revocation_lists_release(struct revocation_lists *lists);

enum revocation {
    REVOCATION_NONE, /* no certificate of the chain is revoked, as far as dtls.crl_policy wants to know */
    REVOCATION_UNCHECKED, /* an issuer has no current list, and policy "soft" lets its devices in */
    REVOCATION_UNKNOWN,   /* an issuer has no current list, and the policy keeps its devices out */
    REVOCATION_REVOKED
};

/* Looks at every link of the chain; lists may be NULL, which are none. What is revoked is so whether its list
 * is current or not. */
enum revocation revocation_lists_judge(const struct revocation_lists *lists, const struct client_chain *chain,
                                       int64_t now_unix);

/* How many certificates are revoked, of how many issuers: for a log. */
size_t revocation_lists_entries(const struct revocation_lists *lists);
size_t revocation_lists_issuers(const struct revocation_lists *lists);

#endif
