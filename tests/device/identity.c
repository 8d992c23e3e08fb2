#include "identity.h"

#include <stdio.h>
#include <stdlib.h>

#include <openssl/err.h>
#include <openssl/pem.h>

static bool read_certificates(struct identity *identity, const char *path, struct explanation *why);
static bool read_key(struct identity *identity, const char *path, struct explanation *why);

struct identity *identity_load(const char *certificate_file, const char *key_file, struct explanation *why)
{
    struct identity *identity = calloc(1, sizeof(*identity));
    if (identity == NULL) {
        explain(why, "out of memory");
        return NULL;
    }
    if (!read_certificates(identity, certificate_file, why) || !read_key(identity, key_file, why)) {
        identity_free(identity);
        return NULL;
    }
    return identity;
}

static bool read_certificates(struct identity *identity, const char *path, struct explanation *why)
{
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return explain(why, "%s: cannot be opened", path);
    identity->certificate = PEM_read_X509(file, NULL, NULL, NULL);
    identity->chain = sk_X509_new_null();
    X509 *next;
    while (identity->chain != NULL && (next = PEM_read_X509(file, NULL, NULL, NULL)) != NULL)
        if (sk_X509_push(identity->chain, next) == 0)
            X509_free(next);
    fclose(file);
    ERR_clear_error(); /* the end of the file is reported as an error */
    if (identity->certificate == NULL)
        return explain(why, "%s: no PEM certificate in it", path);
    return true;
}

static bool read_key(struct identity *identity, const char *path, struct explanation *why)
{
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return explain(why, "%s: cannot be opened", path);
    identity->key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    fclose(file);
    if (identity->key == NULL)
        return explain_openssl(why, path);
    if (X509_check_private_key(identity->certificate, identity->key) != 1)
        return explain_openssl(why, path);
    return true;
}

struct identity *identity_create(X509 *certificate, STACK_OF(X509) * chain, EVP_PKEY *key)
{
    struct identity *identity = calloc(1, sizeof(*identity));
    if (identity == NULL)
        return NULL;
    X509_up_ref(certificate);
    EVP_PKEY_up_ref(key);
    identity->certificate = certificate;
    identity->key = key;
    identity->chain = chain == NULL ? sk_X509_new_null() : X509_chain_up_ref(chain);
    return identity;
}

void identity_free(struct identity *identity)
{
    if (identity == NULL)
        return;
    X509_free(identity->certificate);
    EVP_PKEY_free(identity->key);
    sk_X509_pop_free(identity->chain, X509_free);
    free(identity);
}
