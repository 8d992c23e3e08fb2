#include "http_credentials.h"

#include "base64_text.h"
#include "memory.h"

#include <event2/buffer.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define REALM "estrealm"

enum { PARAMETER_LIMIT = 256 };

struct http_credentials {
    char *user;
    char *password;
    char nonce[33]; /* one for the life of the server: this is no defence, only a peer for tests */
};

struct hex_digest {
    char hex[33];
};

static bool basic_is_right(const struct http_credentials *credentials, const char *given);
static bool digest_is_right(const struct http_credentials *credentials, const char *given,
                            const char *method);
static bool parameter(const char *list, const char *name, char value[PARAMETER_LIMIT]);
static struct hex_digest md5_of(const char *format, ...) __attribute__((format(printf, 1, 2)));
static bool same(const char *one, const char *other);

struct http_credentials *http_credentials_create(const char *user, const char *password)
{
    struct http_credentials *credentials = memory_allocate(sizeof(*credentials));
    unsigned char random[16] = {0};
    RAND_bytes(random, sizeof(random));
    for (size_t i = 0; i < sizeof(random); i++)
        snprintf(credentials->nonce + 2 * i, 3, "%02x", random[i]);
    if (user != NULL) {
        credentials->user = memory_copy(user);
        credentials->password = memory_copy(password);
    }
    return credentials;
}

void http_credentials_free(struct http_credentials *credentials)
{
    if (credentials == NULL)
        return;
    free(credentials->user);
    free(credentials->password);
    free(credentials);
}

bool http_credentials_are_in(const struct http_credentials *credentials, enum http_scheme scheme,
                             const struct http_request *request)
{
    const char *given = http_request_field(request, "Authorization");
    const char *name = scheme == SCHEME_BASIC ? "Basic " : "Digest ";
    if (credentials->user == NULL || given == NULL || strncasecmp(given, name, strlen(name)) != 0)
        return false;
    given += strlen(name);
    if (scheme == SCHEME_BASIC)
        return basic_is_right(credentials, given);
    return digest_is_right(credentials, given, http_request_method(request));
}

void http_credentials_challenge(const struct http_credentials *credentials, enum http_scheme scheme,
                                struct http_response *response)
{
    if (scheme == SCHEME_BASIC)
        http_response_add(response, "WWW-Authenticate", "Basic realm=\"" REALM "\"");
    else
        http_response_add(response, "WWW-Authenticate",
                          "Digest qop=\"auth\", realm=\"" REALM "\", nonce=\"%s\", algorithm=MD5",
                          credentials->nonce);
}

static bool basic_is_right(const struct http_credentials *credentials, const char *given)
{
    struct evbuffer *decoded = evbuffer_new(), *expected = evbuffer_new();
    bool right = base64_text_read((struct octets){(const uint8_t *)given, strlen(given)}, decoded);
    evbuffer_add_printf(expected, "%s:%s", credentials->user, credentials->password);
    struct octets one = octets_of(decoded), other = octets_of(expected);
    right = right && one.len == other.len && CRYPTO_memcmp(one.at, other.at, one.len) == 0;
    evbuffer_free(decoded);
    evbuffer_free(expected);
    return right;
}

/* RFC 7616 section 3.4.1, with qop=auth. */
static bool digest_is_right(const struct http_credentials *credentials, const char *given, const char *method)
{
    char user[PARAMETER_LIMIT], nonce[PARAMETER_LIMIT], uri[PARAMETER_LIMIT], count[PARAMETER_LIMIT];
    char cnonce[PARAMETER_LIMIT], response[PARAMETER_LIMIT];
    if (!parameter(given, "username", user) || !parameter(given, "nonce", nonce) ||
        !parameter(given, "uri", uri) || !parameter(given, "nc", count) ||
        !parameter(given, "cnonce", cnonce) || !parameter(given, "response", response))
        return false;
    struct hex_digest who = md5_of("%s:%s:%s", credentials->user, REALM, credentials->password);
    struct hex_digest what = md5_of("%s:%s", method, uri);
    struct hex_digest right =
        md5_of("%s:%s:%s:%s:auth:%s", who.hex, credentials->nonce, count, cnonce, what.hex);
    return same(user, credentials->user) && same(nonce, credentials->nonce) && same(response, right.hex);
}

/* The value of name in a list such as: username="x", nc=00000001. */
static bool parameter(const char *list, const char *name, char value[PARAMETER_LIMIT])
{
    size_t len = strlen(name);
    for (const char *at = list; *at != '\0'; at += *at == ',') {
        at += strspn(at, " \t");
        bool found = strncasecmp(at, name, len) == 0 && at[len] == '=';
        at += strcspn(at, "=,");
        at += *at == '=';
        bool quoted = *at == '"';
        at += quoted;
        size_t size = strcspn(at, quoted ? "\"" : ", ");
        if (found && size < PARAMETER_LIMIT) {
            memcpy(value, at, size);
            value[size] = '\0';
            return true;
        }
        at += size;
        at += strcspn(at, ",");
    }
    return false;
}

static struct hex_digest md5_of(const char *format, ...)
{
    struct hex_digest result = {""};
    unsigned char digest[EVP_MAX_MD_SIZE] = {0};
    struct evbuffer *text = evbuffer_new();
    va_list arguments;
    va_start(arguments, format);
    evbuffer_add_vprintf(text, format, arguments);
    va_end(arguments);
    struct octets octets = octets_of(text);
    EVP_Digest(octets.at, octets.len, digest, NULL, EVP_md5(), NULL);
    evbuffer_free(text);
    for (size_t i = 0; i < 16; i++)
        snprintf(result.hex + 2 * i, 3, "%02x", digest[i]);
    return result;
}

static bool same(const char *one, const char *other)
{
    return strlen(one) == strlen(other) && CRYPTO_memcmp(one, other, strlen(one)) == 0;
}
