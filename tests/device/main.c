/* est-device: the command line in front of one device. */
#include <ctype.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "coap_names.h"
#include "device.h"
#include "discovery.h"
#include "options.h"
#include "output_file.h"
#include "report.h"

enum {
    EXIT_USAGE = 2,
    FILE_LIMIT = 16384,
    KEK_LIMIT = 32,
    IDENTIFIER_LIMIT = 128,
    ETAG_LIMIT = 8,
    LOG_NOTHING = 0,
    LOG_EVERYTHING = 7
};

/* What the options name, loaded. */
struct materials {
    struct server_address server;
    struct server_address discover_at;
    struct identity *identity;
    struct trust *trust;
    X509_NAME *subject;
    struct octets csr, etag;
    struct encryption_wish wish;
    struct octets kek, kek_identifier;
    struct identity *decryption_identity;
    char query[256];
};

struct front_end {
    const struct options *options;
    bool wrote_all;
};

static int run(const struct options *options);
static bool load(struct materials *materials, const struct options *options, struct explanation *why);
static bool load_decryption(struct materials *materials, const struct options *options,
                            struct explanation *why);
static bool load_kek(struct materials *materials, const struct options *options, struct explanation *why);
static void unload(struct materials *materials);
static void settle(struct device_settings *settings, const struct materials *materials,
                   const struct options *options);
static bool discover(struct front_end *front_end, const struct materials *materials);
static bool drive(const struct device_settings *settings, const struct options *options);
static void on_finished(void *observer, const struct operation_result *result);
static bool write_files(const struct options *options, const struct operation_result *result,
                        struct explanation *why);
static void print_version(void);
static bool may_hold_a_key(const struct options *options);
static void on_log(coap_log_t level, const char *message);
static void on_log_without_payload(coap_log_t level, const char *message);

int main(int argc, char **argv)
{
    struct options options;
    struct explanation why;
    int status = EXIT_USAGE;
    if (!options_read(&options, argc, argv, &why)) {
        fprintf(stderr, "est-device: %s\n", why.text);
    } else if (options.help) {
        options_print_help(stdout);
        status = EXIT_SUCCESS;
    } else if (options.version) {
        print_version();
        status = EXIT_SUCCESS;
    } else {
        status = run(&options);
    }
    options_clear(&options);
    return status;
}

static int run(const struct options *options)
{
    struct explanation why;
    struct materials materials = {0};
    struct device_settings settings;
    struct front_end front_end = {.options = options, .wrote_all = true};
    setvbuf(stdout, NULL, _IOLBF, 0);
    coap_startup();
    coap_set_show_pdu_output(0); /* messages go where the log goes */
    coap_set_log_handler(may_hold_a_key(options) ? on_log_without_payload : on_log);
    coap_set_log_level((coap_log_t)(options->verbose ? LOG_EVERYTHING : LOG_NOTHING));
    bool good = load(&materials, options, &why);
    if (good) {
        settle(&settings, &materials, options);
        settings.finished = on_finished;
        settings.observer = &front_end;
        good = discover(&front_end, &materials);
        good = drive(&settings, options) && front_end.wrote_all && good;
    } else {
        fprintf(stderr, "est-device: %s\n", why.text);
    }
    unload(&materials);
    coap_cleanup();
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

static bool load(struct materials *materials, const struct options *options, struct explanation *why)
{
    const char *key_file = options->key_file == NULL ? options->certificate_file : options->key_file;
    if (options->server != NULL && !server_address_read(&materials->server, options->server, why))
        return false;
    if (options->discover_uri != NULL &&
        !server_address_read(&materials->discover_at, options->discover_uri, why))
        return false;
    if (options->certificate_file != NULL) {
        materials->identity = identity_load(options->certificate_file, key_file, why);
        if (materials->identity == NULL)
            return false;
    }
    if (options->trust_file != NULL) {
        materials->trust = trust_from_file(options->trust_file, why);
        if (materials->trust == NULL)
            return false;
    }
    if (options->subject != NULL) {
        materials->subject = subject_read(options->subject, why);
        if (materials->subject == NULL)
            return false;
    }
    if (options->etag != NULL && !octets_from_hex(&materials->etag, options->etag, ETAG_LIMIT, why))
        return false;
    if (options->csr_file != NULL && !octets_from_file(&materials->csr, options->csr_file, FILE_LIMIT))
        return explain(why, "%s: cannot be read, or is larger than %d octets", options->csr_file, FILE_LIMIT);
    snprintf(materials->query, sizeof(materials->query), "rt=%s", options->resource_type);
    return encryption_wish_read(options->want_encrypted, options->smime_capabilities, &materials->wish,
                                why) &&
           load_decryption(materials, options, why);
}

static bool load_decryption(struct materials *materials, const struct options *options,
                            struct explanation *why)
{
    const char *certificate_file = options->decrypt_certificate_file;
    if (options->decrypt_key_file != NULL && !load_kek(materials, options, why))
        return false;
    if (certificate_file == NULL)
        return true;
    const char *key_file = options->decrypt_private_key_file;
    materials->decryption_identity =
        identity_load(certificate_file, key_file == NULL ? certificate_file : key_file, why);
    return materials->decryption_identity != NULL;
}

static bool load_kek(struct materials *materials, const struct options *options, struct explanation *why)
{
    struct octets digits = {0};
    const char *identifier = options->decrypt_key_id;
    if (identifier == NULL)
        identifier = options->want_encrypted + strlen("kek:");
    if (!octets_from_hex(&materials->kek_identifier, identifier, IDENTIFIER_LIMIT, why))
        return false;
    bool good = octets_from_file(&digits, options->decrypt_key_file, 2 * KEK_LIMIT + 2);
    while (good && digits.len > 0 && isspace(digits.at[digits.len - 1]))
        digits.len--;
    good = good && octets_append(&digits, (struct view){(const uint8_t *)"", 1}, 2 * KEK_LIMIT + 3) &&
           octets_from_hex(&materials->kek, (const char *)digits.at, KEK_LIMIT, why);
    octets_clear(&digits);
    if (good && (materials->kek.len == 16 || materials->kek.len == 24 || materials->kek.len == 32))
        return true;
    return explain(why, "%s: expected 32, 48 or 64 hexadecimal digits", options->decrypt_key_file);
}

static void unload(struct materials *materials)
{
    identity_free(materials->identity);
    trust_free(materials->trust);
    X509_NAME_free(materials->subject);
    octets_clear(&materials->csr);
    octets_clear(&materials->etag);
    encryption_wish_clear(&materials->wish);
    octets_clear(&materials->kek);
    octets_clear(&materials->kek_identifier);
    identity_free(materials->decryption_identity);
}

static void settle(struct device_settings *settings, const struct materials *materials,
                   const struct options *options)
{
    static const char *const verify_words[] = {
        [VERIFY_CRTS] = "crts", [VERIFY_TRUST] = "trust", [VERIFY_OFF] = "off"};
    *settings = (struct device_settings){
        .server = &materials->server,
        .identity = materials->identity,
        .trust = materials->trust,
        .offer = {.ciphers = options->ciphers,
                  .groups = options->groups,
                  .max_fragment = options->max_fragment,
                  .mtu = options->mtu,
                  .no_extended_master_secret = options->no_ems},
        .path = {options->root, options->label},
        .query = options->resource_type[0] == '\0' ? NULL : materials->query,
        .accept = options->accept == 0 ? CONTENT_FORMAT_NONE : (int)options->accept,
        .block_size = options->block_size,
        .confirmable = !options->non,
        .ask_size = options->ask_size,
        .etag = octets_view(&materials->etag),
        .plan = {.subject = materials->subject,
                 .asks = options->asks,
                 .curve = options->key_type,
                 .ready_made = octets_view(&materials->csr),
                 .pop = options->pop_wrong ? POP_WRONG
                        : options->pop     ? POP_LINKED
                                           : POP_NONE},
        .wish = materials->wish,
        .decryption = {.kek = octets_view(&materials->kek),
                       .kek_identifier = octets_view(&materials->kek_identifier),
                       .identity = materials->decryption_identity,
                       .key_identifier = octets_view(&materials->wish.key_identifier)},
        .keep_key = options->renew,
        .repeat_identical = options->repeat_identical,
        .close_when_untrusted = options->strict_anchors,
        .local_port = (uint16_t)options->source_port,
        .ack_timeout_ms = options->ack_timeout_ms,
        .max_retransmit = options->has_max_retransmit ? (int)options->max_retransmit : -1,
        .handshake_retransmit = options->has_handshake_retransmit ? (int)options->handshake_retransmit : -1,
        .response_timeout_ms = options->response_timeout_ms,
        .attempts = options->attempts,
        .max_wait_ms = options->has_max_wait ? (int64_t)options->max_wait_s * 1000 : -1,
        .timeout_ms = (int64_t)options->timeout_s * 1000,
    };
    for (enum verify_issued way = VERIFY_CRTS; way <= VERIFY_OFF; way++)
        if (strcmp(verify_words[way], options->verify) == 0)
            settings->verify = way;
}

/* With --discover-uri this is what "discover" means. */
static bool discover(struct front_end *front_end, const struct materials *materials)
{
    const struct options *options = front_end->options;
    struct discovery discovery = {.where = &materials->discover_at,
                                  .query = options->resource_type[0] == '\0' ? NULL : materials->query,
                                  .block_size = options->block_size,
                                  .wait_ms = options->discover_s * 1000,
                                  .found = on_finished,
                                  .observer = front_end};
    bool good = true;
    for (size_t i = 0; options->discover_uri != NULL && i < options->operation_count; i++)
        if (options->operations[i] == OPERATION_DISCOVER)
            good = discovery_run(&discovery) && good;
    return good;
}

static bool drive(const struct device_settings *settings, const struct options *options)
{
    enum operation operations[OPERATIONS_LIMIT];
    size_t count = 0;
    for (size_t i = 0; i < options->operation_count; i++)
        if (options->discover_uri == NULL || options->operations[i] != OPERATION_DISCOVER)
            operations[count++] = options->operations[i];
    struct device *device = device_create(settings, operations, count);
    if (device == NULL)
        return false;
    device_step(device);
    while (!device_is_finished(device)) {
        struct pollfd watched = {.fd = device_descriptor(device), .events = POLLIN};
        poll(&watched, 1, device_due_ms(device));
        device_step(device);
    }
    bool good = device_succeeded(device);
    device_free(device);
    return good;
}

static void on_finished(void *observer, const struct operation_result *result)
{
    struct front_end *front_end = observer;
    const struct options *options = front_end->options;
    struct explanation why;
    if (options->json)
        report_json(stdout, result);
    else if (!options->quiet || !result->succeeded)
        report_text(stdout, result);
    if (result->succeeded && !write_files(options, result, &why)) {
        fprintf(stderr, "est-device: %s\n", why.text);
        front_end->wrote_all = false;
    }
}

static bool write_files(const struct options *options, const struct operation_result *result,
                        struct explanation *why)
{
    bool crts = result->operation == OPERATION_CRTS;
    if (crts && options->cacerts_out_file != NULL &&
        !write_certificates(options->cacerts_out_file, result->certificates, why))
        return false;
    if (result->csr.len > 0 && options->csr_out_file != NULL &&
        !write_octets(options->csr_out_file, result->csr, why))
        return false;
    if (result->issued != NULL && result->key != NULL && options->key_out_file != NULL &&
        !write_private_key(options->key_out_file, result->key, why))
        return false;
    return result->issued == NULL || options->out_file == NULL ||
           write_certificate(options->out_file, result->issued, why);
}

static void print_version(void)
{
    printf("est-device %s (%s, %s)\n", ESTUARY_VERSION, coap_package_version(),
           OpenSSL_version(OPENSSL_VERSION));
}

static bool may_hold_a_key(const struct options *options)
{
    for (size_t i = 0; i < options->operation_count; i++)
        if (operation_generates_key(options->operations[i]))
            return true;
    return false;
}

/* libcoap shows a payload after " :: " or on lines of its own, which begin with "<<". */
static void on_log_without_payload(coap_log_t level, const char *message)
{
    const char *payload = strstr(message, " :: ");
    (void)level;
    if (strncmp(message, "<<", 2) == 0)
        return;
    if (payload == NULL)
        fputs(message, stderr);
    else
        fprintf(stderr, "%.*s :: payload not shown\n", (int)(payload - message), message);
}

static void on_log(coap_log_t level, const char *message)
{
    (void)level;
    fputs(message, stderr);
}
