/* What the registrar that runs is configured to do, in a file of its state directory: --check-config tells by
 * it what a reload would change, and what needs a restart. */
#ifndef ESTUARY_REGISTRAR_RUNNING_CONFIG_H
#define ESTUARY_REGISTRAR_RUNNING_CONFIG_H

#include "common/bytes.h"
#include "registrar/settings.h"

#define RUNNING_CONFIG_FILE "running.json"

struct running_config;

/* Borrows the name of the folder. Gives; NULL: no memory. */
struct running_config *running_config_create(const char *folder);

/* Removes the file. NULL is ignored. */
void running_config_free(struct running_config *config);

/* Replaces the file, and keeps it locked: a file without a lock is left from a registrar that crashed.
 * STATUS_SYSTEM with errno. */
enum status running_config_write(struct running_config *config, const struct settings *settings);

/* Appends lines for people: what a reload would do, were these settings those of the file that the running
 * registrar reads. */
void running_config_compare(const char *file, const struct settings *wanted, struct buffer *text);

#endif
