/* Reads links in CoRE Link Format (RFC 6690 section 2), as others wrote them. Pure. */
#ifndef ESTUARY_JOINPROXY_LINK_READER_H
#define ESTUARY_JOINPROXY_LINK_READER_H

#include "common/endpoint.h"

/* Views borrow from what is read. */
struct link_read {
    struct bytes target;
    struct bytes resource_type; /* without its quotes; empty: no rt */
};

/* Takes the next link from the front of rest. STATUS_NOT_FOUND: there is none left. STATUS_MALFORMED: what
 * comes is no link; reading ends. */
enum status link_reader_next(struct bytes *rest, struct link_read *link);

/* Whether one of the blank-separated values is the pattern, or begins with it where it ends in "*". */
bool link_reader_has_type(const struct link_read *link, const char *pattern);

/* Host and port of an absolute target "scheme://address:port[/…]": numeric, and with a port, which has no
 * default. STATUS_MISMATCH: another scheme. STATUS_MALFORMED. */
enum status link_reader_endpoint(const struct link_read *link, const char *scheme, struct endpoint *endpoint);

#endif
