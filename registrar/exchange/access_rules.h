/* Who may ask for what: the operator's rules, compiled once, of which the first that fits a request decides
 * (DTLS-10). No socket, loop or clock. */
#ifndef ESTUARY_REGISTRAR_EXCHANGE_ACCESS_RULES_H
#define ESTUARY_REGISTRAR_EXCHANGE_ACCESS_RULES_H

#include "common/bytes.h"
#include "registrar/protocol/client_identity.h"
#include "registrar/protocol/est_operation.h"
#include "registrar/settings.h"

#include <openssl/x509v3.h>

/* Immutable and reference counted: whoever works by them holds them until that work is done. */
struct access_rules;
struct access_rule;

/* Compiles access.rules and reads access.file; keeps nothing of settings. Gives the first reference. NULL:
 * errors has a line for each thing wrong. */
struct access_rules *access_rules_load(const struct access_settings *settings, struct buffer *errors,
                                       struct buffer *warnings);

/* Thread safe. */
struct access_rules *access_rules_hold(struct access_rules *rules);
void access_rules_release(struct access_rules *rules); /* NULL is allowed */

/* Borrowed for the call. */
struct access_request {
    const struct client_identity *client;
    const struct est_operation *operation;
    struct bytes label; /* empty: none */
};

/* Borrows from the rules. */
struct access_decision {
    enum access_action action;      /* ACCESS_ALLOW, ACCESS_DENY or ACCESS_ASK */
    const char *by;                 /* what decided: a rule's name, "access.rules[3]", "access.file" … */
    enum csr_identity csr_identity; /* RE-8 */
    const struct access_rule *rule; /* that decided; NULL: none did */
};

/* In this order:
 * - a label that no rule names by a fitting match.label is denied (URI-4);
 * - the first rule all of whose conditions hold decides; a condition that is not given holds. /crts and /att,
 *   which everybody gets alike, are judged only by rules with match.operation;
 * - what is left of /crts and /att is allowed;
 * - access.file decides, if it has a serialNumber of the client's subject; denying wins over asking, and that
 *   over allowing;
 * - what is left with a label is denied;
 * - access.default decides.
 * STATUS_NO_MEMORY: there is no decision. */
enum status access_rules_decide(const struct access_rules *rules, const struct access_request *request,
                                struct access_decision *decision);

/* Whether a CSR may have this subjectAltName although the client certificate has it not (RE-8). A dNSName
 * with a wildcard is never allowed: it would stand for other hosts. rule may be NULL. */
bool access_rule_allows_san(const struct access_rule *rule, const GENERAL_NAME *name);

#endif
