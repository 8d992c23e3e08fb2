/* Rows DTLS-9, RE-6 and SES-3: what a client that was let in is worth later. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "registrar/protocol/client_standing.h"

#include "tests/unit/registrar/test_crl.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define NOW INT64_C(1000)

static const struct chain_digest anchors[2] = {{{1}}, {{2}}};

static struct standing_rules ordinary(void)
{
    return (struct standing_rules){.anchors = {{&anchors[0], 1}, {&anchors[1], 1}}};
}

static struct client_chain chain_of(enum trust_store trust, int64_t leaf_unix, int64_t others_unix)
{
    return (struct client_chain){.trust = trust,
                                 .count = 1,
                                 .leaf_expires_unix = leaf_unix,
                                 .chain_expires_unix = others_unix,
                                 .anchor = anchors[trust]};
}

static void assert_standing(const struct standing_rules *rules, struct client_chain chain,
                            enum client_standing expected)
{
    assert_string_equal(client_standing_text(client_standing_judge(rules, &chain, NOW)),
                        client_standing_text(expected));
}

static void expiry_ends_it(void **state)
{
    (void)state;
    struct standing_rules rules = ordinary();
    for (int trust = TRUST_MANUFACTURER; trust <= TRUST_DOMAIN; trust++) {
        assert_standing(&rules, chain_of(trust, NOW, NOW), STANDING_GOOD);
        assert_standing(&rules, chain_of(trust, NOW - 1, NOW), STANDING_EXPIRED);
        assert_standing(&rules, chain_of(trust, NOW, NOW - 1), STANDING_EXPIRED);
    }
}

/* DTLS-9 */
static void an_expired_idevid_may_be_accepted(void **state)
{
    (void)state;
    struct standing_rules rules = ordinary();
    rules.accept_expired[TRUST_MANUFACTURER] = true;
    assert_standing(&rules, chain_of(TRUST_MANUFACTURER, NOW - 1, NOW), STANDING_GOOD);
    assert_standing(&rules, chain_of(TRUST_MANUFACTURER, NOW, NOW - 1), STANDING_EXPIRED);
    assert_standing(&rules, chain_of(TRUST_DOMAIN, NOW - 1, NOW), STANDING_EXPIRED);
}

/* RE-6 */
static void an_expired_ldevid_may_renew(void **state)
{
    (void)state;
    struct standing_rules rules = ordinary();
    rules.accept_expired[TRUST_DOMAIN] = true;
    assert_standing(&rules, chain_of(TRUST_DOMAIN, NOW, NOW), STANDING_GOOD);
    assert_standing(&rules, chain_of(TRUST_DOMAIN, NOW - 1, NOW), STANDING_RENEWAL);
    assert_standing(&rules, chain_of(TRUST_DOMAIN, NOW, NOW - 1), STANDING_EXPIRED);
    assert_standing(&rules, chain_of(TRUST_MANUFACTURER, NOW - 1, NOW), STANDING_EXPIRED);
}

/* SES-3 */
static void another_trust_store_ends_it(void **state)
{
    (void)state;
    struct standing_rules rules = ordinary();
    rules.anchors[TRUST_DOMAIN] = (struct standing_anchors){NULL, 0};
    assert_standing(&rules, chain_of(TRUST_MANUFACTURER, NOW, NOW), STANDING_GOOD);
    assert_standing(&rules, chain_of(TRUST_DOMAIN, NOW, NOW), STANDING_UNTRUSTED);
    rules.anchors[TRUST_DOMAIN] = (struct standing_anchors){anchors, 2}; /* one more */
    assert_standing(&rules, chain_of(TRUST_DOMAIN, NOW, NOW), STANDING_GOOD);
    rules.anchors[TRUST_DOMAIN] = (struct standing_anchors){anchors, 1}; /* another one */
    assert_standing(&rules, chain_of(TRUST_DOMAIN, NOW, NOW), STANDING_UNTRUSTED);
    assert_standing(&rules, chain_of(TRUST_DOMAIN, NOW - 1, NOW), STANDING_EXPIRED);
}

static void revocation_ends_it(void **state)
{
    (void)state;
    static const long serials[] = {1, 0};
    struct test_certificate ca =
        test_certificate(&(struct test_certificate_wish){.common_name = "CA", .ca = true});
    char trust[] = "/tmp/estuary-standing-XXXXXX", crl[] = "/tmp/estuary-standing-XXXXXX";
    close(mkstemp(trust));
    close(mkstemp(crl));
    test_write_certificates(trust, &ca.certificate, 1);
    test_write_crls(crl,
                    &(struct test_crl_wish){
                        .issuer = &ca, .serials = serials, .from_s = -(long)time(NULL), .to_s = 1000000000},
                    1);
    struct dtls_settings settings = {.crls = {{crl}, 1}, .domain_trust = {{trust}, 1}};
    struct buffer lines;
    buffer_init(&lines, 4000);
    static const struct {
        enum crl_policy policy;
        uint8_t serial;
        int64_t leaf_unix;
        bool of_ca;
        enum client_standing standing;
    } rows[] = {
        {CRL_POLICY_LISTED, 2, NOW, true, STANDING_GOOD},
        {CRL_POLICY_LISTED, 1, NOW, true, STANDING_REVOKED},
        {CRL_POLICY_LISTED, 1, NOW - 1, true, STANDING_REVOKED}, /* never when revoked, whatever else */
        {CRL_POLICY_LISTED, 2, NOW - 1, true, STANDING_RENEWAL},
        {CRL_POLICY_LISTED, 2, NOW, false, STANDING_GOOD},
        {CRL_POLICY_SOFT, 1, NOW, true, STANDING_REVOKED},
        {CRL_POLICY_SOFT, 2, NOW, false, STANDING_UNCHECKED},
        {CRL_POLICY_SOFT, 2, NOW - 1, false, STANDING_RENEWAL},
        {CRL_POLICY_REQUIRE, 2, NOW, true, STANDING_GOOD},
        {CRL_POLICY_REQUIRE, 2, NOW, false, STANDING_UNKNOWN},
        {CRL_POLICY_REQUIRE, 2, NOW - 1, false, STANDING_UNKNOWN},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        settings.crl_policy = rows[i].policy;
        struct revocation_lists *lists = revocation_lists_load(&settings, &lines, &lines);
        assert_string_equal(buffer_string(&lines), "");
        struct standing_rules rules = ordinary();
        rules.accept_expired[TRUST_DOMAIN] = true;
        rules.revocations = lists;
        struct client_chain chain = chain_of(TRUST_DOMAIN, rows[i].leaf_unix, NOW);
        if (rows[i].of_ca)
            chain_digest_name(X509_get_subject_name(ca.certificate), &chain.links[0].issuer);
        chain_digest_certificate(&chain.links[0].issuer, (struct bytes){&rows[i].serial, 1},
                                 &chain.links[0].certificate);
        assert_standing(&rules, chain, rows[i].standing);
        revocation_lists_release(lists);
    }
    buffer_free(&lines);
    unlink(trust);
    unlink(crl);
    test_certificate_free(&ca);
}

/* They go to devices as diagnostics (RFC 7252 section 5.5.2), and each says something else. */
static void every_standing_has_a_text(void **state)
{
    (void)state;
    for (int i = STANDING_GOOD; i <= STANDING_REVOKED; i++) {
        assert_in_range(strlen(client_standing_text(i)), 1, 128);
        for (int j = STANDING_GOOD; j < i; j++)
            assert_string_not_equal(client_standing_text(i), client_standing_text(j));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expiry_ends_it),
        cmocka_unit_test(an_expired_idevid_may_be_accepted),
        cmocka_unit_test(an_expired_ldevid_may_renew),
        cmocka_unit_test(another_trust_store_ends_it),
        cmocka_unit_test(revocation_ends_it),
        cmocka_unit_test(every_standing_has_a_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
