#include "common/base64.h"

#include <openssl/evp.h>

#define LINE_OCTETS  48 /* octets that one line of 64 columns stands for */
#define LINE_COLUMNS 64

enum { NOT_A_DIGIT = -1 };

/* What was read of the group of four digits at hand. */
struct decoder {
    uint32_t bits;
    unsigned digits, padding;
};

static enum status decode_all(struct bytes text, struct buffer *octets);
static enum status take_padding(struct decoder *decoder, struct buffer *octets);
static void take_digit(struct decoder *decoder, int value, struct buffer *octets);
static bool is_white_space(uint8_t c);
static int digit_value(uint8_t c);

static const char *const line_ends[] = {
    [BASE64_ONE_LINE] = "",
    [BASE64_64_LF] = "\n",
    [BASE64_64_CRLF] = "\r\n",
};

void base64_encode(struct bytes octets, enum base64_lines lines, struct buffer *text)
{
    while (octets.len > 0) {
        struct bytes line = bytes_slice(octets, 0, LINE_OCTETS);
        uint8_t encoded[LINE_COLUMNS + 1];
        int len = EVP_EncodeBlock(encoded, line.at, (int)line.len);
        buffer_append(text, (struct bytes){encoded, (size_t)len});
        buffer_append_string(text, line_ends[lines]);
        octets = bytes_slice(octets, line.len, octets.len);
    }
}

size_t base64_encoded_length(size_t octets, enum base64_lines lines)
{
    size_t line_count = (octets + LINE_OCTETS - 1) / LINE_OCTETS;
    return (octets + 2) / 3 * 4 + line_count * bytes_from_string(line_ends[lines]).len;
}

enum status base64_decode(struct bytes text, struct buffer *octets)
{
    size_t before = octets->len;
    enum status status = decode_all(text, octets);
    if (status != STATUS_OK)
        octets->len = before;
    return status;
}

/* OpenSSL's decoders take trailing bits and stop at a hyphen; this one takes nothing but the grammar. */
static enum status decode_all(struct bytes text, struct buffer *octets)
{
    struct decoder decoder = {0};
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.at[i];
        if (is_white_space(c))
            continue;
        int value = digit_value(c);
        if (c == '=') {
            if (take_padding(&decoder, octets) != STATUS_OK)
                return STATUS_MALFORMED;
        } else if (value == NOT_A_DIGIT || decoder.padding > 0) {
            return STATUS_MALFORMED;
        } else {
            take_digit(&decoder, value, octets);
        }
    }
    if ((decoder.digits + decoder.padding) % 4 != 0)
        return STATUS_MALFORMED;
    return octets->status;
}

/* Two digits stand for one octet and four bits of zero, three for two octets and two bits of zero. */
static enum status take_padding(struct decoder *decoder, struct buffer *octets)
{
    decoder->padding++;
    if (decoder->padding > 1)
        return decoder->digits + decoder->padding == 4 ? STATUS_OK : STATUS_MALFORMED;
    if (decoder->digits == 2 && (decoder->bits & 0xf) == 0) {
        buffer_append_byte(octets, (uint8_t)(decoder->bits >> 4));
        return STATUS_OK;
    }
    if (decoder->digits == 3 && (decoder->bits & 0x3) == 0) {
        uint8_t two[] = {(uint8_t)(decoder->bits >> 10), (uint8_t)(decoder->bits >> 2)};
        buffer_append(octets, (struct bytes){two, sizeof two});
        return STATUS_OK;
    }
    return STATUS_MALFORMED;
}

static void take_digit(struct decoder *decoder, int value, struct buffer *octets)
{
    decoder->bits = decoder->bits << 6 | (uint32_t)value;
    decoder->digits++;
    if (decoder->digits < 4)
        return;
    uint8_t three[] = {(uint8_t)(decoder->bits >> 16), (uint8_t)(decoder->bits >> 8), (uint8_t)decoder->bits};
    buffer_append(octets, (struct bytes){three, sizeof three});
    *decoder = (struct decoder){0};
}

static bool is_white_space(uint8_t c)
{
    return c == '\r' || c == '\n' || c == ' ' || c == '\t';
}

static int digit_value(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+')
        return 62;
    return c == '/' ? 63 : NOT_A_DIGIT;
}
