#include "base64_text.h"

#include "memory.h"

#include <event2/buffer.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

static bool read_group(const uint8_t group[4], struct evbuffer *out);
static int value_of(uint8_t character);

void base64_text_write(struct octets octets, const struct base64_lines *lines, struct evbuffer *out)
{
    unsigned char *text = memory_allocate(octets.len / 3 * 4 + 5);
    size_t len = octets.len > 0 ? (size_t)EVP_EncodeBlock(text, octets.at, (int)octets.len) : 0;
    size_t columns = lines->columns > 0 ? lines->columns : len;
    for (size_t at = 0; at < len; at += columns) {
        if (at > 0)
            evbuffer_add_printf(out, "%s", lines->between);
        evbuffer_add(out, text + at, len - at < columns ? len - at : columns);
    }
    evbuffer_add_printf(out, "%s", lines->end);
    free(text);
}

bool base64_text_read(struct octets text, struct evbuffer *out)
{
    uint8_t group[4];
    size_t filled = 0;
    bool ended = false;
    for (size_t i = 0; i < text.len; i++) {
        if (memchr("\r\n\t ", text.at[i], 4) != NULL)
            continue;
        if (ended)
            return false;
        group[filled++] = text.at[i];
        if (filled < sizeof(group))
            continue;
        if (!read_group(group, out))
            return false;
        ended = group[3] == '=';
        filled = 0;
    }
    return filled == 0;
}

static bool read_group(const uint8_t group[4], struct evbuffer *out)
{
    size_t characters = group[3] != '=' ? 4 : group[2] != '=' ? 3 : 2;
    uint32_t bits = 0;
    for (size_t i = 0; i < 4; i++) {
        int value = i < characters ? value_of(group[i]) : 0;
        if (value < 0)
            return false;
        bits = bits << 6 | (uint32_t)value;
    }
    size_t octets = characters - 1;
    if ((bits & (0xffffffu >> octets * 8)) != 0)
        return false;
    uint8_t bytes[] = {(uint8_t)(bits >> 16), (uint8_t)(bits >> 8), (uint8_t)bits};
    evbuffer_add(out, bytes, octets);
    return true;
}

static int value_of(uint8_t character)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *place = character != 0 ? strchr(alphabet, character) : NULL;
    return place != NULL ? (int)(place - alphabet) : -1;
}
