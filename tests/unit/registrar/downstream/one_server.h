/* One server of the test PKI for all tests of a file: its credentials are loaded once, by the set-up of their
 * group. */
#ifndef ESTUARY_TESTS_UNIT_REGISTRAR_DOWNSTREAM_ONE_SERVER_H
#define ESTUARY_TESTS_UNIT_REGISTRAR_DOWNSTREAM_ONE_SERVER_H

#include "dtls_peers.h"

static struct test_world world;
static struct dtls_credentials *credentials;

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

/* One with a manufacturer's certificate, by way of an intermediate CA. */
static inline struct test_client_wish a_device(void)
{
    return (struct test_client_wish){.certificate = &world.device, .intermediate = &world.manufacturer_sub};
}

#endif
