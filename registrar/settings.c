#include "registrar/settings.h"

#include "common/address_range.h"
#include "common/join_names.h"
#include "common/settings_rows.h"
#include "registrar/access_settings.h"
#include "registrar/protocol/est_operation.h"
#include "registrar/protocol/https_origin.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define WORKERS_MAX            64
#define ROOT_OCTETS_MAX        64
#define ROOT_SEGMENTS_MAX      6 /* COAP_SEGMENTS_MAX less label and operation */
#define LABELS_MAX             64
#define UPSTREAM_PATH_MAX      512   /* octets */
#define JOIN_PROXY_LIFETIME_MS 30000 /* how long a stateful join proxy keeps an idle mapping (JP-6) */
#define LIBEST_CONNECTIONS_MAX 4     /* of its five threads; an idle connection holds one for good */
#define LIBEST_BODY_OCTETS_MAX 8192  /* of a base64 request body; a longer one gets 413 */

static const char *complaint_about_join_proxy(const json_t *value);
static const char *complaint_about_scheme(const json_t *value);
static const char *complaint_about_block_size(const json_t *value);
static const char *complaint_about_root(const json_t *value);
static const char *complaint_about_label(const json_t *value);
static const char *complaint_about_upstream_path(const json_t *value);
static const char *complaint_about_default_label(const json_t *value);
static const char *complaint_about_server(const json_t *value);
static const char *complaint_about_username(const json_t *value);
static const char *complaint_about_ciphers(const json_t *value);
static const char *complaint_about_private_key(const json_t *value);

/* RFC 3986 section 2.3 */
static const char unreserved[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";

static const struct settings_name att_empty_names[] = {
    {"4.04", ATT_EMPTY_NOT_FOUND}, {"3000", ATT_EMPTY_SEQUENCE}, {"2.05", ATT_EMPTY_CONTENT}, {NULL, 0}};
static const struct settings_name crts_287_names[] = {
    {"issuing-ca", CRTS_287_ISSUING_CA}, {"root", CRTS_287_ROOT}, {"refuse", CRTS_287_REFUSE}, {NULL, 0}};
static const struct settings_name key_type_names[] = {
    {"csr", KEY_CHOICE_CSR},         {"csrattrs", KEY_CHOICE_CSRATTRS}, {"P-256", KEY_TYPE_P256},
    {"P-384", KEY_TYPE_P384},        {"P-521", KEY_TYPE_P521},          {"RSA-2048", KEY_TYPE_RSA_2048},
    {"RSA-3072", KEY_TYPE_RSA_3072}, {"RSA-4096", KEY_TYPE_RSA_4096},   {NULL, 0},
};

static const struct settings_name server_keygen_names[] = {
    {"relay", SERVER_KEYGEN_RELAY},
    {"local", SERVER_KEYGEN_LOCAL},
    {"relay-then-local", SERVER_KEYGEN_RELAY_THEN_LOCAL},
    {NULL, 0}};
static const struct settings_name pop_names[] = {{"if-present", POP_IF_PRESENT},
                                                 {"required", POP_REQUIRED},
                                                 {"lenient-nonbase64", POP_LENIENT_NONBASE64},
                                                 {NULL, 0}};
static const struct settings_name in_doubt_names[] = {
    {"retry", IN_DOUBT_RETRY}, {"hold", IN_DOUBT_HOLD}, {NULL, 0}};
static const struct settings_name crl_policy_names[] = {
    {"soft", CRL_POLICY_SOFT}, {"listed", CRL_POLICY_LISTED}, {"require", CRL_POLICY_REQUIRE}, {NULL, 0}};
static const struct settings_name profile_names[] = {
    {"rfc7030", UPSTREAM_RFC7030}, {"libest", UPSTREAM_LIBEST}, {NULL, 0}};
static const struct settings_name sren_names[] = {
    {"simplereenroll", SREN_SIMPLEREENROLL}, {"simpleenroll", SREN_SIMPLEENROLL}, {NULL, 0}};
static const struct settings_name tls_names[] = {
    {"1.2", UPSTREAM_TLS_1_2}, {"1.3", UPSTREAM_TLS_1_3}, {NULL, 0}};
static const struct settings_name selection_names[] = {
    {"ordered", UPSTREAM_ORDERED}, {"round-robin", UPSTREAM_ROUND_ROBIN}, {NULL, 0}};
static const struct settings_name base64_names[] = {
    {"64-crlf", BASE64_64_CRLF}, {"64-lf", BASE64_64_LF}, {"one-line", BASE64_ONE_LINE}, {NULL, 0}};
static const struct settings_name csr_identity_names[] = {{"same-serial", CSR_IDENTITY_SAME_SERIAL},
                                                          {"serial-only", CSR_IDENTITY_SERIAL_ONLY},
                                                          {"same-subject", CSR_IDENTITY_SAME_SUBJECT},
                                                          {"any", CSR_IDENTITY_ANY},
                                                          {NULL, 0}};
static const struct settings_name workers_names[] = {{"auto", 0}, {NULL, 0}};

/* clang-format off */
static const struct settings_field label_fields[] = {
    { KEY("name", SETTINGS_STRING, PLACE(struct label_settings, name, char *)),
      .complaint = complaint_about_label, REQUIRED, SOURCE("URI-4"),
      DOC("what devices put before the operation, one path segment") },
    { KEY("upstream_path", SETTINGS_STRING, PLACE(struct label_settings, upstream_path, char *)),
      .complaint = complaint_about_upstream_path, PRESET("\"\""), SOURCE("URI-4, RA-3"),
      DOC("path at the EST server, to which `/simpleenroll` … is added; `\"\"` is `/.well-known/est/NAME`") },
};
static const struct settings_table label_table = { label_fields, sizeof(label_fields) / sizeof(label_fields[0]) };

static const struct settings_field fields[] = {
    { ENDPOINTS(listen.coaps, 1), PRESET("[\"[::]:5684\"]"), SOURCE("DTLS-1"),
      DOC("UDP addresses where devices reach EST; `[::]` takes IPv4 as well") },
    { ENDPOINTS(listen.jpy, 0), PRESET("[]"), SOURCE("JPR-1"),
      DOC("UDP addresses where stateless join proxies reach EST, with ports other than those of `listen.coaps`; `[]` for none") },
    { ENDPOINTS(listen.discovery, 0), PRESET("[\"[::]:5683\"]"), SOURCE("DISC-3, DISC-4"),
      DOC("UDP addresses that answer discovery without DTLS, and nothing else; `[]` for none") },
    { INTERFACES(listen.multicast_interfaces, 0, SETTINGS_STRINGS_MAX), PRESET("[]"), SOURCE("DISC-5"),
      DOC("interfaces on which discovery joins the groups of all CoAP nodes (`ff02::fd` …)") },
    { BOOL(listen.brski_jp), PRESET("true"), SOURCE("JPD-5"),
      DOC("whether devices that ask discovery for a join proxy (`brski-jp=*`) are told the port of `listen.coaps` itself") },

    { STRINGS(jpy.join_proxies, 0, SETTINGS_STRINGS_MAX, complaint_about_join_proxy), PRESET("[]"), SOURCE("JPR-7"),
      DOC("addresses and ranges (`2001:db8::/64`) of the join proxies that `listen.jpy` serves; `[]` for all") },
    { U32(jpy.max_associations, 1, 1000000), PRESET("1000"), SOURCE("JPR-6"),
      DOC("associations through one join proxy, on the one worker that its port belongs to; beyond, its own that is idle for longest makes room") },
    { U32(jpy.max_handshakes, 1, 100000), PRESET("100"), SOURCE("JPR-6"),
      DOC("of those, handshakes not yet finished, likewise") },
    { U32(jpy.handshakes_per_s, 1, 100000), PRESET("50"), SOURCE("JPR-6"),
      DOC("handshakes that begin through one join proxy in a second, likewise") },
    { STRINGS(jpy.schemes, 1, 3, complaint_about_scheme), PRESET("[\"jpy\"]"), SOURCE("JPD-3"),
      DOC("how discovery names `listen.jpy` (`rt=brski.rjp`), one link each: `jpy` (drafts -18 on), `coaps+jpy` (until -17), `coaps` (-06 to -10)") },
    { BOOL(jpy.seed_form), PRESET("false"), SOURCE("B0"),
      DOC("whether JPY messages in the form of the first draft (multipart-core) are taken; for laboratories") },

    { A_FILE(dtls.certificate), REQUIRED, SOURCE("DTLS-11, DTLS-13"), RELOADABLE,
      DOC("PEM: the registrar's certificate towards devices, then its intermediate CAs, not the root") },
    { A_FILE(dtls.private_key), REQUIRED, SOURCE("DTLS-11"), RELOADABLE,
      DOC("PEM: the private key of that certificate; it may be the same file") },
    { BOOL(dtls.renew), PRESET("false"), SOURCE("RA-7"),
      DOC("whether that certificate is renewed at the EST server like `upstream.renew` says; key and certificate then lie in one file") },
    { FILES(dtls.manufacturer_trust, 0), PRESET("[]"), SOURCE("DTLS-8"), RELOADABLE,
      DOC("PEM: CAs of the certificates that manufacturers put into devices (IDevID), with which they enrol first") },
    { FILES(dtls.domain_trust, 0), PRESET("[]"), SOURCE("DTLS-8, RE-3"), RELOADABLE,
      DOC("PEM: the EST CA, whose certificates devices enrolled for (LDevID)") },
    { FILES(dtls.crls, 0), PRESET("[]"), SOURCE("DTLS-9, RFC 5280 section 5"), RELOADABLE,
      DOC("PEM or DER: revocation lists, several a file if need be, signed by CAs of the trust files; looked at in the handshake and again for every request") },
    { ENUM(dtls.crl_policy, enum crl_policy, crl_policy_names), PRESET("\"listed\""), SOURCE("DTLS-9"), RELOADABLE,
      DOC("which devices are refused where `dtls.crls` cannot tell: none, those whose issuer's list is outdated, or also those whose issuer has none; once there are lists at all") },
    { BOOL(dtls.accept_expired_idevid), PRESET("false"), SOURCE("DTLS-9"), RELOADABLE,
      DOC("whether an expired certificate of the manufacturer still counts; everything else about it is checked") },
    { BOOL(dtls.accept_expired_ldevid), PRESET("false"), SOURCE("RE-6"), RELOADABLE,
      DOC("whether an expired certificate of the domain still counts, for `/sren` only") },
    { U32(dtls.handshake_mtu, 256, 1200), PRESET("1024"), SOURCE("DTLS-7"),
      DOC("octets: the largest UDP payload of a handshake flight") },
    { U32(dtls.retransmit_timeout_ms, 100, 60000), PRESET("1000"), SOURCE("TX-3, RFC 7925 section 11"),
      DOC("milliseconds until a handshake flight is first sent again, doubling; 9000 suits slow radio links") },
    { U32(dtls.idle_timeout_s, 1, 86400), PRESET("300"), SOURCE("SES-2"),
      DOC("seconds after which a silent association is closed; later where a device was told to come back") },
    { U32(dtls.max_associations, 1, 1000000), PRESET("20000"), SOURCE("SEC-3"),
      DOC("associations of the whole process; beyond, the one idle for longest makes room") },
    { U32(dtls.max_handshakes, 1, 100000), PRESET("1000"), SOURCE("DTLS-6, SEC-3"),
      DOC("of those, handshakes not yet finished") },
    { BOOL(dtls.session_resumption), PRESET("true"), SOURCE("SES-3"),
      DOC("whether devices may resume a session by ticket, for two hours, which saves them and us the signatures") },

    { U32(coap.ack_timeout_ms, 1000, 60000), PRESET("2000"), SOURCE("TX-1"),
      DOC("milliseconds: ACK_TIMEOUT of RFC 7252 section 4.8") },
    { DOUBLE(coap.ack_random_factor, 1, 3), PRESET("1.5"), SOURCE("TX-1"),
      DOC("ACK_RANDOM_FACTOR") },
    { U32(coap.max_retransmit, 1, 8), PRESET("4"), SOURCE("TX-1"),
      DOC("MAX_RETRANSMIT") },
    { U32(coap.block_size, 16, 1024), .complaint = complaint_about_block_size, PRESET("512"), SOURCE("BLK-10"),
      DOC("octets, a power of two: the largest block that we send or ask for; devices may ask for smaller ones") },
    { U32(coap.separate_after_ms, 1, 59999), PRESET("1000"), SOURCE("DLY-1"),
      DOC("milliseconds until a request is acknowledged with an empty ACK; below `coap.ack_timeout_ms`") },
    { U32(coap.answer_within_ms, 2, 300000), PRESET("20000"), SOURCE("DLY-3"),
      DOC("milliseconds until a device is told to come back (5.03 with Max-Age) while the EST server still works") },
    { U32(coap.max_request_bytes, 256, 1048576), PRESET("16384"), SOURCE("PAY-8, BLK-7"),
      DOC("octets of one request body, which is a CSR; more gets 4.13") },
    { U32(coap.max_buffered_bytes, 1024, 1073741824), PRESET("33554432"), SOURCE("BLK-8"),
      DOC("octets of all bodies held for block-wise transfers, whole process") },

    { STRING(est.root, complaint_about_root), PRESET("\"/est\""), SOURCE("URI-2, URI-3"),
      DOC("the short path of EST; `/.well-known/est` is always served beside it") },
    { OBJECTS(est.labels, LABELS_MAX, label_table, struct label_settings), .shorthand = "name", PRESET("[]"), SOURCE("URI-4"),
      DOC("CA profiles that devices may choose by a label before the operation; all other labels are 4.04") },
    { BOOL(est.att), PRESET("true"), SOURCE("DISC-2"),
      DOC("whether `/att` is offered") },
    { BOOL(est.skg), PRESET("false"), SOURCE("SKG-1"),
      DOC("whether `/skg` is offered: a key that is not made by the device, with its certificate as 281") },
    { BOOL(est.skc), PRESET("false"), SOURCE("SKG-1"),
      DOC("whether `/skc` is offered: the same with a single certificate (287)") },
    { ENUM(est.server_keygen, enum server_keygen, server_keygen_names), PRESET("\"relay\""), SOURCE("SKG-4 to SKG-6"),
      DOC("who makes the key: the EST server, the registrar, or the registrar where the EST server answers 404 or 501") },
    { ENUM(est.key_type, enum key_choice, key_type_names), PRESET("\"csr\""), SOURCE("SKG-5"),
      DOC("type of the registrar's own keys: that of the public key in the device's CSR, that which the EST server's "
          "csrattrs ask for, or always the same; `csr` and `csrattrs` stand in for each other, and P-256 for both") },
    { A_FILE(est.key_directory), PRESET("\"\""), SOURCE("SKG-7"), RELOADABLE,
      DOC("folder with keys of devices (`HEX.key`, `HEX.pem`), by which the registrar's own keys are protected; `\"\"` for none") },
    { U32(est.key_grace_s, 1, 86400), PRESET("120"), SOURCE("SKG-9"),
      DOC("seconds for which a key is kept, until its certificate is approved by hand and in case that the answer got lost, and wiped after") },
    { BOOL(est.long_names), PRESET("false"), SOURCE("URI-5"),
      DOC("whether the names of RFC 7030 (`/cacerts` …) work on the CoAP side as well") },
    { ENUM(est.pop, enum pop_policy, pop_names), PRESET("\"if-present\""), SOURCE("POP-5, POP-6, POP-8"),
      DOC("whether a CSR must be linked to its DTLS session (challengePassword); `lenient-nonbase64` is for laboratories") },
    { ENUM(est.att_empty, enum est_att_empty, att_empty_names), PRESET("\"4.04\""), SOURCE("Q6, RFC 8951 section 4"),
      DOC("`/att` when the EST server has no attributes: 4.04, 2.05 with an empty SEQUENCE, or 2.05 without payload") },
    { ENUM(est.crts_287, enum est_crts_287, crts_287_names), PRESET("\"issuing-ca\""), SOURCE("CF-6"),
      DOC("which of several CA certificates `/crts` gives a device that accepts only one (287)") },
    { ENUM(est.in_doubt, enum in_doubt_policy, in_doubt_names), PRESET("\"retry\""), SOURCE("DLY-4"),
      DOC("a request sent to the EST server whose outcome is unknown: ask again when the device does, or never") },
    { U32(est.grace_s, 1, 86400), PRESET("300"), SOURCE("DLY-4"),
      DOC("seconds for which a fetched certificate is kept, in case that the answer got lost") },
    { U32(est.max_pending, 1, 1000000), PRESET("10000"), SOURCE("DLY-4, SEC-3"),
      DOC("enrolments whose outcome is remembered; beyond, devices are told to come back") },
    { U32(est.max_pending_per_client, 1, 1000000), PRESET("8"), SOURCE("SEC-3, RFC 8516"),
      DOC("of those, enrolments of one client that it has not collected; beyond, it gets 4.29") },
    { U32(est.retry_after_s, 1, 86400), PRESET("60"), SOURCE("RSP-2"),
      DOC("seconds after which devices come back where the EST server names no time") },
    { U32(est.retry_after_max_s, 1, 604800), PRESET("86400"), SOURCE("RSP-2"),
      DOC("seconds: the longest that we pass on") },

    { STRINGS(upstream.servers, 1, UPSTREAM_SERVERS_MAX, complaint_about_server), REQUIRED, SOURCE("RA-1, RA-3"), RELOADABLE,
      DOC("base URLs of the EST servers, `https://host[:port]`; the subjectAltName of its certificate has that host") },
    { ENUM(upstream.selection, enum upstream_selection, selection_names), PRESET("\"ordered\""), SOURCE("RA-4"), RELOADABLE,
      DOC("of several EST servers, the first one that is well, or one after the other") },
    { U32(upstream.max_failures, 1, 1000), PRESET("5"), SOURCE("RA-5"), RELOADABLE,
      DOC("requests in a row that fail at an EST server until it is not asked any more and only probed") },
    { U32(upstream.backoff_ms, 100, 3600000), PRESET("1000"), SOURCE("RA-5"), RELOADABLE,
      DOC("milliseconds until the first probe, at most; doubles with each one that fails") },
    { U32(upstream.backoff_max_ms, 100, 3600000), PRESET("60000"), SOURCE("RA-5"), RELOADABLE,
      DOC("milliseconds between two such probes, at most") },
    { U32(upstream.probe_interval_ms, 0, 86400000), PRESET("60000"), SOURCE("RA-5"), RELOADABLE,
      DOC("milliseconds without a word of one of several EST servers until it is probed; 0 for never") },
    { STRINGS(upstream.redirect_origins, 0, UPSTREAM_REDIRECT_ORIGINS_MAX, complaint_about_server), PRESET("[]"), SOURCE("RA-9"), RELOADABLE,
      DOC("where else than to `upstream.servers` an EST server may redirect us, `https://host[:port]`; passwords are not sent there") },
    { FILES(upstream.trust, 0), REQUIRED, SOURCE("RA-2"), RELOADABLE,
      DOC("PEM: the explicit trust anchors, CAs of EST: the EST server's certificate has its host name or id-kp-cmcRA") },
    { A_FILE(upstream.learnt_trust), PRESET("\"\""), SOURCE("RA-2, RFC 7030 section 4.1.3"),
      DOC("PEM, written by the registrar: explicit trust anchors that `/cacerts` announced and an old one vouches for; `\"\"` for none") },
    { FILES(upstream.implicit_trust, 0), PRESET("[]"), SOURCE("RA-2"), RELOADABLE,
      DOC("PEM: CAs that also certify others (`/etc/ssl/certs/ca-certificates.crt`): the certificate must have the host name") },
    { A_FILE(upstream.certificate), REQUIRED, SOURCE("RA-1"), RELOADABLE,
      DOC("PEM or PKCS#12: the RA certificate that we show the EST server, with clientAuth and id-kp-cmcRA") },
    { A_FILE(upstream.private_key), .complaint = complaint_about_private_key, REQUIRED, SOURCE("RA-1"), RELOADABLE,
      DOC("PEM: its private key; the same file where that holds both (PKCS#12 or PEM); or `pkcs11:` URI of a token's key") },
    { BOOL(upstream.renew), PRESET("false"), SOURCE("RA-7"),
      DOC("whether the RA certificate is renewed, with a new key, when two thirds of its life are over; key and certificate then lie in one file") },
    { A_FILE(upstream.passphrase_file), PRESET("\"\""), SOURCE("RA-1"), RELOADABLE,
      DOC("file whose first line is the pass-phrase of the private key, or the PIN of its token; `\"\"` for none") },
    { A_FILE(upstream.pkcs11_module), PRESET("\"\""), SOURCE("RA-1"),
      DOC("PKCS#11 library of the token; `\"\"` for the one that p11-kit chooses") },
    { STRING(upstream.username, complaint_about_username), PRESET("\"\""), SOURCE("RA-8"), RELOADABLE,
      DOC("user name for HTTP Basic or Digest, given only when the verified EST server asks with 401") },
    { A_FILE(upstream.password_file), PRESET("\"\""), SOURCE("RA-8"), RELOADABLE,
      DOC("file whose first line is the password for that; `\"\"` for no HTTP authentication") },
    { ENUM(upstream.tls_min_version, enum upstream_tls, tls_names), PRESET("\"1.2\""), SOURCE("RA-1, RFC 7030 section 3.3"), RELOADABLE,
      DOC("lowest version of TLS towards the EST server") },
    { STRING(upstream.tls_ciphers, complaint_about_ciphers), PRESET("\"\""), SOURCE("RFC 7030 section 3.3"), RELOADABLE,
      DOC("cipher suites of TLS 1.2 in OpenSSL's words; `\"\"` for OpenSSL's choice. Never below 112 bits") },
    { STRING(upstream.tls_ciphersuites, complaint_about_ciphers), PRESET("\"\""), SOURCE("RFC 7030 section 3.3"), RELOADABLE,
      DOC("cipher suites of TLS 1.3; `\"\"` for OpenSSL's choice") },
    { STRING(upstream.default_label, complaint_about_default_label), PRESET("\"\""), SOURCE("RA-3"),
      DOC("label in the EST server's path for requests without one; `\"\"` for none") },
    { ENUM(upstream.sren_operation, enum sren_operation, sren_names), PRESET("\"simplereenroll\""), SOURCE("RA-10"),
      DOC("what `/sren` becomes; `simpleenroll` for EST servers that compare a re-enrolment's subject with the RA's own certificate") },
    { ENUM(upstream.profile, enum upstream_profile, profile_names), PRESET("\"rfc7030\""), SOURCE("PAY-3, RA-5"),
      DOC("changes defaults to suit an EST server, see below") },
    { U32(upstream.max_connections, 2, 1024), PRESET("16"), SOURCE("RA-5"),
      DOC("connections to all EST servers together, whole process; one of them is kept for GETs") },
    { BOOL(upstream.reuse_connections), PRESET("true"), SOURCE("RA-4"),
      DOC("whether connections are kept for further requests") },
    { U32(upstream.connect_timeout_ms, 100, 60000), PRESET("3000"), SOURCE("RA-5"),
      DOC("milliseconds for TCP and TLS") },
    { U32(upstream.timeout_ms, 100, 600000), PRESET("120000"), SOURCE("RA-5"),
      DOC("milliseconds for a whole request") },
    { U32(upstream.queue, 0, 100000), PRESET("1000"), SOURCE("RA-5"),
      DOC("requests that wait for a connection, whole process; more get 5.03") },
    { U32(upstream.max_response_bytes, 1024, 1048576), PRESET("65536"), SOURCE("PAY-8"),
      DOC("octets of one HTTP response body; more gets 5.02") },
    { U32(upstream.cacerts_max_age_s, 0, 86400), PRESET("300"), SOURCE("RSP-4"),
      DOC("seconds for which cacerts and csrattrs are served from memory") },
    { U32(upstream.serve_stale_s, 0, 2592000), PRESET("86400"), SOURCE("RSP-4, RFC 9111 section 4.2.4"),
      DOC("seconds for which they are served beyond that, with Max-Age 0, while the EST server is down") },
    { ENUM(upstream.base64_lines, enum base64_lines, base64_names), PRESET("\"64-crlf\""), SOURCE("PAY-3"),
      DOC("lines of the base64 that we send") },
    { BOOL(upstream.client_cert_header), PRESET("false"), SOURCE("RFC 9440"),
      DOC("whether POSTs carry the device's certificate as `Client-Cert`, so that the EST server can log for whom the RA speaks; its front end must let no other client set it") },
    { BOOL(upstream.content_transfer_encoding), PRESET("false"), SOURCE("PAY-6"),
      DOC("whether to send `Content-Transfer-Encoding: base64`, for old servers") },

    { OBJECTS(access.rules, ACCESS_RULES_MAX, access_rule_table, struct access_rule_settings), PRESET("[]"), SOURCE("DTLS-10"), RELOADABLE,
      DOC("who may enrol; the first rule all of whose conditions hold decides ([access.md](access.md))") },
    { KEY("access.default", SETTINGS_ENUM, PLACE(struct settings, access.preset, enum access_action)),
      .names = access_defaults, PRESET("\"allow\""), SOURCE("DTLS-10"), RELOADABLE,
      DOC("for enrolments without a label that neither a rule nor the file decides") },
    { A_FILE(access.file), PRESET("\"\""), SOURCE("DTLS-10"), RELOADABLE,
      DOC("file of serial numbers, looked at when no rule decides; `\"\"` for none") },
    { ENUM(access.csr_identity, enum csr_identity, csr_identity_names), PRESET("\"same-serial\""), SOURCE("RE-8"), RELOADABLE,
      DOC("what of a CSR's name must be that of the device that sends it ([security.md](security.md)); `any` lets a device enrol for another") },

    { STRING(access.webhook.url, access_complaint_about_url), PRESET("\"\""), SOURCE("DTLS-10"), RELOADABLE,
      DOC("who is asked where a rule says `ask`: `https://…`, or `unix:/path` for HTTP over a Unix socket; `\"\"` for nobody") },
    { FILES(access.webhook.trust, 0), PRESET("[]"), SOURCE("DTLS-10"), RELOADABLE,
      DOC("PEM: CAs of the webhook's certificate") },
    { U32(access.webhook.timeout_ms, 10, 60000), PRESET("2000"), SOURCE("DTLS-10"), RELOADABLE,
      DOC("milliseconds in which the webhook decides, waiting for a connection included; below `coap.answer_within_ms`") },
    { ENUM(access.webhook.fail, enum webhook_failure, webhook_failures), PRESET("\"closed\""), SOURCE("DTLS-10"), RELOADABLE,
      DOC("what becomes of devices when it does not: `closed` tells them to come back, `open` allows them") },
    { U32(access.webhook.max_connections, 1, WEBHOOK_CONNECTIONS_MAX), PRESET("4"), SOURCE("SEC-3"), RELOADABLE,
      DOC("questions asked at a time by one worker") },
    { U32(access.webhook.queue, 0, 10000), PRESET("1000"), SOURCE("SEC-3"), RELOADABLE,
      DOC("questions of one worker that wait; one more counts as a failure") },

    { U32(limits.device_requests_per_minute, 0, 600000), PRESET("120"), SOURCE("SEC-3, RFC 8516"),
      DOC("requests of one device; more get 4.29 with Max-Age; 0 for no limit") },
    { U32(limits.device_request_burst, 1, 100000), PRESET("60"), SOURCE("SEC-3"),
      DOC("of those, as many at once after a time without any") },
    { U32(limits.device_associations, 1, 1000000), PRESET("8"), SOURCE("SEC-3"),
      DOC("associations of one device with each worker; for one more the one silent for longest is closed") },
    { U32(limits.address_handshakes_per_minute, 0, 600000), PRESET("600"), SOURCE("SEC-3"),
      DOC("handshakes that one address may begin; more are dropped; 0 for no limit. All devices behind a stateful "
          "join proxy or a NAT have one address together") },
    { U32(limits.address_handshake_burst, 1, 100000), PRESET("300"), SOURCE("SEC-3"),
      DOC("of those, as many at once after a time without any") },
    { U32(limits.max_exchanges, 1, 1000000), PRESET("5000"), SOURCE("SEC-3"),
      DOC("requests in flight, whole process; more get 5.03 with Max-Age, before their bodies are taken in") },

    { LOG_LEVEL_ROW, RELOADABLE },
    { LOG_FORMAT_ROW },

    { U32(workers, 1, WORKERS_MAX), .names = workers_names, PRESET("1"), SOURCE("RA-5"),
      DOC("threads that serve devices; `\"auto\"` is one for each processor that the process may use") },
    { U32(watch_interval_ms, 0, 86400000), PRESET("5000"), SOURCE("RA-7, DTLS-9"),
      DOC("milliseconds between two looks at the files of `dtls.crls` and at `access.file`: what has changed and settled is loaded; 0 for never") },
    { A_FILE(state_directory), PRESET("\"\""), SOURCE("DLY-4"),
      DOC("folder where it is recorded, before a request leaves, that it does, so that a restart forgets no enrolment; `\"\"` for none") },
    { U32(drain_ms, 0, 600000), PRESET("8000"), SOURCE("DLY-4"),
      DOC("milliseconds that SIGTERM waits for requests in flight; keep it below what the service manager grants") },
};

/* What a profile puts in the place of a default. */
static const struct preset { const char *path, *value, *why; } libest_presets[] = {
    { "upstream.max_connections", "4", "libest has five threads, one for each connection" },
    { "upstream.reuse_connections", "false", "five idle connections wedge libest until we close them" },
    { "upstream.timeout_ms", "60000", "a connection that hangs takes one of the five threads" },
    { "upstream.base64_lines", "\"64-lf\"", "libest needs line ends; LF is what it sends itself" },
    { "coap.max_request_bytes", "6048", "libest refuses request bodies above 8192 octets of base64" },
};
/* clang-format on */

static void review_listeners(const struct settings_review *review);
static void review_multicast(const struct settings_review *review);
static void review_jpy(const struct settings_review *review);
static void review_trust(const struct settings_review *review);
static void review_limits(const struct settings_review *review);
static void review_delays(const struct settings_review *review);
static void review_labels(const struct settings_review *review);
static void review_upstream(const struct settings_review *review);
static void review_proof(const struct settings_review *review);
static void review_keys(const struct settings_review *review);
static void review_credentials(const struct settings_review *review);
static void review_renewal(const struct settings_review *review);
static void review_access(const struct settings_review *review);
static void review_libest(const struct settings_review *review);
static void review_libest_labels(const struct settings_review *review);

static void (*const reviews[])(const struct settings_review *) = {
    review_listeners,   review_multicast, review_jpy,      review_trust,  review_limits,
    review_delays,      review_labels,    review_upstream, review_proof,  review_keys,
    review_credentials, review_renewal,   review_access,   review_libest,
};

static void review_pair(const struct settings_review *review, const char *path, const struct endpoint *seen,
                        const struct endpoint *endpoint);
static bool is_same_port(const struct endpoint *coaps, const struct endpoint *jpy);
static void preset(struct settings_reader *reader, struct settings *settings);
static uint32_t usable_processors(void);
static void require_less(const struct settings_review *review, const char *path, const char *bound,
                         bool equal_will_do);
static uint32_t number_at(const struct settings *settings, const char *path);

static const struct settings_file file = {
    .table = {fields, sizeof(fields) / sizeof(fields[0])},
    .size = sizeof(struct settings),
    .preset = preset,
    .reviews = reviews,
    .review_count = sizeof(reviews) / sizeof(reviews[0]),
};

struct settings *settings_read(const char *name, struct buffer *errors, struct buffer *warnings)
{
    return settings_file_read(&file, name, errors, warnings);
}

void settings_free(struct settings *settings)
{
    settings_file_free(&file, settings);
}

void settings_compare(const struct settings *one, const struct settings *other, enum settings_kind kind,
                      struct buffer *paths)
{
    settings_table_compare(&file.table, one, other, kind, paths);
}

void settings_merge(const struct settings *running, const struct settings *wanted, struct settings *merged)
{
    *merged = *wanted;
    settings_table_overlay(&file.table, running, SETTINGS_FIXED, merged);
}

void settings_print(const struct settings *settings, struct buffer *json)
{
    settings_table_print(&file.table, settings, json);
}

void settings_reference(struct buffer *markdown)
{
    settings_table_reference(&file.table, markdown);
    buffer_append_string(markdown,
                         "\n### Profile libest\n| key | default becomes | because |\n|---|---|---|\n");
    for (size_t i = 0; i < sizeof(libest_presets) / sizeof(libest_presets[0]); i++)
        buffer_printf(markdown, "| `%s` | `%s` | %s |\n", libest_presets[i].path, libest_presets[i].value,
                      libest_presets[i].why);
}

static void preset(struct settings_reader *reader, struct settings *settings)
{
    if (settings->workers == 0)
        settings->workers = usable_processors();
    if (settings->upstream.profile != UPSTREAM_LIBEST)
        return;
    for (size_t i = 0; i < sizeof(libest_presets) / sizeof(libest_presets[0]); i++)
        settings_reader_preset(reader, libest_presets[i].path, libest_presets[i].value, settings);
}

/* Those that the process may run on, which in a container are fewer than there are. */
static uint32_t usable_processors(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) != 0 || CPU_COUNT(&set) < 1)
        return 1;
    return CPU_COUNT(&set) < WORKERS_MAX ? (uint32_t)CPU_COUNT(&set) : WORKERS_MAX;
}

/* With SO_REUSEPORT the kernel would not notice (DTLS-1: EST never without DTLS). */
static void review_listeners(const struct settings_review *review)
{
    const struct listen_settings *listen = &review->settings->listen;
    const struct settings_endpoints *lists[] = {&listen->coaps, &listen->jpy, &listen->discovery};
    static const char *const paths[] = {"listen.coaps", "listen.jpy", "listen.discovery"};
    const struct endpoint *seen[3 * SETTINGS_LISTENERS_MAX];
    size_t count = 0;
    for (size_t list = 0; list < 3; list++) {
        for (size_t i = 0; i < lists[list]->count; i++) {
            const struct endpoint *endpoint = &lists[list]->items[i];
            for (size_t j = 0; j < count && endpoint_port(endpoint) != 0; j++)
                review_pair(review, paths[list], seen[j], endpoint);
            seen[count++] = endpoint;
        }
    }
}

static void review_pair(const struct settings_review *review, const char *path, const struct endpoint *seen,
                        const struct endpoint *endpoint)
{
    char text[ENDPOINT_TEXT_MAX], other[ENDPOINT_TEXT_MAX];
    if (endpoint_equal(seen, endpoint))
        settings_reader_complain(review->reader, path, "\"%s\" is in listen twice; remove one",
                                 endpoint_format(endpoint, text));
    else if (endpoint_overlaps(seen, endpoint))
        settings_reader_complain(review->reader, path,
                                 "\"%s\" is part of \"%s\", which is in listen too; use another port",
                                 endpoint_format(endpoint_is_wildcard(endpoint) ? seen : endpoint, text),
                                 endpoint_format(endpoint_is_wildcard(endpoint) ? endpoint : seen, other));
}

/* A group is heard by a socket with a wildcard address alone (DISC-5). */
static void review_multicast(const struct settings_review *review)
{
    const struct listen_settings *listen = &review->settings->listen;
    if (listen->multicast_interfaces.count == 0 ||
        !settings_review_usable(review, "listen.discovery", "listen.multicast_interfaces"))
        return;
    for (size_t i = 0; i < listen->discovery.count; i++)
        if (endpoint_is_wildcard(&listen->discovery.items[i]))
            return;
    settings_reader_complain(review->reader, "listen.multicast_interfaces",
                             "\"%s\" needs a wildcard address to hear groups; add \"[::]:5683\" to "
                             "listen.discovery",
                             listen->multicast_interfaces.items[0]);
}

static void review_jpy(const struct settings_review *review)
{
    const struct settings *settings = review->settings;
    const struct settings_endpoints *coaps = &settings->listen.coaps, *jpy = &settings->listen.jpy;
    if (settings->jpy.seed_form)
        settings_review_warn(review, "jpy.seed_form",
                             "true: no published join proxy sends that form; use false outside laboratories");
    if (jpy->count == 0 && settings->jpy.join_proxies.count > 0)
        settings_review_warn(review, "jpy.join_proxies",
                             "is of no use without listen.jpy: no join proxy is served; add \"[::]:5690\" to "
                             "listen.jpy, or remove the list");
    for (size_t i = 0; i < coaps->count * jpy->count; i++)
        if (is_same_port(&coaps->items[i % coaps->count], &jpy->items[i / coaps->count]))
            settings_review_warn(review, "listen.jpy",
                                 "port %u is in listen.coaps as well, at another address: who takes the one "
                                 "for the other is not answered; use another port",
                                 endpoint_port(&jpy->items[i / coaps->count]));
}

static bool is_same_port(const struct endpoint *coaps, const struct endpoint *jpy)
{
    return endpoint_port(jpy) != 0 && endpoint_port(jpy) == endpoint_port(coaps) &&
           !endpoint_overlaps(coaps, jpy);
}

static void review_trust(const struct settings_review *review)
{
    const struct dtls_settings *dtls = &review->settings->dtls;
    if (!settings_review_usable(review, "dtls.manufacturer_trust", "dtls.domain_trust") ||
        dtls->domain_trust.count > 0)
        return;
    if (dtls->manufacturer_trust.count == 0)
        settings_reader_complain(review->reader, "dtls.manufacturer_trust",
                                 "is empty as is dtls.domain_trust: no device could connect; name the PEM "
                                 "file of a CA in one of them");
    else
        settings_review_warn(review, "dtls.domain_trust",
                             "is empty: no device can re-enrol; name the EST CA's PEM file");
}

static void review_limits(const struct settings_review *review)
{
    require_less(review, "dtls.max_handshakes", "dtls.max_associations", true);
    require_less(review, "jpy.max_handshakes", "jpy.max_associations", true);
    require_less(review, "coap.max_request_bytes", "coap.max_buffered_bytes", true);
    require_less(review, "est.retry_after_s", "est.retry_after_max_s", true);
    require_less(review, "upstream.connect_timeout_ms", "upstream.timeout_ms", true);
    require_less(review, "upstream.backoff_ms", "upstream.backoff_max_ms", true);
}

static void review_delays(const struct settings_review *review)
{
    require_less(review, "coap.separate_after_ms", "coap.ack_timeout_ms", false);
    require_less(review, "coap.separate_after_ms", "coap.answer_within_ms", false);
    if (review->settings->coap.answer_within_ms >= JOIN_PROXY_LIFETIME_MS)
        settings_review_warn(
            review, "coap.answer_within_ms",
            "%u: a stateful join proxy forgets a device after %d; stay below if there is one",
            review->settings->coap.answer_within_ms, JOIN_PROXY_LIFETIME_MS);
}

static void review_labels(const struct settings_review *review)
{
    const struct settings_objects *labels = &review->settings->est.labels;
    const struct label_settings *label = labels->items;
    if (!settings_reader_usable(review->reader, "est.labels"))
        return;
    for (size_t i = 0; i < labels->count; i++)
        for (size_t j = 0; j < i; j++)
            if (strcmp(label[i].name, label[j].name) == 0)
                settings_reader_complain(review->reader, "est.labels", "\"%s\" stands here twice; remove one",
                                         label[i].name);
}

static void review_upstream(const struct settings_review *review)
{
    if (review->settings->upstream.content_transfer_encoding)
        settings_review_warn(review, "upstream.content_transfer_encoding",
                             "true: RFC 8951 deprecates the header; use false unless the EST server insists");
}

static void review_proof(const struct settings_review *review)
{
    const struct est_settings *est = &review->settings->est;
    if (est->pop == POP_LENIENT_NONBASE64)
        settings_review_warn(review, "est.pop",
                             "\"lenient-nonbase64\" lets a challengePassword pass that is no proof; use "
                             "\"if-present\" outside "
                             "laboratories");
    if (est->pop == POP_REQUIRED && !est->att)
        settings_review_warn(
            review, "est.att",
            "false: devices cannot learn that est.pop is \"required\" (RFC 7030 section 4.5.2); use true");
}

/* SKG-9: an EST server that names no time, and one that names this, lets wait for as long. */
static void review_keys(const struct settings_review *review)
{
    const struct est_settings *est = &review->settings->est;
    bool makes_keys = (est->skg || est->skc) && est->server_keygen != SERVER_KEYGEN_RELAY;
    if (makes_keys && est->key_grace_s <= est->retry_after_s)
        settings_review_warn(
            review, "est.key_grace_s",
            "%u: a key made here waits no longer for an EST server that approves by hand (202); if "
            "yours does, raise it above its Retry-After",
            est->key_grace_s);
}

static void review_credentials(const struct settings_review *review)
{
    const struct upstream_settings *upstream = &review->settings->upstream;
    if (settings_review_usable(review, "upstream.trust", "upstream.implicit_trust") &&
        settings_reader_usable(review->reader, "upstream.learnt_trust") && upstream->trust.count == 0 &&
        upstream->implicit_trust.count == 0 && upstream->learnt_trust[0] == '\0')
        settings_reader_complain(
            review->reader, "upstream.trust",
            "is empty as is upstream.implicit_trust: no EST server could be trusted; name "
            "the PEM file of the CA that issued the EST server's certificate");
    if (settings_review_usable(review, "upstream.username", "upstream.password_file") &&
        upstream->username[0] != '\0' && upstream->password_file[0] == '\0')
        settings_reader_complain(
            review->reader, "upstream.password_file",
            "is missing, and upstream.username is there; name the file with its password");
}

/* A rename replaces one file at a time, and a key in a token not at all. */
static void review_renewal(const struct settings_review *review)
{
    const struct upstream_settings *upstream = &review->settings->upstream;
    const struct dtls_settings *dtls = &review->settings->dtls;
    static const char cure[] =
        "true needs key and certificate in one file, so that both are replaced at once: put "
        "both into one PEM file, named twice; a key in a token cannot be renewed";
    if (upstream->renew && settings_review_usable(review, "upstream.certificate", "upstream.private_key") &&
        strcmp(upstream->certificate, upstream->private_key) != 0)
        settings_reader_complain(review->reader, "upstream.renew", "%s", cure);
    if (dtls->renew && settings_review_usable(review, "dtls.certificate", "dtls.private_key") &&
        strcmp(dtls->certificate, dtls->private_key) != 0)
        settings_reader_complain(review->reader, "dtls.renew", "%s", cure);
}

static void review_access(const struct settings_review *review)
{
    if (review->settings->access.csr_identity == CSR_IDENTITY_ANY)
        settings_review_warn(review, "access.csr_identity",
                             "\"any\" lets every device enrol in the name of any other; use \"same-serial\"");
    if (review->settings->log.level < LOG_LEVEL_INFO)
        settings_review_warn(review, "log.level",
                             "leaves out the records of requests, by which certificates can be traced; use "
                             "\"info\"");
    access_settings_review(review);
}

/* An explicit key wins over the profile, to its harm. */
static void review_libest(const struct settings_review *review)
{
    const struct upstream_settings *upstream = &review->settings->upstream;
    if (upstream->profile != UPSTREAM_LIBEST)
        return;
    if (upstream->max_connections > LIBEST_CONNECTIONS_MAX)
        settings_review_warn(review, "upstream.max_connections",
                             "%u: libest has five threads, one for each connection; use at most %d",
                             upstream->max_connections, LIBEST_CONNECTIONS_MAX);
    if (upstream->reuse_connections)
        settings_review_warn(review, "upstream.reuse_connections",
                             "true: five idle connections wedge libest for good; use false");
    if (upstream->base64_lines == BASE64_ONE_LINE)
        settings_review_warn(review, "upstream.base64_lines",
                             "\"one-line\": libest refuses base64 without line ends; use \"64-lf\"");

    size_t length = base64_encoded_length(review->settings->coap.max_request_bytes, upstream->base64_lines);
    if (length > LIBEST_BODY_OCTETS_MAX)
        settings_review_warn(
            review, "coap.max_request_bytes",
            "%u: makes %zu octets of base64, and libest refuses more than %d; use at most 6048 (with "
            "\"64-lf\")",
            review->settings->coap.max_request_bytes, length, LIBEST_BODY_OCTETS_MAX);
    review_libest_labels(review);
}

/* Its path of one segment has percent signs then, which libest takes for no label. */
static void review_libest_labels(const struct settings_review *review)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    const struct settings_objects *labels = &review->settings->est.labels;
    const struct label_settings *label = labels->items;
    if (!settings_reader_usable(review->reader, "est.labels"))
        return;
    for (size_t i = 0; i < labels->count; i++, label++) {
        if (label->upstream_path[0] == '\0' && label->name[strspn(label->name, plain)] != '\0')
            settings_review_warn(
                review, "est.labels",
                "\"%s\": libest answers 404 where a label has other octets than letters, digits and "
                "-._~; give it an upstream_path without",
                label->name);
    }
}

/* Complains about path when its number is not below (or equal to) the one at bound. */
static void require_less(const struct settings_review *review, const char *path, const char *bound,
                         bool equal_will_do)
{
    uint32_t number = number_at(review->settings, path), most = number_at(review->settings, bound);
    if (!settings_review_usable(review, path, bound) || number < most || (equal_will_do && number == most))
        return;
    settings_reader_complain(review->reader, path,
                             "%u is not %s %s, which is %u; lower the one or raise the other", number,
                             equal_will_do ? "at most" : "below", bound, most);
}

static uint32_t number_at(const struct settings *settings, const char *path)
{
    uint32_t number;
    memcpy(&number, (const char *)settings + settings_table_find(&file.table, path)->offset, sizeof(number));
    return number;
}

static const char *complaint_about_join_proxy(const json_t *value)
{
    struct address_range range;
    if (address_range_parse(json_string_value(value), &range) == STATUS_OK)
        return NULL;
    return "is no address and no range of addresses; use one such as \"2001:db8::1\" or \"2001:db8::/64\"";
}

static const char *complaint_about_scheme(const json_t *value)
{
    for (size_t i = 0; i < join_names_registrar_count(); i++)
        if (join_names_registrar(i)->jpy &&
            strcmp(join_names_registrar(i)->scheme, json_string_value(value)) == 0)
            return NULL;
    return "is no scheme of a JPY port; use \"jpy\", \"coaps+jpy\" or \"coaps\"";
}

static const char *complaint_about_block_size(const json_t *value)
{
    json_int_t size = json_integer_value(value);
    return (size & (size - 1)) == 0 ? NULL : "is not a power of two; use 16, 32, 64, 128, 256, 512 or 1024";
}

/* One absolute path of plain segments, few enough for a label and an operation to follow. */
static const char *complaint_about_root(const json_t *value)
{
    const char *root = json_string_value(value);
    const char *at = root;
    size_t segments = 0;
    while (*at == '/' && segments <= ROOT_SEGMENTS_MAX) {
        size_t len = strspn(at + 1, unreserved);
        if (len == 0 || strspn(at + 1, ".") == len)
            break;
        if (segments == 0 && len == strlen(".well-known") && strncmp(at + 1, ".well-known", len) == 0)
            return "is below /.well-known, where EST and discovery are always served; use another path, such "
                   "as "
                   "\"/est\"";
        at += 1 + len;
        segments++;
    }
    if (*at != '\0' || segments == 0 || segments > ROOT_SEGMENTS_MAX || strlen(root) > ROOT_OCTETS_MAX)
        return "is not a short absolute path; use one such as \"/est\": 1 to 6 segments of letters, digits "
               "and -._~, "
               "none empty";
    return NULL;
}

static const char *complaint_about_label(const json_t *value)
{
    if (!est_label_is_valid(bytes_from_string(json_string_value(value))))
        return "is not a label; use one path segment of 1 to 128 octets that is not the name of an operation";
    return NULL;
}

/* Absolute, of plain segments: no part of it is left to an EST server's way of decoding. */
static const char *complaint_about_upstream_path(const json_t *value)
{
    const char *path = json_string_value(value);
    const char *at = path;
    while (*at == '/') {
        size_t len = strspn(at + 1, unreserved);
        if (len == 0 || strspn(at + 1, ".") == len)
            break;
        at += 1 + len;
    }
    if (*at != '\0' || strlen(path) > UPSTREAM_PATH_MAX)
        return "is not an absolute path; use one such as \"/.well-known/est/p1\": segments of letters, "
               "digits "
               "and -._~, none empty";
    return NULL;
}

static const char *complaint_about_default_label(const json_t *value)
{
    return json_string_length(value) == 0 ? NULL : complaint_about_label(value);
}

/* Nothing but an origin: client input is appended to it (RA-3). */
static const char *complaint_about_server(const json_t *value)
{
    struct https_origin origin;
    return https_origin_read(json_string_value(value), &origin);
}

/* RFC 7617 section 2: a colon would end it. */
static const char *complaint_about_username(const json_t *value)
{
    for (const char *at = json_string_value(value); *at != '\0'; at++)
        if (*at == ':' || (unsigned char)*at < 0x20 || *at == 0x7f)
            return "has a colon or a control character, which HTTP has no way to write; use another name";
    return NULL;
}

static const char *complaint_about_ciphers(const json_t *value)
{
    const char *text = json_string_value(value);
    if (strchr(text, '@') != NULL || strstr(text, "NULL") != NULL)
        return "would lower the security of OpenSSL's choice; name cipher suites";
    return NULL;
}

/* It would be printed and logged with the URI (RFC 7512 section 7). */
static const char *complaint_about_private_key(const json_t *value)
{
    const char *text = json_string_value(value);
    if (strncmp(text, "pkcs11:", strlen("pkcs11:")) == 0 && strstr(text, "pin-") != NULL)
        return "has the PIN or its place in it; write it to a file, and name that as "
               "upstream.passphrase_file";
    return NULL;
}
