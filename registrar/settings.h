/* What the configuration file says, as plain values. One file is one immutable snapshot. */
#ifndef ESTUARY_REGISTRAR_SETTINGS_H
#define ESTUARY_REGISTRAR_SETTINGS_H

#include "common/base64.h"
#include "common/bytes.h"
#include "common/log.h"
#include "common/settings_table.h"

enum est_att_empty { /* what /att answers when the EST server has no attributes (requirements Q6) */
                     ATT_EMPTY_NOT_FOUND, /* "4.04" */
                     ATT_EMPTY_SEQUENCE,  /* "3000": 2.05 with an empty SEQUENCE, RFC 8951 section 4 */
                     ATT_EMPTY_CONTENT    /* "2.05": 2.05 without payload */
};

enum est_crts_287 { /* which certificate /crts gives as 287 when there are several (CF-6) */
                    CRTS_287_ISSUING_CA,
                    CRTS_287_ROOT,
                    CRTS_287_REFUSE
};

enum in_doubt_policy { IN_DOUBT_RETRY, IN_DOUBT_HOLD };

enum server_keygen { /* who makes the keys of /skg and /skc (SKG-4 to SKG-6) */
                     SERVER_KEYGEN_RELAY,
                     SERVER_KEYGEN_LOCAL,
                     SERVER_KEYGEN_RELAY_THEN_LOCAL
};

enum csr_identity { /* RE-8 */
                    CSR_IDENTITY_SAME_SERIAL,
                    CSR_IDENTITY_SERIAL_ONLY,
                    CSR_IDENTITY_SAME_SUBJECT,
                    CSR_IDENTITY_ANY,
                    CSR_IDENTITY_DEFAULT /* of a rule: as access.csr_identity says */
};

enum access_action { ACCESS_DENY, ACCESS_ALLOW, ACCESS_ASK /* the webhook */, ACCESS_FILE /* access.file */ };

enum access_condition { /* what a rule may look at (DTLS-10) */
                        ACCESS_SUBJECT,
                        ACCESS_SERIAL_NUMBER,
                        ACCESS_SAN,
                        ACCESS_ISSUER,
                        ACCESS_AUTHORITY_KEY,
                        ACCESS_SUBJECT_KEY,
                        ACCESS_TRUST,
                        ACCESS_OPERATION,
                        ACCESS_LABEL,
                        ACCESS_CONDITION_COUNT
};

enum webhook_failure { WEBHOOK_FAIL_CLOSED, WEBHOOK_FAIL_OPEN };

enum pop_policy { /* whether a CSR is linked to its association (POP-5, POP-6) */
                  POP_IF_PRESENT,
                  POP_REQUIRED,
                  POP_LENIENT_NONBASE64 /* if-present, and what is not base64 is no challengePassword */
};

enum crl_policy { /* which clients are refused when their issuers' revocation lists cannot tell (DTLS-9) */
                  CRL_POLICY_SOFT,   /* none */
                  CRL_POLICY_LISTED, /* those whose issuer has a list, but an outdated one */
                  CRL_POLICY_REQUIRE /* those whose issuer has no list, too */
};

enum upstream_profile { UPSTREAM_RFC7030, UPSTREAM_LIBEST };

enum upstream_tls { UPSTREAM_TLS_1_2, UPSTREAM_TLS_1_3 };

enum sren_operation { SREN_SIMPLEREENROLL, SREN_SIMPLEENROLL }; /* RA-10 */
enum upstream_selection { UPSTREAM_ORDERED, UPSTREAM_ROUND_ROBIN };

#define UPSTREAM_SERVERS_MAX          16
#define UPSTREAM_REDIRECT_ORIGINS_MAX 16
#define WEBHOOK_CONNECTIONS_MAX       64

struct listen_settings {
    struct settings_endpoints coaps, jpy, discovery;
    struct settings_strings multicast_interfaces;
    bool brski_jp; /* JPD-5 */
};

/* Ports resolved. */
struct listen_addresses {
    struct settings_endpoints coaps, jpy;
};

struct jpy_settings {
    struct settings_strings join_proxies; /* addresses and ranges of them; none: all (JPR-7) */
    /* of the associations that come through one join proxy to one worker (JPR-6) */
    uint32_t max_associations, max_handshakes, handshakes_per_s;
    struct settings_strings schemes; /* of the links that discovery gives (JPD-3) */
    bool seed_form;                  /* whether draft-vanderstok's messages are taken (B0) */
};

struct dtls_settings {
    char *certificate, *private_key;
    bool renew; /* that certificate, at the EST server */
    struct settings_strings manufacturer_trust,
        domain_trust;             /* PEM files; an empty list switches the store off */
    struct settings_strings crls; /* PEM or DER files */
    enum crl_policy crl_policy;
    bool accept_expired_idevid, accept_expired_ldevid; /* DTLS-9, RE-6 */
    uint32_t handshake_mtu;         /* octets of UDP payload in a handshake flight, 256 to 1200 */
    uint32_t retransmit_timeout_ms; /* first DTLS retransmission, RFC 7925 section 11 (TX-3) */
    uint32_t idle_timeout_s;
    uint32_t max_associations, max_handshakes; /* of the whole process */
    bool session_resumption;                   /* SES-3 */
};

struct coap_settings {
    uint32_t ack_timeout_ms;
    double ack_random_factor;
    uint32_t max_retransmit;
    uint32_t block_size;         /* 16 to 1024, a power of two */
    uint32_t separate_after_ms;  /* below ack_timeout_ms */
    uint32_t answer_within_ms;   /* DLY-3 */
    uint32_t max_request_bytes;  /* of one request body */
    uint32_t max_buffered_bytes; /* of all bodies and representations kept for block-wise transfers, whole
                                    process */
};

/* A CA profile (RFC 7030 section 3.2.2). */
struct label_settings {
    char *name;
    char *upstream_path; /* in the EST server's URL, before the operation; "": /.well-known/est/NAME */
};

enum key_type { /* of keys that the registrar makes */
                KEY_TYPE_P256,
                KEY_TYPE_P384,
                KEY_TYPE_P521,
                KEY_TYPE_RSA_2048,
                KEY_TYPE_RSA_3072,
                KEY_TYPE_RSA_4096
};

enum key_choice { /* what decides of the type: a type itself, or one of these */
                  KEY_CHOICE_CSR = KEY_TYPE_RSA_4096 + 1,
                  KEY_CHOICE_CSRATTRS
};

struct est_settings {
    char *root;                     /* the short root, "/est"; /.well-known/est is always served */
    struct settings_objects labels; /* of struct label_settings */
    bool att, skg, skc;
    enum server_keygen server_keygen;
    enum key_choice key_type; /* or an enum key_type (SKG-5) */
    char *key_directory;      /* keys of devices, by which generated ones are protected (SKG-7); "" none */
    uint32_t key_grace_s;     /* how long any copy of a private key is kept at most (SKG-9) */
    bool long_names;          /* URI-5 */
    enum pop_policy pop;
    enum est_att_empty att_empty;
    enum est_crts_287 crts_287;
    enum in_doubt_policy in_doubt;
    uint32_t grace_s;     /* a fetched result is kept this long for a lost answer */
    uint32_t max_pending; /* entries of the pending table */
    uint32_t max_pending_per_client;
    uint32_t retry_after_s,
        retry_after_max_s; /* Max-Age where the EST server names none; and at most (RSP-2) */
};

struct upstream_settings {
    struct settings_strings servers; /* https URLs */
    enum upstream_selection selection;
    uint32_t max_failures;                    /* in a row, until a server is not asked any more */
    uint32_t backoff_ms, backoff_max_ms;      /* until it is probed */
    uint32_t probe_interval_ms;               /* of a server that is not heard of; 0 never */
    struct settings_strings redirect_origins; /* https URLs (RA-9) */
    struct settings_strings trust;
    struct settings_strings implicit_trust; /* CAs of any server; empty: only EST's are trusted (RA-2) */
    char *learnt_trust;                     /* where roots are kept that /cacerts announced; "" nowhere */
    char *certificate, *private_key;        /* PEM, or both one PKCS#12 file; the key may be a pkcs11: URI */
    bool renew;                             /* that certificate, when two thirds of its life are over */
    char *passphrase_file;                  /* of that key, or the PIN of its token; "" none */
    char *pkcs11_module;                    /* "" the system's */
    char *username, *password_file;         /* for HTTP authentication (RA-8); password_file "": none */
    enum upstream_tls tls_min_version;
    char *tls_ciphers, *tls_ciphersuites; /* of TLS 1.2, of TLS 1.3; "" OpenSSL's choice */
    enum sren_operation sren_operation;
    char *default_label; /* "" none (RA-3) */
    enum upstream_profile profile;
    uint32_t max_connections; /* of the whole process; one of them is kept for GETs */
    bool reuse_connections;
    uint32_t connect_timeout_ms, timeout_ms;
    uint32_t queue;                 /* requests waiting for a connection, whole process */
    uint32_t max_response_bytes;    /* of one HTTP body */
    uint32_t cacerts_max_age_s;     /* how long cacerts and csrattrs are served from memory */
    uint32_t serve_stale_s;         /* and how much longer while the EST server is down */
    enum base64_lines base64_lines; /* PAY-3 */
    bool content_transfer_encoding; /* PAY-6 */
    bool client_cert_header;        /* RFC 9440 */
};

/* Each condition is a list of patterns, one of which must fit; an empty list always holds. */
struct access_rule_settings {
    char *name; /* "" none */
    struct settings_strings match[ACCESS_CONDITION_COUNT];
    enum access_action action;
    struct settings_strings allow_san; /* patterns of what the CSR may have besides (RE-8) */
    enum csr_identity csr_identity;
};

struct webhook_settings {
    char *url; /* "https://…" or "unix:/path"; "" none */
    struct settings_strings trust;
    uint32_t timeout_ms;
    enum webhook_failure fail;
    uint32_t max_connections, queue; /* of each worker */
};

struct access_settings {
    struct settings_objects rules; /* of struct access_rule_settings */
    enum access_action preset;     /* access.default */
    char *file;                    /* of serial numbers; "" none */
    struct webhook_settings webhook;
    enum csr_identity csr_identity;
};

struct limit_settings {                                        /* SEC-3 */
    uint32_t device_requests_per_minute, device_request_burst; /* 0: no limit */
    uint32_t device_associations;                              /* of one device, each worker */
    uint32_t address_handshakes_per_minute, address_handshake_burst;
    uint32_t max_exchanges; /* in flight, whole process */
};

struct settings {
    struct listen_settings listen;
    struct jpy_settings jpy;
    struct dtls_settings dtls;
    struct coap_settings coap;
    struct est_settings est;
    struct upstream_settings upstream;
    struct access_settings access;
    struct limit_settings limits;
    struct log_settings log;
    uint32_t workers;           /* threads, at least 1; "auto" is resolved to one per core */
    uint32_t watch_interval_ms; /* of dtls.crls and access.file; 0: never */
    char *state_directory;      /* where the pending table is kept for a restart; "" nowhere */
    uint32_t drain_ms; /* how long SIGTERM waits for exchanges in flight; default 8000, below what container
                          engines grant */
};

/* Reads a JSON file. On success gives the settings (free with settings_free); otherwise NULL, and errors
 * holds one line for each thing wrong, each with file, JSON path, value and cure. Warnings (a profile
 * overridden to its harm, …) are lines in warnings. */
struct settings *settings_read(const char *file, struct buffer *errors, struct buffer *warnings);
void settings_free(struct settings *settings);

/* Appends the whole effective configuration as JSON that settings_read accepts (--print-config). */
void settings_print(const struct settings *settings, struct buffer *json);

/* Appends a line with the path of each key of that kind whose values differ. */
void settings_compare(const struct settings *one, const struct settings *other, enum settings_kind kind,
                      struct buffer *paths);

/* What a reload of wanted makes of the settings that run: the reloadable keys of the one, all others of the
 * other. Borrows what both own; not to be freed. */
void settings_merge(const struct settings *running, const struct settings *wanted, struct settings *merged);

/* Appends the tables of docs/configuration.md: every key, and what the profiles change (Markdown). */
void settings_reference(struct buffer *markdown);

#endif
