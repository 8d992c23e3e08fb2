#include "success.h"

#include "base64_text.h"
#include "certs_only.h"
#include "key_package.h"
#include "operation.h"

#include <event2/buffer.h>
#include <string.h>

static int give_text(struct transaction *transaction, const char *type, struct evbuffer *der);
static void set_type(struct transaction *transaction, const char *right);
static void write_text(const struct transaction *transaction, struct evbuffer *der, struct evbuffer *out);
static void damage_text(const struct behaviour *behaviour, struct evbuffer *text);
static void damage_body(const struct behaviour *behaviour, struct evbuffer *body);

int success_certificates(struct transaction *transaction, X509 *const certificates[], size_t count)
{
    bool bare = transaction->behaviour.libest && strcmp(transaction->operation->name, "cacerts") == 0;
    struct evbuffer *der = evbuffer_new();
    bool done = certs_only_write(certificates, count, der);
    int verdict =
        done ? give_text(transaction,
                         bare ? "application/pkcs7-mime" : "application/pkcs7-mime; smime-type=certs-only",
                         der)
             : transaction_refuse(transaction, 500, "PKCS#7 could not be made");
    evbuffer_free(der);
    return verdict;
}

int success_csr_attributes(struct transaction *transaction, struct octets octets)
{
    struct evbuffer *der = evbuffer_new();
    evbuffer_add(der, octets.at, octets.len);
    int verdict = give_text(transaction, "application/csrattrs", der);
    evbuffer_free(der);
    if (transaction->behaviour.libest && !transaction->behaviour.csrattrs_set)
        evbuffer_add(transaction->response->body, "", 1); /* the NUL that ends its C string */
    return verdict;
}

int success_key_and_certificate(struct transaction *transaction, EVP_PKEY *key)
{
    static const struct base64_lines lines = {64, "\n", "\n"};
    const struct behaviour *behaviour = &transaction->behaviour;
    struct evbuffer *key_der = evbuffer_new(), *key_text = evbuffer_new();
    struct evbuffer *certificate_der = evbuffer_new(), *certificate_text = evbuffer_new();
    X509 *certificates[2];
    size_t count = success_issued_certificates(transaction, certificates);
    if (behaviour->key_form == KEY_CMS)
        key_package_write_protected_key(transaction->issued, key, key_der);
    else
        key_package_write_key(behaviour, key, key_der);
    base64_text_write(octets_of(key_der), &lines, key_text);
    int verdict = 500;
    if (certs_only_write(certificates, count, certificate_der)) {
        write_text(transaction, certificate_der, certificate_text);
        set_type(transaction,
                 key_package_write(behaviour, key_text, certificate_text, transaction->response->body));
        damage_body(behaviour, transaction->response->body);
        transaction->response->status = (int)behaviour->success;
        verdict = DONE;
    }
    evbuffer_free(key_der);
    evbuffer_free(key_text);
    evbuffer_free(certificate_der);
    evbuffer_free(certificate_text);
    return verdict;
}

size_t success_issued_certificates(const struct transaction *transaction, X509 *certificates[2])
{
    const struct behaviour *behaviour = &transaction->behaviour;
    X509 *authority = certificate_authority_certificate(transaction->service->authority);
    size_t count = 0;
    if (behaviour->ca_first)
        certificates[count++] = authority;
    if (!behaviour->no_certificate)
        certificates[count++] = transaction->issued;
    if (behaviour->with_ca && !behaviour->ca_first)
        certificates[count++] = authority;
    return count;
}

/* A success whose body is one base64 text. */
static int give_text(struct transaction *transaction, const char *type, struct evbuffer *der)
{
    const struct behaviour *behaviour = &transaction->behaviour;
    struct http_response *response = transaction->response;
    response->status = (int)behaviour->success;
    set_type(transaction, type);
    if (behaviour->transfer_encoding[0] != '\0')
        http_response_add(response, "Content-Transfer-Encoding", "%s", behaviour->transfer_encoding);
    else if (!behaviour->no_transfer_encoding)
        http_response_add(response, "Content-Transfer-Encoding", "base64");
    write_text(transaction, der, response->body);
    damage_body(behaviour, response->body);
    return DONE;
}

static void set_type(struct transaction *transaction, const char *right)
{
    static const char *const types[] = {
        [TYPE_TEXT] = "text/plain",
        [TYPE_HTML] = "text/html",
        [TYPE_BARE] = "application/pkcs7-mime",
        [TYPE_SHOUTED] = "APPLICATION/PKCS7-MIME; SMIME-TYPE=certs-only",
        [TYPE_SPACED] = "application/pkcs7-mime ; smime-type=\"certs-only\"",
    };
    unsigned type = transaction->behaviour.media_type;
    if (type != TYPE_NONE)
        http_response_add(transaction->response, "Content-Type", "%s",
                          type == TYPE_RIGHT ? right : types[type]);
}

/* Appends the base64 of der, or what is to be found in its place; uses der up. */
static void write_text(const struct transaction *transaction, struct evbuffer *der, struct evbuffer *out)
{
    static const struct base64_lines forms[] = {
        [BASE64_64_LF] = {64, "\n", "\n"},
        [BASE64_76_CRLF] = {76, "\r\n", "\r\n"},
        [BASE64_ONE_LINE] = {0, "", ""},
        [BASE64_TABS] = {20, "\t \r\n", "\t"},
    };
    const struct behaviour *behaviour = &transaction->behaviour;
    struct base64_lines lines = forms[behaviour->base64 == BASE64_NOT ? BASE64_64_LF : behaviour->base64];
    if (behaviour->libest && strcmp(transaction->operation->name, "csrattrs") == 0)
        lines.end = "";
    if (behaviour->garbage) {
        evbuffer_drain(der, evbuffer_get_length(der));
        evbuffer_add_printf(der, "these octets are not DER");
    }
    if (behaviour->trailing)
        evbuffer_add(der, "\x04\x01\x00", 3);
    if (behaviour->base64 == BASE64_NOT) {
        evbuffer_add_buffer(out, der);
        return;
    }
    struct evbuffer *text = evbuffer_new();
    base64_text_write(octets_of(der), &lines, text);
    damage_text(behaviour, text);
    evbuffer_add_buffer(out, text);
    evbuffer_free(text);
}

static void damage_text(const struct behaviour *behaviour, struct evbuffer *text)
{
    struct octets whole = octets_of(text);
    size_t last = whole.len;
    while (last > 0 && strchr("\r\n\t ", whole.at[last - 1]) != NULL)
        last--;
    bool padded = last > 0 && whole.at[last - 1] == '=';
    struct evbuffer *kept = evbuffer_new();
    switch (behaviour->damage) {
    case DAMAGE_CHARACTER:
        evbuffer_remove_buffer(text, kept, last / 2);
        evbuffer_add_printf(kept, "!");
        evbuffer_drain(text, 1);
        evbuffer_prepend_buffer(text, kept);
        break;
    case DAMAGE_PADDING: /* one too few, or one too many */
        evbuffer_remove_buffer(text, kept, padded ? last - 1 : last);
        evbuffer_add_printf(kept, padded ? "" : "=");
        evbuffer_drain(text, padded ? 1 : 0);
        evbuffer_prepend_buffer(text, kept);
        break;
    case DAMAGE_EXTRA_TEXT:
        evbuffer_add_printf(text, "AAAA=\n");
        break;
    default:
        break;
    }
    evbuffer_free(kept);
}

static void damage_body(const struct behaviour *behaviour, struct evbuffer *body)
{
    if (behaviour->empty)
        evbuffer_drain(body, evbuffer_get_length(body));
    while (evbuffer_get_length(body) < behaviour->oversize)
        evbuffer_add(body, "\n", 1);
}
