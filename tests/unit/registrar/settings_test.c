/* TX-1, DLY-1, DLY-3, URI-3, URI-4, RA-3, RA-5, RE-8, DTLS-7, DTLS-8: what a configuration may say. */
#include "registrar/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/settings_fixture.h"

/* The least that a file must say. */
#define DTLS                                                                                                 \
    "\"certificate\":\"registrar.pem\",\"private_key\":\"registrar.key\",\"domain_trust\":[\"est-ca.pem\"]"
#define UPSTREAM "\"trust\":[\"tls-ca.pem\"],\"certificate\":\"ra.pem\",\"private_key\":\"ra.key\""
#define SERVER   "\"servers\":[\"https://est.example.com:8443\"]"

#define DOCUMENTATION SOURCE_FOLDER "/docs/configuration.md"

/* Reads a file that says the least, and more: keys of dtls, of upstream, and whole sections, each with a
 * comma before it. */
static bool read_with(struct fixture *fixture, const char *dtls, const char *upstream, const char *sections)
{
    char text[4096];
    int len =
        snprintf(text, sizeof(text), "{\"dtls\":{" DTLS "%s},\"upstream\":{" SERVER "," UPSTREAM "%s}%s}",
                 dtls, upstream, sections);
    assert_true(len > 0 && (size_t)len < sizeof(text));
    return read_text(fixture, text);
}

static void assert_said(struct fixture *fixture, struct buffer *buffer, const char *rest)
{
    char line[512];
    snprintf(line, sizeof(line), "%s: %s\n", fixture->file, rest);
    if (strcmp(buffer_string(buffer), line) != 0)
        fail_msg("expected\n%sgot\n%s", line, buffer_string(buffer));
}

static void assert_read(struct fixture *fixture, bool read)
{
    if (!read)
        fail_msg("%s", buffer_string(&fixture->errors));
}

static void has_the_defaults_of_the_design(void **state)
{
    struct fixture *fixture = *state;
    assert_read(fixture, read_with(fixture, "", "", ""));
    assert_string_equal(buffer_string(&fixture->errors), "");
    assert_string_equal(buffer_string(&fixture->warnings), "");
    const struct settings *settings = fixture->settings;
    assert_int_equal(endpoint_port(&settings->listen.coaps.items[0]), 5684);
    assert_int_equal(endpoint_port(&settings->listen.discovery.items[0]), 5683);
    assert_int_equal(settings->listen.jpy.count, 0);              /* JPR-1 */
    assert_true(settings->listen.brski_jp);                       /* JPD-5 */
    assert_int_equal(settings->jpy.max_associations, 1000);       /* JPR-6 */
    assert_int_equal(settings->jpy.max_handshakes, 100);          /* JPR-6 */
    assert_int_equal(settings->jpy.handshakes_per_s, 50);         /* JPR-6 */
    assert_int_equal(settings->jpy.join_proxies.count, 0);        /* JPR-7 */
    assert_int_equal(settings->jpy.schemes.count, 1);             /* JPD-3 */
    assert_string_equal(settings->jpy.schemes.items[0], "jpy");   /* JPD-3 */
    assert_false(settings->jpy.seed_form);                        /* B0 */
    assert_int_equal(settings->dtls.handshake_mtu, 1024);         /* DTLS-7 */
    assert_int_equal(settings->dtls.retransmit_timeout_ms, 1000); /* TX-3 */
    assert_int_equal(settings->dtls.idle_timeout_s, 300);         /* SES-2 */
    assert_int_equal(settings->coap.ack_timeout_ms, 2000);        /* TX-1 */
    assert_int_equal(settings->coap.max_retransmit, 4);
    assert_true(settings->coap.ack_random_factor > 1.49 && settings->coap.ack_random_factor < 1.51);
    assert_int_equal(settings->coap.block_size, 512);               /* BLK-10 */
    assert_int_equal(settings->coap.separate_after_ms, 1000);       /* DLY-1 */
    assert_int_equal(settings->coap.answer_within_ms, 20000);       /* DLY-3 */
    assert_int_equal(settings->coap.max_request_bytes, 16384);      /* PAY-8 */
    assert_string_equal(settings->est.root, "/est");                /* URI-3 */
    assert_int_equal(settings->est.labels.count, 0);                /* URI-4 */
    assert_false(settings->est.long_names);                         /* URI-5 */
    assert_int_equal(settings->est.att_empty, ATT_EMPTY_NOT_FOUND); /* Q6 */
    assert_int_equal(settings->est.retry_after_s, 60);              /* RSP-2 */
    assert_int_equal(settings->upstream.max_response_bytes, 65536);
    assert_int_equal(settings->upstream.base64_lines, BASE64_64_CRLF);         /* PAY-3 */
    assert_false(settings->upstream.content_transfer_encoding);                /* PAY-6 */
    assert_int_equal(settings->access.csr_identity, CSR_IDENTITY_SAME_SERIAL); /* RE-8 */
    assert_int_equal(settings->dtls.crls.count, 0);
    assert_int_equal(settings->dtls.crl_policy, CRL_POLICY_LISTED); /* DTLS-9 */
    assert_false(settings->dtls.accept_expired_idevid);             /* DTLS-9 */
    assert_false(settings->dtls.accept_expired_ldevid);             /* RE-6 */
    assert_false(settings->upstream.client_cert_header);            /* RFC 9440 */
    assert_int_equal(settings->workers, 1);
}

static void names_everything_that_must_be_given(void **state)
{
    struct fixture *fixture = *state;
    assert_false(read_text(fixture, "{}"));
    static const char *const paths[] = {
        "dtls.certificate",     "dtls.private_key",     "upstream.servers",       "upstream.trust",
        "upstream.certificate", "upstream.private_key", "dtls.manufacturer_trust"};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
        assert_non_null(strstr(buffer_string(&fixture->errors), paths[i]));
}

/* RA-3: client input never chooses host or port, so nothing but host and port is configured. */
static void takes_only_a_base_url_as_server(void **state)
{
    struct fixture *fixture = *state;
    static const char *const good[] = {"https://est", "https://est.example.com:8443", "https://192.0.2.1",
                                       "https://[2001:db8::1]:8443"};
    static const char *const bad[] = {"http://est",
                                      "est",
                                      "",
                                      "https://",
                                      "https:///est",
                                      "https://est:",
                                      "https://est:0",
                                      "https://est:65536",
                                      "https://est:x",
                                      "https://est/",
                                      "https://est/p",
                                      "https://est?q",
                                      "https://est#f",
                                      "https://u@est",
                                      "https://u:p@est",
                                      "https://est x",
                                      "https://e%2fst",
                                      "https://[2001:db8::1",
                                      "HTTPS//est",
                                      "https://est\\\\x"};
    char text[1024];
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        snprintf(text, sizeof(text), "{\"dtls\":{" DTLS "},\"upstream\":{" UPSTREAM ",\"servers\":[\"%s\"]}}",
                 good[i]);
        assert_read(fixture, read_text(fixture, text));
        assert_string_equal(fixture->settings->upstream.servers.items[0], good[i]);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        snprintf(text, sizeof(text), "{\"dtls\":{" DTLS "},\"upstream\":{" UPSTREAM ",\"servers\":[\"%s\"]}}",
                 bad[i]);
        if (read_text(fixture, text))
            fail_msg("accepted %s", bad[i]);
        assert_non_null(strstr(buffer_string(&fixture->errors), ": upstream.servers[0]: \""));
        assert_non_null(strstr(buffer_string(&fixture->errors), "; use https://host[:port]\n"));
    }
    read_text(fixture, "{\"dtls\":{" DTLS "},\"upstream\":{" UPSTREAM ",\"servers\":[\"http://est\"]}}");
    assert_said(fixture, &fixture->errors,
                "upstream.servers[0]: \"http://est\" is not an https URL; use https://host[:port]");
    read_text(fixture,
              "{\"dtls\":{" DTLS "},\"upstream\":{" UPSTREAM ",\"servers\":[\"https://ra:hunter2@est\"]}}");
    assert_said(fixture, &fixture->errors,
                "upstream.servers[0]: \"…@est\" has more than host and port; use https://host[:port]");
}

static void takes_several_servers(void **state)
{
    struct fixture *fixture = *state;
    assert_read(fixture, read_text(fixture, "{\"dtls\":{" DTLS "},\"upstream\":{" UPSTREAM
                                            ",\"servers\":[\"https://a\",\"https://b\"],\"selection\":"
                                            "\"round-robin\",\"redirect_origins\":[\"https://c:1\"]}}"));
    assert_int_equal(fixture->settings->upstream.servers.count, 2);
    assert_int_equal(fixture->settings->upstream.selection, UPSTREAM_ROUND_ROBIN);
    assert_string_equal(fixture->settings->upstream.redirect_origins.items[0], "https://c:1");
    assert_false(read_with(fixture, "", ",\"redirect_origins\":[\"https://c/path\"]", ""));
    assert_said(fixture, &fixture->errors,
                "upstream.redirect_origins[0]: \"https://c/path\" has more than host and port; use "
                "https://host[:port]");
    assert_false(read_with(fixture, "", ",\"backoff_ms\":2000,\"backoff_max_ms\":1000", ""));
    assert_said(
        fixture, &fixture->errors,
        "upstream.backoff_ms: 2000 is not at most upstream.backoff_max_ms, which is 1000; lower the one or "
        "raise the other");
}

/* URI-2, URI-3 */
static void takes_only_a_short_absolute_path_as_root(void **state)
{
    struct fixture *fixture = *state;
    static const char *const good[] = {"/est", "/e", "/a/b/c/d/e/f", "/x-1._~", "/..x"};
    static const char *const bad[] = {"",
                                      "/",
                                      "est",
                                      "/est/",
                                      "//est",
                                      "/a//b",
                                      "/a b",
                                      "/a%20b",
                                      "/./a",
                                      "/a/..",
                                      "/a/b/c/d/e/f/g",
                                      "/.well-known",
                                      "/.well-known/est",
                                      "/.well-known/core",
                                      "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    char text[256];
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        snprintf(text, sizeof(text), ",\"est\":{\"root\":\"%s\"}", good[i]);
        assert_read(fixture, read_with(fixture, "", "", text));
        assert_string_equal(fixture->settings->est.root, good[i]);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        snprintf(text, sizeof(text), ",\"est\":{\"root\":\"%s\"}", bad[i]);
        if (read_with(fixture, "", "", text))
            fail_msg("accepted %s", bad[i]);
        assert_non_null(strstr(buffer_string(&fixture->errors), ": est.root: \""));
    }
}

/* URI-4, RA-3 */
static void refuses_labels_that_could_be_mistaken(void **state)
{
    struct fixture *fixture = *state;
    assert_read(fixture,
                read_with(fixture, "", ",\"default_label\":\"sensors\"", ",\"est\":{\"labels\":[\"p1\"]}"));
    const struct label_settings *labels = fixture->settings->est.labels.items;
    assert_string_equal(labels[0].name, "p1");
    assert_string_equal(labels[0].upstream_path, "");
    assert_string_equal(fixture->settings->upstream.default_label, "sensors");
    assert_false(read_with(fixture, "", ",\"default_label\":\"sen\"", ""));
    assert_said(
        fixture, &fixture->errors,
        "upstream.default_label: \"sen\" is not a label; use one path segment of 1 to 128 octets that is "
        "not the name of an operation");
    static const char *const bad[] = {"sen", "simpleenroll", "", "..", "a/b", "a\\u0001"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char text[64];
        snprintf(text, sizeof(text), ",\"est\":{\"labels\":[\"p1\",\"%s\"]}", bad[i]);
        if (read_with(fixture, "", "", text))
            fail_msg("accepted %s", bad[i]);
        assert_non_null(strstr(buffer_string(&fixture->errors), ": est.labels[1].name: \""));
    }
}

/* URI-4, RA-3: a label's path at the EST server is the operator's, and has nothing in it that could be read
 * in two ways. */
static void takes_a_plain_upstream_path_for_a_label(void **state)
{
    struct fixture *fixture = *state;
    static const char *const bad[] = {"other",  "/",       "/a/",      "/a//b",  "/..",        "/a/../b",
                                      "/a%2fb", "/a?b=c",  "/a#b",     "/a b",   "https://x/", "/a\\b",
                                      "/.",     "//other", "/a:1@b/c", "/\u00e9"};
    assert_true(
        read_with(fixture, "", "",
                  ",\"est\":{\"labels\":[{\"name\":\"p1\",\"upstream_path\":\"/.well-known/est/other\"},"
                  "\"p2\"]}"));
    const struct label_settings *labels = fixture->settings->est.labels.items;
    assert_int_equal(fixture->settings->est.labels.count, 2);
    assert_string_equal(labels[0].upstream_path, "/.well-known/est/other");
    assert_string_equal(labels[1].name, "p2");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char text[160];
        snprintf(text, sizeof(text), ",\"est\":{\"labels\":[{\"name\":\"p1\",\"upstream_path\":\"%s\"}]}",
                 bad[i]);
        assert_false(read_with(fixture, "", "", text));
        assert_non_null(strstr(buffer_string(&fixture->errors), ": est.labels[0].upstream_path: \""));
    }
    assert_false(read_with(fixture, "", "", ",\"est\":{\"labels\":[\"p1\",{\"name\":\"p1\"}]}"));
    assert_said(fixture, &fixture->errors, "est.labels: \"p1\" stands here twice; remove one");
}

/* A file that is right but for this. */
static const struct mistake {
    const char *dtls, *upstream, *sections, *line;
} mistakes[] = {
    /* DLY-1 */
    {"", "", ",\"coap\":{\"separate_after_ms\":2000}",
     "coap.separate_after_ms: 2000 is not below coap.ack_timeout_ms, which is 2000; lower the one or "
     "raise the other"},
    /* DLY-3 */
    {"", "", ",\"coap\":{\"answer_within_ms\":1000}",
     "coap.separate_after_ms: 1000 is not below coap.answer_within_ms, which is 1000; lower the one or "
     "raise the "
     "other"},
    {",\"max_associations\":9,\"max_handshakes\":10", "", "",
     "dtls.max_handshakes: 10 is not at most dtls.max_associations, which is 9; lower the one or raise "
     "the other"},
    {"", "", ",\"coap\":{\"max_buffered_bytes\":16383}",
     "coap.max_request_bytes: 16384 is not at most coap.max_buffered_bytes, which is 16383; lower the "
     "one or raise "
     "the other"},
    {"", "", ",\"est\":{\"retry_after_max_s\":59}",
     "est.retry_after_s: 60 is not at most est.retry_after_max_s, which is 59; lower the one or raise "
     "the other"},
    {"", ",\"timeout_ms\":2999", "",
     "upstream.connect_timeout_ms: 3000 is not at most upstream.timeout_ms, which is 2999; lower the one "
     "or raise "
     "the other"},
    /* DTLS-1 */
    {"", "", ",\"listen\":{\"coaps\":[\"[::1]:1\"],\"discovery\":[\"[::1]:0\",\"[::1]:0\",\"[::1]:1\"]}",
     "listen.discovery: \"[::1]:1\" is in listen twice; remove one"},
    /* JPR-1: one socket cannot tell JPY messages from DTLS */
    {"", "", ",\"listen\":{\"coaps\":[\"[::1]:1\"],\"jpy\":[\"[::1]:1\"]}",
     "listen.jpy: \"[::1]:1\" is in listen twice; remove one"},
    {"", "", ",\"listen\":{\"coaps\":[\"[::]:1\"],\"jpy\":[\"192.0.2.1:1\"]}",
     "listen.jpy: \"192.0.2.1:1\" is part of \"[::]:1\", which is in listen too; use another port"},
    {"", "", ",\"listen\":{\"coaps\":[\"[::1]:1\"],\"jpy\":[\"[::]:1\"]}",
     "listen.jpy: \"[::1]:1\" is part of \"[::]:1\", which is in listen too; use another port"},
    /* DISC-5 */
    {"", "", ",\"listen\":{\"discovery\":[\"[::1]:1\"],\"multicast_interfaces\":[\"eth0\"]}",
     "listen.multicast_interfaces: \"eth0\" needs a wildcard address to hear groups; add \"[::]:5683\" to "
     "listen.discovery"},
    /* JPR-6 */
    {"", "", ",\"jpy\":{\"max_associations\":9,\"max_handshakes\":10}",
     "jpy.max_handshakes: 10 is not at most jpy.max_associations, which is 9; lower the one or raise the "
     "other"},
    /* JPR-7 */
    {"", "", ",\"jpy\":{\"join_proxies\":[\"192.0.2.1\",\"192.0.2.1/24\"]}",
     "jpy.join_proxies[1]: \"192.0.2.1/24\" is no address and no range of addresses; use one such as "
     "\"2001:db8::1\" or \"2001:db8::/64\""},
    /* JPD-3 */
    {"", "", ",\"jpy\":{\"schemes\":[\"https\"]}",
     "jpy.schemes[0]: \"https\" is no scheme of a JPY port; use \"jpy\", \"coaps+jpy\" or \"coaps\""},
    /* TX-1 */
    {"", "", ",\"coap\":{\"ack_timeout_ms\":999}",
     "coap.ack_timeout_ms: 999 is out of range; use 1000 to 60000"},
    /* BLK-10 */
    {"", "", ",\"coap\":{\"block_size\":500}",
     "coap.block_size: 500 is not a power of two; use 16, 32, 64, 128, 256, 512 or 1024"},
    /* DTLS-7 */
    {",\"handshake_mtu\":255", "", "", "dtls.handshake_mtu: 255 is out of range; use 256 to 1200"},
    /* RA-5: one of them is kept for GETs */
    {"", ",\"max_connections\":1", "", "upstream.max_connections: 1 is out of range; use 2 to 1024"},
    /* RA-8 */
    {"", ",\"username\":\"ra\"", "",
     "upstream.password_file: is missing, and upstream.username is there; name the file with its "
     "password"},
    {"", ",\"username\":\"r:a\",\"password_file\":\"p\"", "",
     "upstream.username: \"r:a\" has a colon or a control character, which HTTP has no way to write; use "
     "another name"},
    /* RA-2 */
    {"", ",\"tls_ciphers\":\"DEFAULT:@SECLEVEL=0\"", "",
     "upstream.tls_ciphers: \"…@SECLEVEL=0\" would lower the security of OpenSSL's choice; name cipher "
     "suites"},
    {"", ",\"tls_min_version\":\"1.1\"", "",
     "upstream.tls_min_version: \"1.1\" is not known here; use \"1.2\" or \"1.3\""},
    {"", "", ",\"listen\":{\"coaps\":[]}",
     "listen.coaps: a list is too short; use a list of 1 to 8 addresses with port"},
    {"", "", ",\"listen\":{\"multicast_interfaces\":[\"a/b\"]}",
     "listen.multicast_interfaces[0]: \"a/b\" is not the name of a network interface; use one that \"ip "
     "link\" "
     "shows"},
};

static void refuses_what_breaks_another_key(void **state)
{
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
        const struct mistake *mistake = &mistakes[i];
        assert_false(read_with(fixture, mistake->dtls, mistake->upstream, mistake->sections));
        assert_said(fixture, &fixture->errors, mistake->line);
    }
}

/* RA-1: the URI of a key is no file name, and holds no PIN that would be printed. */
static void takes_the_uri_of_a_key(void **state)
{
    struct fixture *fixture = *state;
    static const char with[] =
        "{\"dtls\":{" DTLS "},\"upstream\":{" SERVER
        ",\"trust\":[\"tls-ca.pem\"],\"certificate\":\"ra.pem\",\"private_key\":\"pkcs11:token=est;%s\"}}";
    char text[2048];
    snprintf(text, sizeof(text), with, "object=ra");
    assert_true(read_text(fixture, text));
    assert_string_equal(fixture->settings->upstream.private_key, "pkcs11:token=est;object=ra");
    snprintf(text, sizeof(text), with, "object=ra?pin-value=1234");
    assert_false(read_text(fixture, text));
    assert_non_null(strstr(buffer_string(&fixture->errors), "upstream.passphrase_file"));
}

/* RA-2 */
static void wants_an_est_server_that_can_be_trusted(void **state)
{
    struct fixture *fixture = *state;
    static const char with[] = "{\"dtls\":{" DTLS "},\"upstream\":{" SERVER
                               ",\"trust\":[],\"certificate\":\"ra.pem\",\"private_key\":\"ra.key\"%s}}";
    char text[2048];
    snprintf(text, sizeof(text), with, "");
    assert_false(read_text(fixture, text));
    assert_non_null(strstr(buffer_string(&fixture->errors), "upstream.trust: is empty as is"));
    snprintf(text, sizeof(text), with, ",\"implicit_trust\":[\"/etc/ssl/certs/ca-certificates.crt\"]");
    assert_true(read_text(fixture, text));
}

/* DTLS-8, RE-3 */
static void wants_a_trust_store_that_devices_can_pass(void **state)
{
    struct fixture *fixture = *state;
    static const char with[] =
        "{\"dtls\":{\"certificate\":\"c\",\"private_key\":\"k\"%s},\"upstream\":{" SERVER "," UPSTREAM "}}";
    char text[1024];
    snprintf(text, sizeof(text), with, "");
    assert_false(read_text(fixture, text));
    assert_said(
        fixture, &fixture->errors,
        "dtls.manufacturer_trust: is empty as is dtls.domain_trust: no device could connect; name the PEM "
        "file of a CA in one of them");
    snprintf(text, sizeof(text), with, ",\"manufacturer_trust\":[\"m.pem\"]");
    assert_read(fixture, read_text(fixture, text));
    assert_said(fixture, &fixture->warnings,
                "dtls.domain_trust: is empty: no device can re-enrol; name the EST CA's PEM file");
}

static void warns_of_what_is_allowed_but_harmful(void **state)
{
    struct fixture *fixture = *state;
    assert_read(fixture, read_with(fixture, "", "", ",\"access\":{\"csr_identity\":\"any\"}")); /* RE-8 */
    assert_said(
        fixture, &fixture->warnings,
        "access.csr_identity: \"any\" lets every device enrol in the name of any other; use \"same-serial\"");
    assert_read(fixture, read_with(fixture, "", "", ",\"est\":{\"pop\":\"lenient-nonbase64\"}")); /* POP-6 */
    assert_said(fixture, &fixture->warnings,
                "est.pop: \"lenient-nonbase64\" lets a challengePassword pass that is no proof; use "
                "\"if-present\" outside laboratories");
    assert_read(fixture,
                read_with(fixture, "", "", ",\"est\":{\"pop\":\"required\",\"att\":false}")); /* POP-8 */
    assert_said(fixture, &fixture->warnings,
                "est.att: false: devices cannot learn that est.pop is \"required\" (RFC 7030 section 4.5.2); "
                "use true");
    assert_read(fixture, read_with(fixture, "", "", ",\"jpy\":{\"seed_form\":true}")); /* B0 */
    assert_said(fixture, &fixture->warnings,
                "jpy.seed_form: true: no published join proxy sends that form; use false outside "
                "laboratories");
    assert_read(fixture,
                read_with(fixture, "", "", ",\"jpy\":{\"join_proxies\":[\"192.0.2.1\"]}")); /* JPR-7 */
    assert_said(fixture, &fixture->warnings,
                "jpy.join_proxies: is of no use without listen.jpy: no join proxy is served; add "
                "\"[::]:5690\" to listen.jpy, or remove the list");
    assert_read(fixture, read_with(fixture, "", "",
                                   ",\"listen\":{\"coaps\":[\"[::1]:1\"],\"jpy\":[\"192.0.2.1:1\"]}"));
    assert_said(
        fixture, &fixture->warnings,
        "listen.jpy: port 1 is in listen.coaps as well, at another address: who takes the one for the "
        "other is not answered; use another port");
    assert_read(fixture, read_with(fixture, "", "", ",\"coap\":{\"answer_within_ms\":30000}")); /* JP-12 */
    assert_said(
        fixture, &fixture->warnings,
        "coap.answer_within_ms: 30000: a stateful join proxy forgets a device after 30000; stay below if "
        "there is one");
    assert_read(fixture, read_with(fixture, "", ",\"content_transfer_encoding\":true", "")); /* PAY-6 */
    assert_non_null(strstr(buffer_string(&fixture->warnings), "upstream.content_transfer_encoding"));
}

/* DTLS-10 */
static void names_the_place_of_a_mistake_in_a_rule(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        const char *rule, *line;
    } rows[] = {
        {"{\"match\":{\"subject\":7},\"action\":\"deny\"}", ".match.subject: 7 is not a list; use "},
        {"{\"match\":{\"subject\":[\"CN=a\",7]},\"action\":\"deny\"}",
         ".match.subject[1]: 7 is not a string"},
        {"{\"match\":{\"subject\":\"\"},\"action\":\"deny\"}", ".match.subject: \"\" fits nobody"},
        {"{\"match\":{\"subject\":[]},\"action\":\"deny\"}", ".match.subject: a list is too short"},
        {"{\"match\":{\"serial\":\"1\"},\"action\":\"deny\"}", ".match.serial: unknown key"},
        {"{\"match\":{\"san\":\"a.example\"},\"action\":\"deny\"}",
         ".match.san: \"a.example\" names no kind"},
        {"{\"match\":{\"trust\":\"vendor\"},\"action\":\"deny\"}",
         ".match.trust: \"vendor\" is no trust store"},
        {"{\"match\":{\"operation\":\"simpleenroll\"},\"action\":\"deny\"}",
         ".match.operation: \"simpleenroll\" is no"},
        {"{\"match\":{\"subject_key_identifier\":\"0a:0b\"},\"action\":\"deny\"}",
         ".match.subject_key_identifier: \"0a:0b\" is no key identifier"},
        {"{\"match\":{}}", ".action: is missing; give \"allow\""},
        {"{\"action\":\"permit\"}", ".action: \"permit\" is not known here; use \"allow\""},
        {"{\"action\":\"file\"}", ".action: \"file\" has nothing to look at; give access.file"},
        {"{\"action\":\"allow\",\"allow_san\":[\"*.example\"]}",
         ".allow_san[0]: \"*.example\" names no kind"},
        {"{\"action\":\"deny\",\"allow_san\":[\"dns:a\"]}",
         ": denies, so that allow_san and csr_identity mean nothing"},
        {"{\"action\":\"deny\",\"name\":\"a\\nb\"}", ".name: \"a…\" is no name"},
        {"{\"action\":\"allow\",\"csr_identity\":\"none\"}", ".csr_identity: \"none\" is not known here"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char section[512], line[256];
        snprintf(section, sizeof(section), ",\"access\":{\"rules\":[{\"action\":\"allow\"},%s]}",
                 rows[i].rule);
        snprintf(line, sizeof(line), ": access.rules[1]%s", rows[i].line);
        if (read_with(fixture, "", "", section) || strstr(buffer_string(&fixture->errors), line) == NULL)
            fail_msg("no \"%s\" in \"%s\"", line, buffer_string(&fixture->errors));
    }
}

/* DTLS-10 */
static void wants_a_webhook_that_can_be_asked(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        const char *section, *line;
    } rows[] = {
        {"\"access\":{\"webhook\":{\"url\":\"http://a/b\"}}",
         "access.webhook.url: \"http://a/b\" is no address of a webhook"},
        {"\"access\":{\"webhook\":{\"url\":\"https://u:p@a/b\"}}",
         "access.webhook.url: \"…@a/b\" is no address"},
        {"\"access\":{\"webhook\":{\"url\":\"unix:decide\"}}",
         "access.webhook.url: \"unix:decide\" is no address"},
        {"\"access\":{\"webhook\":{\"url\":\"https://a/b\"}}",
         "access.webhook.trust: is empty; name the PEM file"},
        {"\"access\":{\"webhook\":{\"url\":\"unix:/run/x\"}},\"coap\":{\"answer_within_ms\":2000}",
         "access.webhook.timeout_ms: 2000 is not below coap.answer_within_ms, which is 2000; "},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char section[256];
        snprintf(section, sizeof(section), ",%s", rows[i].section);
        if (read_with(fixture, "", "", section) ||
            strstr(buffer_string(&fixture->errors), rows[i].line) == NULL)
            fail_msg("no \"%s\" in \"%s\"", rows[i].line, buffer_string(&fixture->errors));
    }
    assert_read(fixture,
                read_with(fixture, "", "",
                          ",\"access\":{\"default\":\"ask\",\"webhook\":{\"url\":\"https://a:1/b?c\","
                          "\"trust\":[\"t\"],\"fail\":\"open\"}}"));
    assert_said(
        fixture, &fixture->warnings,
        "access.webhook.fail: \"open\" lets everybody enrol while the webhook is silent; use \"closed\"");
    assert_read(fixture, read_with(fixture, "", "", ",\"access\":{\"webhook\":{\"url\":\"unix:/run/x\"}}"));
    assert_said(fixture, &fixture->warnings,
                "access.webhook.url: is never asked: no rule has the action \"ask\", nor has access.default");
}

/* SEC-2 */
static void warns_of_a_log_without_records(void **state)
{
    struct fixture *fixture = *state;
    static const char *const levels[] = {"error", "warning", "info", "debug"};
    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
        char section[64];
        snprintf(section, sizeof(section), ",\"log\":{\"level\":\"%s\"}", levels[i]);
        assert_read(fixture, read_with(fixture, "", "", section));
        if (i < 2)
            assert_said(fixture, &fixture->warnings,
                        "log.level: leaves out the records of requests, by which certificates can be traced; "
                        "use \"info\"");
        else
            assert_string_equal(buffer_string(&fixture->warnings), "");
    }
}

/* DTLS-10: the first rule that fits decides, so that one which fits everybody hides what stands below. */
static void warns_of_rules_that_never_decide(void **state)
{
    struct fixture *fixture = *state;
#define LAST         "{\"match\":{\"serial_number\":\"x\"},\"action\":\"deny\"}"
#define RULES(rules) ",\"access\":{\"rules\":[" rules "]}"
    static const char hidden[] =
        "access.rules[%d]: has no condition that could fail, and so decides about every "
        "enrolment: the rules after it never do; put it last, or give it a match";
    static const struct {
        const char *section;
        int at; /* -1: there is no warning */
    } rows[] = {
        {RULES("{\"action\":\"allow\"}," LAST), 0},
        {RULES(LAST ",{\"action\":\"deny\"}," LAST "," LAST), 1},
        {RULES("{\"match\":{\"trust\":[\"domain\",\"man*\"]},\"action\":\"allow\"}," LAST), 0},
        {RULES("{\"match\":{\"operation\":\"s*\"},\"action\":\"allow\"}," LAST), 0},
        {RULES("{\"match\":{\"operation\":[\"sen\",\"sren\"]},\"action\":\"allow\"}," LAST), -1},
        {RULES("{\"match\":{\"trust\":\"domain\"},\"action\":\"allow\"}," LAST), -1},
        {RULES("{\"match\":{\"serial_number\":\"*\"},\"action\":\"allow\"}," LAST), -1}, /* some have none */
        {RULES(LAST ",{\"action\":\"allow\"}"), -1},
        {RULES("{\"action\":\"allow\"},{\"match\":{\"operation\":[\"crts\",\"att\"]},\"action\":\"deny\"}"),
         -1},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char line[256] = "";
        if (rows[i].at >= 0)
            snprintf(line, sizeof(line), hidden, rows[i].at);
        assert_read(fixture, read_with(fixture, "", "", rows[i].section));
        if (rows[i].at >= 0)
            assert_said(fixture, &fixture->warnings, line);
        else
            assert_string_equal(buffer_string(&fixture->warnings), "");
    }
    assert_read(fixture, read_with(fixture, "", "",
                                   ",\"access\":{\"file\":\"f\",\"rules\":[{\"action\":\"allow\"}]}"));
    assert_said(
        fixture, &fixture->warnings,
        "access.file: is never looked at: access.rules[0] decides about every enrolment; remove the one "
        "or the other, or give the rule the action \"file\"");
    assert_read(fixture,
                read_with(fixture, "", "", ",\"access\":{\"file\":\"f\",\"rules\":[{\"action\":\"file\"}]}"));
    assert_string_equal(buffer_string(&fixture->warnings), "");
}

/* URI-4 */
static void warns_of_labels_that_no_rule_names(void **state)
{
    struct fixture *fixture = *state;
    assert_read(fixture, read_with(fixture, "", "",
                                   ",\"est\":{\"labels\":[\"p1\",\"p2\"]},\"access\":{\"rules\":[{\"match\":"
                                   "{\"label\":[\"p1\",\"q1\",\"q*\",\"\"]},\"action\":\"allow\"}]}"));
    char expected[512];
    snprintf(expected, sizeof(expected),
             "%s: est.labels: \"p2\" is refused to everybody: no rule of access.rules has a match.label that "
             "fits it\n"
             "%s: access.rules: rule 0: match.label \"q1\" fits no label of est.labels\n",
             fixture->file, fixture->file);
    assert_string_equal(buffer_string(&fixture->warnings), expected);
}

static void suits_libest_by_its_profile(void **state)
{
    struct fixture *fixture = *state;
    assert_read(fixture, read_with(fixture, "", ",\"profile\":\"libest\"", ""));
    assert_string_equal(buffer_string(&fixture->warnings), "");
    const struct settings *settings = fixture->settings;
    assert_int_equal(settings->upstream.max_connections, 4);
    assert_false(settings->upstream.reuse_connections);
    assert_int_equal(settings->upstream.base64_lines, BASE64_64_LF);
    assert_int_equal(settings->coap.max_request_bytes, 6048);

    struct buffer base64; /* the largest request that passes has not more than libest takes */
    buffer_init(&base64, 65536);
    uint8_t body[6048] = {0};
    base64_encode((struct bytes){body, settings->coap.max_request_bytes}, settings->upstream.base64_lines,
                  &base64);
    assert_true(base64.len <= 8192);
    buffer_free(&base64);
}

static void lets_explicit_keys_win_over_the_profile_with_a_warning(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        const char *upstream, *sections, *warning;
    } cases[] = {
        {",\"profile\":\"libest\",\"max_connections\":5", "",
         "upstream.max_connections: 5: libest has five threads, one for each connection; use at most 4"},
        {",\"profile\":\"libest\",\"reuse_connections\":true", "",
         "upstream.reuse_connections: true: five idle connections wedge libest for good; use false"},
        {",\"profile\":\"libest\",\"base64_lines\":\"one-line\"", "",
         "upstream.base64_lines: \"one-line\": libest refuses base64 without line ends; use \"64-lf\""},
        {",\"profile\":\"libest\"", ",\"coap\":{\"max_request_bytes\":6049}",
         "coap.max_request_bytes: 6049: makes 8195 octets of base64, and libest refuses more than 8192; use "
         "at most "
         "6048 (with \"64-lf\")"},
        {",\"profile\":\"libest\"",
         ",\"est\":{\"labels\":[\"p-1\",\"line 7\"]},\"access\":{\"rules\":[{\"match\":{\"label\":\"*\"},"
         "\"action\":\"allow\"}]}",
         "est.labels: \"line 7\": libest answers 404 where a label has other octets than letters, digits and "
         "-._~; "
         "give it an upstream_path without"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_read(fixture, read_with(fixture, "", cases[i].upstream, cases[i].sections));
        assert_said(fixture, &fixture->warnings, cases[i].warning);
    }
    assert_read(fixture, read_with(fixture, "", ",\"profile\":\"libest\",\"max_connections\":3", ""));
    assert_int_equal(fixture->settings->upstream.max_connections, 3);
    assert_string_equal(buffer_string(&fixture->warnings), "");
}

static void resolves_automatic_workers(void **state)
{
    struct fixture *fixture = *state;
    assert_read(fixture, read_with(fixture, "", "", ",\"workers\":\"auto\""));
    assert_in_range(fixture->settings->workers, 1, 64);
    assert_false(read_with(fixture, "", "", ",\"workers\":0"));
}

static void prints_a_configuration_that_reads_the_same(void **state)
{
    struct fixture *fixture = *state;
    assert_read(
        fixture,
        read_with(fixture, ",\"handshake_mtu\":300", ",\"profile\":\"libest\"",
                  ",\"est\":{\"labels\":[\"p1\"]},\"access\":{\"rules\":[{\"match\":{\"label\":\"p1\"},"
                  "\"action\":\"allow\",\"allow_san\":[\"dns:*.example\"]}]}"));
    struct buffer first, second;
    buffer_init(&first, 65536);
    buffer_init(&second, 65536);
    settings_print(fixture->settings, &first);
    assert_non_null(strstr(buffer_string(&first), "\"handshake_mtu\": 300,"));
    assert_read(fixture, read_text(fixture, buffer_string(&first)));
    assert_string_equal(buffer_string(&fixture->warnings), "");
    settings_print(fixture->settings, &second);
    assert_string_equal(buffer_string(&first), buffer_string(&second));
    buffer_free(&first);
    buffer_free(&second);
}

static void is_described_as_it_is(void **state)
{
    (void)state;
    assert_described_in(DOCUMENTATION);
}

/* The lines of errors that the page shows are those that such a file makes. */
static void is_refused_as_described(void **state)
{
    struct fixture *fixture = *state;
    assert_false(read_text(fixture, "{\"dtls\":{\"certifcate\":\"c\",\"private_key\":\"k\",\"domain_trust\":["
                                    "\"t\"],\"handshake_mtu\":4096},"
                                    "\"upstream\":{" UPSTREAM
                                    ",\"servers\":[\"http://est\"]},\"coap\":{\"separate_after_ms\":2000}}"));
    static const char shown_file[] = "\nerror: registrar.json:";
    struct buffer expected;
    buffer_init(&expected, 65536);
    char *page = text_of(DOCUMENTATION);
    for (const char *at = page; (at = strstr(at, shown_file)) != NULL;) {
        at += sizeof(shown_file) - 1;
        buffer_printf(&expected, "%s:%.*s\n", fixture->file, (int)strcspn(at, "\n"), at);
    }
    assert_string_equal(buffer_string(&fixture->errors), buffer_string(&expected));
    free(page);
    buffer_free(&expected);
}

static void has_a_complete_example(void **state)
{
    assert_complete(*state, SOURCE_FOLDER "/config", "registrar.json");
}

static void survives_a_wrong_kind_of_any_key(void **state)
{
    assert_wrong_kinds_are_refused(*state, SOURCE_FOLDER "/config/registrar.json");
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(has_the_defaults_of_the_design),
        TEST(names_everything_that_must_be_given),
        TEST(takes_only_a_base_url_as_server),
        TEST(takes_several_servers),
        TEST(takes_only_a_short_absolute_path_as_root),
        TEST(refuses_labels_that_could_be_mistaken),
        TEST(takes_a_plain_upstream_path_for_a_label),
        TEST(refuses_what_breaks_another_key),
        TEST(takes_the_uri_of_a_key),
        TEST(wants_an_est_server_that_can_be_trusted),
        TEST(wants_a_trust_store_that_devices_can_pass),
        TEST(warns_of_what_is_allowed_but_harmful),
        TEST(names_the_place_of_a_mistake_in_a_rule),
        TEST(wants_a_webhook_that_can_be_asked),
        TEST(warns_of_rules_that_never_decide),
        TEST(warns_of_a_log_without_records),
        TEST(warns_of_labels_that_no_rule_names),
        TEST(suits_libest_by_its_profile),
        TEST(lets_explicit_keys_win_over_the_profile_with_a_warning),
        TEST(resolves_automatic_workers),
        TEST(prints_a_configuration_that_reads_the_same),
        TEST(is_described_as_it_is),
        TEST(is_refused_as_described),
        TEST(has_a_complete_example),
        TEST(survives_a_wrong_kind_of_any_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
