/* What a person, or a program (JSON), is told about an operation. */
#ifndef DEVICE_REPORT_H
#define DEVICE_REPORT_H

#include <stdio.h>

#include "operation.h"

/* Several lines: what was sent, what came back, what it holds and whether it is good. */
void report_text(FILE *out, const struct operation_result *result);

/* One JSON object on one line. */
void report_json(FILE *out, const struct operation_result *result);

/* One link-format document, one link a line (RFC 6690). */
void report_links(FILE *out, struct view document);

#endif
