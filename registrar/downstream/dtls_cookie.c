#include "registrar/downstream/dtls_cookie.h"

#include "registrar/downstream/flow.h"

#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <string.h>

static bool is_good(const struct dtls_cookie_secret *secret, uint64_t period, struct bytes flow,
                    const struct dtls_client_hello *hello);
static bool make_cookie(const struct dtls_cookie_secret *secret, uint64_t period, struct bytes flow,
                        const struct dtls_client_hello *hello, uint8_t cookie[static DTLS_COOKIE_OCTETS]);
static void append_hello_verify_request(const struct dtls_client_hello *hello,
                                        const uint8_t cookie[static DTLS_COOKIE_OCTETS],
                                        struct buffer *answer);
static void append_number(struct buffer *out, size_t octets, uint64_t number);

enum status dtls_cookie_secret_make(struct dtls_cookie_secret *secret)
{
    return RAND_priv_bytes(secret->octets, sizeof secret->octets) == 1 ? STATUS_OK : STATUS_CRYPTO;
}

/* Our HelloVerifyRequest has message_seq 0, so the ClientHello that answers it has 1, which is also the only
 * number at which DTLSv1_listen can start. A higher one answers several HelloVerifyRequests, which is never
 * our doing; to answer that too could go on for ever. */
enum dtls_cookie_verdict dtls_cookie_judge(const struct dtls_cookie_secret *secret, uint64_t now_ms,
                                           struct bytes flow, const struct dtls_client_hello *hello,
                                           struct buffer *answer)
{
    uint64_t period = now_ms / DTLS_COOKIE_PERIOD_MS;
    if (hello->message_seq > 1)
        return COOKIE_LOST;
    if (hello->message_seq == 1 && is_good(secret, period, flow, hello))
        return COOKIE_GOOD;

    uint8_t cookie[DTLS_COOKIE_OCTETS];
    if (!make_cookie(secret, period, flow, hello, cookie))
        return COOKIE_LOST;
    append_hello_verify_request(hello, cookie, answer);
    return hello->cookie.len == 0 ? COOKIE_NONE : COOKIE_WRONG;
}

static bool is_good(const struct dtls_cookie_secret *secret, uint64_t period, struct bytes flow,
                    const struct dtls_client_hello *hello)
{
    uint8_t cookie[DTLS_COOKIE_OCTETS];
    if (hello->cookie.len != sizeof cookie)
        return false;
    if (make_cookie(secret, period, flow, hello, cookie) &&
        CRYPTO_memcmp(cookie, hello->cookie.at, sizeof cookie) == 0)
        return true;
    return period > 0 && make_cookie(secret, period - 1, flow, hello, cookie) &&
           CRYPTO_memcmp(cookie, hello->cookie.at, sizeof cookie) == 0;
}

/* HMAC-SHA256 over period, client random and flow, truncated: 2^-128 to guess. Only the flow, which comes
 * last, has a length of its own, so that no two inputs look alike. */
static bool make_cookie(const struct dtls_cookie_secret *secret, uint64_t period, struct bytes flow,
                        const struct dtls_client_hello *hello, uint8_t cookie[static DTLS_COOKIE_OCTETS])
{
    uint8_t input[sizeof period + DTLS_RANDOM_OCTETS + FLOW_OCTETS_MAX], digest[EVP_MAX_MD_SIZE];
    if (flow.len == 0 || flow.len > FLOW_OCTETS_MAX)
        return false;
    memcpy(input, &period, sizeof period);
    memcpy(input + sizeof period, hello->random, DTLS_RANDOM_OCTETS);
    memcpy(input + sizeof period + DTLS_RANDOM_OCTETS, flow.at, flow.len);
    if (HMAC(EVP_sha256(), secret->octets, sizeof secret->octets, input,
             sizeof period + DTLS_RANDOM_OCTETS + flow.len, digest, NULL) == NULL)
        return false;
    memcpy(cookie, digest, DTLS_COOKIE_OCTETS);
    return true;
}

/* RFC 6347 section 4.2.1: version DTLS 1.0 whatever will be negotiated, and the record sequence number of the
 * ClientHello. */
static void append_hello_verify_request(const struct dtls_client_hello *hello,
                                        const uint8_t cookie[static DTLS_COOKIE_OCTETS],
                                        struct buffer *answer)
{
    const size_t body = 2 + 1 + DTLS_COOKIE_OCTETS;
    buffer_append_byte(answer, DTLS_HANDSHAKE);
    append_number(answer, 2, DTLS_VERSION_1_0);
    append_number(answer, 2, 0); /* epoch */
    append_number(answer, 6, hello->record_sequence);
    append_number(answer, 2, DTLS_HANDSHAKE_HEADER + body);

    buffer_append_byte(answer, DTLS_HELLO_VERIFY_REQUEST);
    append_number(answer, 3, body);
    append_number(answer, 2, 0); /* message_seq */
    append_number(answer, 3, 0); /* fragment_offset */
    append_number(answer, 3, body);

    append_number(answer, 2, DTLS_VERSION_1_0);
    buffer_append_byte(answer, DTLS_COOKIE_OCTETS);
    buffer_append(answer, (struct bytes){cookie, DTLS_COOKIE_OCTETS});
}

static void append_number(struct buffer *out, size_t octets, uint64_t number)
{
    for (size_t i = octets; i > 0; i--)
        buffer_append_byte(out, (uint8_t)(number >> 8 * (i - 1)));
}
