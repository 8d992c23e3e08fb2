/* What HTTP field values are made of (RFC 9110 sections 5.6 and 10.2.3). */
#ifndef ESTUARY_REGISTRAR_PROTOCOL_HTTP_FIELD_H
#define ESTUARY_REGISTRAR_PROTOCOL_HTTP_FIELD_H

#include "common/bytes.h"

/* Takes blanks and tabs off both ends. */
struct bytes http_field_trim(struct bytes text);

/* Cuts off rest what stands before the next separator outside quotes, and trims it; the separator goes too.
 * False: a quote is never closed. */
bool http_field_next(struct bytes *rest, char separator, struct bytes *part);

/* Splits "name=value" and trims both; value is empty where there is no "=". */
void http_field_split(struct bytes part, struct bytes *name, struct bytes *value);

/* delta-seconds: digits only, at least one; what is beyond UINT32_MAX comes as that. */
bool http_field_seconds(struct bytes text, uint32_t *seconds);

/* HTTP-date in its three forms (section 5.6.7), as seconds since 1970. False: it is none, and unix_time is
 * left alone. */
bool http_field_date(struct bytes text, int64_t *unix_time);

#endif
