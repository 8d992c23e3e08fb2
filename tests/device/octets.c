#include "octets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

bool octets_append(struct octets *octets, struct view part, size_t limit)
{
    if (part.len == 0)
        return true;
    if (octets->len > limit || part.len > limit - octets->len)
        return false;
    uint8_t *grown = realloc(octets->at, octets->len + part.len);
    if (grown == NULL)
        return false;
    memcpy(grown + octets->len, part.at, part.len);
    octets->at = grown;
    octets->len += part.len;
    return true;
}

void octets_clear(struct octets *octets)
{
    if (octets->at != NULL)
        OPENSSL_cleanse(octets->at, octets->len); /* it may have been a key */
    free(octets->at);
    *octets = (struct octets){0};
}

struct view octets_view(const struct octets *octets)
{
    return (struct view){octets->at, octets->len};
}

bool octets_from_file(struct octets *octets, const char *path, size_t limit)
{
    uint8_t part[4096];
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return false;
    bool good = true;
    size_t got;
    while (good && (got = fread(part, 1, sizeof(part), file)) > 0)
        good = octets_append(octets, (struct view){part, got}, limit);
    good = good && !ferror(file);
    fclose(file);
    return good;
}
