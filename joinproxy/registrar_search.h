/* Looks for a registrar by multicast, again and again until there is one, and now and then afterwards
 * (JPD-6). */
#ifndef ESTUARY_JOINPROXY_REGISTRAR_SEARCH_H
#define ESTUARY_JOINPROXY_REGISTRAR_SEARCH_H

#include "joinproxy/registrar_offer.h"
#include "joinproxy/services.h"

struct registrar_search;

/* False: it cannot be used now, and is looked for again as if nothing had been found. */
typedef bool (*registrar_search_found)(void *user, const struct registrar_offer *offer);

/* Starts at once. found is told of the first registrar, and of each later one that is another; a search that
 * finds none changes nothing. Borrows services. Gives. NULL: errors has a line. */
struct registrar_search *registrar_search_create(const struct services *services,
                                                 registrar_search_found found, void *user,
                                                 struct buffer *errors);
void registrar_search_free(struct registrar_search *search);

/* To be called every few seconds: looks for a registrar anew, before the cache expires, if pledges have gone
 * without any answer for three calls. */
void registrar_search_watch(struct registrar_search *search);

#endif
