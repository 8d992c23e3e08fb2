#include "joinproxy/settings.h"

#include "common/settings_rows.h"

#include <arpa/inet.h>
#include <string.h>

static const char *complaint_about_key_file(const json_t *value);
static const char *complaint_about_group(const json_t *value);

static const struct settings_name mode_names[] = {
    {"auto", MODE_AUTO}, {"stateful", MODE_STATEFUL}, {"stateless", MODE_STATELESS}, {NULL, 0}};
static const struct settings_name mtu_names[] = {{"auto", 0}, {NULL, 0}};
/* clang-format off */
static const struct settings_field fields[] = {
    { ENUM(mode, enum proxy_mode, mode_names), PRESET("\"auto\""), SOURCE("JP-2"),
      DOC("how datagrams reach the registrar; `auto` is stateful for `registrars`, and what discovery finds without them") },
    { ENDPOINTS(registrars, 0), PRESET("[]"), SOURCE("JP-9, JP-11"),
      DOC("the only addresses that pledges' datagrams go to; stateless: of a JPY port. `[]`: discovery finds one") },

    { INTERFACES(pledge.interfaces, 1, PLEDGE_LINKS_MAX), REQUIRED, SOURCE("JP-9"),
      DOC("network interfaces with pledges; datagrams from elsewhere are dropped") },
    { U32(pledge.join_port, 0, 65535), PRESET("5685"), SOURCE("JP-4, JP-11"),
      DOC("UDP port for pledges that join through the first registrar; the next one has the next port; 0: the kernel chooses") },
    { BOOL(pledge.any_source), PRESET("false"), SOURCE("JP-9"),
      DOC("whether pledges may have addresses that are not link-local; for laboratories") },
    { BOOL(pledge.transparent), PRESET("false"), SOURCE("JP-3"),
      DOC("whether pledges address the registrar itself and their packets are routed to this host; needs CAP_NET_RAW") },

    { U32(stateful.idle_s, 1, 86400), PRESET("30"), SOURCE("JP-6"),
      DOC("seconds after which a pledge without traffic is forgotten") },
    { U32(stateful.max_per_pledge, 1, 100), PRESET("2"), SOURCE("JP-7"),
      DOC("ports of one pledge address that are relayed at a time") },
    { U32(stateful.max_per_interface, 1, 1000), PRESET("10"), SOURCE("JP-7"),
      DOC("the same for all pledges of an interface") },

    { U32(stateless.source_port, 0, 65535), PRESET("5695"), SOURCE("JPY-1"),
      DOC("UDP port towards the first registrar; the next one has the next port; 0: the kernel chooses, and a restart breaks associations") },
    { U32(stateless.mtu, 576, 1500), .names = mtu_names, PRESET("\"auto\""), SOURCE("JPY-5"),
      DOC("octets of the largest IP packet towards the registrar; what does not fit is dropped; `auto` is what the kernel knows of the path") },
    { STRING(stateless.key_file, complaint_about_key_file), PRESET("\"\""), SOURCE("JPY-2, JPY-4"),
      DOC("absolute name of a file that we keep the header keys in, so that a restart breaks no association; `\"\"` for none") },
    { U32(stateless.key_lifetime_s, 1, 31536000), PRESET("86400"), SOURCE("JPY-2"),
      DOC("seconds until headers get a new key; the one before is accepted for as long again") },

    { U32(limits.interface_packets_per_s, 1, 1000000), PRESET("500"), SOURCE("JP-10"),
      DOC("datagrams a second from, and as many towards, the pledges of one interface") },
    { U32(limits.interface_octets_per_s, 2048, 1000000000), PRESET("125000"), SOURCE("JP-10"),
      DOC("octets of UDP payload a second, likewise") },
    { U32(limits.pledge_packets_per_s, 1, 1000000), PRESET("100"), SOURCE("JP-10"),
      DOC("datagrams a second from one pledge address") },

    { BOOL(discovery.answer), PRESET("true"), SOURCE("JPD-1"),
      DOC("whether pledges that ask `ff02::fd` for a join proxy get an answer") },
    { BOOL(discovery.legacy_names), PRESET("true"), SOURCE("JPD-2"),
      DOC("whether the names of older drafts (`rt=brski.jp`, `rt=brski-proxy`) are answered as well") },
    { U32(discovery.port, 1, 65535), PRESET("5683"), SOURCE("JPD-1, JPD-6"),
      DOC("UDP port of CoAP, where pledges ask and registrars are asked") },
    { U32(discovery.leisure_ms, 0, 5000), PRESET("1000"), SOURCE("RFC 7252 section 8.2"),
      DOC("milliseconds within which a pledge that asked the group is answered, at a random moment") },
    { INTERFACES(discovery.registrar_interfaces, 0, PLEDGE_LINKS_MAX), PRESET("[]"), SOURCE("JPD-6"),
      DOC("network interfaces on which a registrar is looked for; needed where `registrars` is empty") },
    { STRING(discovery.group, complaint_about_group), PRESET("\"ff05::fd\""), SOURCE("JPD-6"),
      DOC("IPv6 multicast group that the registrar is asked of") },
    { U32(discovery.retry_s, 1, 3600), PRESET("5"), SOURCE("JPD-6"),
      DOC("seconds until a search that found nothing is repeated, doubling") },
    { U32(discovery.retry_max_s, 1, 86400), PRESET("300"), SOURCE("JPD-6"),
      DOC("the longest such pause") },
    { U32(discovery.cache_s, 1, 604800), PRESET("3600"), SOURCE("JPD-6"),
      DOC("seconds for which a registrar found is used before it is looked for again") },

    { LOG_LEVEL_ROW },
    { LOG_FORMAT_ROW },
};
/* clang-format on */

static void review_registrars(const struct settings_review *review);
static void review_search(const struct settings_review *review);
static void review_ports(const struct settings_review *review);
static void review_transparent(const struct settings_review *review);
static void review_lab(const struct settings_review *review);
static void review_keys(const struct settings_review *review);

static void (*const reviews[])(const struct settings_review *) = {
    review_registrars, review_search, review_ports, review_transparent, review_lab, review_keys,
};

struct port_range {
    const char *path;
    uint32_t first, count;
};

static bool is_group(const struct endpoint *endpoint);
static void require_room(const struct settings_review *review, const char *path, uint32_t first);

static void require_apart(const struct settings_review *review, const struct port_range *range,
                          const struct port_range *other);

static const struct settings_file file = {
    .table = {fields, sizeof(fields) / sizeof(fields[0])},
    .size = sizeof(struct settings),
    .reviews = reviews,
    .review_count = sizeof(reviews) / sizeof(reviews[0]),
};

struct settings *settings_read(const char *name, struct buffer *errors, struct buffer *warnings)
{
    return settings_file_read(&file, name, errors, warnings);
}

void settings_free(struct settings *settings)
{
    settings_file_free(&file, settings);
}

void settings_print(const struct settings *settings, struct buffer *json)
{
    settings_table_print(&file.table, settings, json);
}

void settings_reference(struct buffer *markdown)
{
    settings_table_reference(&file.table, markdown);
}

bool settings_may_use(const struct settings *settings, enum proxy_mode mode)
{
    if (settings->mode != MODE_AUTO)
        return settings->mode == mode;
    return mode == MODE_STATEFUL || settings->registrars.count == 0;
}

/* A datagram must have one place to go. */
static void review_registrars(const struct settings_review *review)
{
    const struct settings_endpoints *registrars = &review->settings->registrars;
    for (size_t i = 0; i < registrars->count; i++) {
        const struct endpoint *registrar = &registrars->items[i];
        char text[ENDPOINT_TEXT_MAX];
        if (endpoint_port(registrar) == 0 || is_group(registrar) || endpoint_is_wildcard(registrar))
            settings_reader_complain(review->reader, "registrars",
                                     "\"%s\" is not the address of one host and a port; use one such as "
                                     "\"[2001:db8::1]:5684\"",
                                     endpoint_format(registrar, text));
        for (size_t j = 0; j < i; j++)
            if (endpoint_equal(&registrars->items[j], registrar))
                settings_reader_complain(review->reader, "registrars", "\"%s\" is there twice; remove one",
                                         endpoint_format(registrar, text));
    }
}

/* JP-2: neither configured nor discovered means not to operate. */
static void review_search(const struct settings_review *review)
{
    const struct discovery_settings *discovery = &review->settings->discovery;
    if (!settings_reader_usable(review->reader, "registrars") ||
        !settings_reader_usable(review->reader, "discovery.registrar_interfaces"))
        return;
    bool configured = review->settings->registrars.count > 0;
    if (!configured && discovery->registrar_interfaces.count == 0)
        settings_reader_complain(
            review->reader, "registrars",
            "is empty as is discovery.registrar_interfaces: there is nobody to relay to; "
            "name a registrar, or an interface to look for one");
    if (configured && discovery->registrar_interfaces.count > 0)
        settings_review_warn(review, "discovery.registrar_interfaces",
                             "nothing is looked for, because registrars are given");
    if (discovery->retry_s > discovery->retry_max_s)
        settings_reader_complain(
            review->reader, "discovery.retry_s",
            "%u is not at most discovery.retry_max_s, which is %u; lower the one or raise "
            "the other",
            discovery->retry_s, discovery->retry_max_s);
}

static void review_ports(const struct settings_review *review)
{
    const struct settings *settings = review->settings;
    const struct discovery_settings *discovery = &settings->discovery;
    const uint32_t count = settings->registrars.count > 0 ? (uint32_t)settings->registrars.count : 1;
    const struct port_range join = {"pledge.join_port", settings->pledge.join_port, count},
                            source = {"stateless.source_port", settings->stateless.source_port, count},
                            queries = {"discovery.port", discovery->port, 1};
    const bool seals = settings_may_use(settings, MODE_STATELESS);
    require_room(review, join.path, join.first);
    require_room(review, source.path, source.first);
    if (seals)
        require_apart(review, &source, &join);
    if (discovery->answer && !settings->pledge.transparent)
        require_apart(review, &join, &queries);
    if (discovery->answer && seals)
        require_apart(review, &source, &queries);
}

/* A port of 0 is chosen by the kernel, and free. */
static void require_apart(const struct settings_review *review, const struct port_range *range,
                          const struct port_range *other)
{
    if (range->first != 0 && other->first != 0 && range->first < other->first + other->count &&
        other->first < range->first + range->count)
        settings_reader_complain(review->reader, range->path,
                                 "%u: overlaps with the %u port%s from %s on; use others", range->first,
                                 other->count, other->count == 1 ? "" : "s", other->path);
}

static void review_transparent(const struct settings_review *review)
{
    const struct settings *settings = review->settings;
    if (!settings->pledge.transparent)
        return;
    if (settings->mode == MODE_STATELESS || settings->registrars.count == 0)
        settings_reader_complain(
            review->reader, "pledge.transparent",
            "true works in stateful mode, and with registrars that are given; use false, "
            "or mode \"stateful\" with registrars");
    for (size_t i = 0; i < settings->registrars.count && !settings->pledge.any_source; i++)
        if (settings->registrars.items[i].address.any.sa_family == AF_INET)
            settings_reader_complain(review->reader, "pledge.transparent",
                                     "true is for pledges with link-local addresses, which cannot address "
                                     "registrars[%zu] by IPv4; use its IPv6 address, or false",
                                     i);
}

static void review_lab(const struct settings_review *review)
{
    if (review->settings->pledge.any_source)
        settings_review_warn(
            review, "pledge.any_source",
            "true lets hosts that are not on the link reach the registrar through this proxy; use false "
            "outside laboratories");
}

static void review_keys(const struct settings_review *review)
{
    const struct settings *settings = review->settings;
    if (!settings_reader_usable(review->reader, "stateless.key_file"))
        return;
    if (!settings_may_use(settings, MODE_STATELESS) && settings->stateless.key_file[0] != '\0')
        settings_review_warn(review, "stateless.key_file", "is of no use: the mode is stateful");
    if (settings->mode == MODE_STATELESS && settings->stateless.key_file[0] == '\0')
        settings_review_warn(review, "stateless.key_file",
                             "is empty: a restart breaks the associations of all pledges");
}

static void require_room(const struct settings_review *review, const char *path, uint32_t first)
{
    size_t count = review->settings->registrars.count;
    if (first != 0 && first + count > (size_t)UINT16_MAX + 1)
        settings_reader_complain(review->reader, path, "%u leaves no room for %zu ports; use a lower one",
                                 first, count);
}

static bool is_group(const struct endpoint *endpoint)
{
    if (endpoint->address.any.sa_family == AF_INET)
        return IN_MULTICAST(ntohl(endpoint->address.v4.sin_addr.s_addr));
    return IN6_IS_ADDR_MULTICAST(&endpoint->address.v6.sin6_addr);
}

static const char *complaint_about_key_file(const json_t *value)
{
    const char *name = json_string_value(value);
    if (*name == '\0' || (*name == '/' && strpbrk(name, "\r\n") == NULL))
        return NULL;
    return "is not an absolute name; use one such as \"/var/lib/est-join-proxy/keys\"";
}

static const char *complaint_about_group(const json_t *value)
{
    struct in6_addr group;
    if (inet_pton(AF_INET6, json_string_value(value), &group) == 1 && IN6_IS_ADDR_MULTICAST(&group))
        return NULL;
    return "is not an IPv6 multicast address; use \"ff05::fd\", or \"ff02::fd\" for one link only";
}
