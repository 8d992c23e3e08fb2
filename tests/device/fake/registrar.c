/* A stand-in for a registrar, to test est-device against: libcoap's server stack, a CA, and a misbehaviour
 * for each label.
 *
 * usage: fake-registrar PKI CSRATTRS, where PKI is a folder made by tests/pki/make_pki. It listens on free
 * ports of 127.0.0.1, names them on its first line, "coaps PORT coap PORT", and ends on SIGTERM. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <coap3/coap.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "ca.h"
#include "key_answer.h"

enum {
    CERTS_ONLY = 281,
    CSRATTRS = 285,
    PKCS10 = 286,
    PKIX_CERT = 287,
    MULTIPART_CORE = 62,
    ATTRIBUTES_LIMIT = 4096,
    LATER_TWICE = 2
};

enum label {
    GOOD,
    WITH_CA,    /* the CA certificate is in the answer as well */
    OTHER_KEY,  /* a certificate for a key that nobody asked for */
    OTHER_CA,   /* crts sends another CA than the one that signs */
    TRAILING,   /* an octet follows the certificates */
    NOTHING,    /* 2.04 without a payload */
    CREATED,    /* 2.01, which RFC 9148 does not have */
    FORBIDDEN,  /* 4.03 with a diagnostic payload */
    LATER,      /* 5.03 with Max-Age 1 twice, then the certificate; only for identical CSRs */
    MUCH_LATER, /* 5.03 with Max-Age 3600, always */
    SLOW,       /* an empty ACK, the answer a second later */
    SILENT,     /* an empty ACK and no more */
    HANG_UP,    /* closes the first association that asks, then serves */
    KEY_LABELS, /* from here on those of enum key_fault */
    OTHER_SIGNER = KEY_LABELS + KEY_ALONE, /* the key is signed by a CA that nobody trusts */
    LABELS
};

static const char *const label_names[LABELS] = {
    "",
    "with-ca",
    "other-key",
    "other-ca",
    "trailing",
    "nothing",
    "created",
    "forbidden",
    "later",
    "much-later",
    "slow",
    "silent",
    "hang-up",
    "key-last",
    "key-wrapped",
    "key-plain",
    "key-encrypted",
    "key-sec1",
    "key-mismatch",
    "key-unsigned",
    "key-altered",
    "key-alone",
    "other-signer",
};

struct fake {
    struct ca ca, other_ca, own; /* own: the registrar's certificate, as a signer of keys */
    EVP_PKEY *other_key;
    char certificate_file[512], key_file[512]; /* libcoap reads them again at each handshake */
    uint8_t attributes[ATTRIBUTES_LIMIT];
    size_t attributes_length;
    uint8_t last_csr[SHA256_DIGEST_LENGTH];
    unsigned times_seen; /* last_csr */
    bool hung_up;
    enum label labels[LABELS]; /* each resource points to one of these */
};

struct answer {
    unsigned format;
    uint8_t *octets; /* OPENSSL_free */
    size_t length;
};

static volatile sig_atomic_t stopping;

static void stop(int signal_number);
static bool load(struct fake *fake, const char *pki, const char *attributes);
static coap_context_t *create_context(struct fake *fake, const char *pki);
static void trust_both(coap_context_t *context, const char *pki);
static unsigned listen_on(coap_context_t *context, coap_proto_t protocol);
static void add_resources(coap_context_t *context, const char *root);
static void add_resource(coap_context_t *context, const char *root, enum label label, const char *operation);
static int on_event(coap_session_t *session, const coap_event_t event);
static void on_crts(coap_resource_t *resource, coap_session_t *session, const coap_pdu_t *request,
                    const coap_string_t *query, coap_pdu_t *response);
static void on_att(coap_resource_t *resource, coap_session_t *session, const coap_pdu_t *request,
                   const coap_string_t *query, coap_pdu_t *response);
static void on_enrol(coap_resource_t *resource, coap_session_t *session, const coap_pdu_t *request,
                     const coap_string_t *query, coap_pdu_t *response);
static bool put_off(struct fake *fake, enum label label, coap_session_t *session, const coap_pdu_t *request,
                    coap_pdu_t *response);
static void try_later(coap_pdu_t *response, unsigned seconds);
static bool count_csr(struct fake *fake, const uint8_t *csr, size_t length);
static X509_REQ *read_csr(const coap_pdu_t *request, coap_pdu_t *response);
static bool is_linked(const coap_session_t *session, X509_REQ *csr);
static void refuse(coap_pdu_t *response, coap_pdu_code_t code, const char *why);
static bool issue(struct fake *fake, enum label label, X509_REQ *csr, unsigned accept, struct answer *answer);
static bool issue_with_key(struct fake *fake, coap_resource_t *resource, coap_session_t *session,
                           X509_REQ *csr, struct answer *answer);
static bool is_resource(coap_resource_t *resource, const char *operation);
static unsigned accepted_format(const coap_pdu_t *request);
static void give_back(coap_session_t *session, void *octets);
static enum label label_of(coap_resource_t *resource);

int main(int argc, char **argv)
{
    struct fake fake = {.ca = {0}};
    if (argc != 3 || !load(&fake, argv[1], argv[2])) {
        fprintf(stderr, "usage: fake-registrar PKI CSRATTRS\n");
        return 2;
    }
    struct sigaction on_term = {.sa_handler = stop};
    sigaction(SIGTERM, &on_term, NULL);
    coap_startup();
    coap_set_log_level((coap_log_t)0);
    coap_context_t *context = create_context(&fake, argv[1]);
    unsigned secure = context == NULL ? 0 : listen_on(context, COAP_PROTO_DTLS);
    unsigned plain = context == NULL ? 0 : listen_on(context, COAP_PROTO_UDP);
    fprintf(stderr, "coaps %u coap %u\n", secure, plain);
    while (context != NULL && !stopping && secure != 0)
        coap_io_process(context, 100);
    if (context != NULL)
        coap_free_context(context);
    coap_cleanup();
    ca_clear(&fake.ca);
    ca_clear(&fake.other_ca);
    ca_clear(&fake.own);
    EVP_PKEY_free(fake.other_key);
    return 0;
}

static void stop(int signal_number)
{
    (void)signal_number;
    stopping = 1;
}

static bool load(struct fake *fake, const char *pki, const char *attributes)
{
    char base[512];
    snprintf(base, sizeof(base), "%s/est-ca", pki);
    bool good = ca_load(&fake->ca, base);
    snprintf(base, sizeof(base), "%s/other-ca", pki);
    good = ca_load(&fake->other_ca, base) && good;
    snprintf(base, sizeof(base), "%s/registrar", pki);
    good = ca_load(&fake->own, base) && good;
    fake->other_key = EVP_EC_gen("P-256");
    FILE *file = fopen(attributes, "rb");
    if (file == NULL)
        return false;
    fake->attributes_length = fread(fake->attributes, 1, sizeof(fake->attributes), file);
    fclose(file);
    return good && fake->other_key != NULL;
}

static coap_context_t *create_context(struct fake *fake, const char *pki)
{
    snprintf(fake->certificate_file, sizeof(fake->certificate_file), "%s/registrar.pem", pki);
    snprintf(fake->key_file, sizeof(fake->key_file), "%s/registrar.key", pki);
    coap_dtls_pki_t setup = {
        .version = COAP_DTLS_PKI_SETUP_VERSION, .verify_peer_cert = 1, .allow_no_crl = 1};
    setup.pki_key.key_type = COAP_PKI_KEY_PEM;
    setup.pki_key.key.pem.public_cert = fake->certificate_file;
    setup.pki_key.key.pem.private_key = fake->key_file;
    coap_context_t *context = coap_new_context(NULL);
    if (context == NULL)
        return NULL;
    coap_context_set_block_mode(context, COAP_BLOCK_USE_LIBCOAP | COAP_BLOCK_SINGLE_BODY);
    coap_context_set_pki(context, &setup);
    trust_both(context, pki);
    coap_set_app_data(context, fake);
    coap_register_event_handler(context, on_event);
    add_resources(context, ".well-known/est");
    add_resources(context, "est");
    return context;
}

/* Manufacturer's certificates, and those issued here (RFC 7030 section 3.3.2). */
static void trust_both(coap_context_t *context, const char *pki)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/manufacturer-ca.pem", pki);
    coap_context_set_pki_root_cas(context, path, NULL);
    snprintf(path, sizeof(path), "%s/est-ca.pem", pki);
    coap_context_set_pki_root_cas(context, path, NULL);
}

/* Gives the port that the kernel chose, 0 on failure. */
static unsigned listen_on(coap_context_t *context, coap_proto_t protocol)
{
    coap_address_t address;
    coap_address_init(&address);
    address.size = sizeof(address.addr.sin);
    address.addr.sin.sin_family = AF_INET;
    address.addr.sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    coap_endpoint_t *endpoint = coap_new_endpoint(context, &address, protocol);
    const char *port = endpoint == NULL ? NULL : strchr(coap_endpoint_str(endpoint), ':');
    return port == NULL ? 0 : (unsigned)strtoul(port + 1, NULL, 10);
}

static void add_resources(coap_context_t *context, const char *root)
{
    for (enum label label = GOOD; label < LABELS; label++) {
        add_resource(context, root, label, "crts");
        add_resource(context, root, label, "att");
        add_resource(context, root, label, "sen");
        add_resource(context, root, label, "sren");
        add_resource(context, root, label, "skg");
        add_resource(context, root, label, "skc");
    }
}

static void add_resource(coap_context_t *context, const char *root, enum label label, const char *operation)
{
    char path[128], type[40];
    snprintf(path, sizeof(path), "%s/%s%s%s", root, label_names[label], label == GOOD ? "" : "/", operation);
    coap_str_const_t *name = coap_new_str_const((const uint8_t *)path, strlen(path));
    coap_resource_t *resource = coap_resource_init(name, COAP_RESOURCE_FLAGS_RELEASE_URI);
    struct fake *fake = coap_get_app_data(context);
    fake->labels[label] = label;
    coap_resource_set_userdata(resource, &fake->labels[label]);
    if (strcmp(operation, "crts") == 0)
        coap_register_request_handler(resource, COAP_REQUEST_GET, on_crts);
    else if (strcmp(operation, "att") == 0)
        coap_register_request_handler(resource, COAP_REQUEST_GET, on_att);
    else
        coap_register_request_handler(resource, COAP_REQUEST_POST, on_enrol);
    if (label == GOOD && root[0] != '.') {
        snprintf(type, sizeof(type), "\"ace.est.%s\"", operation);
        coap_add_attr(resource, coap_new_str_const((const uint8_t *)"rt", 2),
                      coap_new_str_const((const uint8_t *)type, strlen(type)),
                      COAP_ATTR_FLAGS_RELEASE_NAME | COAP_ATTR_FLAGS_RELEASE_VALUE);
    }
    coap_add_resource(context, resource);
}

/* Lets clients resume: OpenSSL demands a session id context from a server that asks for certificates. */
static int on_event(coap_session_t *session, const coap_event_t event)
{
    SSL *ssl = event == COAP_EVENT_DTLS_CONNECTED ? coap_session_get_tls(session, NULL) : NULL;
    if (ssl != NULL)
        SSL_CTX_set_session_id_context(SSL_get_SSL_CTX(ssl), (const uint8_t *)"fake", 4);
    return 0;
}

static void on_crts(coap_resource_t *resource, coap_session_t *session, const coap_pdu_t *request,
                    const coap_string_t *query, coap_pdu_t *response)
{
    struct fake *fake = coap_get_app_data(coap_session_get_context(session));
    struct answer answer = {.format = accepted_format(request)};
    X509 *certificate = label_of(resource) == OTHER_CA ? fake->other_ca.certificate : fake->ca.certificate;
    if (answer.format == PKIX_CERT)
        answer.length = (size_t)i2d_X509(certificate, &answer.octets);
    else
        answer.length = certs_only_encode(&certificate, 1, &answer.octets);
    coap_pdu_set_code(response, COAP_RESPONSE_CODE_CONTENT);
    coap_add_data_large_response(resource, session, request, response, query, (uint16_t)answer.format, -1, 0,
                                 answer.length, answer.octets, give_back, answer.octets);
}

static void on_att(coap_resource_t *resource, coap_session_t *session, const coap_pdu_t *request,
                   const coap_string_t *query, coap_pdu_t *response)
{
    struct fake *fake = coap_get_app_data(coap_session_get_context(session));
    coap_pdu_set_code(response, COAP_RESPONSE_CODE_CONTENT);
    coap_add_data_large_response(resource, session, request, response, query, CSRATTRS, -1, 0,
                                 fake->attributes_length, fake->attributes, NULL, NULL);
}

static void on_enrol(coap_resource_t *resource, coap_session_t *session, const coap_pdu_t *request,
                     const coap_string_t *query, coap_pdu_t *response)
{
    struct fake *fake = coap_get_app_data(coap_session_get_context(session));
    enum label label = label_of(resource);
    struct answer answer;
    if (put_off(fake, label, session, request, response))
        return;
    X509_REQ *csr = read_csr(request, response);
    if (csr == NULL)
        return;
    if (!is_linked(session, csr)) {
        refuse(response, COAP_RESPONSE_CODE_UNAUTHORIZED, "challengePassword is not of this session");
    } else if (is_resource(resource, "skg") || is_resource(resource, "skc")
                   ? !issue_with_key(fake, resource, session, csr, &answer)
                   : !issue(fake, label, csr, accepted_format(request), &answer)) {
        refuse(response, COAP_RESPONSE_CODE_INTERNAL_ERROR, "no certificate");
    } else {
        coap_pdu_set_code(response,
                          label == CREATED ? COAP_RESPONSE_CODE_CREATED : COAP_RESPONSE_CODE_CHANGED);
        coap_add_data_large_response(resource, session, request, response, query, (uint16_t)answer.format, -1,
                                     0, answer.length, answer.octets, give_back, answer.octets);
    }
    X509_REQ_free(csr);
}

/* True when there is nothing more to do for this request now. */
static bool put_off(struct fake *fake, enum label label, coap_session_t *session, const coap_pdu_t *request,
                    coap_pdu_t *response)
{
    const uint8_t *csr = NULL;
    size_t length = 0, offset = 0, total = 0;
    coap_get_data_large(request, &length, &csr, &offset, &total);
    switch (label) {
    case FORBIDDEN:
        refuse(response, COAP_RESPONSE_CODE_FORBIDDEN, "this device is not on the list");
        return true;
    case NOTHING:
        coap_pdu_set_code(response, COAP_RESPONSE_CODE_CHANGED);
        return true;
    case MUCH_LATER:
        try_later(response, 3600);
        return true;
    case LATER:
        if (!count_csr(fake, csr, length))
            refuse(response, COAP_RESPONSE_CODE_BAD_REQUEST, "not the CSR that was sent before");
        else if (fake->times_seen <= LATER_TWICE)
            try_later(response, 1);
        return coap_pdu_get_code(response) != COAP_EMPTY_CODE;
    case HANG_UP:
        if (fake->hung_up)
            return false;
        fake->hung_up = true;
        SSL_shutdown(coap_session_get_tls(session, NULL));
        return true;
    case SLOW:
        return coap_find_async(session, coap_pdu_get_token(request)) == NULL &&
               coap_register_async(session, request, COAP_TICKS_PER_SECOND) != NULL;
    case SILENT:
        return coap_register_async(session, request, 0) != NULL ||
               coap_find_async(session, coap_pdu_get_token(request)) != NULL;
    default:
        return false;
    }
}

static void try_later(coap_pdu_t *response, unsigned seconds)
{
    uint8_t encoded[4];
    coap_pdu_set_code(response, COAP_RESPONSE_CODE_SERVICE_UNAVAILABLE);
    coap_add_option(response, COAP_OPTION_MAXAGE, coap_encode_var_safe(encoded, sizeof(encoded), seconds),
                    encoded);
}

/* RFC 9148 section 4.7: the client sends the identical request again. */
static bool count_csr(struct fake *fake, const uint8_t *csr, size_t length)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA256(csr, length, digest);
    if (fake->times_seen > 0 && memcmp(digest, fake->last_csr, sizeof(digest)) != 0)
        return false;
    memcpy(fake->last_csr, digest, sizeof(digest));
    fake->times_seen++;
    return true;
}

static X509_REQ *read_csr(const coap_pdu_t *request, coap_pdu_t *response)
{
    const uint8_t *at = NULL;
    size_t length = 0, offset = 0, total = 0;
    coap_opt_iterator_t iterator;
    coap_opt_t *format = coap_check_option(request, COAP_OPTION_CONTENT_FORMAT, &iterator);
    if (format == NULL || coap_decode_var_bytes(coap_opt_value(format), coap_opt_length(format)) != PKCS10) {
        refuse(response, COAP_RESPONSE_CODE_UNSUPPORTED_CONTENT_FORMAT, "expected 286");
        return NULL;
    }
    coap_get_data_large(request, &length, &at, &offset, &total);
    X509_REQ *csr = d2i_X509_REQ(NULL, &at, (long)length);
    if (csr != NULL && X509_REQ_verify(csr, X509_REQ_get0_pubkey(csr)) == 1)
        return csr;
    X509_REQ_free(csr);
    refuse(response, COAP_RESPONSE_CODE_BAD_REQUEST, "not a CSR that signs itself");
    return NULL;
}

/* RFC 9148 section 3 with RFC 5929 section 3.1, from the server's side. True without challengePassword. */
static bool is_linked(const coap_session_t *session, X509_REQ *csr)
{
    uint8_t finished[64];
    unsigned char text[96];
    int at = X509_REQ_get_attr_by_NID(csr, NID_pkcs9_challengePassword, -1);
    if (at < 0)
        return true;
    SSL *ssl = coap_session_get_tls(session, NULL);
    size_t length = SSL_session_reused(ssl) == 1 ? SSL_get_finished(ssl, finished, sizeof(finished))
                                                 : SSL_get_peer_finished(ssl, finished, sizeof(finished));
    int encoded = EVP_EncodeBlock(text, finished, (int)length);
    const ASN1_TYPE *value = X509_ATTRIBUTE_get0_type(X509_REQ_get_attr(csr, at), 0);
    return value != NULL && value->type == V_ASN1_PRINTABLESTRING &&
           value->value.asn1_string->length == encoded &&
           memcmp(value->value.asn1_string->data, text, (size_t)encoded) == 0;
}

static void refuse(coap_pdu_t *response, coap_pdu_code_t code, const char *why)
{
    coap_pdu_set_code(response, code);
    coap_add_data(response, strlen(why), (const uint8_t *)why);
}

static bool issue(struct fake *fake, enum label label, X509_REQ *csr, unsigned accept, struct answer *answer)
{
    X509 *bag[2] = {ca_issue(&fake->ca, csr, label == OTHER_KEY ? fake->other_key : NULL),
                    fake->ca.certificate};
    *answer = (struct answer){.format = accept};
    if (bag[0] == NULL)
        return false;
    if (accept == PKIX_CERT) {
        int length = i2d_X509(bag[0], &answer->octets);
        answer->length = length > 0 ? (size_t)length : 0;
    } else {
        answer->length = certs_only_encode(bag, label == WITH_CA ? 2 : 1, &answer->octets);
    }
    X509_free(bag[0]);
    if (label == TRAILING && answer->length > 0) {
        answer->octets = OPENSSL_realloc(answer->octets, answer->length + 1);
        answer->octets[answer->length++] = 0;
    }
    return answer->length > 0;
}

/* RFC 9148 section 4.8: the CSR's own key is not looked at. */
static bool issue_with_key(struct fake *fake, coap_resource_t *resource, coap_session_t *session,
                           X509_REQ *csr, struct answer *answer)
{
    enum label label = label_of(resource);
    struct answer certificate = {.format = CERTS_ONLY};
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *issued = ca_issue(&fake->ca, csr, label == OTHER_KEY ? fake->other_key : key);
    if (is_resource(resource, "skc")) {
        certificate.format = PKIX_CERT;
        certificate.length = (size_t)i2d_X509(issued, &certificate.octets);
    } else {
        certificate.length = certs_only_encode(&issued, 1, &certificate.octets);
    }
    struct key_order order = {
        .csr = csr,
        .key = key,
        .signer = label == OTHER_SIGNER ? &fake->other_ca : &fake->own,
        .client = SSL_get1_peer_certificate(coap_session_get_tls(session, NULL)),
        .certificate_format = certificate.format,
        .certificate = certificate.octets,
        .certificate_length = certificate.length,
    };
    if (label >= KEY_LABELS && label < OTHER_SIGNER)
        order.fault = (enum key_fault)(label - KEY_LABELS + 1);
    *answer = (struct answer){.format = MULTIPART_CORE};
    answer->length = key_answer_encode(&order, &answer->octets);
    if (label == TRAILING && answer->length > 0)
        answer->octets[answer->length++] = 0;
    X509_free(order.client);
    OPENSSL_free(certificate.octets);
    X509_free(issued);
    EVP_PKEY_free(key);
    return answer->length > 0;
}

static bool is_resource(coap_resource_t *resource, const char *operation)
{
    const coap_str_const_t *path = coap_resource_get_uri_path(resource);
    size_t length = strlen(operation);
    return path->length > length && memcmp(path->s + path->length - length, operation, length) == 0;
}

static unsigned accepted_format(const coap_pdu_t *request)
{
    coap_opt_iterator_t iterator;
    coap_opt_t *accept = coap_check_option(request, COAP_OPTION_ACCEPT, &iterator);
    if (accept == NULL)
        return CERTS_ONLY;
    return coap_decode_var_bytes(coap_opt_value(accept), coap_opt_length(accept));
}

static void give_back(coap_session_t *session, void *octets)
{
    (void)session;
    OPENSSL_free(octets);
}

static enum label label_of(coap_resource_t *resource)
{
    const enum label *label = coap_resource_get_userdata(resource);
    return *label;
}
