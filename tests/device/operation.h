/* The operations of EST-coaps, and how a device judges the answer to each (RFC 9148 sections 4.1, 4.3
 * and 4.5). */
#ifndef DEVICE_OPERATION_H
#define DEVICE_OPERATION_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "dtls_client.h"
#include "encryption_wish.h"
#include "exchange.h"
#include "generated_key.h"

enum operation {
    OPERATION_DISCOVER,
    OPERATION_CRTS,
    OPERATION_ATT,
    OPERATION_SEN,
    OPERATION_SREN,
    OPERATION_SKG,
    OPERATION_SKC,
    OPERATION_RECONNECT, /* close the association and make a new one */
    OPERATION_RESUME,    /* the same, by session resumption */
    OPERATION_REBOOT,    /* forget the association without a word and make a new one */
    OPERATION_COUNT
};

/* "sen" for OPERATION_SEN; and back, OPERATION_COUNT for a word that names none. */
const char *operation_name(enum operation operation);
enum operation operation_by_name(const char *name);

bool operation_enrols(enum operation operation);

/* The server makes the key (RFC 9148 section 4.8). */
bool operation_generates_key(enum operation operation);

/* crts and att: the answer may be 2.03, which says that what we have is still valid. */
bool operation_may_be_valid(enum operation operation);

/* The Content-Format to ask for, when the user asks for accept: CONTENT_FORMAT_NONE where it is none of those
 * that the operation has. */
int operation_accept(enum operation operation, int accept);

/* Only the association changes: nothing is asked. */
bool operation_only_connects(enum operation operation);

/* Fills in what the operation prescribes: method and request format. The path is root, label (or NULL) and
 * resource, written to path; for discover it is /.well-known/core (RFC 6690 section 4). */
struct path_parts {
    const char *root;
    const char *label;
};
void operation_request(enum operation operation, const struct path_parts *parts,
                       struct exchange_request *request, char path[160]);

enum verdict { NOT_CHECKED, CHECK_PASSED, CHECK_FAILED };

/* What came of one operation. */
struct operation_result {
    enum operation operation;
    bool implicit; /* nobody asked for it: the /crts before an enrolment */
    bool succeeded;
    struct explanation trouble; /* why not */
    unsigned attempts;
    int64_t elapsed_ms; /* all attempts and waiting included */

    const struct dtls_facts *dtls; /* borrowed, of the association it ended on; NULL when there was none */
    X509 *server;                  /* borrowed, its certificate */
    bool fresh_association;        /* the first result on that association */
    int64_t handshake_ms;

    const struct exchange_answer *answer; /* borrowed; NULL when none came */
    char from[128];                       /* discovery without a session: who answered */
    uint8_t method;
    char path[160];
    int request_format;
    size_t request_length;

    STACK_OF(X509) * certificates; /* owned, that came back, for crts, sen, sren, skg, skc */
    X509 *issued;                  /* borrowed from them: the one for our key */
    EVP_PKEY *key;                 /* borrowed, its private key; NULL when the CSR was made elsewhere */
    EVP_PKEY *generated;           /* owned; the key that the server made, which key is then */
    int key_format;                /* of generated: 284 or 280 */
    struct key_protection protection;
    enum verdict signer_verified; /* does the signer of the key chain to an anchor? */
    struct view csr;              /* borrowed */
    enum verdict verified;        /* does issued chain to the anchors? */
    struct explanation verify_trouble;
    enum verdict
        server_rechecked; /* crts: does the server chain to the new anchors? (RFC 9148 section 9.1) */
    struct explanation server_trouble;
    struct octets csrattrs; /* owned; att: the names, blank-separated */
};

/* Frees what the result owns and zeroes it. */
void operation_result_clear(struct operation_result *result);

struct operation_check { /* all borrowed */
    int accept;
    EVP_PKEY *key;        /* that the issued certificate must be for */
    struct trust *issuer; /* that the issued certificate must chain to; NULL: do not check */
    struct trust
        *trust; /* that the server chains to, or NULL; the signer of a key must chain to one of them */
    enum key_form expects;                   /* skg, skc: the form of the key */
    const struct key_decryption *decryption; /* skg, skc */
    X509 *server;
    STACK_OF(X509) * server_chain;
};

/* Judges result->answer and fills in what it holds; false, with result->trouble, when it is no success. */
bool operation_judge(struct operation_result *result, const struct operation_check *check);

#endif
