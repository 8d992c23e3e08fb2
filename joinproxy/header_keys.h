/* The keys that headers are sealed with: the current one and the one before, renewed in time and, if wanted,
 * kept in a file (JPY-2, JPY-4). */
#ifndef ESTUARY_JOINPROXY_HEADER_KEYS_H
#define ESTUARY_JOINPROXY_HEADER_KEYS_H

#include "joinproxy/pledge_header.h"

struct header_keys;

/* Reads the file, or makes keys and the file where there is none; "" for no file. Borrows file. now_s is the
 * time of day: keys outlive the process. Gives. NULL: errors has a line that names the file and the cure. */
struct header_keys *header_keys_create(const char *file, uint32_t lifetime_s, uint64_t now_s,
                                       struct buffer *errors);

/* Whether the file could be used, without making it. STATUS_UNSUPPORTED: errors has a line. A folder that it
 * cannot be made in now gets a line in warnings: a service manager may make that. */
enum status header_keys_check(const char *file, struct buffer *errors, struct buffer *warnings);

void header_keys_free(struct header_keys *keys); /* overwrites them */

/* Makes a new key if the current one has served its time. Returns whether it did. A file
 * that cannot be written is logged; the key is then ours alone. */
bool header_keys_renew(struct header_keys *keys, uint64_t now_s);

const struct pledge_header_key *header_keys_current(const struct header_keys *keys);

/* NULL: there was none. */
const struct pledge_header_key *header_keys_previous(const struct header_keys *keys);

#endif
