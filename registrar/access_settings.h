/* The keys of an access rule, and what is checked of the access section as a whole. */
#ifndef ESTUARY_REGISTRAR_ACCESS_SETTINGS_H
#define ESTUARY_REGISTRAR_ACCESS_SETTINGS_H

#include "common/settings_file.h"

#define ACCESS_RULES_MAX 1000

/* Of struct access_rule_settings. */
extern const struct settings_table access_rule_table;

/* Names of enum access_action and of enum webhook_failure, as far as access.default and access.webhook.fail
 * take them. */
extern const struct settings_name access_defaults[], webhook_failures[];

/* What is wrong with access.webhook.url: "is not …; use …", or NULL. */
const char *access_complaint_about_url(const json_t *value);

/* Finds rules that need what is not configured, and labels that no rule names. */
void access_settings_review(const struct settings_review *review);

#endif
