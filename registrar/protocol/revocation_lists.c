#include "registrar/protocol/revocation_lists.h"

#include "registrar/protocol/certificate_list.h"
#include "registrar/protocol/pem_file.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LATE_PART        10 /* the last tenth of a list's time is late for a new one */
#define ISSUER_LISTS_MAX 4096
#define NAME_OCTETS_MAX  160

static const char pem_begins[] = "-----BEGIN ";

/* An issuer, and from when until when all of its lists are current. */
struct listed_issuer {
    struct chain_digest name;
    int64_t from_unix, until_unix;
};

struct revocation_lists {
    atomic_uint references;
    enum crl_policy policy;
    struct listed_issuer *issuers; /* sorted by name */
    size_t issuer_count;
    struct chain_digest *revoked; /* sorted */
    size_t revoked_count;
};

/* What loading needs. */
struct loading {
    struct revocation_lists *lists;
    STACK_OF(X509) * authorities; /* of the trust files */
    struct buffer revoked;        /* digests */
    struct pem_file file;         /* the one being read */
    char setting[32];             /* of file */
    struct buffer *errors, *warnings;
    int64_t now_unix;
};

static bool load_files(struct loading *loading, const struct dtls_settings *settings);
static void collect_authorities(struct loading *loading, const struct settings_strings *files);
static bool load_file(struct loading *loading);
static bool read_file(const struct loading *loading, struct buffer *content);
static bool is_pem(struct bytes content);
static bool add_pem(struct loading *loading, struct bytes content);
static bool add_list(struct loading *loading, struct bytes der);
static X509 *find_signer(const struct loading *loading, const struct certificate_list *list);
static void say_who_signed(const struct loading *loading, const X509_NAME *issuer, bool known);
static bool add_entries(struct loading *loading, struct bytes entries, const struct chain_digest *issuer);
static bool add_issuer(struct loading *loading, const struct certificate_list *list,
                       const struct chain_digest *name);
static void warn_of_age(const struct loading *loading, const struct certificate_list *list, X509 *signer);
static bool take_over(struct loading *loading);
static int compare_digests(const void *a, const void *b);
static enum revocation judge_link(const struct revocation_lists *lists, const struct chain_link *link,
                                  int64_t now_unix);

struct revocation_lists *revocation_lists_load(const struct dtls_settings *settings, struct buffer *errors,
                                               struct buffer *warnings)
{
    struct loading loading = {
        .lists = calloc(1, sizeof *loading.lists),
        .authorities = sk_X509_new_null(),
        .errors = errors,
        .warnings = warnings,
        .now_unix = (int64_t)time(NULL),
    };
    buffer_init(&loading.revoked, (size_t)REVOCATION_ENTRIES_MAX * CHAIN_DIGEST_OCTETS);
    bool loaded = false;
    if (loading.lists == NULL || loading.authorities == NULL) {
        buffer_append_string(errors, "dtls.crls: out of memory\n");
    } else {
        atomic_init(&loading.lists->references, 1);
        loading.lists->policy = settings->crl_policy;
        loaded = load_files(&loading, settings) && take_over(&loading);
    }
    buffer_free(&loading.revoked);
    sk_X509_pop_free(loading.authorities, X509_free);
    ERR_clear_error();
    if (loaded)
        return loading.lists;
    revocation_lists_release(loading.lists);
    return NULL;
}

static bool load_files(struct loading *loading, const struct dtls_settings *settings)
{
    bool loaded = true;
    if (settings->crls.count == 0 && settings->crl_policy == CRL_POLICY_REQUIRE) {
        buffer_append_string(loading->errors,
                             "dtls.crls: is empty, and dtls.crl_policy is \"require\", so that no device "
                             "could connect: name the CRLs of the devices' CAs\n");
        return false;
    }
    if (settings->crls.count > 0) {
        collect_authorities(loading, &settings->manufacturer_trust);
        collect_authorities(loading, &settings->domain_trust);
    }
    for (size_t i = 0; i < settings->crls.count; i++) {
        snprintf(loading->setting, sizeof loading->setting, "dtls.crls[%zu]", i);
        loading->file = (struct pem_file){loading->setting, settings->crls.items[i]};
        loaded = load_file(loading) && loaded;
    }
    return loaded;
}

/* What is wrong with them is told by dtls_credentials_load. */
static void collect_authorities(struct loading *loading, const struct settings_strings *files)
{
    struct buffer errors;
    buffer_init(&errors, 4096);
    for (size_t i = 0; i < files->count; i++) {
        const struct pem_file file = {"", files->items[i]};
        STACK_OF(X509) *certificates = pem_file_certificates(&file, &errors);
        for (X509 *next; (next = sk_X509_shift(certificates)) != NULL;)
            if (sk_X509_push(loading->authorities, next) == 0)
                X509_free(next);
        sk_X509_free(certificates);
    }
    buffer_free(&errors);
}

static bool load_file(struct loading *loading)
{
    struct buffer content;
    buffer_init(&content, REVOCATION_FILE_OCTETS_MAX);
    bool loaded = read_file(loading, &content);
    if (loaded)
        loaded = is_pem(buffer_view(&content)) ? add_pem(loading, buffer_view(&content))
                                               : add_list(loading, buffer_view(&content));
    buffer_free(&content);
    return loaded;
}

static bool read_file(const struct loading *loading, struct buffer *content)
{
    struct stat about;
    int fd = open(loading->file.name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool known = fd >= 0 && fstat(fd, &about) == 0;
    if (known && S_ISREG(about.st_mode) && about.st_size > 0 &&
        (size_t)about.st_size <= REVOCATION_FILE_OCTETS_MAX) {
        uint8_t *at = buffer_extend(content, (size_t)about.st_size);
        size_t len = 0;
        for (ssize_t got = 1; at != NULL && got > 0 && len < content->len; len += (size_t)(got > 0 ? got : 0))
            got = read(fd, at + len, content->len - len);
        close(fd);
        if (at != NULL && len == content->len)
            return true;
        pem_file_say(&loading->file, loading->errors, "was not read whole: %s",
                     at == NULL ? "out of memory" : "put a new CRL in place by renaming it");
        return false;
    }
    if (!known)
        pem_file_say(&loading->file, loading->errors,
                     "cannot be read: %s; name a file that the user of est-registrar may read",
                     strerror(errno));
    else
        pem_file_say(&loading->file, loading->errors,
                     "is no file, empty, or larger than %zu MiB: name one with CRLs in PEM or DER",
                     REVOCATION_FILE_OCTETS_MAX >> 20);
    if (fd >= 0)
        close(fd);
    return false;
}

static bool is_pem(struct bytes content)
{
    return memmem(content.at, content.len < 4096 ? content.len : 4096, pem_begins, strlen(pem_begins)) !=
           NULL;
}

/* Every list of the file; other things in it, and what stands between, are skipped. */
static bool add_pem(struct loading *loading, struct bytes content)
{
    BIO *in = BIO_new_mem_buf(content.at, (int)content.len);
    bool added = in != NULL;
    size_t count = 0;
    char *name, *header;
    unsigned char *data;
    long len;
    ERR_clear_error();
    while (added && PEM_read_bio(in, &name, &header, &data, &len) == 1) {
        if (strcmp(name, PEM_STRING_X509_CRL) == 0) {
            count++;
            added = add_list(loading, (struct bytes){data, (size_t)len});
        }
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_free(data);
    }
    bool ended = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    BIO_free(in);
    if (!added)
        return false;
    if (!ended)
        pem_file_say(&loading->file, loading->errors, "is damaged: replace it by a whole PEM file");
    else if (count == 0)
        pem_file_say(&loading->file, loading->errors, "holds no CRL: name a file with at least one");
    return ended && count > 0;
}

static bool add_list(struct loading *loading, struct bytes der)
{
    struct certificate_list list;
    struct chain_digest name;
    const char *complaint;
    if (certificate_list_read(der, &list, &complaint) != STATUS_OK) {
        pem_file_say(&loading->file, loading->errors, "%s", complaint);
        return false;
    }
    X509 *signer = find_signer(loading, &list);
    if (signer == NULL || chain_digest_name(X509_get_subject_name(signer), &name) != STATUS_OK)
        return false;
    warn_of_age(loading, &list, signer);
    return add_issuer(loading, &list, &name) && add_entries(loading, list.entries, &name);
}

/* Borrows. NULL: there is none, and errors says so. */
static X509 *find_signer(const struct loading *loading, const struct certificate_list *list)
{
    const unsigned char *at = list->issuer.at;
    X509_NAME *issuer = d2i_X509_NAME(NULL, &at, (long)list->issuer.len);
    X509 *signer = NULL;
    bool known = false;
    for (int i = 0; issuer != NULL && signer == NULL && i < sk_X509_num(loading->authorities); i++) {
        X509 *authority = sk_X509_value(loading->authorities, i);
        if (X509_NAME_cmp(X509_get_subject_name(authority), issuer) != 0)
            continue;
        known = true;
        if (certificate_list_verify(list, authority) == STATUS_OK)
            signer = authority;
    }
    if (signer == NULL)
        say_who_signed(loading, issuer, known);
    X509_NAME_free(issuer);
    return signer;
}

static void say_who_signed(const struct loading *loading, const X509_NAME *issuer, bool known)
{
    char name[NAME_OCTETS_MAX] = "";
    if (issuer != NULL)
        X509_NAME_oneline(issuer, name, sizeof name);
    pem_file_say(&loading->file, loading->errors,
                 known ? "holds a CRL that names %s as its issuer but is not signed by it, or by a "
                         "certificate without the key usage cRLSign: it is forged or damaged, fetch it again"
                       : "holds a CRL of %s, which is in no file of dtls.manufacturer_trust or "
                         "dtls.domain_trust: add the CA's certificate there, or leave out the CRL",
                 name);
}

static bool add_issuer(struct loading *loading, const struct certificate_list *list,
                       const struct chain_digest *name)
{
    struct revocation_lists *lists = loading->lists;
    for (size_t i = 0; i < lists->issuer_count; i++) {
        struct listed_issuer *issuer = &lists->issuers[i];
        if (compare_digests(&issuer->name, name) != 0)
            continue;
        /* Parts, keys or ages of one list: nobody knows, so that each has to be current. */
        if (list->next_update_unix < issuer->until_unix)
            issuer->until_unix = list->next_update_unix;
        if (list->this_update_unix > issuer->from_unix)
            issuer->from_unix = list->this_update_unix;
        return true;
    }
    struct listed_issuer *issuers = lists->issuer_count < ISSUER_LISTS_MAX
                                        ? realloc(lists->issuers, (lists->issuer_count + 1) * sizeof *issuers)
                                        : NULL;
    if (issuers == NULL) {
        pem_file_say(&loading->file, loading->errors, "holds CRLs of too many issuers");
        return false;
    }
    lists->issuers = issuers;
    lists->issuers[lists->issuer_count++] =
        (struct listed_issuer){*name, list->this_update_unix, list->next_update_unix};
    return true;
}

static bool add_entries(struct loading *loading, struct bytes entries, const struct chain_digest *issuer)
{
    struct bytes serial;
    const char *complaint = NULL;
    enum status status;
    while ((status = certificate_list_next(&entries, &serial, &complaint)) == STATUS_OK) {
        struct chain_digest certificate;
        if (chain_digest_certificate(issuer, serial, &certificate) != STATUS_OK) {
            complaint = "holds a CRL with a serial number of more than 64 octets";
            status = STATUS_TOO_LARGE;
            break;
        }
        buffer_append(&loading->revoked, (struct bytes){certificate.octets, sizeof certificate.octets});
    }
    if (status == STATUS_NOT_FOUND && loading->revoked.status == STATUS_OK)
        return true;
    if (status == STATUS_NOT_FOUND)
        complaint = loading->revoked.status == STATUS_TOO_LARGE
                        ? "makes more than ten million revoked certificates with the files before it"
                        : "does not fit into memory";
    pem_file_say(&loading->file, loading->errors, "%s", complaint);
    return false;
}

static void warn_of_age(const struct loading *loading, const struct certificate_list *list, X509 *signer)
{
    static const char *const meanings[] = {
        [CRL_POLICY_SOFT] = "its devices are let in all the same",
        [CRL_POLICY_LISTED] = "its devices are refused then",
        [CRL_POLICY_REQUIRE] = "its devices are refused then",
    };
    char name[NAME_OCTETS_MAX], date[32];
    struct tm day;
    time_t end = (time_t)list->next_update_unix;
    X509_NAME_oneline(X509_get_subject_name(signer), name, sizeof name);
    if (list->this_update_unix > loading->now_unix)
        pem_file_say(&loading->file, loading->warnings,
                     "holds a CRL of %s that does not count yet: check the clock", name);
    int64_t late_s = (list->next_update_unix - list->this_update_unix) / LATE_PART;
    if (list->next_update_unix - late_s > loading->now_unix || gmtime_r(&end, &day) == NULL ||
        strftime(date, sizeof date, "%Y-%m-%dT%H:%MZ", &day) == 0)
        return;
    pem_file_say(&loading->file, loading->warnings,
                 "holds a CRL of %s that is outdated from %s on, and %s (dtls.crl_policy): fetch a new one",
                 name, date, meanings[loading->lists->policy]);
}

static bool take_over(struct loading *loading)
{
    struct revocation_lists *lists = loading->lists;
    size_t count = loading->revoked.len / CHAIN_DIGEST_OCTETS;
    if (lists->issuer_count > 0)
        qsort(lists->issuers, lists->issuer_count, sizeof lists->issuers[0], compare_digests);
    if (count == 0)
        return true;
    lists->revoked = malloc(loading->revoked.len);
    if (lists->revoked == NULL) {
        buffer_append_string(loading->errors, "dtls.crls: out of memory\n");
        return false;
    }
    memcpy(lists->revoked, loading->revoked.at, loading->revoked.len);
    lists->revoked_count = count;
    qsort(lists->revoked, count, sizeof lists->revoked[0], compare_digests);
    return true;
}

static int compare_digests(const void *a, const void *b)
{
    return memcmp(a, b, CHAIN_DIGEST_OCTETS);
}

struct revocation_lists *revocation_lists_hold(struct revocation_lists *lists)
{
    atomic_fetch_add_explicit(&lists->references, 1, memory_order_relaxed);
    return lists;
}

void revocation_lists_release(struct revocation_lists *lists)
{
    if (lists == NULL || atomic_fetch_sub_explicit(&lists->references, 1, memory_order_acq_rel) > 1)
        return;
    free(lists->issuers);
    free(lists->revoked);
    free(lists);
}

enum revocation revocation_lists_judge(const struct revocation_lists *lists, const struct client_chain *chain,
                                       int64_t now_unix)
{
    enum revocation worst = REVOCATION_NONE;
    for (size_t i = 0; lists != NULL && lists->issuer_count > 0 && i < chain->count; i++) {
        enum revocation found = judge_link(lists, &chain->links[i], now_unix);
        if (found > worst)
            worst = found;
    }
    return worst;
}

static enum revocation judge_link(const struct revocation_lists *lists, const struct chain_link *link,
                                  int64_t now_unix)
{
    if (lists->revoked_count > 0 && bsearch(&link->certificate, lists->revoked, lists->revoked_count,
                                            sizeof lists->revoked[0], compare_digests) != NULL)
        return REVOCATION_REVOKED;
    const struct listed_issuer *issuer = bsearch(&link->issuer, lists->issuers, lists->issuer_count,
                                                 sizeof lists->issuers[0], compare_digests);
    bool current = issuer != NULL && now_unix >= issuer->from_unix && now_unix <= issuer->until_unix;
    if (current || (issuer == NULL && lists->policy == CRL_POLICY_LISTED))
        return REVOCATION_NONE;
    return lists->policy == CRL_POLICY_SOFT ? REVOCATION_UNCHECKED : REVOCATION_UNKNOWN;
}

size_t revocation_lists_entries(const struct revocation_lists *lists)
{
    return lists->revoked_count;
}

size_t revocation_lists_issuers(const struct revocation_lists *lists)
{
    return lists->issuer_count;
}
