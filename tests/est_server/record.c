#include "record.h"

#include "operation.h"

#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static json_t *outcome_of(const struct transaction *transaction);
static json_t *scheme_of(const char *authorization);
static size_t first_line_len(struct octets body);
static json_t *serial_of(const X509 *certificate);
static json_t *subject_of(const X509 *certificate);
static json_t *extensions_of(const X509 *certificate);
static void set(json_t *object, const char *key, json_t *value);

json_t *record_of_request(const struct transaction *transaction)
{
    static const char *const fields[][2] = {
        {"host", "Host"},
        {"accept", "Accept"},
        {"content_type", "Content-Type"},
        {"content_transfer_encoding", "Content-Transfer-Encoding"},
        {"transfer_encoding", "Transfer-Encoding"},
        {"expect", "Expect"},
        {"user_agent", "User-Agent"},
        {"connection_field", "Connection"},
        {"client_cert", "Client-Cert"},
    };
    const struct http_request *request = transaction->request;
    struct octets body = http_request_body(request);
    json_t *record = json_object();
    set(record, "connection", json_integer((json_int_t)connection_number(transaction->connection)));
    set(record, "method", statistics_text(http_request_method(request)));
    set(record, "path", statistics_text(http_request_target(request)));
    set(record, "label", statistics_text(transaction->label));
    set(record, "operation",
        json_string(transaction->operation != NULL ? transaction->operation->name : "none"));
    set(record, "outcome", outcome_of(transaction));
    set(record, "reason", statistics_text(transaction->reason));
    set(record, "tls", json_string(SSL_get_version(connection_ssl(transaction->connection))));
    set(record, "client", transaction->client != NULL ? subject_of(transaction->client) : json_null());
    set(record, "ra", json_boolean(transaction->client_is_ra));
    set(record, "authorization", scheme_of(http_request_field(request, "Authorization")));
    for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++)
        set(record, fields[i][0], statistics_text(http_request_field(request, fields[i][1])));
    set(record, "body_length", json_integer((json_int_t)body.len));
    set(record, "first_line_length", json_integer((json_int_t)first_line_len(body)));
    set(record, "body_sha256", json_string(fingerprint_of(body).hex));
    set(record, "csr_sha256",
        transaction->csr.request != NULL ? json_string(transaction->csr.fingerprint.hex) : json_null());
    set(record, "issued", transaction->issued != NULL ? serial_of(transaction->issued) : json_null());
    return record;
}

json_t *record_of_issued(const struct transaction *transaction)
{
    X509 *certificate = transaction->issued;
    json_t *record = json_object();
    set(record, "label", statistics_text(transaction->label));
    set(record, "operation", json_string(transaction->operation->name));
    set(record, "connection", json_integer((json_int_t)connection_number(transaction->connection)));
    set(record, "serial", serial_of(certificate));
    set(record, "subject", subject_of(certificate));
    set(record, "sha256", json_string(fingerprint_of_certificate(certificate).hex));
    set(record, "public_key_sha256", json_string(fingerprint_of_key(X509_get_X509_PUBKEY(certificate)).hex));
    set(record, "csr_sha256", json_string(transaction->csr.fingerprint.hex));
    set(record, "ca", json_boolean(X509_check_ca(certificate) == 1));
    set(record, "extensions", extensions_of(certificate));
    return record;
}

/* The status, unless the client gets to see none. */
static json_t *outcome_of(const struct transaction *transaction)
{
    static const char *const endings[] = {
        [CUT_OFF] = "cut-off", [SILENT] = "closed",     [RESET] = "reset",
        [HANG] = "hang",       [NOT_HTTP] = "not-http",
    };
    if (transaction->delivery.ending != SEND_ALL)
        return json_string(endings[transaction->delivery.ending]);
    char status[12];
    snprintf(status, sizeof(status), "%d", transaction->response->status);
    return json_string(status);
}

/* Only the scheme: the rest is secret. */
static json_t *scheme_of(const char *authorization)
{
    if (authorization == NULL)
        return json_null();
    return json_string(strncasecmp(authorization, "Basic ", 6) == 0    ? "Basic"
                       : strncasecmp(authorization, "Digest ", 7) == 0 ? "Digest"
                                                                       : "other");
}

/* Octets before the first line feed. */
static size_t first_line_len(struct octets body)
{
    const uint8_t *end = body.len > 0 ? memchr(body.at, '\n', body.len) : NULL;
    return end != NULL ? (size_t)(end - body.at) : body.len;
}

static json_t *serial_of(const X509 *certificate)
{
    BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), NULL);
    char *hex = BN_bn2hex(number);
    json_t *serial = json_string(hex);
    OPENSSL_free(hex);
    BN_free(number);
    return serial;
}

/* As openssl x509 -nameopt RFC2253 prints it. */
static json_t *subject_of(const X509 *certificate)
{
    BIO *out = BIO_new(BIO_s_mem());
    char *text;
    X509_NAME_print_ex(out, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253);
    long len = BIO_get_mem_data(out, &text);
    json_t *subject = json_stringn(text, (size_t)len);
    BIO_free(out);
    return subject;
}

/* Names, or dotted OIDs. */
static json_t *extensions_of(const X509 *certificate)
{
    json_t *names = json_array();
    for (int i = 0; i < X509_get_ext_count(certificate); i++) {
        char name[80];
        const ASN1_OBJECT *object = X509_EXTENSION_get_object(X509_get_ext(certificate, i));
        int nid = OBJ_obj2nid(object);
        OBJ_obj2txt(name, sizeof(name), object, 1);
        json_array_append_new(names, json_string(nid != NID_undef ? OBJ_nid2sn(nid) : name));
    }
    return names;
}

static void set(json_t *object, const char *key, json_t *value)
{
    json_object_set_new(object, key, value);
}
