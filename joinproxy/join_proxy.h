/* The join proxy as a whole: builds everything in the order of dependence and frees it in reverse. */
#ifndef ESTUARY_JOINPROXY_JOIN_PROXY_H
#define ESTUARY_JOINPROXY_JOIN_PROXY_H

#include "joinproxy/settings.h"

struct join_proxy;

/* Opens everything. Borrows settings. Gives. NULL: errors has a line for what is wrong. */
struct join_proxy *join_proxy_create(const struct settings *settings, struct buffer *errors);
void join_proxy_free(struct join_proxy *proxy);

/* Looks at what the settings name, and leaves nothing open. warnings: interfaces that are not there, ports
 * that are taken or not ours to have. STATUS_UNSUPPORTED: errors has a line for what is wrong. */
enum status join_proxy_check(const struct settings *settings, struct buffer *errors, struct buffer *warnings);

/* Serves until SIGTERM or SIGINT. */
enum status join_proxy_run(struct join_proxy *proxy);

#endif
