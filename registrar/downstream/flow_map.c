#include "registrar/downstream/flow_map.h"

#include "common/siphash.h"

#include <openssl/rand.h>

#include <stdlib.h>

struct flow_map {
    struct siphash_key key;
    struct buffer octets; /* of the flow that is being hashed; never grows */
    size_t mask;          /* count of buckets, a power of two, less one */
    struct flow_node *buckets[];
};

static size_t bucket_of(struct flow_map *map, const struct flow *flow);

struct flow_map *flow_map_create(size_t capacity)
{
    size_t count = 1;
    while (count < capacity)
        count *= 2;
    struct flow_map *map = calloc(1, sizeof *map + count * sizeof map->buckets[0]);
    if (map == NULL)
        return NULL;
    map->mask = count - 1;
    buffer_init(&map->octets, FLOW_OCTETS_MAX);
    if (buffer_extend(&map->octets, FLOW_OCTETS_MAX) == NULL ||
        RAND_bytes(map->key.octets, sizeof map->key.octets) != 1) {
        flow_map_free(map);
        return NULL;
    }
    return map;
}

void flow_map_free(struct flow_map *map)
{
    if (map == NULL)
        return;
    buffer_free(&map->octets);
    free(map);
}

struct flow_node *flow_map_find(struct flow_map *map, const struct flow *flow)
{
    struct flow_node *node = map->buckets[bucket_of(map, flow)];
    while (node != NULL && !flow_equal(&node->flow, flow))
        node = node->next;
    return node;
}

void flow_map_insert(struct flow_map *map, struct flow_node *node)
{
    node->bucket = bucket_of(map, &node->flow);
    node->next = map->buckets[node->bucket];
    map->buckets[node->bucket] = node;
}

void flow_map_remove(struct flow_map *map, struct flow_node *node)
{
    struct flow_node **link = &map->buckets[node->bucket];
    while (*link != NULL && *link != node)
        link = &(*link)->next;
    if (*link == node)
        *link = node->next;
}

static size_t bucket_of(struct flow_map *map, const struct flow *flow)
{
    buffer_reset(&map->octets);
    flow_serialise(flow, &map->octets);
    return (size_t)siphash(&map->key, buffer_view(&map->octets)) & map->mask;
}
