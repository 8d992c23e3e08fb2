/* Access rules for the tests of registrar/, from the JSON of an access section. */
#ifndef ESTUARY_TESTS_UNIT_REGISTRAR_MADE_RULES_H
#define ESTUARY_TESTS_UNIT_REGISTRAR_MADE_RULES_H

#include "registrar/exchange/access_rules.h"
#include "tests/unit/registrar/credentials.h"

#include <stdlib.h>
#include <unistd.h>

/* A configuration with this access section, read as the program does. Gives. */
static inline struct settings *read_access_settings(const char *access)
{
    char file[] = "/tmp/access-rules-XXXXXX";
    int descriptor = mkstemp(file);
    assert_true(descriptor >= 0);
    FILE *stream = fdopen(descriptor, "w");
    assert_non_null(stream);
    fprintf(stream,
            "{\"dtls\":{\"certificate\":\"c\",\"private_key\":\"k\",\"domain_trust\":[\"t\"]},"
            "\"upstream\":{\"servers\":[\"https://est\"],\"trust\":[\"t\"],\"certificate\":\"c\","
            "\"private_key\":\"k\"},\"access\":%s}",
            access);
    fclose(stream);
    struct buffer errors, warnings;
    buffer_init(&errors, MADE_LIMIT);
    buffer_init(&warnings, MADE_LIMIT);
    struct settings *settings = settings_read(file, &errors, &warnings);
    unlink(file);
    if (settings == NULL)
        fail_msg("%s", buffer_string(&errors));
    buffer_free(&errors);
    buffer_free(&warnings);
    return settings;
}

/* Gives. */
static inline struct access_rules *make_rules(const char *access)
{
    struct settings *settings = read_access_settings(access);
    struct buffer messages;
    buffer_init(&messages, MADE_LIMIT);
    struct access_rules *rules = access_rules_load(&settings->access, &messages, &messages);
    if (rules == NULL)
        fail_msg("%s", buffer_string(&messages));
    settings_free(settings); /* the rules keep nothing of it */
    buffer_free(&messages);
    return rules;
}

#endif
