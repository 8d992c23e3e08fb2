/* JPY-4: headers that a registrar, or who pretends to be one, returns; and all that we seal opens again. */
#include "joinproxy/pledge_header.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct pledge_header_key key = {{7}};

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void check_round_trip(struct pledge_header_cipher *cipher, const uint8_t *data)
{
    struct pledge_origin sent = {.link = data[0]}, back;
    uint8_t header[PLEDGE_HEADER_OCTETS];
    sent.pledge.len = sizeof sent.pledge.address.v6;
    sent.pledge.address.v6.sin6_family = AF_INET6;
    memcpy(&sent.pledge.address.v6.sin6_port, data + 1, 2);
    memcpy(&sent.local_check, data + 3, 2);
    memcpy(&sent.pledge.address.v6.sin6_addr, data + 5, 16);
    if (pledge_header_seal(cipher, &key, &sent, header) != STATUS_OK)
        return;
    enum status status = pledge_header_open(cipher, &key, (struct bytes){header, sizeof header}, &back);
    if (sent.pledge.address.v6.sin6_port == 0)
        check(status == STATUS_MALFORMED);
    else
        check(status == STATUS_OK && endpoint_equal(&sent.pledge, &back.pledge) && sent.link == back.link &&
              sent.local_check == back.local_check);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pledge_origin origin;
    struct pledge_header_cipher *cipher = pledge_header_cipher_create(BYTES_LITERAL("0 mesh0"));
    if (cipher == NULL)
        return 0;
    check(pledge_header_open(cipher, &key, (struct bytes){data, size}, &origin) == STATUS_UNTRUSTED);
    if (size >= 21)
        check_round_trip(cipher, data);
    pledge_header_cipher_free(cipher);
    return 0;
}
