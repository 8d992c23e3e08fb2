/* Finds what belongs to a flow. */
#ifndef ESTUARY_REGISTRAR_DOWNSTREAM_FLOW_MAP_H
#define ESTUARY_REGISTRAR_DOWNSTREAM_FLOW_MAP_H

#include "registrar/downstream/flow.h"

/* Embedded in what is to be found. */
struct flow_node {
    struct flow flow;
    struct flow_node *next;
    size_t bucket;
};

struct flow_map;

/* For about capacity nodes: more make it slower, nothing else. Takes the same time to find one whatever the
 * flows are: peers choose them, but the hash is keyed. Gives; NULL: no memory or no randomness. */
struct flow_map *flow_map_create(size_t capacity);
void flow_map_free(struct flow_map *map); /* nodes are their owners' */

/* NULL: none. Borrows. */
struct flow_node *flow_map_find(struct flow_map *map, const struct flow *flow);

/* Borrows node, whose flow is set and is in the map not yet, until it is removed. */
void flow_map_insert(struct flow_map *map, struct flow_node *node);
void flow_map_remove(struct flow_map *map, struct flow_node *node);

#endif
