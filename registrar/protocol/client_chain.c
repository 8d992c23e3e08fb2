#include "registrar/protocol/client_chain.h"

#include <openssl/err.h>
#include <openssl/evp.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FORMAT         1
#define HEAD_OCTETS    (4 + 8 + 8 + CHAIN_DIGEST_OCTETS)
#define LINK_OCTETS    (2 * CHAIN_DIGEST_OCTETS)
#define SERIAL_MAX     64 /* RFC 5280 section 4.1.2.2 allows 20 octets */
#define NEVER_UNIX     INT64_MAX
#define SHA_256_OCTETS 32

static enum status read_link(const X509 *certificate, const X509 *issuer, struct chain_link *link);
static enum status digest_serial(const X509 *certificate, struct chain_link *link);
static enum status digest(struct bytes octets, struct chain_digest *cut);
static int compare_digests(const void *one, const void *other);
static int64_t expiry_of(const X509 *certificate);
static void append_number(struct buffer *octets, int64_t number);
static int64_t take_number(const uint8_t **at);
static void take_digest(const uint8_t **at, struct chain_digest *digest);

enum status client_chain_read(const STACK_OF(X509) * certificates, struct client_chain *chain)
{
    int count = sk_X509_num(certificates);
    if (count < 1)
        return STATUS_MALFORMED;
    int links = count > 1 ? count - 1 : 1; /* an anchor is judged by its name only where it is the leaf */
    if (links > CLIENT_CHAIN_CERTIFICATES_MAX)
        return STATUS_TOO_LARGE;
    chain->count = (uint8_t)links;
    chain->leaf_expires_unix = expiry_of(sk_X509_value(certificates, 0));
    chain->chain_expires_unix = NEVER_UNIX;
    for (int i = 1; i < count; i++) {
        int64_t expires = expiry_of(sk_X509_value(certificates, i));
        if (expires < chain->chain_expires_unix)
            chain->chain_expires_unix = expires;
    }
    enum status status = chain_digest_anchor(sk_X509_value(certificates, count - 1), &chain->anchor);
    for (int i = 0; i < links && status == STATUS_OK; i++)
        status =
            read_link(sk_X509_value(certificates, i), sk_X509_value(certificates, i + 1), &chain->links[i]);
    ERR_clear_error();
    return status;
}

enum status client_chain_extend(struct client_chain *chain, const X509 *authority, const X509 *issuer)
{
    if (chain->count == CLIENT_CHAIN_CERTIFICATES_MAX)
        return STATUS_TOO_LARGE;
    return read_link(authority, issuer, &chain->links[chain->count++]);
}

/* issuer NULL: not known but by name. */
static enum status read_link(const X509 *certificate, const X509 *issuer, struct chain_link *link)
{
    const X509_NAME *name =
        issuer != NULL ? X509_get_subject_name(issuer) : X509_get_issuer_name(certificate);
    enum status status = chain_digest_name(name, &link->issuer);
    return status != STATUS_OK ? status : digest_serial(certificate, link);
}

static enum status digest_serial(const X509 *certificate, struct chain_link *link)
{
    uint8_t der[SERIAL_MAX + 2], *at = der;
    const ASN1_INTEGER *serial = X509_get0_serialNumber(certificate);
    int len = i2d_ASN1_INTEGER(serial, NULL);
    if (len < 3 || (size_t)len > sizeof der)
        return STATUS_TOO_LARGE;
    i2d_ASN1_INTEGER(serial, &at);
    return chain_digest_certificate(&link->issuer, (struct bytes){der + 2, (size_t)len - 2},
                                    &link->certificate);
}

enum status chain_digest_name(const X509_NAME *name, struct chain_digest *cut)
{
    uint8_t whole[EVP_MAX_MD_SIZE];
    if (X509_NAME_digest(name, EVP_sha256(), whole, NULL) != 1)
        return STATUS_CRYPTO;
    memcpy(cut->octets, whole, sizeof cut->octets);
    return STATUS_OK;
}

enum status chain_digest_certificate(const struct chain_digest *issuer, struct bytes serial,
                                     struct chain_digest *cut)
{
    uint8_t both[CHAIN_DIGEST_OCTETS + SERIAL_MAX];
    if (serial.len > SERIAL_MAX)
        return STATUS_TOO_LARGE;
    memcpy(both, issuer->octets, CHAIN_DIGEST_OCTETS);
    memcpy(both + CHAIN_DIGEST_OCTETS, serial.at, serial.len);
    return digest((struct bytes){both, CHAIN_DIGEST_OCTETS + serial.len}, cut);
}

enum status chain_digest_anchor(const X509 *certificate, struct chain_digest *cut)
{
    uint8_t whole[SHA_256_OCTETS];
    if (X509_digest(certificate, EVP_sha256(), whole, NULL) != 1)
        return STATUS_CRYPTO;
    memcpy(cut->octets, whole, sizeof cut->octets);
    return STATUS_OK;
}

void chain_digest_sort(struct chain_digest *digests, size_t count)
{
    if (count > 0)
        qsort(digests, count, sizeof digests[0], compare_digests);
}

bool chain_digest_is_among(const struct chain_digest *digest, const struct chain_digest *sorted, size_t count)
{
    return count > 0 && bsearch(digest, sorted, count, sizeof sorted[0], compare_digests) != NULL;
}

static int compare_digests(const void *one, const void *other)
{
    return memcmp(one, other, sizeof(struct chain_digest));
}

static enum status digest(struct bytes octets, struct chain_digest *cut)
{
    uint8_t whole[SHA_256_OCTETS];
    if (EVP_Digest(octets.at, octets.len, whole, NULL, EVP_sha256(), NULL) != 1)
        return STATUS_CRYPTO;
    memcpy(cut->octets, whole, sizeof cut->octets);
    return STATUS_OK;
}

/* One that cannot be read, which OpenSSL would not have let pass, counts as long expired. */
static int64_t expiry_of(const X509 *certificate)
{
    struct tm date;
    if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &date) != 1)
        return INT64_MIN;
    return timegm(&date);
}

/* RFC 5280 section 4.1.2.5: the second named by notAfter is the last one of the certificate's validity. */
bool client_chain_has_expired(const struct client_chain *chain, bool leaf_waived, int64_t now_unix)
{
    return now_unix > chain->chain_expires_unix || (!leaf_waived && now_unix > chain->leaf_expires_unix);
}

void client_chain_encode(const struct client_chain *chain, struct buffer *octets)
{
    buffer_append_byte(octets, FORMAT);
    buffer_append_byte(octets, (uint8_t)chain->trust);
    buffer_append_byte(octets, chain->accepted_expired ? 1 : 0);
    buffer_append_byte(octets, chain->count);
    append_number(octets, chain->leaf_expires_unix);
    append_number(octets, chain->chain_expires_unix);
    buffer_append(octets, (struct bytes){chain->anchor.octets, CHAIN_DIGEST_OCTETS});
    for (size_t i = 0; i < chain->count; i++) {
        buffer_append(octets, (struct bytes){chain->links[i].issuer.octets, CHAIN_DIGEST_OCTETS});
        buffer_append(octets, (struct bytes){chain->links[i].certificate.octets, CHAIN_DIGEST_OCTETS});
    }
}

static void append_number(struct buffer *octets, int64_t number)
{
    for (int shift = 56; shift >= 0; shift -= 8)
        buffer_append_byte(octets, (uint8_t)((uint64_t)number >> shift));
}

enum status client_chain_decode(struct bytes octets, struct client_chain *chain)
{
    if (octets.len < HEAD_OCTETS || octets.at[0] != FORMAT || octets.at[1] > TRUST_DOMAIN ||
        octets.at[2] > 1 || octets.at[3] < 1 || octets.at[3] > CLIENT_CHAIN_CERTIFICATES_MAX ||
        octets.len != HEAD_OCTETS + (size_t)octets.at[3] * LINK_OCTETS)
        return STATUS_MALFORMED;
    const uint8_t *at = octets.at + 4;
    *chain = (struct client_chain){
        .trust = (enum trust_store)octets.at[1],
        .accepted_expired = octets.at[2] != 0,
        .count = octets.at[3],
    };
    chain->leaf_expires_unix = take_number(&at);
    chain->chain_expires_unix = take_number(&at);
    take_digest(&at, &chain->anchor);
    for (size_t i = 0; i < chain->count; i++) {
        take_digest(&at, &chain->links[i].issuer);
        take_digest(&at, &chain->links[i].certificate);
    }
    return STATUS_OK;
}

static int64_t take_number(const uint8_t **at)
{
    uint64_t number = 0;
    for (int i = 0; i < 8; i++)
        number = number << 8 | *(*at)++;
    return (int64_t)number;
}

static void take_digest(const uint8_t **at, struct chain_digest *digest)
{
    memcpy(digest->octets, *at, CHAIN_DIGEST_OCTETS);
    *at += CHAIN_DIGEST_OCTETS;
}
