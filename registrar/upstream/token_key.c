#define OPENSSL_SUPPRESS_DEPRECATED /* engines are, but what Debian 12 has for tokens is one */
#include "registrar/upstream/token_key.h"

#include <openssl/engine.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ui.h>

#include <string.h>

static ENGINE *open_engine(const struct token_key_source *source);
static EVP_PKEY *load_key(ENGINE *engine, const struct token_key_source *source);
static int give_pin(char *pin, int size, int writing, void *user);
static void say(const struct token_key_source *source, struct buffer *errors, const char *what);

bool token_key_is_uri(const char *name)
{
    return strncmp(name, "pkcs11:", strlen("pkcs11:")) == 0;
}

EVP_PKEY *token_key_load(const struct token_key_source *source, struct buffer *errors)
{
    EVP_PKEY *key = NULL;
    ENGINE *engine = open_engine(source); /* is never finished */
    if (engine == NULL)
        say(source, errors,
            "needs OpenSSL's engine pkcs11 and the token's library: install libengine-pkcs11-openssl, and "
            "check upstream.pkcs11_module");
    else if ((key = load_key(engine, source)) == NULL)
        say(source, errors,
            "is not to be had from the token: check the URI, and the PIN in upstream.passphrase_file");
    ERR_clear_error();
    return key;
}

static ENGINE *open_engine(const struct token_key_source *source)
{
    ENGINE *engine = ENGINE_by_id("pkcs11");
    if (engine == NULL)
        return NULL;
    bool ready =
        source->module[0] == '\0' || ENGINE_ctrl_cmd_string(engine, "MODULE_PATH", source->module, 0) == 1;
    ready = ready && ENGINE_init(engine) == 1;
    ENGINE_free(engine); /* ENGINE_init has taken a reference of its own */
    return ready ? engine : NULL;
}

/* The engine would ask at the terminal for a PIN that it is not given. */
static EVP_PKEY *load_key(ENGINE *engine, const struct token_key_source *source)
{
    UI_METHOD *method = UI_UTIL_wrap_read_pem_callback(give_pin, 0);
    EVP_PKEY *key = NULL;
    if (method != NULL)
        key = ENGINE_load_private_key(engine, source->uri, method, (void *)(uintptr_t)&source->pin);
    UI_destroy_method(method);
    return key;
}

static int give_pin(char *pin, int size, int writing, void *user)
{
    const struct bytes *given = user;
    (void)writing;
    if (given == NULL || given->len == 0 || size < 0 || given->len >= (size_t)size)
        return -1;
    memcpy(pin, given->at, given->len);
    pin[given->len] = '\0';
    return (int)given->len;
}

static void say(const struct token_key_source *source, struct buffer *errors, const char *what)
{
    buffer_printf(errors, "%s: \"%s\" %s\n", source->setting, source->uri, what);
}
