/* Answers to groups wait for a random moment, lest all that were asked answer at once (RFC 7252 section 8.2).
 */
#ifndef ESTUARY_COMMON_LEISURE_H
#define ESTUARY_COMMON_LEISURE_H

#include "common/bytes.h"
#include "common/status.h"
#include "common/udp_socket.h"

#include <stdint.h>

#define LEISURE_ANSWERS_MAX 64 /* that wait at a time */

struct event_base;
struct leisure;

/* Borrows base, which must outlive it. within_ms: the longest wait. Gives it; NULL: no memory. */
struct leisure *leisure_create(struct event_base *base, uint32_t within_ms);

/* What waits is not sent. */
void leisure_free(struct leisure *leisure);

/* Sends the octets through fd, which must outlive the leisure, as udp_socket_send would; the datagram's own
 * payload does not count. Takes what octets holds and leaves it empty, but only with STATUS_OK.
 * STATUS_NO_MEMORY: none, or LEISURE_ANSWERS_MAX answers wait. */
enum status leisure_send(struct leisure *leisure, int fd, const struct udp_datagram *datagram,
                         struct buffer *octets);

#endif
