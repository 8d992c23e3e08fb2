/* Owns the pending table for the whole process: brings back what was known before a restart, and drops what
 * has expired. */
#ifndef ESTUARY_REGISTRAR_EXCHANGE_PENDING_KEEPER_H
#define ESTUARY_REGISTRAR_EXCHANGE_PENDING_KEEPER_H

#include "common/bytes.h"
#include "registrar/settings.h"

struct event_base;
struct metrics;
struct pending_enrolments;
struct pending_journal;
struct pending_keeper;

/* Opens the journal if there is a state_directory. On failure NULL, and errors says what, where and how to
 * cure it. Borrows all; base runs its timers. */
struct pending_keeper *pending_keeper_create(const struct settings *settings, struct event_base *base,
                                             struct metrics *metrics, struct buffer *errors);

/* Once nobody uses the table any more. What is queued for the journal is written first. */
void pending_keeper_free(struct pending_keeper *keeper);

/* Borrow. */
struct pending_enrolments *pending_keeper_table(const struct pending_keeper *keeper);
struct pending_journal *pending_keeper_journal(const struct pending_keeper *keeper); /* NULL: none */

#endif
