#include "registrar/protocol/https_origin.h"

#include <curl/curl.h>

#include <stdlib.h>
#include <string.h>

static bool read_origin(CURLU *parsed, struct https_origin *origin);
static bool has_part(CURLU *parsed, CURLUPart part);
static enum status resolve(CURLU *parsed, const char *base, const char *location);
static enum status print(CURLU *parsed, struct buffer *url);

const char *https_origin_read(const char *text, struct https_origin *origin)
{
    static const char scheme[] = "https://";
    static const char cure[] = "is not an https URL; use https://host[:port]";
    if (strncmp(text, scheme, strlen(scheme)) != 0)
        return cure;
    const char *host = text + strlen(scheme);
    if (strpbrk(host, "/?#@\\ \t") != NULL)
        return "has more than host and port; use https://host[:port]";
    if (*host == '\0' || host[strlen(host) - 1] == ':' || (*host != '[' && strchr(host, '%') != NULL))
        return cure;

    return https_url_origin(text, origin) == STATUS_OK ? NULL : cure;
}

static bool read_origin(CURLU *parsed, struct https_origin *origin)
{
    char *host = NULL, *port = NULL;
    bool good = curl_url_get(parsed, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
                curl_url_get(parsed, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
                strlen(host) < sizeof origin->host;
    unsigned long number = good ? strtoul(port, NULL, 10) : 0;
    good = number > 0 && number <= UINT16_MAX;
    if (good) {
        *origin = (struct https_origin){.port = (uint16_t)number};
        for (size_t i = 0; host[i] != '\0'; i++)
            origin->host[i] = (char)(host[i] >= 'A' && host[i] <= 'Z' ? host[i] - 'A' + 'a' : host[i]);
    }
    curl_free(host);
    curl_free(port);
    return good;
}

bool https_origin_equal(const struct https_origin *one, const struct https_origin *other)
{
    return one->port == other->port && strcmp(one->host, other->host) == 0;
}

/* FNV-1a. Whoever writes the configuration may choose the input: a collision harms only himself. */
uint64_t https_origin_id(const struct https_origin *origin)
{
    uint64_t id = UINT64_C(0xcbf29ce484222325);
    const uint8_t port[] = {(uint8_t)(origin->port >> 8), (uint8_t)origin->port};
    for (const char *at = origin->host; *at != '\0'; at++)
        id = (id ^ (uint8_t)*at) * UINT64_C(0x100000001b3);
    for (size_t i = 0; i < sizeof port; i++)
        id = (id ^ port[i]) * UINT64_C(0x100000001b3);
    return id != 0 ? id : 1;
}

enum status https_url_origin(const char *url, struct https_origin *origin)
{
    CURLU *parsed = curl_url();
    bool good = parsed != NULL && curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK &&
                read_origin(parsed, origin);
    curl_url_cleanup(parsed);
    return good ? STATUS_OK : STATUS_MALFORMED;
}

enum status https_url_resolve(const char *base, struct bytes location, struct buffer *url,
                              struct https_origin *origin)
{
    char text[HTTPS_URL_OCTETS_MAX];
    if (location.len >= sizeof text)
        return STATUS_TOO_LARGE;
    if (location.len == 0 || memchr(location.at, '\0', location.len) != NULL)
        return STATUS_MALFORMED;
    memcpy(text, location.at, location.len);
    text[location.len] = '\0';

    CURLU *parsed = curl_url();
    if (parsed == NULL)
        return STATUS_NO_MEMORY;
    enum status status = resolve(parsed, base, text);
    if (status == STATUS_OK)
        status = print(parsed, url);
    curl_url_cleanup(parsed);
    /* Of what is going to be asked for: libcurl takes percent signs out of a host only when it prints it. */
    return status == STATUS_OK ? https_url_origin(buffer_string(url), origin) : status;
}

static enum status resolve(CURLU *parsed, const char *base, const char *location)
{
    char *scheme = NULL;
    bool good = curl_url_set(parsed, CURLUPART_URL, base, 0) == CURLUE_OK &&
                curl_url_set(parsed, CURLUPART_URL, location, 0) == CURLUE_OK &&
                curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
                strcmp(scheme, "https") == 0 && !has_part(parsed, CURLUPART_USER) &&
                !has_part(parsed, CURLUPART_PASSWORD) &&
                curl_url_set(parsed, CURLUPART_FRAGMENT, NULL, 0) == CURLUE_OK;
    curl_free(scheme);
    return good ? STATUS_OK : STATUS_MALFORMED;
}

static bool has_part(CURLU *parsed, CURLUPart part)
{
    char *text = NULL;
    bool has = curl_url_get(parsed, part, &text, 0) == CURLUE_OK;
    curl_free(text);
    return has;
}

static enum status print(CURLU *parsed, struct buffer *url)
{
    char *whole = NULL;
    if (curl_url_get(parsed, CURLUPART_URL, &whole, 0) != CURLUE_OK)
        return STATUS_NO_MEMORY;
    buffer_reset(url);
    buffer_append_string(url, whole);
    curl_free(whole);
    return url->status;
}
