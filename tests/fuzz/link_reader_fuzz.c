/* JPD-6: what anybody answers to a search for a registrar. */
#include "joinproxy/link_reader.h"
#include "joinproxy/registrar_offer.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* Each link takes octets away, and lies within what was read. */
static void read_links(const uint8_t *data, size_t size)
{
    struct bytes rest = {data, size};
    struct link_read link;
    size_t left = size + 1;
    while (rest.len < left) {
        struct endpoint endpoint;
        left = rest.len;
        if (link_reader_next(&rest, &link) != STATUS_OK)
            return;
        check(link.target.len == 0 ||
              (link.target.at >= data && link.target.at + link.target.len <= data + size));
        link_reader_has_type(&link, "ace.est*");
        if (link_reader_endpoint(&link, "coaps", &endpoint) == STATUS_OK)
            check(endpoint_port(&endpoint) != 0);
    }
    abort();
}

/* A datagram with the right token: whatever is taken can be reached. */
static void read_answer(const uint8_t *data, size_t size)
{
    static const uint8_t token[REGISTRAR_TOKEN_OCTETS] = "12345678";
    struct registrar_offer best = {.present = false};
    registrar_offer_read((struct bytes){data, size}, token, 7, MODE_AUTO, &best);
    check(!best.present || (endpoint_port(&best.registrar) != 0 && best.mode != MODE_AUTO));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_links(data, size);
    read_answer(data, size);
    return 0;
}
