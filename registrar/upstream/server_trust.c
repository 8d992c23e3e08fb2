#include "registrar/upstream/server_trust.h"

#include "registrar/protocol/chain_check.h"
#include "registrar/protocol/pem_file.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct server_trust {
    X509_STORE *explicit_store, *implicit_store; /* NULL: there are no such anchors */
    STACK_OF(X509) * anchors, *implicit_anchors;
};

static bool load_explicit(struct server_trust *trust, const struct upstream_settings *settings,
                          struct buffer *errors, struct buffer *warnings);
static void warn_of_left_over(const STACK_OF(X509) * anchors, int learnt, struct buffer *warnings);
static bool load_learnt(struct server_trust *trust, const char *file, struct buffer *errors,
                        struct buffer *warnings);
static bool load_implicit(struct server_trust *trust, const struct upstream_settings *settings,
                          struct buffer *errors);
static STACK_OF(X509) *
    read_anchors(const struct pem_file *file, struct buffer *errors, struct buffer *warnings);
static bool move_anchors(STACK_OF(X509) * from, STACK_OF(X509) * to);
static X509_STORE *create_store(const STACK_OF(X509) * anchors);
static int validate(X509_STORE *store, X509_STORE_CTX *presented);
static bool is_named(X509 *certificate, const char *host);
static bool has_all(const STACK_OF(X509) * anchors, const STACK_OF(X509) * wanted);

struct server_trust *server_trust_load(const struct upstream_settings *settings, struct buffer *errors,
                                       struct buffer *warnings)
{
    struct server_trust *trust = calloc(1, sizeof *trust);
    if (trust == NULL)
        return NULL;
    trust->anchors = sk_X509_new_null();
    trust->implicit_anchors = sk_X509_new_null();
    bool explicit_good = trust->anchors != NULL && load_explicit(trust, settings, errors, warnings);
    bool implicit_good = load_implicit(trust, settings, errors);
    if (explicit_good && implicit_good && trust->explicit_store == NULL && trust->implicit_store == NULL) {
        buffer_append_string(errors, "upstream.trust: names no file: name the PEM file of the CA that issued "
                                     "the EST server's certificate\n");
        explicit_good = false;
    }
    ERR_clear_error();
    if (explicit_good && implicit_good)
        return trust;
    server_trust_free(trust);
    return NULL;
}

static bool load_explicit(struct server_trust *trust, const struct upstream_settings *settings,
                          struct buffer *errors, struct buffer *warnings)
{
    bool good = load_learnt(trust, settings->learnt_trust, errors, warnings);
    const int learnt = sk_X509_num(trust->anchors);
    for (size_t i = 0; i < settings->trust.count; i++) {
        char path[48];
        snprintf(path, sizeof path, "upstream.trust[%zu]", i);
        good =
            move_anchors(read_anchors(&(struct pem_file){path, settings->trust.items[i]}, errors, warnings),
                         trust->anchors) &&
            good;
    }
    if (!good || sk_X509_num(trust->anchors) == 0)
        return good;
    if (settings->trust.count > 0)
        warn_of_left_over(trust->anchors, learnt, warnings);
    trust->explicit_store = create_store(trust->anchors);
    return trust->explicit_store != NULL;
}

/* A root that was learnt has the name of the one that vouched for it (RFC 4210 section 4.4). Where that is
 * gone from upstream.trust, it may have been for distrust, or because it had ended. */
static void warn_of_left_over(const STACK_OF(X509) * anchors, int learnt, struct buffer *warnings)
{
    for (int i = 0; i < learnt; i++) {
        char subject[256];
        X509_NAME *name = X509_get_subject_name(sk_X509_value(anchors, i));
        int at = learnt;
        while (at < sk_X509_num(anchors) &&
               X509_NAME_cmp(name, X509_get_subject_name(sk_X509_value(anchors, at))) != 0)
            at++;
        X509_NAME_oneline(name, subject, sizeof subject);
        if (at == sk_X509_num(anchors))
            buffer_printf(warnings,
                          "upstream.learnt_trust: \"%s\" stays trusted, though no CA of that name is in "
                          "upstream.trust any more: move it there, or out of the file\n",
                          subject);
    }
}

/* It comes into being when something is learnt. One that is there and cannot be reached is a mistake. */
static bool load_learnt(struct server_trust *trust, const char *file, struct buffer *errors,
                        struct buffer *warnings)
{
    if (file == NULL || file[0] == '\0' || (access(file, F_OK) != 0 && errno == ENOENT))
        return true;
    return move_anchors(read_anchors(&(struct pem_file){"upstream.learnt_trust", file}, errors, warnings),
                        trust->anchors);
}

/* Of a store of the whole web always something is about to expire. */
static bool load_implicit(struct server_trust *trust, const struct upstream_settings *settings,
                          struct buffer *errors)
{
    STACK_OF(X509) *anchors = trust->implicit_anchors;
    bool good = anchors != NULL;
    for (size_t i = 0; i < settings->implicit_trust.count && anchors != NULL; i++) {
        char path[48];
        snprintf(path, sizeof path, "upstream.implicit_trust[%zu]", i);
        const struct pem_file file = {path, settings->implicit_trust.items[i]};
        good = move_anchors(read_anchors(&file, errors, NULL), anchors) && good;
    }
    if (good && sk_X509_num(anchors) > 0)
        good = (trust->implicit_store = create_store(anchors)) != NULL;
    return good;
}

/* Gives. Warnings may be NULL. */
static STACK_OF(X509) *
    read_anchors(const struct pem_file *file, struct buffer *errors, struct buffer *warnings)
{
    STACK_OF(X509) *anchors = pem_file_certificates(file, errors);
    for (int i = 0; i < sk_X509_num(anchors) && warnings != NULL; i++) {
        char subject[256];
        X509_NAME_oneline(X509_get_subject_name(sk_X509_value(anchors, i)), subject, sizeof subject);
        pem_file_warn_of_validity(&(struct pem_file){"upstream.trust", subject}, sk_X509_value(anchors, i),
                                  warnings);
    }
    return anchors;
}

/* Takes from. */
static bool move_anchors(STACK_OF(X509) * from, STACK_OF(X509) * to)
{
    bool good = from != NULL;
    for (X509 *anchor; good && (anchor = sk_X509_shift(from)) != NULL;) {
        if (!(good = sk_X509_push(to, anchor) > 0))
            X509_free(anchor);
    }
    sk_X509_pop_free(from, X509_free);
    return good;
}

/* Any certificate of the files is an anchor, roots or not (RFC 5280 section 6.1.1). */
static X509_STORE *create_store(const STACK_OF(X509) * anchors)
{
    X509_STORE *store = X509_STORE_new();
    if (store == NULL)
        return NULL;
    X509_VERIFY_PARAM *parameters = X509_STORE_get0_param(store);
    X509_VERIFY_PARAM_set_auth_level(parameters, SERVER_TRUST_LEVEL);
    X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_TRUSTED_FIRST);
    X509_VERIFY_PARAM_set_purpose(parameters, X509_PURPOSE_SSL_SERVER);
    for (int i = 0; i < sk_X509_num(anchors); i++) {
        if (X509_STORE_add_cert(store, sk_X509_value(anchors, i)) != 1) {
            X509_STORE_free(store);
            return NULL;
        }
    }
    return store;
}

void server_trust_free(struct server_trust *trust)
{
    if (trust == NULL)
        return;
    X509_STORE_free(trust->explicit_store);
    X509_STORE_free(trust->implicit_store);
    sk_X509_pop_free(trust->anchors, X509_free);
    sk_X509_pop_free(trust->implicit_anchors, X509_free);
    free(trust);
}

/* RFC 7030 sections 3.6.1 and 3.6.2. The common name never counts, as RFC 9525 section 2 says: the CA that
 * vouches for the EST server also gives devices certificates, in whose subjects RE-8 lets them call
 * themselves what they like, the EST server's host included. */
bool server_trust_judge(const struct server_trust *trust, X509_STORE_CTX *presented, const char *host,
                        const char **why)
{
    X509 *certificate = X509_STORE_CTX_get0_cert(presented);
    bool named = is_named(certificate, host);
    int error = validate(trust->explicit_store, presented);
    *why = NULL;
    if (error == X509_V_OK && !named && !pem_certificate_names_purpose(certificate, NID_cmcRA)) {
        error = X509_V_ERR_HOSTNAME_MISMATCH;
        *why = "the EST server's certificate has neither a subjectAltName with its host name nor id-kp-cmcRA";
    }
    if (error != X509_V_OK && trust->implicit_store != NULL) {
        int found = validate(trust->implicit_store, presented);
        if (found == X509_V_OK && !named) {
            found = X509_V_ERR_HOSTNAME_MISMATCH;
            *why =
                "the EST server's certificate has no subjectAltName with its host name, which implicit trust "
                "demands";
        }
        error = found == X509_V_OK || chain_error_says_nothing(error) ? found : error;
    }
    X509_STORE_CTX_set_error(presented, error);
    if (error == X509_V_OK)
        return true;
    if (*why == NULL)
        *why = X509_verify_cert_error_string(error);
    return false;
}

/* X509_V_OK, or what is wrong. Store may be NULL. */
static int validate(X509_STORE *store, X509_STORE_CTX *presented)
{
    if (store == NULL)
        return X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY;
    X509_STORE_CTX *context = chain_check_create(store, presented);
    int error = context == NULL ? X509_V_ERR_OUT_OF_MEM : chain_check(context);
    X509_STORE_CTX_free(context);
    return error;
}

/* RFC 6125 section 6.4: an IP address matches as such only, a name not by a part of a label. */
static bool is_named(X509 *certificate, const char *host)
{
    ASN1_OCTET_STRING *address = a2i_IPADDRESS(host);
    if (address == NULL)
        return X509_check_host(certificate, host, 0,
                               X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS,
                               NULL) == 1;
    ASN1_OCTET_STRING_free(address);
    return X509_check_ip_asc(certificate, host, 0) == 1;
}

bool server_trust_covers(const struct server_trust *trust, const struct server_trust *other)
{
    return has_all(trust->anchors, other->anchors) &&
           has_all(trust->implicit_anchors, other->implicit_anchors);
}

static bool has_all(const STACK_OF(X509) * anchors, const STACK_OF(X509) * wanted)
{
    for (int i = 0; i < sk_X509_num(wanted); i++) {
        int at = 0;
        while (at < sk_X509_num(anchors) &&
               X509_cmp(sk_X509_value(anchors, at), sk_X509_value(wanted, i)) != 0)
            at++;
        if (at == sk_X509_num(anchors))
            return false;
    }
    return true;
}

const STACK_OF(X509) * server_trust_anchors(const struct server_trust *trust)
{
    return trust->anchors;
}
