/* What the server saw and did, counted for the assertions of tests. */
#ifndef EST_SERVER_STATISTICS_H
#define EST_SERVER_STATISTICS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

struct statistics;

/* Remembers the last log_entries requests; borrows log, to which each is written as one line. */
struct statistics *statistics_create(unsigned log_entries, FILE *log);
void statistics_free(struct statistics *statistics);
/* Forgets everything but the connections that are open. */
void statistics_reset(struct statistics *statistics);

void statistics_connection_opened(struct statistics *statistics);
void statistics_handshake_done(struct statistics *statistics);
/* The first EST request on a connection. */
void statistics_connection_used(struct statistics *statistics);
void statistics_connection_closed(struct statistics *statistics, bool established, bool used);

/* Takes the description of a request; "label", "operation" and "outcome" in it are what it is counted by. */
void statistics_add_request(struct statistics *statistics, json_t *request);
/* Takes the description of a certificate. */
void statistics_add_issued(struct statistics *statistics, json_t *certificate);

/* How many requests with that label there were. */
unsigned statistics_uses(const struct statistics *statistics, const char *label);

/* Gives everything, or only what concerns label where that is not NULL. */
json_t *statistics_report(const struct statistics *statistics, const char *label);

/* Gives a JSON string of text that came from the network: what is not printable ASCII is written \xNN; NULL
 * gives null. */
json_t *statistics_text(const char *text);

#endif
