/* Where an https URL leads: host and port (RFC 6454 section 4). The one place that judges URLs of EST
 * servers, those of the configuration (RA-3) and those of redirects (RA-9). Pure. */
#ifndef ESTUARY_REGISTRAR_PROTOCOL_HTTPS_ORIGIN_H
#define ESTUARY_REGISTRAR_PROTOCOL_HTTPS_ORIGIN_H

#include "common/bytes.h"

#define HTTPS_HOST_MAX       256 /* with its NUL */
#define HTTPS_URL_OCTETS_MAX 4096

struct https_origin {
    char host[HTTPS_HOST_MAX]; /* lower case; an IPv6 address in brackets */
    uint16_t port;
};

/* Reads "https://host[:port]" and nothing else. NULL: it is one; else what is wrong: "is not …; use …". */
const char *https_origin_read(const char *text, struct https_origin *origin);

bool https_origin_equal(const struct https_origin *one, const struct https_origin *other);

/* The same for the same origin in every process, for whatever must remember it; never 0. */
uint64_t https_origin_id(const struct https_origin *origin);

/* The origin of a URL that was resolved. STATUS_MALFORMED. */
enum status https_url_origin(const char *url, struct https_origin *origin);

/* Where Location leads from base (RFC 3986 section 5): an absolute https URL without user, password and
 * fragment, in url. STATUS_MALFORMED, STATUS_TOO_LARGE, STATUS_NO_MEMORY. base is an https URL. */
enum status https_url_resolve(const char *base, struct bytes location, struct buffer *url,
                              struct https_origin *origin);

#endif
