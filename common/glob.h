/* Patterns with wildcards, as operators write them into rules. */
#ifndef ESTUARY_COMMON_GLOB_H
#define ESTUARY_COMMON_GLOB_H

#include "common/bytes.h"

/* Whether pattern fits the whole of text: "*" stands for any number of octets, none included, "?" for exactly
 * one, everything else for itself. Takes at most as many steps as both lengths multiplied, whatever they
 * hold. */
bool glob_matches(struct bytes pattern, struct bytes text);

#endif
