#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum kind { FLAG, NUMBER, TEXT, EXTENSION };

#define AT(member) offsetof(struct options, member)

struct entry {
    const char *name;
    enum kind kind;
    size_t at;         /* offset of the member in struct options */
    const char *value; /* how help names it */
    unsigned least, most;
    const char *help;
    size_t given; /* offset of a flag that says that the option was there; 0 for none */
};

static const struct entry entries[] = {
    {"server", TEXT, AT(server), "HOST[:PORT]", 0, 0,
     "the registrar, also coaps://HOST:PORT and [IPv6%scope]:PORT", 0},
    {"certificate", TEXT, AT(certificate_file), "FILE", 0, 0, "manufacturer certificate and its chain (PEM)",
     0},
    {"key", TEXT, AT(key_file), "FILE", 0, 0, "its private key (PEM); default: in the certificate's file", 0},
    {"trust", TEXT, AT(trust_file), "FILE", 0, 0,
     "trust anchors for the registrar (PEM); default: accept any", 0},
    {"root", TEXT, AT(root), "PATH", 0, 0, "root of the resources; default /.well-known/est", 0},
    {"label", TEXT, AT(label), "LABEL", 0, 0, "the EST label between root and operation", 0},
    {"accept", NUMBER, AT(accept), "281|287|62", 62, 287,
     "Content-Format to ask for; default: no Accept option", 0},
    {"block-size", NUMBER, AT(block_size), "16..1024", 16, 1024,
     "block size in both directions, a power of two", 0},
    {"etag", TEXT, AT(etag), "HEX", 0, 0,
     "crts, att: the ETag of what we have; 2.03 says that it is still valid", 0},
    {"ask-size", FLAG, AT(ask_size), NULL, 0, 0, "ask for the size of the answer (Size2)", 0},
    {"subject", TEXT, AT(subject), "DN", 0, 0,
     "subject of the CSR, CN=x,serialNumber=y; default: that of the certificate", 0},
    {"extension", EXTENSION, AT(asks), "KIND=VALUE", 0, 0,
     "ask for an extension: san=dns:x, ku=, eku=, bc=; repeatable", 0},
    {"key-type", TEXT, AT(key_type), "P-256|P-384", 0, 0, "of fresh keys; default P-256", 0},
    {"renew", FLAG, AT(renew), NULL, 0, 0, "sren keeps the key; default: a fresh one", 0},
    {"csr", TEXT, AT(csr_file), "FILE.der", 0, 0, "send this CSR instead of making one", 0},
    {"repeat-identical", FLAG, AT(repeat_identical), NULL, 0, 0,
     "enrol once more with the same CSR to the octet, not with a fresh one", 0},
    {"pop", FLAG, AT(pop), NULL, 0, 0, "link the CSR to the session: tls-unique in challengePassword", 0},
    {"pop-wrong", FLAG, AT(pop_wrong), NULL, 0, 0, "the same with one bit wrong", 0},
    {"want-encrypted", TEXT, AT(want_encrypted), "kek:HEX|ski:HEX", 0, 0,
     "skg, skc: ask for a key encrypted with the key of this identifier", 0},
    {"smime-capabilities", TEXT, AT(smime_capabilities), "LIST", 0, 0,
     "the algorithms for it, by OpenSSL's names or OIDs; none: no such attribute", 0},
    {"decrypt-key", TEXT, AT(decrypt_key_file), "FILE", 0, 0,
     "decrypt it with this symmetric key (hexadecimal digits)", 0},
    {"decrypt-key-id", TEXT, AT(decrypt_key_id), "HEX", 0, 0,
     "its identifier; default: that of --want-encrypted kek:", 0},
    {"decrypt-cert", TEXT, AT(decrypt_certificate_file), "FILE", 0, 0,
     "decrypt it with the private key of this certificate (PEM)", 0},
    {"decrypt-private-key", TEXT, AT(decrypt_private_key_file), "FILE", 0, 0,
     "that key (PEM); default: in the certificate's file", 0},
    {"out", TEXT, AT(out_file), "FILE", 0, 0, "write the certificate obtained (PEM)", 0},
    {"key-out", TEXT, AT(key_out_file), "FILE", 0, 0, "write its private key (PEM, mode 0600)", 0},
    {"csr-out", TEXT, AT(csr_out_file), "FILE", 0, 0, "write the CSR sent (DER)", 0},
    {"cacerts-out", TEXT, AT(cacerts_out_file), "FILE", 0, 0, "write the CA certificates from crts (PEM)", 0},
    {"verify", TEXT, AT(verify), "crts|trust|off", 0, 0,
     "check the certificate obtained against /crts (default) or --trust", 0},
    {"strict-anchors", FLAG, AT(strict_anchors), NULL, 0, 0,
     "give up when the server does not chain to its own /crts", 0},
    {"rt", TEXT, AT(resource_type), "FILTER", 0, 0,
     "resource type to discover; default ace.est*, empty for all", 0},
    {"discover-uri", TEXT, AT(discover_uri), "URI", 0, 0,
     "discover at coap://HOST[:PORT], also multicast, not in the session", 0},
    {"discover-time", NUMBER, AT(discover_s), "S", 1, 600, "how long to collect multicast answers; default 7",
     0},
    {"attempts", NUMBER, AT(attempts), "N", 1, 1000,
     "of each operation, on 5.03, timeouts, broken sessions; default 1", 0},
    {"max-wait", NUMBER, AT(max_wait_s), "S", 0, 86400, "longest Max-Age to wait for (lab)",
     AT(has_max_wait)},
    {"timeout", NUMBER, AT(timeout_s), "S", 1, 1000000, "for everything together; default 600", 0},
    {"response-timeout-ms", NUMBER, AT(response_timeout_ms), "N", 1, 3600000,
     "from a request to its response; default 93000", 0},
    {"non", FLAG, AT(non), NULL, 0, 0, "send non-confirmable requests", 0},
    {"ack-timeout-ms", NUMBER, AT(ack_timeout_ms), "N", 10, 65000,
     "ACK_TIMEOUT (lab), below 1000 for DTLS flights too; default 2000", 0},
    {"max-retransmit", NUMBER, AT(max_retransmit), "N", 0, 20, "MAX_RETRANSMIT; default 4",
     AT(has_max_retransmit)},
    {"handshake-retransmit", NUMBER, AT(handshake_retransmit), "N", 0, 11,
     "of a DTLS flight; default: as --max-retransmit", AT(has_handshake_retransmit)},
    {"source-port", NUMBER, AT(source_port), "P", 1, 65535, "UDP port to send from", 0},
    {"ciphers", TEXT, AT(ciphers), "LIST", 0, 0,
     "DTLS cipher suites in OpenSSL's names; default: CCM_8 first", 0},
    {"curve", TEXT, AT(groups), "LIST", 0, 0, "groups to offer, P-256:X25519", 0},
    {"max-fragment", NUMBER, AT(max_fragment), "512..4096", 512, 4096, "offer max_fragment_length", 0},
    {"mtu", NUMBER, AT(mtu), "N", 200, 1400, "largest datagram of our handshake flights", 0},
    {"no-ems", FLAG, AT(no_ems), NULL, 0, 0, "do not offer extended master secret", 0},
    {"json", FLAG, AT(json), NULL, 0, 0, "one JSON object per operation on stdout", 0},
    {"quiet", FLAG, AT(quiet), NULL, 0, 0, "print failures only", 0},
    {"verbose", FLAG, AT(verbose), NULL, 0, 0, "print every message (libcoap's log) on stderr", 0},
    {"version", FLAG, AT(version), NULL, 0, 0, "print versions", 0},
    {"help", FLAG, AT(help), NULL, 0, 0, "print this", 0},
};

enum { ENTRIES = sizeof(entries) / sizeof(entries[0]) };

static void set_defaults(struct options *options);
static bool read_entry(struct options *options, const struct entry *entry, const char *text,
                       struct explanation *why);
static bool read_number(unsigned *number, const struct entry *entry, const char *text,
                        struct explanation *why);
static bool read_operations(struct options *options, int count, char **words, struct explanation *why);
static bool check(const struct options *options, struct explanation *why);
static bool one_of(const char *name, const char *value, const char *const *accepted, struct explanation *why);

bool options_read(struct options *options, int argc, char **argv, struct explanation *why)
{
    struct option known[ENTRIES + 1] = {{0}};
    set_defaults(options);
    for (size_t i = 0; i < ENTRIES; i++)
        known[i] = (struct option){entries[i].name, entries[i].kind == FLAG ? no_argument : required_argument,
                                   NULL, 0};
    opterr = 0;
    int at = 0;
    int found;
    while ((found = getopt_long(argc, argv, ":", known, &at)) != -1) {
        if (found == ':')
            return explain(why, "%s: its value is missing", argv[optind - 1]);
        if (found == '?')
            return explain(why, "%s: no such option, or not an unambiguous one; see --help",
                           argv[optind - 1]);
        if (!read_entry(options, &entries[at], optarg, why))
            return false;
    }
    if (options->help || options->version)
        return true;
    return read_operations(options, argc - optind, argv + optind, why) && check(options, why);
}

static void set_defaults(struct options *options)
{
    *options = (struct options){
        .root = "/.well-known/est",
        .resource_type = "ace.est*",
        .key_type = "P-256",
        .verify = "crts",
        .attempts = 1,
        .timeout_s = 600,
        .discover_s = 7,
        .response_timeout_ms = 93000, /* MAX_TRANSMIT_WAIT, RFC 7252 section 4.8.2 */
    };
}

static bool read_entry(struct options *options, const struct entry *entry, const char *text,
                       struct explanation *why)
{
    char *member = (char *)options + entry->at;
    const bool yes = true;
    if (entry->given != 0)
        memcpy((char *)options + entry->given, &yes, sizeof(yes));
    switch (entry->kind) {
    case FLAG:
        memcpy(member, &yes, sizeof(yes));
        return true;
    case TEXT:
        memcpy(member, &text, sizeof(text));
        return true;
    case EXTENSION:
        return extension_read(&options->asks, text, why);
    case NUMBER:
        break;
    }
    unsigned number = 0;
    bool good = read_number(&number, entry, text, why);
    memcpy(member, &number, sizeof(number));
    return good;
}

static bool read_number(unsigned *number, const struct entry *entry, const char *text,
                        struct explanation *why)
{
    char *end = NULL;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || *text == '-' || value < entry->least ||
        value > entry->most)
        return explain(why, "--%s %s: expected a number from %u to %u", entry->name, text, entry->least,
                       entry->most);
    *number = (unsigned)value;
    return true;
}

static bool read_operations(struct options *options, int count, char **words, struct explanation *why)
{
    if (count < 1)
        return explain(why, "say what to do: discover, crts, att, sen, sren, skg, skc (see --help)");
    if (count > OPERATIONS_LIMIT)
        return explain(why, "more than %d operations", OPERATIONS_LIMIT);
    for (int i = 0; i < count; i++) {
        enum operation operation = operation_by_name(words[i]);
        if (operation == OPERATION_COUNT)
            return explain(why, "%s: no such operation; see --help", words[i]);
        options->operations[options->operation_count++] = operation;
    }
    return true;
}

static bool check(const struct options *options, struct explanation *why)
{
    static const char *const verify_words[] = {"crts", "trust", "off", NULL};
    static const char *const key_words[] = {"P-256", "P-384", NULL};
    unsigned size = options->block_size;
    if ((size & (size - 1)) != 0)
        return explain(why, "--block-size %u: expected 16, 32, 64, 128, 256, 512 or 1024", size);
    if (options->accept != 0 && options->accept != 281 && options->accept != 287 && options->accept != 62)
        return explain(why, "--accept %u: expected 281, 287 or 62", options->accept);
    for (size_t i = 0; i < options->operation_count; i++)
        if (options->server == NULL &&
            (options->discover_uri == NULL || options->operations[i] != OPERATION_DISCOVER))
            return explain(why, "--server is missing");
    if (options->key_file != NULL && options->certificate_file == NULL)
        return explain(why, "--key is given without --certificate");
    if (options->decrypt_private_key_file != NULL && options->decrypt_certificate_file == NULL)
        return explain(why, "--decrypt-private-key is given without --decrypt-cert");
    if (options->decrypt_key_file != NULL && options->decrypt_key_id == NULL &&
        (options->want_encrypted == NULL || strncmp(options->want_encrypted, "kek:", 4) != 0))
        return explain(why, "--decrypt-key is given without --decrypt-key-id");
    return one_of("--verify", options->verify, verify_words, why) &&
           one_of("--key-type", options->key_type, key_words, why);
}

static bool one_of(const char *name, const char *value, const char *const *accepted, struct explanation *why)
{
    for (; *accepted != NULL; accepted++)
        if (strcmp(value, *accepted) == 0)
            return true;
    return explain(why, "%s %s: see --help for what is accepted", name, value);
}

void options_clear(struct options *options)
{
    sk_X509_EXTENSION_pop_free(options->asks, X509_EXTENSION_free);
    options->asks = NULL;
}

void options_print_help(FILE *out)
{
    char left[64];
    fprintf(
        out,
        "est-device: an EST-coaps client (RFC 9148)\n\n"
        "usage: est-device [options] OPERATION...\n\n"
        "Operations, performed in order on one DTLS session:\n"
        "  discover   which EST resources are there?\n"
        "  crts       the CA certificates\n"
        "  att        which attributes a CSR should have\n"
        "  sen        enrol with a fresh key\n"
        "  sren       re-enrol with the certificate just obtained (on a new session), or with --certificate\n"
        "  skg, skc   enrol with a key that the server makes; skc: the certificate alone, not in PKCS#7\n"
        "  reconnect  a new session; resume: by session resumption; reboot: without closing the old one\n\n"
        "Options:\n");
    for (size_t i = 0; i < ENTRIES; i++) {
        snprintf(left, sizeof(left), "--%s%s%s", entries[i].name, entries[i].value == NULL ? "" : " ",
                 entries[i].value == NULL ? "" : entries[i].value);
        fprintf(out, "  %-28s %s\n", left, entries[i].help);
    }
    fprintf(out, "\nExit status: 0 all operations succeeded, 1 one failed, 2 wrong usage.\n");
}
