#include "registrar/downstream/association_table.h"

#include "common/container_of.h"
#include "common/log.h"
#include "common/monotonic.h"
#include "common/neighbours.h"
#include "common/rate_table.h"
#include "registrar/counters.h"
#include "registrar/downstream/association.h"
#include "registrar/downstream/flow_map.h"
#include "registrar/downstream/handle_table.h"
#include "registrar/downstream/join_proxies.h"
#include "registrar/downstream/shares.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define PEER_TEXT_MAX      (ENDPOINT_TEXT_MAX + 32)
#define ADDRESS_SHARES     1024
#define DEVICE_SHARES_EACH 4 /* for each association: so that devices hardly ever have a share together */

TAILQ_HEAD(members, member);

/* RFC 6347 section 4.2.8: a device that restarts on its port begins a new handshake on the flow of its old
 * association. The older one lives until the newer is established; the map knows the newest of each flow. */
struct member {
    struct flow_node node; /* first: the map gives pointers to it */
    struct association_table *table;
    struct association *association;
    struct member *older, *newer; /* on the same flow */
    uint64_t handle;
    size_t
        share; /* of the handshakes, by its address; once established, of the associations, by its device */
    struct join_proxy_guest guest;
    uint64_t began_ms;
    uint8_t random[DTLS_RANDOM_OCTETS]; /* of the ClientHello that began it */
    struct members *list;               /* which one it is in */
    TAILQ_ENTRY(member) order;
    uint8_t header[]; /* of its flow */
};

struct association_table {
    struct association_table_context context;
    struct association_context association_context;
    struct flow_map *flows;
    struct handle_table *handles;
    struct shares *addresses; /* shares of the handshakes */
    struct shares *devices;   /* shares of what is established */
    struct join_proxies *proxies;
    struct neighbours *neighbours;
    struct members handshakes;  /* the oldest first */
    struct members established; /* the one silent for longest first */
    struct buffer flow_octets, answer;
    uint64_t log_second;
    unsigned failures_logged; /* in that second */
    bool draining;
};

/* A datagram and what is known of it. */
struct arrival {
    struct flow flow;
    struct bytes payload;
    bool multicast;
    uint64_t now_ms;
};

static void receive(struct association_table *table, const struct arrival *arrival);
static bool receive_hello(struct association_table *table, const struct arrival *arrival,
                          const struct dtls_client_hello *hello);
static bool is_established(const struct member *member);
static bool is_from(const struct member *member, const struct dtls_client_hello *hello);
static enum dtls_cookie_verdict judge_cookie(struct association_table *table, const struct arrival *arrival,
                                             const struct dtls_client_hello *hello);
static void count_cookie(struct association_table *table, enum dtls_cookie_verdict verdict);
static bool begin_handshake(struct association_table *table, const struct arrival *arrival,
                            const struct dtls_client_hello *hello);
static bool is_too_frequent(struct association_table *table, const struct arrival *arrival);
static struct bytes address_of(struct association_table *table, const struct arrival *arrival);
static bool admit(struct association_table *table, const struct arrival *arrival);
static bool admit_through_proxy(struct association_table *table, const struct arrival *arrival);
static bool make_room_of_proxy(struct association_table *table, const struct join_proxy *proxy,
                               uint64_t now_ms);
static bool evict_guest(const struct join_proxy *proxy, uint64_t now_ms);
static struct member *member_of(struct join_proxy_guest *guest);
static bool reserve(struct association_table *table, enum counter gauge, uint32_t most);
static bool give_up_handshake(struct association_table *table, const struct arrival *arrival);
static struct member *oldest_of_largest_share(const struct association_table *table);
static bool has_had_its_time(const struct member *member, uint64_t now_ms);
static void give_up(struct member *member);
static bool evict_idle(struct association_table *table, uint64_t now_ms);
static bool evict(struct member *member, uint64_t now_ms);
static struct member *create_member(struct association_table *table, const struct arrival *arrival,
                                    const struct dtls_client_hello *hello);
static bool receive_record(struct association_table *table, const struct arrival *arrival);
static struct member *find_newest(struct association_table *table, const struct flow *flow);
static void feed(const struct member *member, const struct arrival *arrival);
static bool on_answer(void *user, uint64_t handle, uint32_t request, const struct est_answer *answer);
static void on_established(void *user);
static void take_device_share(struct member *member);
static void warn_of_standing(struct association_table *table, const struct member *member);
static void end_handshake(const struct member *member);
static void on_active(void *user);
static void move_to_end(struct member *member, struct members *list);
static void on_ended(void *user);
static const char *format_peer(const struct flow *flow, char text[static PEER_TEXT_MAX]);
static void log_failure(struct association_table *table, const struct member *member);
static bool may_log(struct association_table *table);
static void remove_member(struct member *member);
static void unlink_member(struct member *member);

struct association_table *association_table_create(const struct association_table_context *context)
{
    struct association_table *table = calloc(1, sizeof *table);
    if (table == NULL)
        return NULL;
    const struct dtls_settings *settings = &context->settings->dtls;
    table->context = *context;
    table->context.revocations = NULL;
    table->association_context = (struct association_context){
        .settings = context->settings,
        .base = context->base,
        .metrics = context->metrics,
        .dtls = {.credentials = dtls_credentials_hold(context->credentials),
                 .bio_method = dtls_association_bio_method(),
                 .metrics = context->metrics,
                 .tickets = settings->session_resumption ? context->ticket_secret : NULL,
                 .handshake_mtu = settings->handshake_mtu,
                 .retransmit_timeout_ms = settings->retransmit_timeout_ms},
        .exchanges = context->exchanges,
        .reply = {.answer = on_answer, .user = table},
    };
    if (context->revocations != NULL)
        association_table_use_revocation_lists(table, context->revocations);
    table->flows = flow_map_create(settings->max_associations);
    table->handles = handle_table_create(settings->max_associations);
    table->addresses = shares_create(ADDRESS_SHARES);
    table->devices = shares_create(DEVICE_SHARES_EACH * (size_t)settings->max_associations);
    table->proxies = join_proxies_create(context->settings->jpy.handshakes_per_s);
    table->neighbours = neighbours_create();
    TAILQ_INIT(&table->handshakes);
    TAILQ_INIT(&table->established);
    buffer_init(&table->flow_octets, FLOW_OCTETS_MAX);
    buffer_init(&table->answer, DTLS_HELLO_VERIFY_REQUEST_OCTETS);
    if (table->association_context.dtls.bio_method != NULL && table->flows != NULL &&
        table->handles != NULL && table->addresses != NULL && table->devices != NULL &&
        table->proxies != NULL && table->neighbours != NULL)
        return table;
    association_table_free(table);
    return NULL;
}

void association_table_free(struct association_table *table)
{
    if (table == NULL)
        return;
    /* The analyzer does not see that remove_member takes the first one off its list. */
    struct member *member;
    while ((member = TAILQ_FIRST(&table->handshakes)) != NULL)
        remove_member(member); /* NOLINT(clang-analyzer-unix.Malloc) */
    while ((member = TAILQ_FIRST(&table->established)) != NULL) {
        association_close(member->association); /* NOLINT(clang-analyzer-unix.Malloc) */
        remove_member(member);
    }
    flow_map_free(table->flows);
    handle_table_free(table->handles);
    shares_free(table->addresses);
    shares_free(table->devices);
    join_proxies_free(table->proxies);
    neighbours_free(table->neighbours);
    BIO_meth_free(table->association_context.dtls.bio_method);
    revocation_lists_release(table->context.revocations);
    dtls_credentials_release(table->association_context.dtls.credentials);
    buffer_free(&table->flow_octets);
    buffer_free(&table->answer);
    free(table);
}

void association_table_use_revocation_lists(struct association_table *table, struct revocation_lists *lists)
{
    struct revocation_lists *before = table->context.revocations;
    table->context.revocations = revocation_lists_hold(lists);
    table->association_context.dtls.revocations = lists;
    revocation_lists_release(before);
}

void association_table_use_credentials(struct association_table *table, struct dtls_credentials *credentials)
{
    struct dtls_credentials **used = &table->association_context.dtls.credentials;
    dtls_credentials_hold(credentials);
    dtls_credentials_release(*used);
    *used = credentials;
}

void association_table_drain(struct association_table *table)
{
    table->draining = true;
}

bool association_table_busy(const struct association_table *table)
{
    const struct member *member;
    TAILQ_FOREACH(member, &table->established, order)
    if (association_is_busy(member->association))
        return true;
    return false;
}

void association_table_receive(struct association_table *table, int fd, const struct udp_datagram *datagram)
{
    const struct arrival arrival = {
        .flow = {.fd = fd,
                 .local = datagram->local,
                 .peer = datagram->peer,
                 .interface = datagram->interface},
        .payload = datagram->payload,
        .multicast = datagram->multicast,
        .now_ms = monotonic_ms(),
    };
    receive(table, &arrival);
}

void association_table_receive_jpy(struct association_table *table, int fd,
                                   const struct udp_datagram *datagram, const struct jpy_message *message)
{
    const struct arrival arrival = {
        .flow = {.fd = fd,
                 .local = datagram->local,
                 .peer = datagram->peer,
                 .interface = datagram->interface,
                 .wrapped = true,
                 .form = message->form,
                 .header = message->header},
        .payload = message->content,
        .multicast = datagram->multicast,
        .now_ms = monotonic_ms(),
    };
    receive(table, &arrival);
}

static void receive(struct association_table *table, const struct arrival *arrival)
{
    struct dtls_client_hello hello;
    bool taken;
    metrics_add(table->context.metrics, COUNTER_DATAGRAMS_RECEIVED, 1);
    if (arrival->multicast)
        taken = false; /* DTLS has two ends */
    else if (dtls_client_hello_read(arrival->payload, &hello))
        taken = receive_hello(table, arrival, &hello);
    else
        taken = receive_record(table, arrival);
    if (!taken)
        metrics_add(table->context.metrics, COUNTER_DATAGRAMS_DROPPED, 1);
}

/* A ClientHello that began a handshake still going on belongs to that; of any other one the cookie decides,
 * whether there is an association on its flow or not. False: dropped. */
static bool receive_hello(struct association_table *table, const struct arrival *arrival,
                          const struct dtls_client_hello *hello)
{
    const struct member *newest = find_newest(table, &arrival->flow);
    if (newest != NULL && is_from(newest, hello)) {
        if (is_established(newest))
            return false;
        feed(newest, arrival);
        return true;
    }
    if (newest != NULL && newest->older != NULL && is_from(newest->older, hello))
        return false;
    if (table->draining)
        return false;

    enum dtls_cookie_verdict verdict = judge_cookie(table, arrival, hello);
    if (verdict == COOKIE_GOOD)
        return begin_handshake(table, arrival, hello);
    return verdict != COOKIE_LOST;
}

static bool is_established(const struct member *member)
{
    return member->list == &member->table->established;
}

static bool is_from(const struct member *member, const struct dtls_client_hello *hello)
{
    return memcmp(member->random, hello->random, sizeof member->random) == 0;
}

static enum dtls_cookie_verdict judge_cookie(struct association_table *table, const struct arrival *arrival,
                                             const struct dtls_client_hello *hello)
{
    buffer_reset(&table->flow_octets);
    buffer_reset(&table->answer);
    flow_serialise(&arrival->flow, &table->flow_octets);
    enum dtls_cookie_verdict verdict =
        dtls_cookie_judge(table->context.cookie_secret, arrival->now_ms, buffer_view(&table->flow_octets),
                          hello, &table->answer);
    /* Whose address is invented must not stop the answers to others. */
    if (table->answer.len > 0 && !neighbours_admit(table->neighbours, arrival->flow.fd, &arrival->flow.peer,
                                                   arrival->flow.interface)) {
        metrics_add(table->context.metrics, COUNTER_COOKIES_WITHHELD, 1);
        return COOKIE_LOST;
    }
    count_cookie(table, verdict);
    if (table->answer.len > 0)
        flow_send(&arrival->flow, buffer_view(&table->answer));
    return verdict;
}

static void count_cookie(struct association_table *table, enum dtls_cookie_verdict verdict)
{
    if (verdict == COOKIE_NONE || verdict == COOKIE_WRONG)
        metrics_add(table->context.metrics, COUNTER_COOKIES_SENT, 1);
    if (verdict == COOKIE_WRONG || verdict == COOKIE_LOST)
        metrics_add(table->context.metrics, COUNTER_COOKIES_REFUSED, 1);
}

/* An older handshake on the flow is given up: its client has begun anew. What was established before stays.
 */
static bool begin_handshake(struct association_table *table, const struct arrival *arrival,
                            const struct dtls_client_hello *hello)
{
    struct member *newest = find_newest(table, &arrival->flow);
    if (newest != NULL && !is_established(newest)) {
        metrics_add(table->context.metrics, COUNTER_HANDSHAKES_FAILED, 1);
        remove_member(newest);
    }
    if (is_too_frequent(table, arrival)) {
        metrics_add(table->context.metrics, COUNTER_HANDSHAKES_LIMITED, 1);
        return false;
    }
    if (!admit(table, arrival)) {
        metrics_add(table->context.metrics, COUNTER_HANDSHAKES_REFUSED, 1);
        return false;
    }
    struct member *member = create_member(table, arrival, hello);
    if (member == NULL) {
        metrics_subtract(table->context.metrics, COUNTER_HANDSHAKES, 1);
        metrics_subtract(table->context.metrics, COUNTER_ASSOCIATIONS, 1);
        return false;
    }
    metrics_add(table->context.metrics, COUNTER_HANDSHAKES_STARTED, 1);
    feed(member, arrival);
    return true;
}

/* The cookie has proved the address. Join proxies have a rate of their own (JPR-6). */
static bool is_too_frequent(struct association_table *table, const struct arrival *arrival)
{
    return !arrival->flow.wrapped &&
           rate_table_take(table->context.handshake_rates, address_of(table, arrival), arrival->now_ms) > 0;
}

/* Until the next call. */
static struct bytes address_of(struct association_table *table, const struct arrival *arrival)
{
    buffer_reset(&table->flow_octets);
    endpoint_serialise_address(&arrival->flow.peer, &table->flow_octets);
    return buffer_view(&table->flow_octets);
}

/* Takes one of max_handshakes and one of max_associations. */
static bool admit(struct association_table *table, const struct arrival *arrival)
{
    const struct dtls_settings *settings = &table->context.settings->dtls;
    if (arrival->flow.wrapped && !admit_through_proxy(table, arrival))
        return false;
    if (!reserve(table, COUNTER_HANDSHAKES, settings->max_handshakes) &&
        !(give_up_handshake(table, arrival) && reserve(table, COUNTER_HANDSHAKES, settings->max_handshakes)))
        return false;
    if (reserve(table, COUNTER_ASSOCIATIONS, settings->max_associations) ||
        (evict_idle(table, arrival->now_ms) &&
         reserve(table, COUNTER_ASSOCIATIONS, settings->max_associations)))
        return true;
    metrics_subtract(table->context.metrics, COUNTER_HANDSHAKES, 1);
    return false;
}

/* JPR-6: a join proxy has its limits before all else, and only what came through it makes room; its rate
 * first, so that nothing makes room for a newcomer who is not let in. */
static bool admit_through_proxy(struct association_table *table, const struct arrival *arrival)
{
    struct join_proxy *proxy = join_proxies_find(table->proxies, &arrival->flow.peer);
    if (proxy != NULL && join_proxies_admit(table->proxies, proxy, arrival->now_ms) &&
        make_room_of_proxy(table, proxy, arrival->now_ms))
        return true;
    char peer[ENDPOINT_TEXT_MAX];
    enum log_level level = may_log(table) ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG;
    metrics_add(table->context.metrics, COUNTER_JPY_LIMITED, 1);
    if (log_enabled(level))
        log_write(level, "association", "join proxy %s has all that the jpy limits grant it",
                  endpoint_format(&arrival->flow.peer, peer));
    return false;
}

static bool make_room_of_proxy(struct association_table *table, const struct join_proxy *proxy,
                               uint64_t now_ms)
{
    const struct jpy_settings *settings = &table->context.settings->jpy;
    struct join_proxy_guest *oldest = TAILQ_FIRST(&proxy->handshakes);
    if (proxy->handshake_count >= settings->max_handshakes) {
        if (oldest == NULL || !has_had_its_time(member_of(oldest), now_ms))
            return false;
        give_up(member_of(oldest));
    }
    return proxy->handshake_count + proxy->established_count < settings->max_associations ||
           evict_guest(proxy, now_ms);
}

static bool evict_guest(const struct join_proxy *proxy, uint64_t now_ms)
{
    unsigned looks = 0;
    struct join_proxy_guest *guest;
    TAILQ_FOREACH(guest, &proxy->established, order)
    {
        if (evict(member_of(guest), now_ms))
            return true;
        if (++looks == EVICTION_LOOKS_MAX)
            break;
    }
    return false;
}

static struct member *member_of(struct join_proxy_guest *guest)
{
    return CONTAINER_OF(guest, struct member, guest);
}

/* Counts first and looks then, so that several workers together never exceed the limit. */
static bool reserve(struct association_table *table, enum counter gauge, uint32_t most)
{
    metrics_add(table->context.metrics, gauge, 1);
    if (metrics_get(table->context.metrics, gauge) <= most)
        return true;
    metrics_subtract(table->context.metrics, gauge, 1);
    return false;
}

/* One of the address that has most of them in flight, so that a peer cannot keep others out by handshakes
 * that it leaves half open. The newcomer's own address has to wait until it has had its time. */
static bool give_up_handshake(struct association_table *table, const struct arrival *arrival)
{
    struct member *member = oldest_of_largest_share(table);
    if (member == NULL)
        return false;
    size_t newcomer = shares_of(table->addresses, address_of(table, arrival));
    bool is_greedy =
        shares_count(table->addresses, member->share) > shares_count(table->addresses, newcomer) + 1;
    if (!is_greedy && !has_had_its_time(member, arrival->now_ms))
        return false;
    give_up(member);
    return true;
}

static struct member *oldest_of_largest_share(const struct association_table *table)
{
    uint32_t largest = shares_largest(table->addresses);
    struct member *member;
    TAILQ_FOREACH(member, &table->handshakes, order)
    if (shares_count(table->addresses, member->share) == largest)
        return member;
    return NULL;
}

static bool has_had_its_time(const struct member *member, uint64_t now_ms)
{
    const struct dtls_settings *settings = &member->table->context.settings->dtls;
    return now_ms >= member->began_ms + HANDSHAKE_PATIENCE_MS + 2 * (uint64_t)settings->retransmit_timeout_ms;
}

static void give_up(struct member *member)
{
    metrics_add(member->table->context.metrics, COUNTER_HANDSHAKES_FAILED, 1);
    remove_member(member);
}

static bool evict_idle(struct association_table *table, uint64_t now_ms)
{
    unsigned looks = 0;
    struct member *member;
    TAILQ_FOREACH(member, &table->established, order)
    {
        if (evict(member, now_ms))
            return true;
        if (++looks == EVICTION_LOOKS_MAX)
            break;
    }
    return false;
}

/* False, and nothing done, if it is not idle. */
static bool evict(struct member *member, uint64_t now_ms)
{
    if (!association_is_idle(member->association, now_ms))
        return false;
    metrics_add(member->table->context.metrics, COUNTER_ASSOCIATIONS_EVICTED, 1);
    association_close(member->association);
    remove_member(member);
    return true;
}

/* The newest of its flow. NULL: no memory. */
static struct member *create_member(struct association_table *table, const struct arrival *arrival,
                                    const struct dtls_client_hello *hello)
{
    const struct bytes header = arrival->flow.header;
    struct join_proxy *proxy =
        arrival->flow.wrapped ? join_proxies_find(table->proxies, &arrival->flow.peer) : NULL;
    struct member *member = calloc(1, sizeof *member + header.len);
    if (member == NULL || (arrival->flow.wrapped && proxy == NULL)) {
        free(member);
        return NULL;
    }
    const struct association_events events = {on_established, on_active, on_ended, member};
    member->table = table;
    member->node.flow = arrival->flow;
    if (header.len > 0)
        memcpy(member->header, header.at, header.len);
    member->node.flow.header = (struct bytes){member->header, header.len};
    member->began_ms = arrival->now_ms;
    memcpy(member->random, hello->random, sizeof member->random);
    member->handle = handle_table_add(table->handles, member);
    if (member->handle != HANDLE_NONE)
        member->association =
            association_create(&table->association_context, &member->node.flow, member->handle, &events);
    if (member->association == NULL) {
        handle_table_release(table->handles, member->handle);
        free(member);
        return NULL;
    }
    member->older = find_newest(table, &arrival->flow);
    if (member->older != NULL) {
        member->older->newer = member;
        flow_map_remove(table->flows, &member->older->node);
    }
    flow_map_insert(table->flows, &member->node);
    member->list = &table->handshakes;
    TAILQ_INSERT_TAIL(member->list, member, order);
    member->share = shares_of(table->addresses, address_of(table, arrival));
    shares_add(table->addresses, member->share);
    if (proxy != NULL)
        join_proxies_enter(table->proxies, proxy, &member->guest);
    return member;
}

/* Records of epoch 0 are of the newest handshake; any later ones may be of the association that it is going
 * to replace. False: there is none, or it is no record. */
static bool receive_record(struct association_table *table, const struct arrival *arrival)
{
    struct bytes rest = arrival->payload;
    struct dtls_record record;
    const struct member *newest = find_newest(table, &arrival->flow);
    if (newest == NULL || !dtls_record_take(&rest, &record))
        return false;
    uint64_t older = record.epoch > 0 && newest->older != NULL ? newest->older->handle : HANDLE_NONE;
    feed(newest, arrival);
    const struct member *still_there = handle_table_find(table->handles, older);
    if (still_there != NULL)
        feed(still_there, arrival);
    return true;
}

static struct member *find_newest(struct association_table *table, const struct flow *flow)
{
    return (struct member *)flow_map_find(table->flows, flow);
}

/* The member may be gone afterwards. */
static void feed(const struct member *member, const struct arrival *arrival)
{
    association_receive(member->association, arrival->now_ms, arrival->payload);
}

/* False: the association is gone, and another one on the same flow must not get its answers (SEC-4). */
static bool on_answer(void *user, uint64_t handle, uint32_t request, const struct est_answer *answer)
{
    struct association_table *table = user;
    const struct member *member = handle_table_find(table->handles, handle);
    if (member == NULL)
        return false;
    association_answer(member->association, monotonic_ms(), request, answer);
    return true;
}

static void on_established(void *user)
{
    struct member *member = user;
    struct association_table *table = member->table;

    end_handshake(member);
    join_proxies_establish(&member->guest);
    metrics_add(table->context.metrics, COUNTER_HANDSHAKES_COMPLETED, 1);
    if (association_is_resumed(member->association))
        metrics_add(table->context.metrics, COUNTER_HANDSHAKES_RESUMED, 1);
    move_to_end(member, &table->established);
    if (member->older != NULL)
        remove_member(member->older);
    take_device_share(member);
    char peer[PEER_TEXT_MAX];
    log_debug("association", "%s is %s, vouched for by the %s trust store",
              format_peer(&member->node.flow, peer),
              client_identity_name(association_client(member->association)),
              trust_store_name(client_identity_trust(association_client(member->association))));
    warn_of_standing(table, member);
}

/* Whoever is let in by a setting that looks away. */
static void warn_of_standing(struct association_table *table, const struct member *member)
{
    const struct client_identity *client = association_client(member->association);
    enum client_standing standing = association_standing(member->association);
    bool expired = client_identity_chain(client)->accepted_expired;
    char peer[PEER_TEXT_MAX];
    if ((standing == STANDING_GOOD && !expired) || !may_log(table))
        return;
    log_warning("association", "%s is let in as client=\"%s\": %s", format_peer(&member->node.flow, peer),
                client_identity_name(client),
                client_standing_text(standing == STANDING_GOOD ? STANDING_EXPIRED : standing));
}

/* One device does not take the associations of the others: of its own, the one silent for longest makes room.
 */
static void take_device_share(struct member *member)
{
    struct association_table *table = member->table;
    struct bytes device = client_identity_fingerprint(association_client(member->association));
    struct member *oldest;
    member->share = shares_of(table->devices, device);
    shares_add(table->devices, member->share);
    if (shares_count(table->devices, member->share) <= table->context.settings->limits.device_associations)
        return;
    TAILQ_FOREACH(oldest, &table->established, order)
    if (oldest != member && oldest->share == member->share)
        break;
    if (oldest == NULL)
        return;
    metrics_add(table->context.metrics, COUNTER_ASSOCIATIONS_EVICTED, 1);
    association_close(oldest->association);
    remove_member(oldest);
}

/* Of the handshakes in flight there is one less. */
static void end_handshake(const struct member *member)
{
    metrics_subtract(member->table->context.metrics, COUNTER_HANDSHAKES, 1);
    shares_subtract(member->table->addresses, member->share);
}

static void on_active(void *user)
{
    struct member *member = user;
    move_to_end(member, &member->table->established);
    join_proxies_touch(&member->guest);
}

static void move_to_end(struct member *member, struct members *list)
{
    TAILQ_REMOVE(member->list, member, order);
    TAILQ_INSERT_TAIL(list, member, order);
    member->list = list;
}

static void on_ended(void *user)
{
    struct member *member = user;
    if (!is_established(member)) {
        metrics_add(member->table->context.metrics, COUNTER_HANDSHAKES_FAILED, 1);
        log_failure(member->table, member);
    }
    remove_member(member);
}

/* The header says where the device is, to its join proxy alone (JPR-7). */
static const char *format_peer(const struct flow *flow, char text[static PEER_TEXT_MAX])
{
    char peer[ENDPOINT_TEXT_MAX];
    snprintf(text, PEER_TEXT_MAX, "%s%s", flow->wrapped ? "a device behind join proxy " : "",
             endpoint_format(&flow->peer, peer));
    return text;
}

/* Whoever can send may cause these lines, so that only some are seen. */
static void log_failure(struct association_table *table, const struct member *member)
{
    char peer[PEER_TEXT_MAX];
    struct buffer reason;
    enum log_level level = may_log(table) ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG;
    if (!log_enabled(level))
        return;
    buffer_init(&reason, 200);
    if (!association_failed(member->association, &reason))
        buffer_append_string(&reason, "closed");
    log_write(level, "association", "handshake with %s failed: %s", format_peer(&member->node.flow, peer),
              buffer_string(&reason));
    buffer_free(&reason);
}

static bool may_log(struct association_table *table)
{
    uint64_t second = monotonic_ms() / 1000;
    if (second != table->log_second)
        table->failures_logged = 0;
    table->log_second = second;
    return ++table->failures_logged <= FAILURES_LOGGED_MAX;
}

static void remove_member(struct member *member)
{
    struct association_table *table = member->table;
    unlink_member(member);
    TAILQ_REMOVE(member->list, member, order);
    handle_table_release(table->handles, member->handle);
    metrics_subtract(table->context.metrics, COUNTER_ASSOCIATIONS, 1);
    join_proxies_leave(table->proxies, &member->guest);
    if (is_established(member))
        shares_subtract(table->devices, member->share);
    else
        end_handshake(member);
    association_free(member->association);
    free(member);
}

/* The older association of the flow, if there is one, becomes the newest again. */
static void unlink_member(struct member *member)
{
    struct flow_map *flows = member->table->flows;
    if (member->newer != NULL) {
        member->newer->older = member->older;
    } else {
        flow_map_remove(flows, &member->node);
        if (member->older != NULL)
            flow_map_insert(flows, &member->older->node);
    }
    if (member->older != NULL)
        member->older->newer = member->newer;
}
