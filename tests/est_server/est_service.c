#include "est_service.h"

#include "operation.h"
#include "record.h"
#include "reply.h"
#include "tls_client.h"

#include <event2/buffer.h>
#include <openssl/err.h>
#include <string.h>
#include <strings.h>

enum { LIBEST_LABEL_LIMIT = 128 };

static int route(struct transaction *transaction);
static bool decode_segment(const char *segment, size_t len, char label[LABEL_LIMIT + 1]);
static int hex_value(char digit);
static int find_behaviour(struct transaction *transaction);
static int perform(struct transaction *transaction);
static void settle_delivery(struct transaction *transaction);
static void record(struct transaction *transaction);

struct http_response *est_service_answer(struct est_service *service, struct connection *connection,
                                         const struct http_request *request, struct delivery *delivery)
{
    struct transaction transaction = {
        .service = service,
        .connection = connection,
        .request = request,
        .behaviour = behaviour_default(),
        .client = tls_client_certificate(connection_ssl(connection)),
        .response = http_response_create(200),
    };
    transaction.client_is_ra = tls_client_is_ra(transaction.client);
    transaction.behaviour.libest = service->libest;
    int verdict = route(&transaction);
    if (verdict == NEXT)
        verdict = perform(&transaction);
    if (verdict != DONE)
        reply_refusal(&transaction, verdict);
    reply_finish(&transaction);
    settle_delivery(&transaction);
    record(&transaction);
    *delivery = transaction.delivery;
    certification_request_clear(&transaction.csr);
    X509_free(transaction.issued);
    EVP_PKEY_free(transaction.generated);
    ERR_clear_error();
    return transaction.response;
}

/* /.well-known/est/operation or /.well-known/est/label/operation: RFC 7030 section 3.2.2. */
static int route(struct transaction *transaction)
{
    static const char root[] = "/.well-known/est/";
    char name[32];
    const char *path = http_request_target(transaction->request);
    size_t path_len = strcspn(path, "?");
    if (path_len < strlen(root) || strncmp(path, root, strlen(root)) != 0)
        return transaction_refuse(transaction, 404, "the path is not below /.well-known/est");
    const char *rest = path + strlen(root), *end = path + path_len;
    const char *slash = memchr(rest, '/', (size_t)(end - rest));
    const char *last = slash != NULL ? slash + 1 : rest;
    if (slash != NULL && !decode_segment(rest, (size_t)(slash - rest), transaction->label))
        return transaction_refuse(transaction, 404, "the label is not one");
    if (transaction->behaviour.libest && slash != NULL &&
        (slash - rest > LIBEST_LABEL_LIMIT || memchr(rest, '%', (size_t)(slash - rest)) != NULL))
        return transaction_refuse(transaction, 404, "the label is not one for libest");
    if (memchr(last, '/', (size_t)(end - last)) != NULL)
        return transaction_refuse(transaction, transaction->behaviour.libest ? 400 : 404,
                                  "the path has too many segments");
    if ((size_t)(end - last) < sizeof(name)) {
        memcpy(name, last, (size_t)(end - last));
        name[end - last] = '\0';
        transaction->operation = operation_named(name);
    }
    if (transaction->operation == NULL) /* libest takes what it does not know for a label, if there is any */
        return transaction_refuse(transaction, transaction->behaviour.libest && last < end ? 400 : 404,
                                  "there is no such operation");
    return find_behaviour(transaction);
}

/* RFC 3986 section 2.1; a label without an octet or with a zero one is none. */
static bool decode_segment(const char *segment, size_t len, char label[LABEL_LIMIT + 1])
{
    size_t used = 0;
    for (size_t i = 0; i < len && used < LABEL_LIMIT; i++) {
        int octet = (unsigned char)segment[i];
        if (octet == '%') {
            int high = i + 2 < len ? hex_value(segment[i + 1]) : -1;
            int low = high >= 0 ? hex_value(segment[i + 2]) : -1;
            octet = low >= 0 ? high * 16 + low : 0;
            i += 2;
        }
        if (octet == 0)
            return false;
        label[used++] = (char)octet;
    }
    label[used] = '\0';
    return used > 0 && used < LABEL_LIMIT;
}

static int hex_value(char digit)
{
    static const char digits[] = "0123456789abcdef";
    const char *place = digit != '\0' ? strchr(digits, digit | 0x20) : NULL;
    return place != NULL ? (int)(place - digits) : -1;
}

static int find_behaviour(struct transaction *transaction)
{
    const struct est_service *service = transaction->service;
    const char *label = transaction->label;
    struct behaviour behaviour;
    bool known = label[0] == '\0';
    for (const char *const *ordinary = service->labels; *ordinary != NULL; ordinary++)
        known |= strcmp(*ordinary, label) == 0;
    if (known)
        return NEXT;
    if (!behaviour_parse(label, &behaviour))
        return transaction_refuse(transaction, 404, "there is no such label");
    if (behaviour.times > 0 && statistics_uses(service->statistics, label) >= behaviour.times)
        return NEXT;
    behaviour.libest |= service->libest;
    transaction->behaviour = behaviour;
    return NEXT;
}

static int perform(struct transaction *transaction)
{
    int verdict = DONE;
    for (transaction_step *const *step = transaction->operation->steps; *step != NULL; step++)
        if ((verdict = (*step)(transaction)) != NEXT)
            break;
    return verdict;
}

static void settle_delivery(struct transaction *transaction)
{
    const struct behaviour *behaviour = &transaction->behaviour;
    struct delivery *delivery = &transaction->delivery;
    delivery->delay_ms = behaviour->delay_ms;
    delivery->released = behaviour->hold ? &transaction->service->released : NULL;
    delivery->octets_per_second = behaviour->octets_per_second;
    if (behaviour->ending != SEND_ALL)
        delivery->ending = behaviour->ending;
    if (behaviour->keepalive_die && connection_requests(transaction->connection) > 1)
        delivery->ending = SILENT;
}

static void record(struct transaction *transaction)
{
    struct statistics *statistics = transaction->service->statistics;
    if (!connection_is_used(transaction->connection)) {
        connection_set_used(transaction->connection);
        statistics_connection_used(statistics);
    }
    statistics_add_request(statistics, record_of_request(transaction));
}

int transaction_refuse(struct transaction *transaction, int status, const char *reason)
{
    transaction->reason = reason;
    return status;
}
