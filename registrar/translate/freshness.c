#include "registrar/translate/freshness.h"

#include "registrar/protocol/http_field.h"

/* What Cache-Control said (RFC 9111 section 5.2.2). */
struct directives {
    bool uncacheable;
    bool has_max_age, has_s_maxage;
    uint32_t max_age, s_maxage;
};

static void read_directives(struct bytes cache_control, struct directives *found);
static void read_lifetime(struct bytes value, struct directives *found, bool *has, uint32_t *seconds);

uint32_t freshness_seconds(struct bytes cache_control, struct bytes age, uint32_t max_s)
{
    struct directives found = {0};
    uint32_t spent = 0;
    read_directives(cache_control, &found);
    if (found.uncacheable)
        return 0;
    if (!found.has_max_age && !found.has_s_maxage)
        return max_s;
    uint32_t lifetime = found.has_s_maxage ? found.s_maxage : found.max_age;
    http_field_seconds(http_field_trim(age), &spent);
    uint32_t left = lifetime > spent ? lifetime - spent : 0;
    return left < max_s ? left : max_s;
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
            read_lifetime(value, found, &found->has_max_age, &found->max_age);
        else if (bytes_equal_ignoring_case(name, BYTES_LITERAL("s-maxage")))
            read_lifetime(value, found, &found->has_s_maxage, &found->s_maxage);
    }
}

/* The first of two counts; one that cannot be read makes the response stale (RFC 9111 section 4.2.1). */
static void read_lifetime(struct bytes value, struct directives *found, bool *has, uint32_t *seconds)
{
    if (*has)
        return;
    if (value.len >= 2 && value.at[0] == '"' && value.at[value.len - 1] == '"')
        value = bytes_slice(value, 1, value.len - 2);
    *has = http_field_seconds(value, seconds);
    found->uncacheable |= !*has;
}
