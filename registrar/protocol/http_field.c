#include "registrar/protocol/http_field.h"

#include <string.h>
#include <time.h>

#define DATE_OCTETS_MAX 64

static bool is_blank(uint8_t octet)
{
    return octet == ' ' || octet == '\t';
}

struct bytes http_field_trim(struct bytes text)
{
    while (text.len > 0 && is_blank(text.at[0]))
        text = bytes_slice(text, 1, text.len);
    while (text.len > 0 && is_blank(text.at[text.len - 1]))
        text.len--;
    return text;
}

bool http_field_next(struct bytes *rest, char separator, struct bytes *part)
{
    bool quoted = false;
    size_t end = 0;
    for (; end < rest->len && (quoted || rest->at[end] != (uint8_t)separator); end++) {
        if (quoted && rest->at[end] == '\\' && end + 1 < rest->len)
            end++;
        else if (rest->at[end] == '"')
            quoted = !quoted;
    }
    *part = http_field_trim(bytes_slice(*rest, 0, end));
    *rest = bytes_slice(*rest, end + 1, rest->len);
    return !quoted;
}

void http_field_split(struct bytes part, struct bytes *name, struct bytes *value)
{
    size_t equals = 0;
    while (equals < part.len && part.at[equals] != '=')
        equals++;
    *name = http_field_trim(bytes_slice(part, 0, equals));
    *value = http_field_trim(bytes_slice(part, equals + 1, part.len));
}

bool http_field_seconds(struct bytes text, uint32_t *seconds)
{
    uint64_t value = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] < '0' || text.at[i] > '9')
            return false;
        value = value * 10 + (uint64_t)(text.at[i] - '0');
        if (value > UINT32_MAX)
            value = UINT32_MAX;
    }
    if (text.len > 0)
        *seconds = (uint32_t)value;
    return text.len > 0;
}

bool http_field_date(struct bytes text, int64_t *unix_time)
{
    static const char *const forms[] = {
        "%a, %d %b %Y %H:%M:%S GMT",
        "%A, %d-%b-%y %H:%M:%S GMT",
        "%a %b %d %H:%M:%S %Y",
    };
    char copy[DATE_OCTETS_MAX];
    if (text.len == 0 || text.len >= sizeof(copy))
        return false;
    memcpy(copy, text.at, text.len);
    copy[text.len] = '\0';
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        struct tm parts = {0};
        const char *end = strptime(copy, forms[i], &parts);
        if (end == NULL || end != copy + text.len)
            continue;
        *unix_time = timegm(&parts);
        return true;
    }
    return false;
}
