/* The log: one record a line to stderr, as text or as JSON. The one global of the program. */
#ifndef ESTUARY_COMMON_LOG_H
#define ESTUARY_COMMON_LOG_H

#include <stdbool.h>
#include <stdio.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

enum log_format {
    LOG_FORMAT_TEXT, /* 2026-01-31T12:00:00.123Z info  exchange: message */
    LOG_FORMAT_JSON  /* {"time":"…","level":"info","module":"exchange","message":"…"} */
};

struct log_settings {
    enum log_level level;
    enum log_format format;
};

/* Before the first call: level info, text, stderr. Borrows sink for ever. Thread safe. */
void log_configure(enum log_level level, enum log_format format, FILE *sink);

bool log_enabled(enum log_level level);

/* Writes one record with one write; control characters, line ends among them, and bytes that are not UTF-8
 * leave escaped. Longer than 2,000 octets is cut, with an ellipsis. Never pass a secret. */
void log_write(enum log_level level, const char *module, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define log_error(module, ...)   log_write(LOG_LEVEL_ERROR, module, __VA_ARGS__)
#define log_warning(module, ...) log_write(LOG_LEVEL_WARNING, module, __VA_ARGS__)
#define log_info(module, ...)    log_write(LOG_LEVEL_INFO, module, __VA_ARGS__)
#define log_debug(module, ...)                                                                               \
    do {                                                                                                     \
        if (log_enabled(LOG_LEVEL_DEBUG))                                                                    \
            log_write(LOG_LEVEL_DEBUG, module, __VA_ARGS__);                                                 \
    } while (0)

#endif
