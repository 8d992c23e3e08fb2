#include "trust.h"

#include <stdio.h>
#include <stdlib.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

struct trust {
    unsigned references;
    X509_STORE *store;
    STACK_OF(X509) * helpers; /* the bag's certificates that are no anchors */
    int anchors;
};

static struct trust *trust_create(void);
static bool add_anchor(struct trust *trust, X509 *certificate);
static int count_self_signed(STACK_OF(X509) * bag);
static bool is_self_signed(X509 *certificate);
static bool sort_into(struct trust *trust, X509 *certificate, bool anchor);
static STACK_OF(X509) * joined(STACK_OF(X509) * one, STACK_OF(X509) * other);

struct trust *trust_from_file(const char *path, struct explanation *why)
{
    struct trust *trust = trust_create();
    FILE *file = fopen(path, "r");
    X509 *certificate;
    while (trust != NULL && file != NULL && (certificate = PEM_read_X509(file, NULL, NULL, NULL)) != NULL) {
        add_anchor(trust, certificate);
        X509_free(certificate);
    }
    ERR_clear_error(); /* the end of the file is reported as an error */
    if (file != NULL)
        fclose(file);
    if (trust != NULL && trust->anchors > 0)
        return trust;
    explain(why, file == NULL ? "%s: cannot be opened" : "%s: no PEM certificate in it", path);
    trust_free(trust);
    return NULL;
}

static struct trust *trust_create(void)
{
    struct trust *trust = calloc(1, sizeof(*trust));
    if (trust == NULL)
        return NULL;
    trust->references = 1;
    trust->store = X509_STORE_new();
    trust->helpers = sk_X509_new_null();
    if (trust->store == NULL || trust->helpers == NULL) {
        trust_free(trust);
        return NULL;
    }
    X509_STORE_set_flags(trust->store, X509_V_FLAG_PARTIAL_CHAIN); /* an anchor need not be self-signed */
    return trust;
}

static bool add_anchor(struct trust *trust, X509 *certificate)
{
    if (X509_STORE_add_cert(trust->store, certificate) != 1)
        return false;
    trust->anchors++;
    return true;
}

struct trust *trust_from_bag(STACK_OF(X509) * bag, struct explanation *why)
{
    struct trust *trust = trust_create();
    bool all = count_self_signed(bag) == 0;
    bool good = trust != NULL && sk_X509_num(bag) > 0;
    for (int i = 0; good && i < sk_X509_num(bag); i++) {
        X509 *certificate = sk_X509_value(bag, i);
        good = sort_into(trust, certificate, all || is_self_signed(certificate));
    }
    if (good)
        return trust;
    explain_openssl(why, "no trust anchors could be made of these certificates");
    trust_free(trust);
    return NULL;
}

static int count_self_signed(STACK_OF(X509) * bag)
{
    int count = 0;
    for (int i = 0; i < sk_X509_num(bag); i++)
        count += is_self_signed(sk_X509_value(bag, i)) ? 1 : 0;
    return count;
}

static bool is_self_signed(X509 *certificate)
{
    return X509_self_signed(certificate, 1) == 1;
}

static bool sort_into(struct trust *trust, X509 *certificate, bool anchor)
{
    if (anchor)
        return add_anchor(trust, certificate);
    return X509_add_cert(trust->helpers, certificate, X509_ADD_FLAG_UP_REF) == 1;
}

void trust_free(struct trust *trust)
{
    if (trust == NULL || --trust->references > 0)
        return;
    X509_STORE_free(trust->store);
    sk_X509_pop_free(trust->helpers, X509_free);
    free(trust);
}

struct trust *trust_share(struct trust *trust)
{
    if (trust != NULL)
        trust->references++;
    return trust;
}

int trust_count(const struct trust *trust)
{
    return trust->anchors;
}

X509_STORE *trust_store(struct trust *trust)
{
    return trust->store;
}

bool trust_verifies(struct trust *trust, X509 *certificate, STACK_OF(X509) * helpers, int purpose,
                    struct explanation *why)
{
    bool good = false;
    STACK_OF(X509) *untrusted = joined(trust->helpers, helpers);
    X509_STORE_CTX *check = X509_STORE_CTX_new();
    if (untrusted == NULL || check == NULL ||
        X509_STORE_CTX_init(check, trust->store, certificate, untrusted) != 1) {
        explain_openssl(why, "the check could not be made");
        goto out;
    }
    if (purpose != X509_PURPOSE_ANY)
        X509_STORE_CTX_set_purpose(check, purpose);
    good = X509_verify_cert(check) == 1;
    if (!good)
        explain(why, "%s (depth %d)", X509_verify_cert_error_string(X509_STORE_CTX_get_error(check)),
                X509_STORE_CTX_get_error_depth(check));
out:
    X509_STORE_CTX_free(check);
    sk_X509_free(untrusted);
    ERR_clear_error();
    return good;
}

/* A shallow list; the certificates stay where they are. */
static STACK_OF(X509) * joined(STACK_OF(X509) * one, STACK_OF(X509) * other)
{
    STACK_OF(X509) *all = sk_X509_dup(one);
    for (int i = 0; all != NULL && i < sk_X509_num(other); i++)
        sk_X509_push(all, sk_X509_value(other, i));
    return all;
}
