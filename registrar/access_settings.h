/* The keys of an access rule, and what is checked of the access section as a whole. */
#ifndef ESTUARY_REGISTRAR_ACCESS_SETTINGS_H
#define ESTUARY_REGISTRAR_ACCESS_SETTINGS_H

#include "common/settings_file.h"

#define ACCESS_RULES_MAX 1000

/* Of struct access_rule_settings. */
extern const struct settings_table access_rule_table;

/* Names of enum access_action, as far as access.default takes them. */
extern const struct settings_name access_defaults[];

/* Finds rules that need what is not configured, and labels that no rule names. */
void access_settings_review(const struct settings_review *review);

#endif
