/* Drives a libcurl multi handle by an event loop. There is one for each connection to the EST server, so that
 * connections can be counted and closed at a chosen time, which the connection cache of a shared one does not
 * allow. */
#ifndef ESTUARY_REGISTRAR_UPSTREAM_CURL_LOOP_H
#define ESTUARY_REGISTRAR_UPSTREAM_CURL_LOOP_H

#include <curl/curl.h>
#include <stdbool.h>

struct event_base;
struct curl_loop;

/* Called on the loop when the transfer has ended, which is then still to be stopped. May free the curl_loop.
 */
typedef void curl_loop_done(void *user, CURLcode result);

/* Borrows base and user. Gives; NULL: no memory. */
struct curl_loop *curl_loop_create(struct event_base *base, curl_loop_done *done, void *user);

/* After its transfer was stopped. Closes the connection that the transfer may have left open. */
void curl_loop_free(struct curl_loop *loop);

/* Starts a transfer, one at a time; easy is borrowed until it is stopped. False: no memory, and it is not
 * started. */
bool curl_loop_start(struct curl_loop *loop, CURL *easy);
void curl_loop_stop(struct curl_loop *loop, CURL *easy);

#endif
