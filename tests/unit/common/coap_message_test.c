/* CoAP messages: what RFC 7252 section 3 allows is read, everything else is refused without a word on stderr.
 */
#include "common/coap_message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define VECTOR_MAX 2048

static uint8_t vector_octets[VECTOR_MAX];

static struct bytes vector(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", VECTORS, name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t len = fread(vector_octets, 1, sizeof vector_octets, file);
    fclose(file);
    assert_in_range(len, 1, VECTOR_MAX - 1);
    return (struct bytes){vector_octets, len};
}

static void assert_bytes(struct bytes bytes, const char *text)
{
    assert_true(bytes_equal(bytes, bytes_from_string(text)));
}

static struct coap_message parsed(struct bytes datagram)
{
    struct coap_message message;
    assert_int_equal(coap_message_parse(datagram, &message), STATUS_OK);
    return message;
}

#define PARSED(text)            parsed(BYTES_LITERAL(text))
#define ASSERT_MALFORMED(text)  assert_malformed(BYTES_LITERAL(text))
#define ASSERT_RESETTABLE(text) assert_resettable(BYTES_LITERAL(text))

static void assert_malformed(struct bytes datagram)
{
    struct coap_message message;
    assert_int_equal(coap_message_parse(datagram, &message), STATUS_MALFORMED);
}

/* Malformed, but type and id could be read: "CON, id 0x1234". */
static void assert_resettable(struct bytes datagram)
{
    struct coap_message message;
    assert_int_equal(coap_message_parse(datagram, &message), STATUS_MALFORMED);
    assert_int_equal(message.type, CM_CON);
    assert_int_equal(message.id, 0x1234);
}

static void assert_written(const struct coap_message *message, struct bytes expected)
{
    struct buffer out;
    buffer_init(&out, VECTOR_MAX);
    assert_int_equal(coap_message_write(message, &out), STATUS_OK);
    assert_int_equal(out.len, expected.len);
    assert_memory_equal(out.at, expected.at, expected.len);
    buffer_free(&out);
}

static void vectors_without_skipped_options_are_written_back(void **state)
{
    (void)state;
    static const char *const names[] = {
        "rfc9148-A1-crts-response.coap.mid0001.bin",   "rfc9148-B1-block0-response.coap.mid0002.bin",
        "rfc9148-B1-block1-response.coap.mid0003.bin", "rfc9148-B1-block9-response.coap.mid000b.bin",
        "derived-A2-sen-request.coap.mid0010.bin",     "derived-A3-skg-request.coap.mid0020.bin",
        "derived-503-maxage120.coap.mid0010.bin",      "derived-empty-ack.coap.mid0010.bin",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct bytes datagram = vector(names[i]);
        struct coap_message message = parsed(datagram);
        assert_written(&message, datagram);
    }
}

/* RFC 9148 appendix A.1; URI-7: Uri-Host and Uri-Port are accepted. */
static void vector_a1_request(void **state)
{
    (void)state;
    struct coap_message message = parsed(vector("rfc9148-A1-crts-request.coap.mid0001.bin"));
    assert_int_equal(message.type, CM_CON);
    assert_int_equal(message.code, CM_GET);
    assert_int_equal(message.id, 1);
    assert_int_equal(message.token_len, 1);
    assert_int_equal(message.token[0], 0x9a);
    assert_int_equal(message.uri_path_count, 2);
    assert_bytes(message.uri_path[0], "est");
    assert_bytes(message.uri_path[1], "crts");
    assert_true(message.accept.present);
    assert_int_equal(message.accept.value, 281);
    assert_int_equal(message.unrecognised_critical, 0);
    assert_false(message.proxy);
    assert_int_equal(message.payload.len, 0);
    assert_written(&message, BYTES_LITERAL("\x41\x01\x00\x01\x9a\xb3"
                                           "est\x04"
                                           "crtsb\x01\x19"));
}

static void vector_a2_request(void **state)
{
    (void)state;
    struct coap_message message = parsed(vector("derived-A2-sen-request.coap.mid0010.bin"));
    assert_int_equal(message.code, CM_POST);
    assert_bytes(message.uri_path[1], "sen");
    assert_int_equal(message.content_format.value, 286);
    assert_int_equal(message.accept.value, 281);
    assert_int_equal(message.payload.len, 399);
    assert_int_equal(message.payload.at[0], 0x30);
}

/* BLK-5: block 9 of RFC 9148 appendix B.1 is the last of 64 octets each. */
static void vector_b1_response(void **state)
{
    (void)state;
    struct coap_message message = parsed(vector("rfc9148-B1-block9-response.coap.mid000b.bin"));
    assert_int_equal(message.type, CM_ACK);
    assert_int_equal(message.code, CM_CONTENT);
    assert_true(message.block2.present);
    assert_int_equal(message.block2.num, 9);
    assert_false(message.block2.more);
    assert_int_equal(coap_block_octets(message.block2.szx), 64);
    assert_false(message.block1.present);
    assert_int_equal(message.payload.len, 63);
    message = parsed(vector("rfc9148-B1-block1-response.coap.mid0003.bin"));
    assert_true(message.block2.more);
}

static void vector_503(void **state)
{
    (void)state;
    struct coap_message message = parsed(vector("derived-503-maxage120.coap.mid0010.bin"));
    assert_int_equal(message.code, CM_SERVICE_UNAVAILABLE);
    assert_true(message.max_age.present);
    assert_int_equal(message.max_age.value, 120);
}

static void empty_messages(void **state)
{
    (void)state;
    struct coap_message ack = parsed(vector("derived-empty-ack.coap.mid0010.bin"));
    assert_int_equal(ack.type, CM_ACK);
    assert_int_equal(ack.code, CM_EMPTY);
    assert_int_equal(ack.id, 0x10);
    struct coap_message ping = PARSED("\x40\x00\x12\x34");
    assert_int_equal(ping.type, CM_CON);
    struct coap_message reset = {.type = CM_RST, .id = ping.id};
    assert_written(&reset, BYTES_LITERAL("\x70\x00\x12\x34"));
}

static void empty_message_with_anything_behind_is_malformed(void **state)
{
    (void)state;
    ASSERT_RESETTABLE("\x40\x00\x12\x34\xff");
    ASSERT_RESETTABLE("\x40\x00\x12\x34\xffx");
    ASSERT_RESETTABLE("\x41\x00\x12\x34\x01");
    ASSERT_RESETTABLE("\x41\x00\x12\x34");
    ASSERT_RESETTABLE("\x40\x00\x12\x34\xb0");
}

static void other_versions_and_stumps_cannot_be_rejected(void **state)
{
    (void)state;
    static const char *const datagrams[] = {
        "\x01\x01\x12\x34", "\x81\x01\x12\x34", "\xc1\x01\x12\x34", "\x41\x01\x12", "\x41", ""};
    for (size_t i = 0; i < sizeof datagrams / sizeof datagrams[0]; i++) {
        struct coap_message message;
        assert_int_equal(coap_message_parse(bytes_from_string(datagrams[i]), &message), STATUS_MALFORMED);
        assert_int_not_equal(message.type, CM_CON);
    }
    assert_malformed((struct bytes){NULL, 0});
}

static void token_lengths(void **state)
{
    (void)state;
    struct coap_message longest = PARSED("\x48\x01\x12\x34"
                                         "12345678");
    assert_int_equal(longest.token_len, 8);
    assert_memory_equal(longest.token, "12345678", 8);
    struct coap_message none = PARSED("\x40\x01\x12\x34");
    assert_int_equal(none.token_len, 0);
    uint8_t datagram[40] = {0x40, 0x01, 0x12, 0x34};
    for (uint8_t len = 9; len <= 15; len++) {
        datagram[0] = 0x40 | len;
        assert_resettable((struct bytes){datagram, sizeof datagram});
    }
    ASSERT_RESETTABLE("\x48\x01\x12\x34"
                      "1234567");
}

/* RFC 7252 section 4.2: reserved classes are rejected; class 7 is RFC 8323's, for TCP. */
static void code_classes(void **state)
{
    (void)state;
    for (unsigned code = 1; code <= 255; code++) {
        uint8_t datagram[] = {0x40, (uint8_t)code, 0x12, 0x34};
        unsigned class = code >> 5;
        if (class == 1 || class == 6 || class == 7)
            assert_resettable((struct bytes){datagram, sizeof datagram});
        else
            assert_int_equal(parsed((struct bytes){datagram, sizeof datagram}).code, code);
    }
    assert_true(coap_code_is_request(CM_GET));
    assert_true(coap_code_is_request(CM_CODE(0, 31)));
    assert_false(coap_code_is_request(CM_EMPTY));
    assert_false(coap_code_is_request(CM_CONTENT));
}

static void framing_errors(void **state)
{
    (void)state;
    ASSERT_RESETTABLE("\x40\x01\x12\x34\xff"); /* marker without payload */
    ASSERT_RESETTABLE("\x40\x01\x12\x34\xb1"); /* value missing */
    ASSERT_RESETTABLE("\x40\x01\x12\x34\xb3"
                      "es");                       /* value cut */
    ASSERT_RESETTABLE("\x40\x01\x12\x34\xbd");     /* extended length missing */
    ASSERT_RESETTABLE("\x40\x01\x12\x34\xbe\x00"); /* extended length cut */
    ASSERT_RESETTABLE("\x40\x01\x12\x34\xd0");     /* extended delta missing */
    ASSERT_RESETTABLE("\x40\x01\x12\x34\xe0\x00"); /* extended delta cut */
    ASSERT_RESETTABLE("\x40\x01\x12\x34\xf0");     /* delta 15 */
    ASSERT_RESETTABLE("\x40\x01\x12\x34\xbf"
                      "0123456789abcdef"); /* length 15 */
    ASSERT_RESETTABLE("\x40\x01\x12\x34\xbe\xff\xff"
                      "x"); /* length 65804 */
    ASSERT_RESETTABLE("\x40\x01\x12\x34\xb3"
                      "est\xff"); /* marker without payload, behind an option */
}

/* A delta of 65536 and more wraps around in 16 bits and would come out as a Uri-Path. */
static void option_numbers_beyond_65535(void **state)
{
    (void)state;
    ASSERT_RESETTABLE("\x40\x01\x12\x34\xe3\xfe\xfe"
                      "est");                              /* delta 65547 = 65536 + 11 */
    ASSERT_RESETTABLE("\x40\x01\x12\x34\xe0\xff\xff");     /* delta 65804 */
    ASSERT_RESETTABLE("\x40\x01\x12\x34\xe0\xfe\xf2\x10"); /* 65535 and one more */
    struct coap_message last = PARSED("\x40\x01\x12\x34\xe0\xfe\xf2");
    assert_int_equal(last.unrecognised_critical, 65535);
    ASSERT_RESETTABLE("\x40\x01\x12\x34\xe0\xfe\xf3"); /* 65536 */
}

static void payload_may_hold_anything(void **state)
{
    (void)state;
    struct coap_message message = PARSED("\x40\x02\x12\x34\xff\xff\xff\x00");
    assert_true(bytes_equal(message.payload, BYTES_LITERAL("\xff\xff\x00")));
    message = PARSED("\x40\x02\x12\x34\xb0\xff\x00");
    assert_int_equal(message.uri_path_count, 1);
    assert_int_equal(message.uri_path[0].len, 0);
    assert_true(bytes_equal(message.payload, BYTES_LITERAL("\x00")));
}

static void option_of_no_octets_may_end_the_message(void **state)
{
    (void)state;
    struct coap_message message = PARSED("\x40\x01\x12\x34\xd0\x0a"); /* Block2 0/0/16 in no octet */
    assert_true(message.block2.present);
    assert_int_equal(message.block2.num, 0);
    assert_int_equal(coap_block_octets(message.block2.szx), 16);
    message = PARSED("\x40\x01\x12\x34\xc0"); /* Content-Format 0 */
    assert_true(message.content_format.present);
    assert_int_equal(message.content_format.value, 0);
}

/* URI-8, RFC 7252 section 5.4.1. */
static void unknown_critical_option_is_named(void **state)
{
    (void)state;
    assert_int_equal(PARSED("\x40\x01\x12\x34\x90").unrecognised_critical, 9);
    assert_int_equal(PARSED("\x40\x01\x12\x34\x90\x40").unrecognised_critical, 9); /* the first: 9, then 13 */
    assert_int_equal(PARSED("\x40\x01\x12\x34\x10").unrecognised_critical, 1);     /* If-Match */
    assert_int_equal(PARSED("\x40\x01\x12\x34\x50").unrecognised_critical, 5);     /* If-None-Match */
    struct coap_message message = PARSED("\x40\x01\x12\x34\x90\x23"
                                         "est");
    assert_int_equal(message.unrecognised_critical, 9);
    assert_bytes(message.uri_path[0], "est"); /* the rest is read all the same */
}

/* URI-8: Observe (6), Location-Path (8) and anything even that is unknown; CF-3 leaves the rest to others. */
static void elective_options_are_ignored(void **state)
{
    (void)state;
    struct coap_message message = PARSED("\x40\x01\x12\x34\x60\x21x\x33"
                                         "est\xd1\xfe\x00\xe0\x00\x01");
    assert_int_equal(message.unrecognised_critical, 0);
    assert_int_equal(message.uri_path_count, 1);
}

static void uri_7_proxy_options_are_told_apart(void **state)
{
    (void)state;
    struct coap_message message = PARSED("\x40\x01\x12\x34\xd9\x16"
                                         "coap://x/");
    assert_true(message.proxy);
    assert_int_equal(message.unrecognised_critical, 0);
    message = PARSED("\x40\x01\x12\x34\xd4\x1a"
                     "coap");
    assert_true(message.proxy);
    assert_int_equal(message.unrecognised_critical, 0);
}

/* RFC 7252 section 5.4.3: like an option that is not recognised. */
static void critical_option_of_impossible_length(void **state)
{
    (void)state;
    assert_int_equal(PARSED("\x40\x01\x12\x34\x30").unrecognised_critical, 3);             /* Uri-Host of 0 */
    assert_int_equal(PARSED("\x40\x01\x12\x34\x73\x01\x02\x03").unrecognised_critical, 7); /* Uri-Port of 3 */
    assert_int_equal(PARSED("\x40\x01\x12\x34\xd3\x04\x00\x01\x19").unrecognised_critical, 17); /* Accept */
    assert_int_equal(PARSED("\x40\x01\x12\x34\xd4\x0a\x00\x00\x00\x02").unrecognised_critical, 23);
    assert_int_equal(PARSED("\x40\x01\x12\x34\xd4\x0e\x00\x00\x00\x02").unrecognised_critical, 27);
    assert_int_equal(PARSED("\x40\x01\x12\x34\xd0\x16").unrecognised_critical, 35); /* Proxy-Uri of 0 */
    assert_false(PARSED("\x40\x01\x12\x34\xd0\x16").proxy);
    uint8_t datagram[6 + 256] = {0x40, 0x01, 0x12, 0x34, 0xbd, 256 - 13}; /* Uri-Path of 256 */
    struct coap_message message = parsed((struct bytes){datagram, sizeof datagram});
    assert_int_equal(message.unrecognised_critical, 11);
    assert_int_equal(message.uri_path_count, 0);
    datagram[5] = 255 - 13;
    message = parsed((struct bytes){datagram, sizeof datagram - 1});
    assert_int_equal(message.unrecognised_critical, 0);
    assert_int_equal(message.uri_path[0].len, 255);
}

static void elective_option_of_impossible_length(void **state)
{
    (void)state;
    struct coap_message message = PARSED("\x40\x02\x12\x34\xc3\x00\x01\x1e" /* Content-Format of 3 */
                                         "\x25\x00\x00\x00\x00\x01"         /* Max-Age of 5 */
                                         "\xd5\x01\x00\x00\x00\x00\x01"     /* Size2 of 5 */
                                         "\xd5\x13\x00\x00\x00\x00\x01");   /* Size1 of 5 */
    assert_int_equal(message.unrecognised_critical, 0);
    assert_false(message.content_format.present);
    assert_false(message.max_age.present);
    assert_false(message.size2.present);
    assert_false(message.size1.present);
    assert_int_equal(PARSED("\x40\x01\x12\x34\x49"
                            "123456789")
                         .etag_count,
                     0);
}

static struct bytes etag_view(const struct coap_etag *etag)
{
    return (struct bytes){etag->octets, etag->len};
}

/* RFC 7252 section 5.4.5: supernumerary occurrences are like options that are not recognised. */
static void repeated_options(void **state)
{
    (void)state;
    struct coap_message message = PARSED("\x40\x02\x12\x34\xc1\x01\x01\x02"); /* Content-Format twice */
    assert_int_equal(message.content_format.value, 1);
    assert_int_equal(message.unrecognised_critical, 0);
    message = PARSED("\x40\x01\x12\x34\xd2\x04\x01\x19\x02\x01\x1f"); /* Accept twice */
    assert_int_equal(message.accept.value, 281);
    assert_int_equal(message.unrecognised_critical, 17);
    assert_int_equal(PARSED("\x40\x01\x12\x34\xd1\x0a\x06\x01\x16").unrecognised_critical, 23); /* Block2 */
    assert_int_equal(PARSED("\x40\x01\x12\x34\xd1\x0e\x06\x01\x16").unrecognised_critical, 27); /* Block1 */
    assert_int_equal(PARSED("\x40\x01\x12\x34\x31x\x01y").unrecognised_critical, 3);            /* Uri-Host */
    message = PARSED("\x40\x01\x12\x34\x42"
                     "e1\x02"
                     "e2"); /* ETag may be repeated (RFC 7252 section 5.10.6.2) */
    assert_int_equal(message.etag_count, 2);
    assert_bytes(etag_view(&message.etags[0]), "e1");
    assert_bytes(etag_view(&message.etags[1]), "e2");
    assert_int_equal(message.unrecognised_critical, 0);
}

static void more_etags_than_there_is_room_for(void **state)
{
    (void)state;
    struct coap_message message = PARSED("\x40\x01\x12\x34\x41"
                                         "a\x01"
                                         "b\x01"
                                         "c\x01"
                                         "d\x01"
                                         "e");
    assert_int_equal(message.etag_count, COAP_ETAGS_MAX);
    assert_bytes(etag_view(&message.etags[3]), "d");
    assert_int_equal(message.unrecognised_critical, 0);
}

static void integers_of_all_lengths(void **state)
{
    (void)state;
    struct coap_message message = PARSED("\x40\x02\x12\x34\xc2\x01\x1e" /* Content-Format 286 */
                                         "\x24\xff\xff\xff\xff"         /* Max-Age 2^32-1 */
                                         "\x32\x00\x3e"                 /* Accept 62 with a leading zero */
                                         "\x63\xff\xff\xff"             /* Block2, num 2^20-1, M, szx 7 */
                                         "\x41\x0e"                     /* Block1 0/1/1024 */
                                         "\x10"                         /* Size2 0 */
                                         "\xd2\x13\x02\x7e");           /* Size1 638 */
    assert_int_equal(message.content_format.value, 286);
    assert_int_equal(message.max_age.value, UINT32_MAX);
    assert_int_equal(message.accept.value, 62);
    assert_int_equal(message.block2.num, 0xfffff);
    assert_true(message.block2.more);
    assert_int_equal(message.block2.szx, 7);
    assert_int_equal(message.block1.num, 0);
    assert_true(message.block1.more);
    assert_int_equal(coap_block_octets(message.block1.szx), 1024);
    assert_true(message.size2.present);
    assert_int_equal(message.size2.value, 0);
    assert_int_equal(message.size1.value, 638);
}

static void segments_are_bounded(void **state)
{
    (void)state;
    struct coap_message message = PARSED("\x40\x01\x12\x34\xb1"
                                         "1\x01"
                                         "2\x01"
                                         "3\x01"
                                         "4\x01"
                                         "5\x01"
                                         "6\x01"
                                         "7\x01"
                                         "8");
    assert_int_equal(message.uri_path_count, COAP_SEGMENTS_MAX);
    assert_false(message.too_many_segments);
    message = PARSED("\x40\x01\x12\x34\xb0\x00\x00\x00\x00\x00\x00\x00\x00");
    assert_int_equal(message.uri_path_count, COAP_SEGMENTS_MAX);
    assert_true(message.too_many_segments);
    message = PARSED("\x40\x01\x12\x34\xd0\x02\x00\x00\x00\x00\x00\x00\x00\x00");
    assert_int_equal(message.uri_query_count, COAP_SEGMENTS_MAX);
    assert_int_equal(message.uri_path_count, 0);
    assert_true(message.too_many_segments);
}

static void every_field_survives_writing(void **state)
{
    (void)state;
    struct coap_message message = {
        .type = CM_NON,
        .code = CM_CHANGED,
        .id = 0xabcd,
        .token = "\x01\x02\x03",
        .token_len = 3,
        .uri_path = {BYTES_LITERAL(".well-known"), BYTES_LITERAL("core"), BYTES_LITERAL("")},
        .uri_path_count = 3,
        .uri_query = {BYTES_LITERAL("rt=ace.est*"), BYTES_LITERAL("a=b")},
        .uri_query_count = 2,
        .content_format = {true, 0},
        .accept = {true, 65535},
        .max_age = {true, UINT32_MAX},
        .size1 = {true, 16384},
        .size2 = {true, 0},
        .block1 = {true, 0xfffff, true, 7},
        .block2 = {true, 0, false, 0},
        .etags = {{"etag", 4}, {"", 1}},
        .etag_count = 2,
        .payload = BYTES_LITERAL("payload"),
    };
    struct buffer out;
    buffer_init(&out, VECTOR_MAX);
    assert_int_equal(coap_message_write(&message, &out), STATUS_OK);
    struct coap_message back = parsed(buffer_view(&out));
    assert_int_equal(back.type, CM_NON);
    assert_int_equal(back.code, CM_CHANGED);
    assert_int_equal(back.id, 0xabcd);
    assert_int_equal(back.token_len, 3);
    assert_memory_equal(back.token, message.token, 3);
    assert_int_equal(back.uri_path_count, 3);
    for (size_t i = 0; i < 3; i++)
        assert_true(bytes_equal(back.uri_path[i], message.uri_path[i]));
    assert_int_equal(back.uri_query_count, 2);
    assert_bytes(back.uri_query[0], "rt=ace.est*");
    assert_bytes(back.uri_query[1], "a=b");
    assert_true(back.content_format.present);
    assert_int_equal(back.content_format.value, 0);
    assert_int_equal(back.accept.value, 65535);
    assert_int_equal(back.max_age.value, UINT32_MAX);
    assert_int_equal(back.size1.value, 16384);
    assert_true(back.size2.present);
    assert_int_equal(back.block1.num, 0xfffff);
    assert_true(back.block1.more);
    assert_int_equal(back.block1.szx, 7);
    assert_true(back.block2.present);
    assert_int_equal(back.etag_count, 2);
    assert_bytes(etag_view(&back.etags[0]), "etag");
    assert_int_equal(back.etags[1].len, 1);
    assert_bytes(back.payload, "payload");
    assert_int_equal(back.unrecognised_critical, 0);
    buffer_free(&out);
}

static void assert_not_written(const struct coap_message *message)
{
    struct buffer out;
    buffer_init(&out, VECTOR_MAX);
    buffer_append_string(&out, "kept");
    assert_int_equal(coap_message_write(message, &out), STATUS_MALFORMED);
    assert_int_equal(out.status, STATUS_OK);
    assert_string_equal(buffer_string(&out), "kept");
    buffer_free(&out);
}

static void what_the_wire_cannot_hold_is_not_written(void **state)
{
    (void)state;
    static const uint8_t octets[256];
    struct coap_message token = {.code = CM_GET, .token_len = 9};
    struct coap_message num = {.code = CM_GET, .block2 = {true, 0x100000, false, 0}};
    struct coap_message szx = {.code = CM_GET, .block1 = {true, 0, false, 8}};
    struct coap_message long_etag = {.code = CM_GET, .etags = {{.len = 9}}, .etag_count = 1};
    struct coap_message empty_etag = {.code = CM_GET, .etag_count = 1};
    struct coap_message etags = {.code = CM_GET, .etag_count = COAP_ETAGS_MAX + 1};
    struct coap_message path = {.code = CM_GET, .uri_path = {{octets, 256}}, .uri_path_count = 1};
    struct coap_message count = {.code = CM_GET, .uri_query_count = COAP_SEGMENTS_MAX + 1};
    struct coap_message format = {.code = CM_GET, .content_format = {true, 65536}};
    assert_not_written(&token);
    assert_not_written(&num);
    assert_not_written(&szx);
    assert_not_written(&long_etag);
    assert_not_written(&empty_etag);
    assert_not_written(&etags);
    assert_not_written(&path);
    assert_not_written(&count);
    assert_not_written(&format);
}

static void writing_stops_at_the_limit(void **state)
{
    (void)state;
    struct coap_message message = {.code = CM_GET, .uri_path = {BYTES_LITERAL("est")}, .uri_path_count = 1};
    for (size_t limit = 0; limit < 8; limit++) {
        struct buffer out;
        buffer_init(&out, limit);
        assert_int_equal(coap_message_write(&message, &out), STATUS_TOO_LARGE);
        assert_int_equal(out.len, 0);
        buffer_free(&out);
    }
    struct buffer out;
    buffer_init(&out, 8);
    assert_int_equal(coap_message_write(&message, &out), STATUS_OK);
    buffer_free(&out);
}

static void codes_have_a_text(void **state)
{
    (void)state;
    char text[5];
    assert_string_equal(coap_code_text(CM_CHANGED, text), "2.04");
    assert_string_equal(coap_code_text(CM_CONTINUE, text), "2.31");
    assert_string_equal(coap_code_text(CM_EMPTY, text), "0.00");
    assert_string_equal(coap_code_text(0xff, text), "7.31");
}

/* Each prefix and each single-octet change of a vector is read within its bounds (ASan holds it to that). */
static void damaged_vectors_do_no_harm(void **state)
{
    (void)state;
    struct bytes whole = vector("derived-A2-sen-request.coap.mid0010.bin");
    struct coap_message message;
    for (size_t len = 0; len <= whole.len; len++) {
        uint8_t copy[VECTOR_MAX];
        memcpy(copy, whole.at, len);
        (void)coap_message_parse((struct bytes){copy, len}, &message);
    }
    for (size_t at = 0; at < 30; at++)
        for (unsigned octet = 0; octet < 256; octet++) {
            uint8_t copy[40];
            memcpy(copy, whole.at, sizeof copy);
            copy[at] = (uint8_t)octet;
            if (coap_message_parse((struct bytes){copy, sizeof copy}, &message) == STATUS_OK)
                assert_true(message.payload.at == NULL ||
                            message.payload.at + message.payload.len == copy + sizeof copy);
        }
}

/* libcoap writes its complaints to stderr; what anybody can send must not fill a log. */
static void nothing_is_written_to_stderr(void **state)
{
    (void)state;
    FILE *capture = tmpfile();
    assert_non_null(capture);
    fflush(stderr);
    int kept = dup(STDERR_FILENO);
    dup2(fileno(capture), STDERR_FILENO);
    framing_errors(state);
    critical_option_of_impossible_length(state);
    option_numbers_beyond_65535(state);
    damaged_vectors_do_no_harm(state);
    what_the_wire_cannot_hold_is_not_written(state);
    dup2(kept, STDERR_FILENO);
    close(kept);
    assert_int_equal(lseek(fileno(capture), 0, SEEK_END), 0);
    fclose(capture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_without_skipped_options_are_written_back),
        cmocka_unit_test(vector_a1_request),
        cmocka_unit_test(vector_a2_request),
        cmocka_unit_test(vector_b1_response),
        cmocka_unit_test(vector_503),
        cmocka_unit_test(empty_messages),
        cmocka_unit_test(empty_message_with_anything_behind_is_malformed),
        cmocka_unit_test(other_versions_and_stumps_cannot_be_rejected),
        cmocka_unit_test(token_lengths),
        cmocka_unit_test(code_classes),
        cmocka_unit_test(framing_errors),
        cmocka_unit_test(option_numbers_beyond_65535),
        cmocka_unit_test(payload_may_hold_anything),
        cmocka_unit_test(option_of_no_octets_may_end_the_message),
        cmocka_unit_test(unknown_critical_option_is_named),
        cmocka_unit_test(elective_options_are_ignored),
        cmocka_unit_test(uri_7_proxy_options_are_told_apart),
        cmocka_unit_test(critical_option_of_impossible_length),
        cmocka_unit_test(elective_option_of_impossible_length),
        cmocka_unit_test(repeated_options),
        cmocka_unit_test(more_etags_than_there_is_room_for),
        cmocka_unit_test(integers_of_all_lengths),
        cmocka_unit_test(segments_are_bounded),
        cmocka_unit_test(every_field_survives_writing),
        cmocka_unit_test(what_the_wire_cannot_hold_is_not_written),
        cmocka_unit_test(writing_stops_at_the_limit),
        cmocka_unit_test(codes_have_a_text),
        cmocka_unit_test(damaged_vectors_do_no_harm),
        cmocka_unit_test(nothing_is_written_to_stderr),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
