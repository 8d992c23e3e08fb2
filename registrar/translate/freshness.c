#include "registrar/translate/freshness.h"

#include "registrar/protocol/http_field.h"

/* What Cache-Control said (RFC 9111 section 5.2.2). */
struct directives {
    bool uncacheable, must_revalidate;
    bool has_max_age, has_s_maxage;
    uint32_t max_age, s_maxage;
};

static void read_directives(struct bytes cache_control, struct directives *found);
static void read_age(struct bytes value, struct directives *found, bool *has, uint32_t *seconds);
static bool read_lifetime(const struct directives *found, const struct freshness_fields *fields,
                          int64_t now_unix, uint32_t *lifetime);

struct freshness freshness_judge(const struct freshness_fields *fields, int64_t now_unix, uint32_t max_s)
{
    struct directives found = {0};
    uint32_t spent = 0, lifetime = 0;
    read_directives(fields->cache_control, &found);
    if (found.uncacheable)
        return (struct freshness){0, false};
    struct freshness freshness = {max_s, !found.must_revalidate && !found.has_s_maxage};
    if (!read_lifetime(&found, fields, now_unix, &lifetime))
        return freshness;
    http_field_seconds(http_field_trim(fields->age), &spent);
    uint32_t left = lifetime > spent ? lifetime - spent : 0;
    if (left < max_s)
        freshness.seconds = left;
    return freshness;
}

/* False: the EST server says nothing. */
static bool read_lifetime(const struct directives *found, const struct freshness_fields *fields,
                          int64_t now_unix, uint32_t *lifetime)
{
    int64_t end = 0, base = now_unix;
    struct bytes expires = http_field_trim(fields->expires);
    *lifetime = found->has_s_maxage ? found->s_maxage : found->max_age;
    if (found->has_max_age || found->has_s_maxage)
        return true;
    if (expires.len == 0)
        return false;
    http_field_date(http_field_trim(fields->date), &base);
    bool is_ahead = http_field_date(expires, &end) && end > base; /* section 5.3: "0" has passed */
    int64_t left = is_ahead ? end - base : 0;
    *lifetime = left > UINT32_MAX ? UINT32_MAX : (uint32_t)left;
    return true;
}

static void read_directives(struct bytes cache_control, struct directives *found)
{
    struct bytes part, name, value;
    while (cache_control.len > 0) {
        if (!http_field_next(&cache_control, ',', &part))
            found->uncacheable = true;
        http_field_split(part, &name, &value);
        if (bytes_equal_ignoring_case(name, BYTES_LITERAL("no-store")) ||
            bytes_equal_ignoring_case(name, BYTES_LITERAL("no-cache")) ||
            bytes_equal_ignoring_case(name, BYTES_LITERAL("private")))
            found->uncacheable = true;
        else if (bytes_equal_ignoring_case(name, BYTES_LITERAL("max-age")))
            read_age(value, found, &found->has_max_age, &found->max_age);
        else if (bytes_equal_ignoring_case(name, BYTES_LITERAL("s-maxage")))
            read_age(value, found, &found->has_s_maxage, &found->s_maxage);
        else if (bytes_equal_ignoring_case(name, BYTES_LITERAL("must-revalidate")) ||
                 bytes_equal_ignoring_case(name, BYTES_LITERAL("proxy-revalidate")))
            found->must_revalidate = true;
    }
}

/* The first of two counts; one that cannot be read makes the response stale (RFC 9111 section 4.2.1). */
static void read_age(struct bytes value, struct directives *found, bool *has, uint32_t *seconds)
{
    if (*has)
        return;
    if (value.len >= 2 && value.at[0] == '"' && value.at[value.len - 1] == '"')
        value = bytes_slice(value, 1, value.len - 2);
    *has = http_field_seconds(value, seconds);
    found->uncacheable |= !*has;
}
