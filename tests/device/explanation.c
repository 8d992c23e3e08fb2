#include "explanation.h"

#include <stdarg.h>
#include <stdio.h>

#include <openssl/err.h>

bool explain(struct explanation *why, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why->text, sizeof(why->text), format, arguments);
    va_end(arguments);
    return false;
}

bool explain_openssl(struct explanation *why, const char *what)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = ERR_reason_error_string(code);
    ERR_clear_error();
    if (reason == NULL)
        return explain(why, "%s", what);
    return explain(why, "%s: %s", what, reason);
}
