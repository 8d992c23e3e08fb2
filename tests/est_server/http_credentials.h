/* HTTP authentication of a client by one user name and password: Basic (RFC 7617) and Digest with MD5 (RFC
 * 7616). */
#ifndef EST_SERVER_HTTP_CREDENTIALS_H
#define EST_SERVER_HTTP_CREDENTIALS_H

#include "http_request.h"
#include "http_response.h"

struct http_credentials;

enum http_scheme { SCHEME_BASIC, SCHEME_DIGEST };

/* Copies both; a NULL user lets nobody in. */
struct http_credentials *http_credentials_create(const char *user, const char *password);
void http_credentials_free(struct http_credentials *credentials);

/* Whether the request's Authorization is of that scheme and right. */
bool http_credentials_are_in(const struct http_credentials *credentials, enum http_scheme scheme,
                             const struct http_request *request);

/* Adds WWW-Authenticate. */
void http_credentials_challenge(const struct http_credentials *credentials, enum http_scheme scheme,
                                struct http_response *response);

#endif
