/* Row SES-3: what a chain is judged by later, and its octets in a session ticket. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "registrar/protocol/client_chain.h"

#include "tests/unit/registrar/test_pki.h"

#include <time.h>

struct made_chain {
    struct test_certificate root, sub, device;
    STACK_OF(X509) * verified; /* borrows */
    int64_t made_unix;
};

static struct made_chain made;

static int create(void **state)
{
    (void)state;
    made.made_unix = (int64_t)time(NULL);
    made.root = test_certificate(&(struct test_certificate_wish){.common_name = "Root", .ca = true});
    made.sub = test_certificate(&(struct test_certificate_wish){
        .common_name = "Sub", .ca = true, .issuer = &made.root, .serial = 7, .from_s = -10, .to_s = 1000});
    made.device = test_certificate(&(struct test_certificate_wish){
        .common_name = "Device", .issuer = &made.sub, .serial = 0x8001, .from_s = -10, .to_s = 2000});
    made.verified = sk_X509_new_null();
    sk_X509_push(made.verified, made.device.certificate);
    sk_X509_push(made.verified, made.sub.certificate);
    sk_X509_push(made.verified, made.root.certificate);
    return 0;
}

static int destroy(void **state)
{
    (void)state;
    sk_X509_free(made.verified);
    test_certificate_free(&made.device);
    test_certificate_free(&made.sub);
    test_certificate_free(&made.root);
    return 0;
}

static void assert_near(int64_t unix_s, int64_t wanted)
{
    assert_in_range(unix_s, wanted, wanted + 60);
}

static void reads_a_verified_chain(void **state)
{
    (void)state;
    struct client_chain chain = {.trust = TRUST_DOMAIN};
    assert_int_equal(client_chain_read(made.verified, &chain), STATUS_OK);
    assert_int_equal(chain.trust, TRUST_DOMAIN);
    assert_int_equal(chain.count, 2);
    assert_near(chain.leaf_expires_unix, made.made_unix + 2000);
    assert_near(chain.chain_expires_unix, made.made_unix + 1000);

    struct chain_digest issuer, certificate;
    assert_int_equal(chain_digest_name(X509_get_subject_name(made.sub.certificate), &issuer), STATUS_OK);
    assert_memory_equal(&chain.links[0].issuer, &issuer, sizeof issuer);
    const uint8_t serial[] = {0x00, 0x80, 0x01}; /* as DER writes it */
    assert_int_equal(chain_digest_certificate(&issuer, ((struct bytes){serial, sizeof serial}), &certificate),
                     STATUS_OK);
    assert_memory_equal(&chain.links[0].certificate, &certificate, sizeof certificate);

    assert_int_equal(chain_digest_name(X509_get_subject_name(made.root.certificate), &issuer), STATUS_OK);
    assert_memory_equal(&chain.links[1].issuer, &issuer, sizeof issuer);
    const uint8_t seven[] = {7};
    assert_int_equal(chain_digest_certificate(&issuer, ((struct bytes){seven, sizeof seven}), &certificate),
                     STATUS_OK);
    assert_memory_equal(&chain.links[1].certificate, &certificate, sizeof certificate);
}

/* A device certificate may be an anchor itself. */
static void reads_a_chain_of_one(void **state)
{
    (void)state;
    STACK_OF(X509) *alone = sk_X509_new_null();
    sk_X509_push(alone, made.device.certificate);
    struct client_chain chain = {.trust = TRUST_DOMAIN}, whole;
    assert_int_equal(client_chain_read(alone, &chain), STATUS_OK);
    assert_int_equal(client_chain_read(made.verified, &whole), STATUS_OK);
    assert_int_equal(chain.count, 1);
    assert_memory_equal(&chain.links[0], &whole.links[0], sizeof chain.links[0]);
    assert_true(chain.chain_expires_unix == INT64_MAX);
    sk_X509_pop(alone);
    assert_int_equal(client_chain_read(alone, &chain), STATUS_MALFORMED);
    sk_X509_free(alone);
}

/* What stands above an anchor counts for revocation alone. */
static void is_extended_above_an_anchor(void **state)
{
    (void)state;
    struct client_chain chain = {.trust = TRUST_DOMAIN}, whole;
    assert_int_equal(client_chain_read(made.verified, &whole), STATUS_OK);
    X509 *root = sk_X509_pop(made.verified);
    assert_int_equal(client_chain_read(made.verified, &chain), STATUS_OK);
    sk_X509_push(made.verified, root);
    assert_int_equal(chain.count, 1);
    int64_t expires = chain.chain_expires_unix;
    assert_int_equal(client_chain_extend(&chain, made.sub.certificate, made.root.certificate), STATUS_OK);
    assert_int_equal(chain.count, 2);
    assert_memory_equal(chain.links, whole.links, 2 * sizeof chain.links[0]);
    assert_true(chain.chain_expires_unix == expires);
    while (chain.count < CLIENT_CHAIN_CERTIFICATES_MAX)
        assert_int_equal(client_chain_extend(&chain, made.sub.certificate, made.root.certificate), STATUS_OK);
    assert_int_equal(client_chain_extend(&chain, made.sub.certificate, made.root.certificate),
                     STATUS_TOO_LARGE);
}

static void bounds_the_chain(void **state)
{
    (void)state;
    STACK_OF(X509) *longest = sk_X509_new_null();
    struct client_chain chain;
    for (int i = 0; i < CLIENT_CHAIN_CERTIFICATES_MAX + 1; i++)
        sk_X509_push(longest, made.sub.certificate);
    assert_int_equal(client_chain_read(longest, &chain), STATUS_OK);
    assert_int_equal(chain.count, CLIENT_CHAIN_CERTIFICATES_MAX);
    sk_X509_push(longest, made.sub.certificate);
    assert_int_equal(client_chain_read(longest, &chain), STATUS_TOO_LARGE);
    sk_X509_free(longest);

    struct chain_digest issuer = {{0}}, digest;
    uint8_t serial[65] = {1};
    assert_int_equal(chain_digest_certificate(&issuer, (struct bytes){serial, 64}, &digest), STATUS_OK);
    assert_int_equal(chain_digest_certificate(&issuer, (struct bytes){serial, 65}, &digest),
                     STATUS_TOO_LARGE);
}

/* RFC 5280 section 4.1.2.5; DTLS-9: only the leaf's date can be waived. */
static void tells_what_has_expired(void **state)
{
    (void)state;
    const struct client_chain early_leaf = {.leaf_expires_unix = 100, .chain_expires_unix = 200};
    assert_false(client_chain_has_expired(&early_leaf, false, 100));
    assert_true(client_chain_has_expired(&early_leaf, false, 101));
    assert_false(client_chain_has_expired(&early_leaf, true, 200));
    assert_true(client_chain_has_expired(&early_leaf, true, 201));
    const struct client_chain early_ca = {.leaf_expires_unix = 200, .chain_expires_unix = 100};
    assert_true(client_chain_has_expired(&early_ca, false, 101));
    assert_true(client_chain_has_expired(&early_ca, true, 101));
}

static void knows_its_trust_anchor(void **state)
{
    (void)state;
    struct client_chain chain = {.trust = TRUST_DOMAIN};
    struct chain_digest anchors[3];
    assert_int_equal(client_chain_read(made.verified, &chain), STATUS_OK);
    X509 *certificates[] = {made.root.certificate, made.sub.certificate, made.device.certificate};
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(chain_digest_anchor(certificates[i], &anchors[i]), STATUS_OK);
    assert_memory_equal(&chain.anchor, &anchors[0], sizeof chain.anchor);
    chain_digest_sort(anchors, 3);
    assert_true(chain_digest_is_among(&chain.anchor, anchors, 3));
    for (size_t i = 0; i < 3; i++)
        if (memcmp(&anchors[i], &chain.anchor, sizeof chain.anchor) != 0)
            assert_false(chain_digest_is_among(&chain.anchor, &anchors[i], 1));
    assert_false(chain_digest_is_among(&chain.anchor, NULL, 0));
}

static struct buffer encode(const struct client_chain *chain)
{
    struct buffer octets;
    buffer_init(&octets, CLIENT_CHAIN_OCTETS_MAX);
    client_chain_encode(chain, &octets);
    assert_int_equal(octets.status, STATUS_OK);
    return octets;
}

static void survives_a_ticket(void **state)
{
    (void)state;
    struct client_chain chain = {.trust = TRUST_DOMAIN, .accepted_expired = true}, decoded;
    assert_int_equal(client_chain_read(made.verified, &chain), STATUS_OK);
    chain.leaf_expires_unix = -5;
    for (chain.count = 1; chain.count <= CLIENT_CHAIN_CERTIFICATES_MAX; chain.count++) {
        struct buffer octets = encode(&chain);
        assert_int_equal(client_chain_decode(buffer_view(&octets), &decoded), STATUS_OK);
        assert_int_equal(decoded.trust, chain.trust);
        assert_int_equal(decoded.accepted_expired, chain.accepted_expired);
        assert_int_equal(decoded.count, chain.count);
        assert_true(decoded.leaf_expires_unix == chain.leaf_expires_unix);
        assert_true(decoded.chain_expires_unix == chain.chain_expires_unix);
        assert_memory_equal(&decoded.anchor, &chain.anchor, sizeof decoded.anchor);
        assert_memory_equal(decoded.links, chain.links, chain.count * sizeof chain.links[0]);
        buffer_free(&octets);
    }
}

static void refuses_other_octets(void **state)
{
    (void)state;
    struct client_chain chain = {.trust = TRUST_MANUFACTURER}, decoded;
    assert_int_equal(client_chain_read(made.verified, &chain), STATUS_OK);
    struct buffer octets = encode(&chain);
    for (size_t len = 0; len < octets.len; len++)
        assert_int_equal(client_chain_decode((struct bytes){octets.at, len}, &decoded), STATUS_MALFORMED);
    /* format, trust store, accepted_expired, count (two links are there) */
    static const struct {
        size_t at;
        uint8_t value;
    } rows[] = {{0, 0}, {0, 2}, {1, 2}, {2, 2}, {3, 0}, {3, 1}, {3, 3}, {3, 255}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t kept = octets.at[rows[i].at];
        octets.at[rows[i].at] = rows[i].value;
        assert_int_equal(client_chain_decode(buffer_view(&octets), &decoded), STATUS_MALFORMED);
        octets.at[rows[i].at] = kept;
    }
    assert_int_equal(client_chain_decode(buffer_view(&octets), &decoded), STATUS_OK);
    buffer_free(&octets);

    struct buffer longer;
    buffer_init(&longer, 2 * CLIENT_CHAIN_OCTETS_MAX);
    client_chain_encode(&chain, &longer);
    buffer_append_byte(&longer, 0);
    assert_int_equal(client_chain_decode(buffer_view(&longer), &decoded), STATUS_MALFORMED);
    buffer_free(&longer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_verified_chain),      cmocka_unit_test(reads_a_chain_of_one),
        cmocka_unit_test(is_extended_above_an_anchor), cmocka_unit_test(bounds_the_chain),
        cmocka_unit_test(tells_what_has_expired),      cmocka_unit_test(knows_its_trust_anchor),
        cmocka_unit_test(survives_a_ticket),           cmocka_unit_test(refuses_other_octets),
    };
    return cmocka_run_group_tests(tests, create, destroy);
}
