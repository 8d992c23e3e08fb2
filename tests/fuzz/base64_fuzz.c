/* SEC-1: any text as base64 from an EST server; and any octets written and read back. */
#include "common/base64.h"

#include <stdlib.h>

#define OCTETS_MAX (1U << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void check_round_trip(struct bytes octets, enum base64_lines lines)
{
    struct buffer text, back;
    buffer_init(&text, OCTETS_MAX);
    buffer_init(&back, octets.len); /* not one octet more is needed */
    base64_encode(octets, lines, &text);
    check(text.status == STATUS_OK);
    check(base64_decode(buffer_view(&text), &back) == STATUS_OK);
    check(bytes_equal(buffer_view(&back), octets));
    buffer_free(&text);
    buffer_free(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes input = {data, size};
    struct buffer octets;
    if (size > OCTETS_MAX / 2)
        return 0;
    buffer_init(&octets, OCTETS_MAX);
    enum status status = base64_decode(input, &octets);
    check(status == STATUS_OK || (status == STATUS_MALFORMED && octets.len == 0));
    check(octets.len <= size / 4 * 3);
    for (enum base64_lines lines = BASE64_ONE_LINE; lines <= BASE64_64_CRLF; lines++) {
        check_round_trip(input, lines);
        check_round_trip(buffer_view(&octets), lines);
    }
    buffer_free(&octets);
    return 0;
}
