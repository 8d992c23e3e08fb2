#include "common/status.h"

#include <stddef.h>

static const char *const texts[STATUS_COUNT] = {
    [STATUS_OK] = "ok",
    [STATUS_NO_MEMORY] = "out of memory",
    [STATUS_TOO_LARGE] = "too large",
    [STATUS_MALFORMED] = "malformed",
    [STATUS_UNSUPPORTED] = "not supported",
    [STATUS_NOT_FOUND] = "not found",
    [STATUS_MISMATCH] = "does not match",
    [STATUS_FORBIDDEN] = "forbidden",
    [STATUS_UNTRUSTED] = "not trusted",
    [STATUS_BUSY] = "busy",
    [STATUS_CLOSED] = "closed",
    [STATUS_SYSTEM] = "system call failed",
    [STATUS_CRYPTO] = "cryptographic library failed",
};

const char *status_text(enum status status)
{
    if ((size_t)status >= STATUS_COUNT || texts[status] == NULL)
        return "unknown status";
    return texts[status];
}
