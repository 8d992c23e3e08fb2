/* What all that is sent to pledges must pass (JP-10). */
#ifndef ESTUARY_JOINPROXY_PLEDGE_ANSWER_H
#define ESTUARY_JOINPROXY_PLEDGE_ANSWER_H

#include "joinproxy/services.h"

/* Whether this datagram may go to a pledge on the link, through fd: by the interface's limit, which it counts
 * towards then, and because it does not wait for a pledge that nobody knows. Counts it if not. */
bool pledge_answer_admit(const struct services *services, size_t link, int fd,
                         const struct udp_datagram *answer);

#endif
