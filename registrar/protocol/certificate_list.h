/* A certificate revocation list (RFC 5280 section 5): strictly decoded, and walked entry by entry where it
 * lies, because a list may have a million entries. */
#ifndef ESTUARY_REGISTRAR_PROTOCOL_CERTIFICATE_LIST_H
#define ESTUARY_REGISTRAR_PROTOCOL_CERTIFICATE_LIST_H

#include "common/bytes.h"

#include <openssl/x509.h>

/* Borrows from the DER it was read from. */
struct certificate_list {
    struct bytes signed_part;          /* tbsCertList, whole */
    struct bytes algorithm, signature; /* whole */
    struct bytes issuer;               /* Name, whole */
    int64_t this_update_unix, next_update_unix;
    struct bytes entries; /* what follows is cut off here */
};

/* Decodes all but the entries. STATUS_MALFORMED: not exactly one DER CertificateList. STATUS_UNSUPPORTED: a
 * list that alone does not say whether a certificate of its issuer is revoked (delta, indirect, of some
 * reasons or kinds of certificate), is without a nextUpdate, or has an unknown critical extension. In both
 * cases complaint says what is wrong: "is a delta CRL", a static string. */
enum status certificate_list_read(struct bytes der, struct certificate_list *list, const char **complaint);

/* Cuts one entry off entries and gives the content octets of its serial number. STATUS_NOT_FOUND: there is no
 * more. STATUS_MALFORMED and STATUS_UNSUPPORTED: as above, a critical extension being unknown. */
enum status certificate_list_next(struct bytes *entries, struct bytes *serial, const char **complaint);

/* Whether issuer has the right to sign lists and has signed this one. STATUS_UNTRUSTED: no. */
enum status certificate_list_verify(const struct certificate_list *list, X509 *issuer);

#endif
