#include "registrar/protocol/public_key.h"

#include "tests/unit/registrar/credentials.h"

#include <openssl/err.h>

#define POINT_AT 26 /* octets of a SubjectPublicKeyInfo on P-256 before the point */

/* Gives. */
static struct buffer info_of(EVP_PKEY *key)
{
    struct buffer info;
    buffer_init(&info, MADE_LIMIT);
    uint8_t *at = buffer_extend(&info, (size_t)i2d_PUBKEY(key, NULL));
    assert_non_null(at);
    i2d_PUBKEY(key, &at);
    return info;
}

static void assert_unreadable(struct bytes info)
{
    assert_null(public_key_read(info));
    assert_int_equal(ERR_peek_error(), 0);
}

static void every_kind_of_key_is_read(void **state)
{
    (void)state;
    EVP_PKEY *const keys[] = {EVP_EC_gen("P-256"),
                              EVP_EC_gen("P-384"),
                              EVP_EC_gen("P-521"),
                              EVP_RSA_gen(2048),
                              EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"),
                              EVP_PKEY_Q_keygen(NULL, NULL, "X25519")};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        struct buffer info = info_of(keys[i]);
        EVP_PKEY *read = public_key_read(buffer_view(&info));
        assert_non_null(read);
        assert_int_equal(EVP_PKEY_eq(read, keys[i]), 1);
        for (size_t len = 0; len < info.len; len++)
            assert_unreadable((struct bytes){info.at, len});
        buffer_append_byte(&info, 0);
        assert_unreadable(buffer_view(&info));
        EVP_PKEY_free(read);
        EVP_PKEY_free(keys[i]);
        buffer_free(&info);
    }
}

/* RFC 5480 section 2.2: the other form of the same point. */
static void a_compressed_point_is_the_same_key(void **state)
{
    (void)state;
    EVP_PKEY *key = make_key(), *compressed = EVP_PKEY_dup(key);
    assert_int_equal(EVP_PKEY_set_utf8_string_param(compressed, "point-format", "compressed"), 1);
    struct buffer info = info_of(compressed);
    assert_true(info.len < POINT_AT + 65);
    EVP_PKEY *read = public_key_read(buffer_view(&info));
    assert_non_null(read);
    assert_int_equal(EVP_PKEY_eq(read, key), 1);
    EVP_PKEY_free(read);
    EVP_PKEY_free(compressed);
    EVP_PKEY_free(key);
    buffer_free(&info);
}

/* As OpenSSL's own decoder has it: a point that is none is no key (SEC-1), whatever the form. */
static void points_off_the_curve_are_no_keys(void **state)
{
    (void)state;
    EVP_PKEY *key = make_key();
    struct buffer info = info_of(key);
    uint8_t *point = info.at + POINT_AT;
    assert_int_equal(point[0], 4);
    for (size_t i = 0; i < 65; i++) {
        point[i] ^= 1;
        const unsigned char *at = info.at;
        EVP_PKEY *own = d2i_PUBKEY(NULL, &at, (long)info.len);
        ERR_clear_error();
        assert_null(own);
        assert_unreadable(buffer_view(&info));
        point[i] ^= 1;
    }
    memset(point + 1, 0, 64);
    assert_unreadable(buffer_view(&info));
    memset(point + 1, 0xff, 64); /* coordinates larger than the field */
    assert_unreadable(buffer_view(&info));
    EVP_PKEY_free(key);
    buffer_free(&info);
}

/* A curve and a length that do not belong together. */
static void another_curve_is_not_taken_for_p256(void **state)
{
    (void)state;
    EVP_PKEY *key = make_key();
    struct buffer info = info_of(key);
    for (size_t i = 0; i < POINT_AT; i++) {
        info.at[i] ^= 0x40;
        EVP_PKEY *read = public_key_read(buffer_view(&info));
        if (read != NULL)
            assert_int_not_equal(EVP_PKEY_eq(read, key), 1);
        EVP_PKEY_free(read);
        info.at[i] ^= 0x40;
    }
    EVP_PKEY_free(key);
    buffer_free(&info);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_key_is_read),
        cmocka_unit_test(a_compressed_point_is_the_same_key),
        cmocka_unit_test(points_off_the_curve_are_no_keys),
        cmocka_unit_test(another_curve_is_not_taken_for_p256),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
