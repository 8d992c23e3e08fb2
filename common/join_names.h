/* What the drafts call join proxies and registrars in discovery, in one table (JPD-1 to JPD-5). */
#ifndef ESTUARY_COMMON_JOIN_NAMES_H
#define ESTUARY_COMMON_JOIN_NAMES_H

#include <stdbool.h>
#include <stddef.h>

/* How a join proxy is announced to pledges. */
struct join_proxy_name {
    const char *attribute; /* that a query asks for, and the link carries */
    const char *value;     /* NULL: the join-port */
    const char *scheme; /* of a target with our link-local address and the join-port; NULL: an empty target */
    bool quoted, legacy;
};

/* The current one stands first. */
size_t join_names_proxy_count(void);
const struct join_proxy_name *join_names_proxy(size_t index);

/* How a registrar is announced to join proxies. */
struct join_registrar_name {
    const char *type;   /* value of rt that is asked for; a prefix with "*" */
    const char *scheme; /* of the link's target */
    bool jpy;           /* a JPY port, for stateless join proxies */
};

/* The better ways first. */
size_t join_names_registrar_count(void);
const struct join_registrar_name *join_names_registrar(size_t index);

#endif
