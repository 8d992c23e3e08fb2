/* SEC-1: any Uri-Query as a filter of links. */
#include "common/link_format.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct link links[] = {
    {"/est/sen", "ace.est.sen", "281 287"},
    {"coaps://[2001:db8::1]:5684/est/att", "ace.est.att ace.est", "285"},
    {"/", "", ""},
    {"", NULL, NULL},
};

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* The query with an asterisk behind it selects at least what it selected as it was. */
static void check_prefix(const struct link *link, struct bytes query)
{
    struct buffer longer;
    buffer_init(&longer, query.len + 1);
    buffer_append(&longer, query);
    buffer_append_byte(&longer, '*');
    bool is_exact = query.len > 0 && query.at[query.len - 1] != '*';
    if (is_exact && link_format_matches(link, query))
        check(link_format_matches(link, buffer_view(&longer)));
    buffer_free(&longer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes query = {data, size};
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++) {
        bool selected = link_format_matches(&links[i], query);
        check(!selected || size == 0 || memchr(data, '=', size) != NULL);
        check_prefix(&links[i], query);
    }
    return 0;
}
