#include "registrar/snapshot.h"

#include "registrar/downstream/dtls_credentials.h"
#include "registrar/exchange/access_rules.h"
#include "registrar/keygen/key_directory.h"
#include "registrar/protocol/revocation_lists.h"
#include "registrar/upstream/ra_credentials.h"
#include "registrar/upstream/server_group.h"

#include <stdlib.h>

/* What loads a part from; where it puts it. */
struct loading {
    const struct settings *settings;
    struct snapshot *snapshot;
    struct buffer *errors, *warnings;
};

/* One for each part: false, and a line in errors, when it cannot be loaded. */
static bool load_dtls_credentials(const struct loading *loading);
static bool load_revocation_lists(const struct loading *loading);
static bool load_ra_credentials(const struct loading *loading);
static bool load_servers(const struct loading *loading);
static bool load_key_directory(const struct loading *loading);
static bool load_access_rules(const struct loading *loading);

static bool (*const parts[])(const struct loading *) = {
    load_dtls_credentials, load_revocation_lists, load_ra_credentials,
    load_servers,          load_key_directory,    load_access_rules,
};

struct snapshot *snapshot_load(const struct settings *settings, struct buffer *errors,
                               struct buffer *warnings)
{
    struct snapshot *snapshot = calloc(1, sizeof *snapshot);
    if (snapshot == NULL) {
        buffer_append_string(errors, "out of memory\n");
        return NULL;
    }
    atomic_init(&snapshot->references, 1);
    const struct loading loading = {settings, snapshot, errors, warnings};
    bool loaded = true;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        loaded = parts[i](&loading) && loaded;
    if (loaded)
        return snapshot;
    snapshot_release(snapshot);
    return NULL;
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
    free(snapshot);
}

static bool load_dtls_credentials(const struct loading *loading)
{
    loading->snapshot->dtls_credentials =
        dtls_credentials_load(&loading->settings->dtls, loading->errors, loading->warnings);
    return loading->snapshot->dtls_credentials != NULL;
}

static bool load_revocation_lists(const struct loading *loading)
{
    loading->snapshot->revocations =
        revocation_lists_load(&loading->settings->dtls, loading->errors, loading->warnings);
    return loading->snapshot->revocations != NULL;
}

static bool load_ra_credentials(const struct loading *loading)
{
    loading->snapshot->ra_credentials =
        ra_credentials_load(&loading->settings->upstream, loading->errors, loading->warnings);
    return loading->snapshot->ra_credentials != NULL;
}

static bool load_servers(const struct loading *loading)
{
    loading->snapshot->servers = server_group_load(&loading->settings->upstream, loading->errors);
    return loading->snapshot->servers != NULL;
}

static bool load_key_directory(const struct loading *loading)
{
    const char *path = loading->settings->est.key_directory;
    if (path[0] == '\0')
        return true;
    loading->snapshot->key_directory = key_directory_load(path, loading->errors);
    return loading->snapshot->key_directory != NULL;
}

static bool load_access_rules(const struct loading *loading)
{
    loading->snapshot->access_rules =
        access_rules_load(&loading->settings->access, loading->errors, loading->warnings);
    return loading->snapshot->access_rules != NULL;
}
