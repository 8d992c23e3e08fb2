/* Any datagram where a ClientHello is expected: parsed and judged, twice at most. */
#include "registrar/downstream/dtls_cookie.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* Every record and handshake message of the datagram lies within it. */
static void walk(struct bytes datagram)
{
    const uint8_t *end = datagram.at + datagram.len;
    struct dtls_record record;
    while (dtls_record_take(&datagram, &record)) {
        check(record.whole.at + record.whole.len <= end);
        struct dtls_handshake handshake;
        while (dtls_handshake_take(&record.fragment, &handshake))
            check(handshake.body.len == 0 || handshake.body.at + handshake.body.len <= end);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct dtls_cookie_secret secret = {{1}};
    struct bytes flow = BYTES_LITERAL("flow");
    struct dtls_client_hello hello;
    walk((struct bytes){data, size});
    if (!dtls_client_hello_read((struct bytes){data, size}, &hello))
        return 0;

    struct buffer answer;
    buffer_init(&answer, DTLS_HELLO_VERIFY_REQUEST_OCTETS);
    enum dtls_cookie_verdict verdict = dtls_cookie_judge(&secret, 1000, flow, &hello, &answer);
    check(answer.status == STATUS_OK && answer.len < size);
    if (verdict == COOKIE_NONE || verdict == COOKIE_WRONG) {
        hello.message_seq = 1;
        hello.cookie = bytes_slice(buffer_view(&answer), answer.len - DTLS_COOKIE_OCTETS, DTLS_COOKIE_OCTETS);
        struct buffer second;
        buffer_init(&second, 0);
        check(dtls_cookie_judge(&secret, 1000, flow, &hello, &second) == COOKIE_GOOD);
        buffer_free(&second);
    }
    buffer_free(&answer);
    return 0;
}
