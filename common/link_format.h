/* CoRE Link Format (RFC 6690): writes links and filters them by resource type. */
#ifndef ESTUARY_COMMON_LINK_FORMAT_H
#define ESTUARY_COMMON_LINK_FORMAT_H

#include "common/bytes.h"

#include <stdbool.h>

struct link {
    const char *target;        /* absolute URI or absolute path */
    const char *resource_type; /* blank-separated rt values; NULL: no rt */
    const char *content_type;  /* blank-separated numbers for ct; NULL: no ct */
};

/* Appends one link, with a comma before it when out is not empty. Never a line feed. */
void link_format_append(struct buffer *out, const struct link *link);

/* Whether a Uri-Query option ("rt=ace.est*", already percent-decoded by CoAP) selects the link: an exact
 * value or a prefix with "*", each blank-separated value matched separately (RFC 6690 section 4.1). href=…
 * selects by target in the same way; a parameter that the link does not have selects nothing, an empty query
 * everything. */
bool link_format_matches(const struct link *link, struct bytes query);

/* One parameter of a link, for attributes that struct link has no member for. */
struct link_parameter {
    const char *target, *name, *value; /* value: blank-separated where there are several */
};

/* The same question about a link that has this parameter alone. */
bool link_parameter_matches(const struct link_parameter *parameter, struct bytes query);

#endif
