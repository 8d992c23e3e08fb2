/* What tests of a worker's associations start from: devices and CAs, the registrar's credentials, and
 * settings. */
#ifndef ESTUARY_TESTS_UNIT_REGISTRAR_DOWNSTREAM_TABLE_WORLD_H
#define ESTUARY_TESTS_UNIT_REGISTRAR_DOWNSTREAM_TABLE_WORLD_H

#include "dtls_peers.h"

static struct test_world world;
static struct dtls_credentials *credentials;

/* Set-up and tear-down of a group of tests. */
static inline int create_world(void **state)
{
    (void)state;
    world_create(&world);
    struct dtls_settings settings = world_settings(&world);
    credentials = load_credentials(&settings);
    return 0;
}

static inline int destroy_world(void **state)
{
    (void)state;
    dtls_credentials_release(credentials);
    world_free(&world);
    return 0;
}

static inline struct coap_settings world_coap_settings(void)
{
    return (struct coap_settings){.ack_timeout_ms = 2000,
                                  .ack_random_factor = 1.5,
                                  .max_retransmit = 4,
                                  .block_size = 512,
                                  .separate_after_ms = 1000,
                                  .answer_within_ms = 20000,
                                  .max_request_bytes = 16384,
                                  .max_buffered_bytes = 1 << 20};
}

#endif
