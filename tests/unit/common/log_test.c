/* The log: one record a line, nothing in it that forges another one. */
#include "common/log.h"

#include <jansson.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THREADS            4
#define RECORDS_PER_THREAD 200

static FILE *sink;

static int open_sink(void **state)
{
    (void)state;
    sink = tmpfile();
    return sink == NULL;
}

static int close_sink(void **state)
{
    (void)state;
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, stderr);
    return fclose(sink);
}

/* What was logged so far, as a string to be freed. */
static char *logged(void)
{
    off_t size = lseek(fileno(sink), 0, SEEK_END);
    char *text = calloc(1, (size_t)size + 1);
    assert_non_null(text);
    assert_int_equal(pread(fileno(sink), text, (size_t)size, 0), size);
    return text;
}

static void assert_logged(const char *expected)
{
    char *text = logged();
    const char *message = strstr(text, "test: ");
    assert_non_null(message);
    assert_string_equal(message + strlen("test: "), expected);
    free(text);
}

static void text_record_has_time_level_module_and_message(void **state)
{
    (void)state;
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, sink);
    log_info("exchange", "answered %s in %d ms", "2.04", 17);
    char *text = logged();
    regex_t pattern;
    assert_int_equal(regcomp(&pattern,
                             "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z info  "
                             "exchange: answered 2\\.04 in 17 ms\n$",
                             REG_EXTENDED | REG_NOSUB),
                     0);
    assert_int_equal(regexec(&pattern, text, 0, NULL, 0), 0);
    regfree(&pattern);
    free(text);
}

static void json_record_parses_and_carries_the_same(void **state)
{
    (void)state;
    log_configure(LOG_LEVEL_DEBUG, LOG_FORMAT_JSON, sink);
    log_debug("exchange", "a \"quoted\" back\\slash, tab\t, line\nend, bell\a, \xc3\xa9");
    char *text = logged();
    json_error_t error;
    json_t *record = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    assert_non_null(record);
    assert_string_equal(json_string_value(json_object_get(record, "level")), "debug");
    assert_string_equal(json_string_value(json_object_get(record, "module")), "exchange");
    assert_int_equal(strlen(json_string_value(json_object_get(record, "time"))),
                     strlen("2026-01-31T12:00:00.123Z"));
    assert_string_equal(json_string_value(json_object_get(record, "message")),
                        "a \"quoted\" back\\slash, tab\t, line\nend, bell\a, \xc3\xa9");
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    json_decref(record);
    free(text);
}

static void line_ends_and_controls_leave_escaped(void **state)
{
    (void)state;
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, sink);
    log_info("test", "%s", "a\r\nb\t\x1b[2J\x7f\\ \xc2\x9b \xe2\x80\xa8 \xe2\x80\xa9 \xf0\x9f\x90\x9f");
    assert_logged("a\\r\\nb\\t\\u001b[2J\\u007f\\\\ \\u009b \\u2028 \\u2029 \xf0\x9f\x90\x9f\n");
}

static void octets_that_are_not_utf8_leave_escaped(void **state)
{
    (void)state;
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, sink);
    /* stray continuation, overlong slash, surrogate, above U+10FFFF, cut at the end */
    log_info("test", "%s", "\x80 \xc0\xaf \xed\xa0\x80 \xf4\x90\x80\x80 \xff \xe2\x82");
    assert_logged("\\x80 \\xc0\\xaf \\xed\\xa0\\x80 \\xf4\\x90\\x80\\x80 \\xff \\xe2\\x82\n");
}

static void json_holds_octets_that_are_not_utf8(void **state)
{
    (void)state;
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_JSON, sink);
    log_info("test", "%s", "\xff\xc2\x9b");
    char *text = logged();
    json_t *record = json_loads(text, 0, NULL);
    assert_non_null(record);
    assert_string_equal(json_string_value(json_object_get(record, "message")), "\\xff\xc2\x9b");
    json_decref(record);
    free(text);
}

static void long_record_is_cut_between_characters(void **state)
{
    (void)state;
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, sink);
    char text[6001] = {0};
    for (size_t i = 0; i < 6000; i += 3)
        memcpy(text + i, "\xe2\x82\xac", 3);
    log_info("test", "x%s", text);
    char *record = logged();
    const char *message = strstr(record, "test: ") + strlen("test: ");
    assert_in_range(strlen(message), 1990, 2001);
    assert_string_equal(message + strlen(message) - 7, "\xe2\x82\xac\xe2\x80\xa6\n");
    assert_null(strchr(message, '\\'));
    free(record);
}

static void escapes_count_towards_the_cut(void **state)
{
    (void)state;
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_JSON, sink);
    char text[2001] = {0};
    memset(text, '\x01', 2000);
    log_info("test", "%s", text);
    char *record = logged();
    assert_in_range(strlen(record), 1990, 2160);
    json_t *parsed = json_loads(record, 0, NULL);
    assert_non_null(parsed);
    json_decref(parsed);
    free(record);
}

static void message_of_the_full_length_is_not_cut(void **state)
{
    (void)state;
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, sink);
    char text[1901] = {0};
    memset(text, 'a', 1900);
    log_info("test", "%s", text);
    char *record = logged();
    assert_null(strstr(record, "\xe2\x80\xa6"));
    free(record);
}

static void records_below_the_level_are_not_written(void **state)
{
    (void)state;
    log_configure(LOG_LEVEL_WARNING, LOG_FORMAT_TEXT, sink);
    assert_true(log_enabled(LOG_LEVEL_ERROR));
    assert_true(log_enabled(LOG_LEVEL_WARNING));
    assert_false(log_enabled(LOG_LEVEL_INFO));
    assert_false(log_enabled(LOG_LEVEL_DEBUG));
    log_info("test", "not this");
    log_debug("test", "nor this");
    log_error("test", "but this");
    log_warning("test", "and this");
    char *text = logged();
    assert_null(strstr(text, "not this"));
    assert_null(strstr(text, "nor this"));
    assert_non_null(strstr(text, "error test: but this\n"));
    assert_non_null(strstr(text, "warning test: and this\n"));
    free(text);
}

static void errno_survives(void **state)
{
    (void)state;
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, sink);
    errno = ENOENT;
    log_info("test", "%s", strerror(errno));
    assert_int_equal(errno, ENOENT);
    assert_logged("No such file or directory\n");
}

static void *write_records(void *user)
{
    for (int i = 0; i < RECORDS_PER_THREAD; i++)
        log_info("thread", "%s says the same thing over and over", *(const char **)user);
    return NULL;
}

static void records_of_threads_do_not_mix(void **state)
{
    (void)state;
    static const char *names[THREADS] = {"anna", "berta", "carla", "dora"};
    pthread_t threads[THREADS];
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, sink);
    /* Without O_APPEND writes to one file description are still serial (POSIX, 2.9.7). */
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_records, &names[i]), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    char *text = logged();
    int lines = 0;
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"), lines++)
        assert_string_equal(line + strlen(line) - strlen(" says the same thing over and over"),
                            " says the same thing over and over");
    assert_int_equal(lines, THREADS * RECORDS_PER_THREAD);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(text_record_has_time_level_module_and_message, open_sink, close_sink),
        cmocka_unit_test_setup_teardown(json_record_parses_and_carries_the_same, open_sink, close_sink),
        cmocka_unit_test_setup_teardown(line_ends_and_controls_leave_escaped, open_sink, close_sink),
        cmocka_unit_test_setup_teardown(octets_that_are_not_utf8_leave_escaped, open_sink, close_sink),
        cmocka_unit_test_setup_teardown(json_holds_octets_that_are_not_utf8, open_sink, close_sink),
        cmocka_unit_test_setup_teardown(long_record_is_cut_between_characters, open_sink, close_sink),
        cmocka_unit_test_setup_teardown(escapes_count_towards_the_cut, open_sink, close_sink),
        cmocka_unit_test_setup_teardown(message_of_the_full_length_is_not_cut, open_sink, close_sink),
        cmocka_unit_test_setup_teardown(records_below_the_level_are_not_written, open_sink, close_sink),
        cmocka_unit_test_setup_teardown(errno_survives, open_sink, close_sink),
        cmocka_unit_test_setup_teardown(records_of_threads_do_not_mix, open_sink, close_sink),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
