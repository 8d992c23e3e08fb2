/* The interfaces with pledges: which datagrams come from a pledge, and how one is reached (JP-9). */
#ifndef ESTUARY_JOINPROXY_PLEDGE_LINKS_H
#define ESTUARY_JOINPROXY_PLEDGE_LINKS_H

#include "common/udp_socket.h"
#include "joinproxy/settings.h"

struct pledge_links;

/* Borrows settings. Interfaces need not exist yet. Gives; NULL: no memory. */
struct pledge_links *pledge_links_create(const struct pledge_settings *settings);
void pledge_links_free(struct pledge_links *links);

/* Looks again which interfaces there are, for they come and go. */
void pledge_links_refresh(struct pledge_links *links);

/* Changes whenever an interface appears, disappears or is made anew: groups are to be joined again then. */
unsigned pledge_links_generation(const struct pledge_links *links);

/* A link is a number below the count, that of its name in the settings. */
size_t pledge_links_count(const struct pledge_links *links);
const char *pledge_links_name(const struct pledge_links *links, size_t link);
unsigned pledge_links_interface(const struct pledge_links *links, size_t link); /* 0: not there now */

/* Whether the datagram comes from a pledge: on one of the interfaces, and, unless any source will do, from a
 * link-local address. */
bool pledge_links_admit(const struct pledge_links *links, const struct udp_datagram *datagram, size_t *link);

/* A check number of an address of ours, to find it again among those of its link. */
uint16_t pledge_links_check(const struct endpoint *local);

/* The link-local address of ours on the link that has this check number; false: none has. */
bool pledge_links_local(const struct pledge_links *links, size_t link, uint16_t check,
                        struct endpoint *local);

#endif
