/* Rows DTLS-2 to DTLS-5, DTLS-8 and DTLS-11 to DTLS-13: who is let in, by which means, and what the operator
 * hears. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "one_server.h"

#include "tests/unit/registrar/test_crl.h"

/* Connects, and asserts that the handshake succeeds with this suite (NULL: any) and store. */
static void assert_accepted(const struct test_client_wish *wish, const char *suite, enum trust_store trust)
{
    struct test_client client;
    struct test_server server;
    connect_peers(&client, wish, &server, credentials);
    assert_true(client.finished);
    assert_int_equal(server_state(&server), DTLS_ESTABLISHED);
    if (suite != NULL)
        assert_string_equal(SSL_CIPHER_standard_name(SSL_get_current_cipher(client.ssl)), suite);
    struct client_identity *identity = dtls_association_client(server.association);
    assert_int_equal(client_identity_trust(identity), trust);
    const struct client_chain *chain = client_identity_chain(identity);
    assert_int_equal(chain->count, wish->intermediate != NULL ? 2 : 1);
    assert_int_equal(dtls_credentials_standing(credentials, NULL, chain, (int64_t)time(NULL)), STANDING_GOOD);
    assert_true(chain->leaf_expires_unix > (int64_t)time(NULL));
    assert_int_equal(X509_cmp(client_identity_certificate(identity), wish->certificate->certificate), 0);
    free_peers(&client, &server);
}

/* Connects, and asserts that the server refuses with this alert and logs this reason. */
static void assert_refused_by(struct dtls_credentials *by, const struct test_client_wish *wish, int alert,
                              const char *reason)
{
    struct test_client client;
    struct test_server server;
    struct buffer text;
    buffer_init(&text, 200);
    connect_peers(&client, wish, &server, by);
    assert_false(client.finished);
    assert_int_equal(client_alert(&client), alert);
    assert_int_equal(server_state(&server), DTLS_CLOSED);
    assert_int_equal(server.established, 0);
    assert_int_equal(server.records, 0);
    assert_null(dtls_association_client(server.association));
    assert_true(dtls_association_failed(server.association, &text));
    assert_string_equal(buffer_string(&text), reason);
    buffer_free(&text);
    free_peers(&client, &server);
}

static void assert_refused(const struct test_client_wish *wish, int alert, const char *reason)
{
    assert_refused_by(credentials, wish, alert, reason);
}

/* DTLS-3: RFC 9148 section 3 wants CCM_8; it is preferred whatever the order of the client. */
static void negotiates_ccm_8_first(void **state)
{
    (void)state;
    struct test_client_wish wish = a_device();
    assert_accepted(&wish, "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8", TRUST_MANUFACTURER);
    wish.ciphers = "ECDHE-ECDSA-AES128-CCM8";
    assert_accepted(&wish, "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8", TRUST_MANUFACTURER);
    wish.ciphers = "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-CCM8";
    assert_accepted(&wish, "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8", TRUST_MANUFACTURER);
}

static void negotiates_the_other_aead_suites(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"ECDHE-ECDSA-AES128-CCM", "TLS_ECDHE_ECDSA_WITH_AES_128_CCM"},
        {"ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"},
        {"ECDHE-ECDSA-AES256-CCM", "TLS_ECDHE_ECDSA_WITH_AES_256_CCM"},
        {"ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct test_client_wish wish = a_device();
        wish.ciphers = rows[i][0];
        assert_accepted(&wish, rows[i][1], TRUST_MANUFACTURER);
    }
}

/* DTLS-2, DTLS-5: no anonymous, NULL, CBC, RSA or static suites, and not the 8 octet tag with 256 bits, which
 * nobody asks for. */
static void refuses_other_suites(void **state)
{
    (void)state;
    static const char *const rows[] = {"ECDHE-ECDSA-AES128-SHA256",
                                       "ECDHE-ECDSA-AES128-SHA",
                                       "ECDHE-ECDSA-NULL-SHA",
                                       "AECDH-AES128-SHA",
                                       "ADH-AES128-GCM-SHA256",
                                       "ECDHE-RSA-AES128-GCM-SHA256",
                                       "AES128-CCM8",
                                       "ECDHE-ECDSA-AES256-CCM8",
                                       "ECDHE-ECDSA-CHACHA20-POLY1305"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct test_client_wish wish = a_device();
        wish.ciphers = rows[i];
        assert_refused(&wish, SSL_AD_HANDSHAKE_FAILURE, "no shared cipher");
    }
}

/* DTLS-4 */
static void negotiates_groups(void **state)
{
    (void)state;
    static const char *const rows[] = {"P-256", "P-384", "X25519"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct test_client_wish wish = a_device();
        /* A client's groups also say which certificates it takes, and ours is on P-256. */
        char groups[32];
        snprintf(groups, sizeof groups, i == 0 ? "%s" : "%s:P-256", rows[i]);
        wish.groups = groups;
        assert_accepted(&wish, NULL, TRUST_MANUFACTURER);
    }
    struct test_client_wish wish = a_device();
    wish.groups = "P-521";
    assert_refused(&wish, SSL_AD_HANDSHAKE_FAILURE, "no shared cipher");
}

/* DTLS-5 */
static void refuses_dtls_1_0(void **state)
{
    (void)state;
    struct test_client_wish wish = a_device();
    wish.version = DTLS1_VERSION;
    assert_refused(&wish, SSL_AD_PROTOCOL_VERSION, "unsupported protocol");
}

/* DTLS-2 */
static void refuses_who_has_no_certificate(void **state)
{
    (void)state;
    struct test_client_wish wish = {.certificate = NULL};
    assert_refused(&wish, SSL_AD_HANDSHAKE_FAILURE, "peer did not return a certificate");
    wish.psk = true;
    wish.ciphers = "PSK-AES128-CCM8:ECDHE-PSK-AES128-CBC-SHA";
    assert_refused(&wish, SSL_AD_HANDSHAKE_FAILURE, "no shared cipher");
}

static void refuses_untrusted_issuers(void **state)
{
    (void)state;
    struct test_certificate stranger =
        test_certificate(&(struct test_certificate_wish){.common_name = "x", .issuer = &world.other_ca});
    struct test_certificate alone = test_certificate(&(struct test_certificate_wish){.common_name = "x"});
    struct test_client_wish wish = {.certificate = &stranger};
    assert_refused(&wish, SSL_AD_UNKNOWN_CA,
                   "certificate verify failed: unable to get local issuer certificate");
    wish.certificate = &alone;
    assert_refused(&wish, SSL_AD_UNKNOWN_CA, "certificate verify failed: self-signed certificate");
    wish.certificate = &world.device; /* and its intermediate is missing */
    assert_refused(&wish, SSL_AD_UNKNOWN_CA,
                   "certificate verify failed: unable to get local issuer certificate");
    test_certificate_free(&stranger);
    test_certificate_free(&alone);
}

/* An issuer's name is no proof. */
static void refuses_a_forged_issuer(void **state)
{
    (void)state;
    struct test_certificate fake_ca =
        test_certificate(&(struct test_certificate_wish){.common_name = "EST CA", .ca = true});
    struct test_certificate forged =
        test_certificate(&(struct test_certificate_wish){.common_name = "x", .issuer = &fake_ca});
    struct test_client_wish wish = {.certificate = &forged};
    assert_refused(&wish, SSL_AD_UNKNOWN_CA,
                   "certificate verify failed: unable to get local issuer certificate");
    wish.intermediate = &fake_ca;
    assert_refused(&wish, SSL_AD_UNKNOWN_CA,
                   "certificate verify failed: self-signed certificate in certificate chain");
    test_certificate_free(&fake_ca);
    test_certificate_free(&forged);
}

static void refuses_certificates_out_of_their_time(void **state)
{
    (void)state;
    struct test_certificate expired = test_certificate(&(struct test_certificate_wish){
        .common_name = "x", .issuer = &world.domain_ca, .from_s = -7200, .to_s = -3600});
    struct test_certificate early = test_certificate(&(struct test_certificate_wish){
        .common_name = "x", .issuer = &world.domain_ca, .from_s = 3600, .to_s = 7200});
    struct test_client_wish wish = {.certificate = &expired};
    assert_refused(&wish, SSL_AD_CERTIFICATE_EXPIRED, "certificate verify failed: certificate has expired");
    test_certificate_free(&expired); /* and of a manufacturer, of whom the domain's store knows nothing */
    expired = test_certificate(&(struct test_certificate_wish){
        .common_name = "x", .issuer = &world.manufacturer_root, .from_s = -7200, .to_s = -3600});
    assert_refused(&wish, SSL_AD_CERTIFICATE_EXPIRED, "certificate verify failed: certificate has expired");
    wish.certificate = &early;
    assert_refused(&wish, SSL_AD_BAD_CERTIFICATE, "certificate verify failed: certificate is not yet valid");
    test_certificate_free(&expired);
    test_certificate_free(&early);
}

/* Device certificates mostly have no extended key usage; where there is one, it has to allow a client. */
static void extended_key_usage_may_be_absent(void **state)
{
    (void)state;
    struct test_certificate server_only = test_certificate(&(struct test_certificate_wish){
        .common_name = "x", .issuer = &world.domain_ca, .extended_key_usage = "serverAuth"});
    struct test_certificate client_auth = test_certificate(&(struct test_certificate_wish){
        .common_name = "x", .issuer = &world.domain_ca, .extended_key_usage = "clientAuth"});
    struct test_client_wish wish = {.certificate = &client_auth};
    assert_accepted(&wish, NULL, TRUST_DOMAIN);
    wish.certificate = &server_only;
    assert_refused(&wish, SSL_AD_UNSUPPORTED_CERTIFICATE,
                   "certificate verify failed: unsuitable certificate purpose");
    test_certificate_free(&server_only);
    test_certificate_free(&client_auth);
}

/* The exemption of CCM_8 does not reach certificates: those signed with SHA-1 stay refused. */
static void refuses_sha_1(void **state)
{
    (void)state;
    struct test_certificate weak = test_certificate(
        &(struct test_certificate_wish){.common_name = "x", .issuer = &world.domain_ca, .digest = "SHA1"});
    struct test_certificate weak_ca = test_certificate(&(struct test_certificate_wish){
        .common_name = "weak", .ca = true, .issuer = &world.domain_ca, .digest = "SHA1"});
    struct test_certificate below =
        test_certificate(&(struct test_certificate_wish){.common_name = "x", .issuer = &weak_ca});
    struct test_client_wish wish = {.certificate = &weak, .ciphers = "ECDHE-ECDSA-AES128-CCM8"};
    assert_refused(&wish, SSL_AD_BAD_CERTIFICATE,
                   "certificate verify failed: CA signature digest algorithm too weak");
    wish.certificate = &below;
    wish.intermediate = &weak_ca;
    assert_refused(&wish, SSL_AD_BAD_CERTIFICATE,
                   "certificate verify failed: CA signature digest algorithm too weak");
    test_certificate_free(&weak);
    test_certificate_free(&weak_ca);
    test_certificate_free(&below);
}

/* OpenSSL 3.2 and later give CCM_8 64 bits, which level 2 forbids: asked in their place. */
static void exempts_ccm_8_alone(void **state)
{
    (void)state;
    struct dtls_client_proof proof = {.validated = false};
    SSL *ssl = dtls_credentials_open(credentials, &proof);
    assert_int_equal(SSL_get_security_level(ssl), 2);
    int (*callback)(const SSL *, const SSL_CTX *, int, int, int, void *, void *) =
        SSL_get_security_callback(ssl);
    static const int operations[] = {SSL_SECOP_CIPHER_SUPPORTED, SSL_SECOP_CIPHER_SHARED,
                                     SSL_SECOP_CIPHER_CHECK};
    const unsigned char ccm_8[] = {0xc0, 0xae}, ccm[] = {0xc0, 0xac};
    SSL_CIPHER *cipher = NULL;
    for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++) {
        void *ex = SSL_get0_security_ex_data(ssl);
        memcpy(&cipher, &(const SSL_CIPHER *){SSL_CIPHER_find(ssl, ccm_8)}, sizeof cipher);
        assert_int_equal(callback(ssl, NULL, operations[i], 64, 0, cipher, ex), 1);
        memcpy(&cipher, &(const SSL_CIPHER *){SSL_CIPHER_find(ssl, ccm)}, sizeof cipher);
        assert_int_equal(callback(ssl, NULL, operations[i], 64, 0, cipher, ex), 0);
        assert_int_equal(callback(ssl, NULL, operations[i], 128, 0, cipher, ex), 1);
    }
    dtls_credentials_close(ssl);
}

/* Connects a client to whom both apply, and asserts its alert and the reason; 0: it is accepted. */
static void assert_judged(const struct dtls_settings *settings, const struct test_client_wish *wish,
                          int alert, const char *reason)
{
    struct dtls_credentials *by = load_credentials(settings);
    struct revocation_lists *lists = load_revocation_lists(settings);
    struct test_client client;
    struct test_server server;
    struct buffer text;
    buffer_init(&text, 200);
    client_create(&client, wish);
    server_create(&server, by, 1024);
    server.context.revocations = lists;
    run(&client, &server, NULL);
    assert_int_equal(server_state(&server), alert == 0 ? DTLS_ESTABLISHED : DTLS_CLOSED);
    if (alert != 0) {
        assert_int_equal(client_alert(&client), alert);
        assert_true(dtls_association_failed(server.association, &text));
        assert_string_equal(buffer_string(&text), reason);
    }
    buffer_free(&text);
    free_peers(&client, &server);
    revocation_lists_release(lists);
    dtls_credentials_release(by);
}

#define REVOKED "certificate verify failed: certificate revoked"
#define EXPIRED "certificate verify failed: certificate has expired"
#define NO_CRL  "certificate verify failed: unable to get certificate CRL"

/* DTLS-9 */
static void refuses_revoked_certificates(void **state)
{
    (void)state;
    static const long one[] = {1, 0}, two[] = {2, 0};
    char file[128];
    snprintf(file, sizeof file, "%s/crl.pem", world.folder);
    struct dtls_settings settings = world_settings(&world);
    settings.crls = (struct settings_strings){{file}, 1};
    settings.crl_policy = CRL_POLICY_LISTED;
    struct test_client_wish device = a_device(), domain = {.certificate = &world.domain_device};

    test_write_crls(file, &(struct test_crl_wish){.issuer = &world.domain_ca, .serials = one}, 1);
    assert_judged(&settings, &domain, SSL_AD_CERTIFICATE_REVOKED, REVOKED);
    assert_judged(&settings, &device, 0, NULL);
    test_write_crls(file, &(struct test_crl_wish){.issuer = &world.domain_ca, .serials = two}, 1);
    assert_judged(&settings, &domain, 0, NULL);

    /* Its intermediate CA, which has serial number 1 too: presented, or beside its root in the trust file. */
    X509 *both[] = {world.manufacturer_root.certificate, world.manufacturer_sub.certificate};
    test_write_crls(file, &(struct test_crl_wish){.issuer = &world.manufacturer_root, .serials = one}, 1);
    test_write_certificates(world.manufacturer_file, both, 2);
    assert_judged(&settings, &device, SSL_AD_CERTIFICATE_REVOKED, REVOKED);
    test_write_certificates(world.manufacturer_file, both, 1);
    test_write_crls(file, &(struct test_crl_wish){.issuer = &world.manufacturer_root, .serials = one}, 1);
    assert_judged(&settings, &device, SSL_AD_CERTIFICATE_REVOKED, REVOKED);
    test_write_crls(file, &(struct test_crl_wish){.issuer = &world.manufacturer_root}, 1);
    assert_judged(&settings, &device, 0, NULL);
    settings.crl_policy = CRL_POLICY_REQUIRE;
    assert_judged(&settings, &device, SSL_AD_UNKNOWN_CA, NO_CRL);
    unlink(file);
}

/* DTLS-9, RE-6: only the leaf's expiry is waived. */
static void accepts_expired_certificates_by_switch(void **state)
{
    (void)state;
    static const long five[] = {5, 0};
    char file[128];
    snprintf(file, sizeof file, "%s/crl.pem", world.folder);
    struct test_certificate idevid = test_certificate(&(struct test_certificate_wish){
        .common_name = "old", .issuer = &world.manufacturer_root, .from_s = -100, .to_s = -10, .serial = 5});
    struct test_certificate ldevid = test_certificate(&(struct test_certificate_wish){
        .common_name = "old", .issuer = &world.domain_ca, .from_s = -100, .to_s = -10, .serial = 5});
    struct test_certificate old_sub =
        test_certificate(&(struct test_certificate_wish){.common_name = "old sub",
                                                         .issuer = &world.manufacturer_root,
                                                         .ca = true,
                                                         .from_s = -100,
                                                         .to_s = -10});
    struct test_certificate below =
        test_certificate(&(struct test_certificate_wish){.common_name = "x", .issuer = &old_sub});
    struct test_certificate forged = test_certificate(&(struct test_certificate_wish){
        .common_name = "old", .issuer = &world.other_ca, .from_s = -100, .to_s = -10});
    struct test_client_wish an_idevid = {.certificate = &idevid}, an_ldevid = {.certificate = &ldevid},
                            a_child = {.certificate = &below, .intermediate = &old_sub},
                            a_forger = {.certificate = &forged};
    struct dtls_settings settings = world_settings(&world);
    assert_judged(&settings, &an_idevid, SSL_AD_CERTIFICATE_EXPIRED, EXPIRED);
    assert_judged(&settings, &an_ldevid, SSL_AD_CERTIFICATE_EXPIRED, EXPIRED);
    settings.accept_expired_idevid = true;
    assert_judged(&settings, &an_idevid, 0, NULL);
    assert_judged(&settings, &an_ldevid, SSL_AD_CERTIFICATE_EXPIRED, EXPIRED);
    assert_judged(&settings, &a_child, SSL_AD_CERTIFICATE_EXPIRED, EXPIRED);
    assert_judged(&settings, &a_forger, SSL_AD_UNKNOWN_CA,
                  "certificate verify failed: unable to get local issuer certificate");
    settings.accept_expired_idevid = false;
    settings.accept_expired_ldevid = true;
    assert_judged(&settings, &an_idevid, SSL_AD_CERTIFICATE_EXPIRED, EXPIRED);
    assert_judged(&settings, &an_ldevid, 0, NULL);

    /* Revoked and expired is refused in any case. */
    settings.accept_expired_idevid = true;
    settings.crls = (struct settings_strings){{file}, 1};
    const struct test_crl_wish wishes[] = {{.issuer = &world.manufacturer_root, .serials = five},
                                           {.issuer = &world.domain_ca, .serials = five}};
    test_write_crls(file, wishes, 2);
    assert_judged(&settings, &an_idevid, SSL_AD_CERTIFICATE_REVOKED, REVOKED);
    assert_judged(&settings, &an_ldevid, SSL_AD_CERTIFICATE_REVOKED, REVOKED);
    unlink(file);
    struct test_certificate *all[] = {&idevid, &ldevid, &old_sub, &below, &forged};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        test_certificate_free(all[i]);
}

/* DTLS-9, SES-3: an association that is open is judged by what is in use now. */
static void judges_open_associations_again(void **state)
{
    (void)state;
    static const long one[] = {1, 0};
    char file[128];
    snprintf(file, sizeof file, "%s/crl.pem", world.folder);
    int64_t now = (int64_t)time(NULL);
    struct test_client client;
    struct test_server server;
    struct test_client_wish wish = {.certificate = &world.domain_device};
    connect_peers(&client, &wish, &server, credentials);
    assert_int_equal(dtls_association_standing(server.association, now), STANDING_GOOD);
    assert_int_equal(dtls_association_standing(server.association, now + 364 * 86400), STANDING_GOOD);
    assert_int_equal(dtls_association_standing(server.association, now + 366 * 86400), STANDING_EXPIRED);

    struct dtls_settings settings = world_settings(&world);
    settings.crls = (struct settings_strings){{file}, 1};
    test_write_crls(file, &(struct test_crl_wish){.issuer = &world.domain_ca, .serials = one}, 1);
    struct revocation_lists *lists = load_revocation_lists(&settings);
    server.context.revocations = lists;
    assert_int_equal(dtls_association_standing(server.association, now), STANDING_REVOKED);
    server.context.revocations = NULL;

    settings.domain_trust.items[0] = world.manufacturer_file;
    struct dtls_credentials *other = load_credentials(&settings);
    server.context.credentials = other;
    assert_int_equal(dtls_association_standing(server.association, now), STANDING_UNTRUSTED);
    server.context.credentials = credentials;
    free_peers(&client, &server);
    dtls_credentials_release(other);
    revocation_lists_release(lists);
    unlink(file);
}

/* DTLS-8 */
static void remembers_which_store_vouched(void **state)
{
    (void)state;
    struct test_client_wish wish = a_device();
    assert_accepted(&wish, NULL, TRUST_MANUFACTURER);
    wish = (struct test_client_wish){.certificate = &world.domain_device};
    assert_accepted(&wish, NULL, TRUST_DOMAIN);
}

static struct client_chain chain_below(const struct test_certificate *anchor, enum trust_store trust)
{
    struct client_chain chain = {
        .trust = trust, .count = 1, .leaf_expires_unix = INT64_MAX, .chain_expires_unix = INT64_MAX};
    assert_int_equal(chain_digest_anchor(anchor->certificate, &chain.anchor), STATUS_OK);
    return chain;
}

/* SES-3: who was let in by a trust anchor stays in as long as that is one, whatever else changes. */
static void stands_by_the_trust_anchor(void **state)
{
    (void)state;
    const int64_t now_unix = time(NULL);
    struct dtls_settings settings = world_settings(&world);
    settings.domain_trust.count = 0;
    struct dtls_credentials *other = load_credentials(&settings);
    const struct client_chain manufacturer = chain_below(&world.manufacturer_root, TRUST_MANUFACTURER),
                              domain = chain_below(&world.domain_ca, TRUST_DOMAIN),
                              mistaken = chain_below(&world.domain_ca, TRUST_MANUFACTURER);
    assert_int_equal(dtls_credentials_standing(credentials, NULL, &manufacturer, now_unix), STANDING_GOOD);
    assert_int_equal(dtls_credentials_standing(credentials, NULL, &domain, now_unix), STANDING_GOOD);
    assert_int_equal(dtls_credentials_standing(credentials, NULL, &mistaken, now_unix), STANDING_UNTRUSTED);
    assert_int_equal(dtls_credentials_standing(other, NULL, &manufacturer, now_unix), STANDING_GOOD);
    assert_int_equal(dtls_credentials_standing(other, NULL, &domain, now_unix), STANDING_UNTRUSTED);
    dtls_credentials_release(other);
}

static void a_store_can_be_switched_off(void **state)
{
    (void)state;
    struct dtls_settings settings = world_settings(&world);
    settings.manufacturer_trust.count = 0;
    struct dtls_credentials *domain_only = load_credentials(&settings);
    struct test_client_wish wish = a_device();
    assert_refused_by(domain_only, &wish, SSL_AD_UNKNOWN_CA,
                      "certificate verify failed: unable to get local issuer certificate");
    dtls_credentials_release(domain_only);

    settings = world_settings(&world);
    settings.domain_trust.count = 0;
    struct dtls_credentials *manufacturer_only = load_credentials(&settings);
    wish = (struct test_client_wish){.certificate = &world.domain_device};
    assert_refused_by(manufacturer_only, &wish, SSL_AD_UNKNOWN_CA,
                      "certificate verify failed: unable to get local issuer certificate");
    dtls_credentials_release(manufacturer_only);
}

/* Who is in both is treated as the manufacturer's, which may do less (RFC 7030 section 3.6). */
static void the_manufacturer_store_is_asked_first(void **state)
{
    (void)state;
    struct dtls_settings settings = world_settings(&world);
    settings.manufacturer_trust.items[0] = world.domain_file;
    struct dtls_credentials *both = load_credentials(&settings);
    struct test_client client;
    struct test_server server;
    struct test_client_wish wish = {.certificate = &world.domain_device};
    connect_peers(&client, &wish, &server, both);
    assert_int_equal(server_state(&server), DTLS_ESTABLISHED);
    assert_int_equal(client_identity_trust(dtls_association_client(server.association)), TRUST_MANUFACTURER);
    free_peers(&client, &server);
    dtls_credentials_release(both);
}

/* An operator who trusts one issuing CA need not trust its root. */
static void an_intermediate_may_be_the_anchor(void **state)
{
    (void)state;
    test_write_certificates(world.manufacturer_file, &world.manufacturer_sub.certificate, 1);
    struct dtls_settings settings = world_settings(&world);
    struct dtls_credentials *some = load_credentials(&settings);
    struct test_client client;
    struct test_server server;
    struct test_client_wish wish = {.certificate = &world.device};
    connect_peers(&client, &wish, &server, some);
    assert_true(client.finished);
    free_peers(&client, &server);
    dtls_credentials_release(some);
    test_write_certificates(world.manufacturer_file, &world.manufacturer_root.certificate, 1);
}

/* A manufacturer's root may be RSA; its devices may not. */
static void an_rsa_root_may_sign(void **state)
{
    (void)state;
    struct test_certificate root = test_certificate(
        &(struct test_certificate_wish){.common_name = "RSA root", .curve = "RSA", .ca = true});
    struct test_certificate device =
        test_certificate(&(struct test_certificate_wish){.common_name = "x", .issuer = &root});
    struct test_certificate rsa_device = test_certificate(
        &(struct test_certificate_wish){.common_name = "x", .curve = "RSA", .issuer = &root});
    test_write_certificates(world.manufacturer_file, &root.certificate, 1);
    struct dtls_settings settings = world_settings(&world);
    struct dtls_credentials *some = load_credentials(&settings);
    struct test_client client;
    struct test_server server;
    struct test_client_wish wish = {.certificate = &device};
    connect_peers(&client, &wish, &server, some);
    assert_true(client.finished);
    free_peers(&client, &server);
    wish.certificate = &rsa_device;
    assert_refused_by(some, &wish, SSL_AD_HANDSHAKE_FAILURE, "peer did not return a certificate");
    dtls_credentials_release(some);
    test_write_certificates(world.manufacturer_file, &world.manufacturer_root.certificate, 1);
    test_certificate_free(&root);
    test_certificate_free(&device);
    test_certificate_free(&rsa_device);
}

/* The bound on chains: three intermediates below the anchor, not four. */
static void chain_depth_is_bounded(void **state)
{
    (void)state;
    struct test_certificate chain[5] = {{NULL, NULL}};
    for (size_t i = 0; i < 5; i++)
        chain[i] = test_certificate(
            &(struct test_certificate_wish){.common_name = "step",
                                            .ca = i < 4,
                                            .serial = (long)i + 10,
                                            .issuer = i == 0 ? &world.manufacturer_root : &chain[i - 1]});
    for (size_t depth = 3; depth <= 4; depth++) {
        struct test_certificate leaf = test_certificate(
            &(struct test_certificate_wish){.common_name = "leaf", .issuer = &chain[depth - 1]});
        struct test_client client;
        struct test_server server;
        struct test_client_wish wish = {.certificate = &leaf};
        client_create(&client, &wish);
        for (size_t i = 0; i < depth; i++)
            assert_int_equal(SSL_add1_chain_cert(client.ssl, chain[i].certificate), 1);
        server_create(&server, credentials, 1024);
        run(&client, &server, NULL);
        assert_int_equal(client.finished, depth == 3);
        free_peers(&client, &server);
        test_certificate_free(&leaf);
    }
    for (size_t i = 0; i < 5; i++)
        test_certificate_free(&chain[i]);
}

/* The bound on a client's certificate message, DTLS_MESSAGE_OCTETS_MAX. */
static void certificate_message_is_bounded(void **state)
{
    (void)state;
    static char padding[10000];
    static const size_t sizes[] = {7000, 9000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        memset(padding, 'x', sizeof padding);
        padding[sizes[i]] = '\0';
        struct test_certificate large = test_certificate(&(struct test_certificate_wish){
            .common_name = "large", .issuer = &world.domain_ca, .padding = padding});
        struct test_client client;
        struct test_server server;
        struct test_client_wish wish = {.certificate = &large};
        client_create(&client, &wish);
        server_create(&server, credentials, 1024);
        run(&client, &server, NULL);
        bool fits = sizes[i] < DTLS_MESSAGE_OCTETS_MAX;
        struct buffer reason;
        buffer_init(&reason, 200);
        assert_int_equal(client.finished, fits);
        assert_int_equal(dtls_association_failed(server.association, &reason), !fits);
        assert_string_equal(buffer_string(&reason),
                            fits ? "" : "timed out: the client's certificates take more than 8192 octets");
        buffer_free(&reason);
        free_peers(&client, &server);
        test_certificate_free(&large);
    }
}

/* DTLS-12 */
static void ignores_the_server_name(void **state)
{
    (void)state;
    struct test_client_wish wish = a_device();
    wish.server_name = "no.such.name.example";
    assert_accepted(&wish, NULL, TRUST_MANUFACTURER);
}

/* A CertificateRequest without names, and a ServerHello without a ticket. */
static void keeps_its_flight_short(void **state)
{
    (void)state;
    struct test_client client;
    struct test_server server;
    struct test_client_wish wish = a_device();
    connect_peers(&client, &wish, &server, credentials);
    assert_int_equal(sk_X509_NAME_num(SSL_get0_peer_CA_list(client.ssl)), 0);
    assert_int_equal(SSL_SESSION_has_ticket(SSL_get_session(client.ssl)), 0);
    assert_int_equal(SSL_get_extms_support(client.ssl), 1);
    free_peers(&client, &server);
}

/* --- loading --- */

static struct buffer errors, warnings;

/* Loads with these certificates and key in the server's files, and puts the proper ones back. */
static struct dtls_credentials *load_with(X509 *const *certificates, size_t count, EVP_PKEY *key)
{
    buffer_init(&errors, 10000);
    buffer_init(&warnings, 10000);
    test_write_certificates(world.certificate_file, certificates, count);
    test_write_key(world.key_file, key);
    struct dtls_settings settings = world_settings(&world);
    struct dtls_credentials *loaded = dtls_credentials_load(&settings, &errors, &warnings);
    test_write_certificates(world.certificate_file, &world.registrar.certificate, 1);
    test_write_key(world.key_file, world.registrar.key);
    return loaded;
}

static void assert_warned(const char *what)
{
    const char *text = buffer_string(&warnings);
    assert_int_equal(strncmp(text, "dtls.certificate: \"", 19), 0);
    assert_non_null(strstr(text, what));
}

static void end_load(struct dtls_credentials *loaded)
{
    dtls_credentials_release(loaded);
    buffer_free(&errors);
    buffer_free(&warnings);
}

static int chain_length(struct dtls_credentials *with)
{
    struct test_client client;
    struct test_server server;
    struct test_client_wish wish = a_device();
    connect_peers(&client, &wish, &server, with);
    assert_true(client.finished);
    int length = sk_X509_num(SSL_get_peer_cert_chain(client.ssl));
    free_peers(&client, &server);
    return length;
}

/* DTLS-13: intermediates are sent, a root in the file is not; and what is in the trust stores never is. */
static void sends_the_chain_without_its_root(void **state)
{
    (void)state;
    assert_int_equal(chain_length(credentials), 1);
    struct test_certificate made =
        test_certificate(&(struct test_certificate_wish){.common_name = "registrar",
                                                         .issuer = &world.manufacturer_sub,
                                                         .extended_key_usage = "serverAuth,cmcRA"});
    struct dtls_credentials *loaded =
        load_with((X509 *[]){made.certificate, world.manufacturer_sub.certificate}, 2, made.key);
    assert_non_null(loaded);
    assert_int_equal(warnings.len, 0);
    assert_int_equal(chain_length(loaded), 2);
    end_load(loaded);

    loaded = load_with(
        (X509 *[]){made.certificate, world.manufacturer_sub.certificate, world.manufacturer_root.certificate},
        3, made.key);
    assert_non_null(loaded);
    assert_warned("holds a root as certificate 3, which is not sent: leave it out");
    assert_int_equal(chain_length(loaded), 2);
    end_load(loaded);

    loaded = load_with((X509 *[]){made.certificate, world.domain_ca.certificate}, 2, made.key);
    assert_warned("is out of order: certificate 2 did not issue the one before it");
    end_load(loaded);
    test_certificate_free(&made);
}

static void warns_of_a_key_that_everybody_may_read(void **state)
{
    (void)state;
    struct dtls_settings settings = world_settings(&world);
    buffer_init(&errors, 10000);
    buffer_init(&warnings, 10000);
    assert_int_equal(chmod(world.key_file, 0644), 0);
    struct dtls_credentials *loaded = dtls_credentials_load(&settings, &errors, &warnings);
    assert_int_equal(chmod(world.key_file, 0600), 0);
    assert_non_null(loaded);
    assert_non_null(strstr(buffer_string(&warnings), "dtls.private_key: \""));
    assert_non_null(strstr(buffer_string(&warnings), "may be read by everybody"));
    end_load(loaded);
}

static void warns_of_a_long_chain(void **state)
{
    (void)state;
    struct test_certificate a = test_certificate(
        &(struct test_certificate_wish){.common_name = "a", .ca = true, .issuer = &world.manufacturer_sub});
    struct test_certificate b =
        test_certificate(&(struct test_certificate_wish){.common_name = "b", .ca = true, .issuer = &a});
    struct test_certificate made = test_certificate(&(struct test_certificate_wish){
        .common_name = "registrar", .issuer = &b, .extended_key_usage = "serverAuth,cmcRA"});
    X509 *chain[] = {made.certificate, b.certificate, a.certificate, world.manufacturer_sub.certificate};
    struct dtls_credentials *loaded = load_with(chain, 3, made.key);
    assert_non_null(loaded);
    assert_int_equal(warnings.len, 0);
    end_load(loaded);
    loaded = load_with(chain, 4, made.key);
    assert_non_null(loaded);
    assert_warned("makes a chain of 4 certificates, more than the 3");
    end_load(loaded);
    test_certificate_free(&a);
    test_certificate_free(&b);
    test_certificate_free(&made);
}

/* DTLS-11 */
static void warns_of_missing_purposes(void **state)
{
    (void)state;
    static const struct {
        const char *usage, *warning;
    } rows[] = {
        {NULL, "lacks the extended key usage id-kp-cmcRA (1.3.6.1.5.5.7.3.28)"},
        {"serverAuth", "lacks the extended key usage id-kp-cmcRA (1.3.6.1.5.5.7.3.28)"},
        {"cmcRA", "lacks the extended key usage serverAuth"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct test_certificate made = test_certificate(&(struct test_certificate_wish){
            .common_name = "registrar", .issuer = &world.domain_ca, .extended_key_usage = rows[i].usage});
        struct dtls_credentials *loaded = load_with(&made.certificate, 1, made.key);
        assert_non_null(loaded);
        assert_warned(rows[i].warning);
        const char *text = buffer_string(&warnings);
        assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1); /* just the one */
        end_load(loaded);
        test_certificate_free(&made);
    }
}

static void warns_of_expiry(void **state)
{
    (void)state;
    struct test_certificate made = test_certificate(&(struct test_certificate_wish){
        .common_name = "x", .extended_key_usage = "serverAuth,cmcRA", .from_s = -10, .to_s = 86400});
    struct dtls_credentials *loaded = load_with(&made.certificate, 1, made.key);
    assert_non_null(loaded);
    assert_warned("in less than 30 days");
    end_load(loaded);
    test_certificate_free(&made);
}

/* DTLS-8: a device's certificate in a trust file lets in that device, and no other. */
static void warns_of_trust_in_no_ca(void **state)
{
    (void)state;
    struct dtls_settings settings = world_settings(&world);
    buffer_init(&errors, 10000);
    buffer_init(&warnings, 10000);
    settings.domain_trust.items[0] = world.certificate_file;
    struct dtls_credentials *loaded = dtls_credentials_load(&settings, &errors, &warnings);
    assert_non_null(loaded);
    const char *text = buffer_string(&warnings);
    assert_int_equal(strncmp(text, "dtls.domain_trust[0]: \"", 23), 0);
    assert_non_null(strstr(text, world.certificate_file));
    assert_non_null(strstr(text, "holds a certificate that is none of a CA"));
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    end_load(loaded);
}

static void assert_error(const char *begin, const char *what)
{
    const char *text = buffer_string(&errors);
    assert_int_equal(strncmp(text, begin, strlen(begin)), 0);
    assert_non_null(strstr(text, what));
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
}

static void refuses_a_key_of_another_certificate(void **state)
{
    (void)state;
    struct dtls_credentials *loaded = load_with(&world.registrar.certificate, 1, world.device.key);
    assert_null(loaded);
    assert_error("dtls.private_key: \"", "is not the key of dtls.certificate");
    end_load(loaded);
}

static void refuses_keys_that_no_suite_can_use(void **state)
{
    (void)state;
    static const char *const curves[] = {"RSA", "P-521", "secp256k1"};
    for (size_t i = 0; i < sizeof curves / sizeof curves[0]; i++) {
        struct test_certificate made =
            test_certificate(&(struct test_certificate_wish){.common_name = "x", .curve = curves[i]});
        struct dtls_credentials *loaded = load_with(&made.certificate, 1, made.key);
        assert_null(loaded);
        assert_error("dtls.certificate: \"", "EC key on P-256 or P-384");
        end_load(loaded);
        test_certificate_free(&made);
    }
    struct test_certificate made = test_certificate(&(struct test_certificate_wish){
        .common_name = "x", .curve = "P-384", .extended_key_usage = "cmcRA,serverAuth"});
    struct dtls_credentials *loaded = load_with(&made.certificate, 1, made.key);
    assert_non_null(loaded);
    end_load(loaded);
    test_certificate_free(&made);
}

static void refuses_a_certificate_signed_with_sha_1(void **state)
{
    (void)state;
    struct test_certificate made = test_certificate(
        &(struct test_certificate_wish){.common_name = "x", .issuer = &world.domain_ca, .digest = "SHA1"});
    struct dtls_credentials *loaded = load_with(&made.certificate, 1, made.key);
    assert_null(loaded);
    assert_error("dtls.certificate: \"", "ca md too weak");
    end_load(loaded);
    test_certificate_free(&made);
}

/* Every file is looked at, however many are wrong. */
static void reports_all_errors_at_once(void **state)
{
    (void)state;
    char nowhere[] = "/nowhere/at/all.pem";
    struct dtls_settings settings = world_settings(&world);
    settings.certificate = settings.private_key = nowhere;
    settings.manufacturer_trust.items[0] = settings.domain_trust.items[0] = nowhere;
    buffer_init(&errors, 10000);
    buffer_init(&warnings, 10000);
    assert_null(dtls_credentials_load(&settings, &errors, &warnings));
    const char *text = buffer_string(&errors);
    assert_non_null(strstr(text, "dtls.certificate: \"/nowhere/at/all.pem\" cannot be read"));
    assert_non_null(strstr(text, "dtls.private_key: \"/nowhere/at/all.pem\" cannot be read"));
    assert_non_null(strstr(text, "dtls.manufacturer_trust[0]: \"/nowhere/at/all.pem\" cannot be read"));
    assert_non_null(strstr(text, "dtls.domain_trust[0]: \"/nowhere/at/all.pem\" cannot be read"));
    end_load(NULL);
}

static void refuses_to_trust_nobody(void **state)
{
    (void)state;
    struct dtls_settings settings = world_settings(&world);
    settings.manufacturer_trust.count = settings.domain_trust.count = 0;
    buffer_init(&errors, 10000);
    buffer_init(&warnings, 10000);
    assert_null(dtls_credentials_load(&settings, &errors, &warnings));
    assert_error("dtls.manufacturer_trust, dtls.domain_trust: both are empty", "name the CA certificates");
    end_load(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(negotiates_ccm_8_first),
        cmocka_unit_test(negotiates_the_other_aead_suites),
        cmocka_unit_test(refuses_other_suites),
        cmocka_unit_test(negotiates_groups),
        cmocka_unit_test(refuses_dtls_1_0),
        cmocka_unit_test(refuses_who_has_no_certificate),
        cmocka_unit_test(refuses_untrusted_issuers),
        cmocka_unit_test(refuses_a_forged_issuer),
        cmocka_unit_test(refuses_certificates_out_of_their_time),
        cmocka_unit_test(extended_key_usage_may_be_absent),
        cmocka_unit_test(refuses_sha_1),
        cmocka_unit_test(exempts_ccm_8_alone),
        cmocka_unit_test(refuses_revoked_certificates),
        cmocka_unit_test(accepts_expired_certificates_by_switch),
        cmocka_unit_test(judges_open_associations_again),
        cmocka_unit_test(remembers_which_store_vouched),
        cmocka_unit_test(stands_by_the_trust_anchor),
        cmocka_unit_test(a_store_can_be_switched_off),
        cmocka_unit_test(the_manufacturer_store_is_asked_first),
        cmocka_unit_test(an_intermediate_may_be_the_anchor),
        cmocka_unit_test(an_rsa_root_may_sign),
        cmocka_unit_test(chain_depth_is_bounded),
        cmocka_unit_test(certificate_message_is_bounded),
        cmocka_unit_test(ignores_the_server_name),
        cmocka_unit_test(keeps_its_flight_short),
        cmocka_unit_test(sends_the_chain_without_its_root),
        cmocka_unit_test(warns_of_a_key_that_everybody_may_read),
        cmocka_unit_test(warns_of_a_long_chain),
        cmocka_unit_test(warns_of_missing_purposes),
        cmocka_unit_test(warns_of_expiry),
        cmocka_unit_test(warns_of_trust_in_no_ca),
        cmocka_unit_test(refuses_a_key_of_another_certificate),
        cmocka_unit_test(refuses_keys_that_no_suite_can_use),
        cmocka_unit_test(refuses_a_certificate_signed_with_sha_1),
        cmocka_unit_test(reports_all_errors_at_once),
        cmocka_unit_test(refuses_to_trust_nobody),
    };
    return cmocka_run_group_tests(tests, create_world, destroy_world);
}
