#include "registrar/snapshot.h"

#include "registrar/downstream/dtls_credentials.h"
#include "registrar/exchange/access_rules.h"
#include "registrar/keygen/key_directory.h"
#include "registrar/protocol/revocation_lists.h"
#include "registrar/upstream/ra_credentials.h"
#include "registrar/upstream/server_group.h"
#include "registrar/upstream/webhook_service.h"

#include <stdlib.h>
#include <string.h>

#define MESSAGES_OCTETS_MAX ((size_t)64 * 1024)

/* What a part is loaded from; where it is put. */
struct loading {
    const struct settings *settings;
    struct snapshot *snapshot;
    const struct snapshot *others; /* NULL: there is none before */
    struct buffer *errors, *warnings;
};

static bool load(const struct loading *loading, unsigned parts);

/* For each part: false, and a line in errors, when it cannot be loaded. */
static bool load_dtls_credentials(const struct loading *loading);
static bool load_revocation_lists(const struct loading *loading);
static bool load_ra_credentials(const struct loading *loading);
static bool load_servers(const struct loading *loading);
static bool load_key_directory(const struct loading *loading);
static bool load_access_rules(const struct loading *loading);
static bool load_webhook_service(const struct loading *loading);

/* And to share it with another snapshot. */
static void share_dtls_credentials(const struct snapshot *from, struct snapshot *to);
static void share_revocation_lists(const struct snapshot *from, struct snapshot *to);
static void share_ra_credentials(const struct snapshot *from, struct snapshot *to);
static void share_servers(const struct snapshot *from, struct snapshot *to);
static void share_key_directory(const struct snapshot *from, struct snapshot *to);
static void share_access_rules(const struct snapshot *from, struct snapshot *to);
static void share_webhook_service(const struct snapshot *from, struct snapshot *to);

static const struct part {
    enum snapshot_part part;
    bool (*load)(const struct loading *loading);
    void (*share)(const struct snapshot *from, struct snapshot *to);
} parts_of_all[] = {
    {SNAPSHOT_DTLS_CREDENTIALS, load_dtls_credentials, share_dtls_credentials},
    {SNAPSHOT_REVOCATIONS, load_revocation_lists, share_revocation_lists},
    {SNAPSHOT_RA_CREDENTIALS, load_ra_credentials, share_ra_credentials},
    {SNAPSHOT_SERVERS, load_servers, share_servers},
    {SNAPSHOT_KEY_DIRECTORY, load_key_directory, share_key_directory},
    {SNAPSHOT_ACCESS_RULES, load_access_rules, share_access_rules},
    {SNAPSHOT_WEBHOOK_SERVICE, load_webhook_service, share_webhook_service},
};

struct snapshot *snapshot_load(const struct snapshot_source *source, unsigned parts,
                               const struct snapshot *others)
{
    struct buffer errors, warnings;
    struct snapshot *snapshot = calloc(1, sizeof *snapshot);
    if (snapshot == NULL) {
        buffer_append_string(source->errors, "out of memory\n");
        return NULL;
    }
    atomic_init(&snapshot->references, 1);
    if ((parts & SNAPSHOT_WATCHED) == SNAPSHOT_WATCHED)
        file_marks_take(source->settings, &snapshot->marks);
    else
        snapshot->marks = others->marks;
    buffer_init(&errors, MESSAGES_OCTETS_MAX);
    buffer_init(&warnings, MESSAGES_OCTETS_MAX);
    if (!load(&(struct loading){source->settings, snapshot, others, &errors, &warnings}, parts)) {
        snapshot_release(snapshot);
        snapshot = NULL;
    }
    buffer_append_lines(source->errors, source->file, buffer_string(&errors));
    buffer_append_lines(source->warnings, source->file, buffer_string(&warnings));
    buffer_free(&errors);
    buffer_free(&warnings);
    return snapshot;
}

/* All of them, so that everything wrong is told at once. */
static bool load(const struct loading *loading, unsigned parts)
{
    bool loaded = true;
    for (size_t i = 0; i < sizeof parts_of_all / sizeof parts_of_all[0]; i++) {
        const struct part *part = &parts_of_all[i];
        if ((parts & part->part) != 0)
            loaded = part->load(loading) && loaded;
        else
            part->share(loading->others, loading->snapshot);
    }
    return loaded;
}

struct snapshot *snapshot_hold(struct snapshot *snapshot)
{
    atomic_fetch_add_explicit(&snapshot->references, 1, memory_order_relaxed);
    return snapshot;
}

void snapshot_release(struct snapshot *snapshot)
{
    if (snapshot == NULL || atomic_fetch_sub_explicit(&snapshot->references, 1, memory_order_acq_rel) > 1)
        return;
    dtls_credentials_release(snapshot->dtls_credentials);
    revocation_lists_release(snapshot->revocations);
    ra_credentials_release(snapshot->ra_credentials);
    server_group_release(snapshot->servers);
    key_directory_release(snapshot->key_directory);
    access_rules_release(snapshot->access_rules);
    webhook_service_release(snapshot->webhook_service);
    free(snapshot);
}

static bool load_dtls_credentials(const struct loading *loading)
{
    loading->snapshot->dtls_credentials =
        dtls_credentials_load(&loading->settings->dtls, loading->errors, loading->warnings);
    return loading->snapshot->dtls_credentials != NULL;
}

static void share_dtls_credentials(const struct snapshot *from, struct snapshot *to)
{
    to->dtls_credentials = dtls_credentials_hold(from->dtls_credentials);
}

static bool load_revocation_lists(const struct loading *loading)
{
    loading->snapshot->revocations =
        revocation_lists_load(&loading->settings->dtls, loading->errors, loading->warnings);
    return loading->snapshot->revocations != NULL;
}

static void share_revocation_lists(const struct snapshot *from, struct snapshot *to)
{
    to->revocations = revocation_lists_hold(from->revocations);
}

static bool load_ra_credentials(const struct loading *loading)
{
    loading->snapshot->ra_credentials =
        ra_credentials_load(&loading->settings->upstream, loading->errors, loading->warnings);
    return loading->snapshot->ra_credentials != NULL;
}

static void share_ra_credentials(const struct snapshot *from, struct snapshot *to)
{
    to->ra_credentials = ra_credentials_hold(from->ra_credentials);
}

static bool load_servers(const struct loading *loading)
{
    struct server_group *before = loading->others != NULL ? loading->others->servers : NULL;
    loading->snapshot->servers = server_group_load(&loading->settings->upstream, before, loading->errors);
    return loading->snapshot->servers != NULL;
}

static void share_servers(const struct snapshot *from, struct snapshot *to)
{
    to->servers = server_group_hold(from->servers);
}

static bool load_key_directory(const struct loading *loading)
{
    const struct est_settings *est = &loading->settings->est;
    if (est->key_directory[0] == '\0')
        return true;
    if (est->server_keygen == SERVER_KEYGEN_RELAY)
        buffer_append_string(
            loading->warnings,
            "est.key_directory: of no use, since est.server_keygen is \"relay\": only the EST server "
            "protects keys\n");
    loading->snapshot->key_directory = key_directory_load(est->key_directory, loading->errors);
    return loading->snapshot->key_directory != NULL;
}

static void share_key_directory(const struct snapshot *from, struct snapshot *to)
{
    if (from->key_directory != NULL)
        to->key_directory = key_directory_hold(from->key_directory);
}

static bool load_access_rules(const struct loading *loading)
{
    loading->snapshot->access_rules =
        access_rules_load(&loading->settings->access, loading->errors, loading->warnings);
    return loading->snapshot->access_rules != NULL;
}

static void share_access_rules(const struct snapshot *from, struct snapshot *to)
{
    to->access_rules = access_rules_hold(from->access_rules);
}

static bool load_webhook_service(const struct loading *loading)
{
    const struct webhook_settings *webhook = &loading->settings->access.webhook;
    if (webhook->url[0] == '\0')
        return true;
    loading->snapshot->webhook_service = webhook_service_load(webhook, loading->errors, loading->warnings);
    return loading->snapshot->webhook_service != NULL;
}

static void share_webhook_service(const struct snapshot *from, struct snapshot *to)
{
    if (from->webhook_service != NULL)
        to->webhook_service = webhook_service_hold(from->webhook_service);
}
