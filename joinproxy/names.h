/* What the drafts call join proxies and registrars in discovery, in one table (JPD-1 to JPD-4). */
#ifndef ESTUARY_JOINPROXY_NAMES_H
#define ESTUARY_JOINPROXY_NAMES_H

#include "joinproxy/settings.h"

/* How a join proxy is announced to pledges. */
struct proxy_name {
    const char *attribute; /* that a query asks for, and the link carries */
    const char *value;     /* NULL: the join-port */
    const char *scheme; /* of a target with our link-local address and the join-port; NULL: an empty target */
    bool quoted, legacy;
};

size_t names_proxy_count(void);
const struct proxy_name *names_proxy(size_t index);

/* How a registrar is announced, the better ways first. */
struct registrar_name {
    const char *query;    /* value of rt that is asked for; a prefix with "*" */
    const char *scheme;   /* of the link's target */
    enum proxy_mode mode; /* by which it is reached */
};

size_t names_registrar_count(void);
const struct registrar_name *names_registrar(size_t index);

#endif
