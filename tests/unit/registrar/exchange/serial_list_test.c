#undef _FORTIFY_SOURCE /* with it read is inline for Clang, and cannot be ours */
#include "registrar/exchange/serial_list.h"

#include "tests/unit/registrar/credentials.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define FILE_NAME "serials"

static const char *written_meanwhile; /* the file that somebody writes while it is read; NULL: none */

/* In the program itself it comes before that of the C library. */
ssize_t read(int descriptor, void *to, size_t len)
{
    if (written_meanwhile != NULL) {
        int writer = open(written_meanwhile, O_WRONLY | O_TRUNC | O_CLOEXEC);
        assert_int_equal(write(writer, "allow SN-1\n", 11), 11);
        close(writer);
    }
    return (ssize_t)syscall(SYS_read, descriptor, to, len);
}

/* Gives, or NULL with what was said in errors, which is the caller's to free. */
static struct serial_list *parse(const char *text, struct buffer *errors)
{
    buffer_init(errors, MADE_LIMIT);
    return serial_list_parse(bytes_from_string(text), FILE_NAME, errors);
}

static void assert_listed(const struct serial_list *list, const char *serial, enum access_action expected)
{
    enum access_action action;
    if (!serial_list_find(list, bytes_from_string(serial), &action) || action != expected)
        fail_msg("%s", serial);
}

static void assert_not_listed(const struct serial_list *list, const char *serial)
{
    enum access_action action;
    if (serial_list_find(list, bytes_from_string(serial), &action))
        fail_msg("%s", serial);
}

static void a_line_says_what_becomes_of_a_serial_number(void **state)
{
    (void)state;
    struct buffer errors;
    struct serial_list *list = parse("# the first lot\n"
                                     "allow SN-1\n"
                                     "\n"
                                     "  deny\t SN-2  \r\n"
                                     "allow 47 11 # with a blank in it\n"
                                     "deny 5#\n"
                                     "allow A#6\n"
                                     "   # nothing\n"
                                     "allow SN-1\n",
                                     &errors);
    assert_string_equal(buffer_string(&errors), "");
    assert_int_equal(serial_list_count(list), 5);
    assert_listed(list, "SN-1", ACCESS_ALLOW);
    assert_listed(list, "SN-2", ACCESS_DENY);
    assert_listed(list, "47 11", ACCESS_ALLOW);
    assert_listed(list, "A#6", ACCESS_ALLOW);
    static const char *const others[] = {"",   "SN-",   "SN-11", "sn-1", "SN-2 ", "47",
                                         "11", "allow", "A",     "#",    "5"};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_not_listed(list, others[i]);
    enum access_action action;
    assert_false(serial_list_find(list, BYTES_LITERAL("SN-1\0"), &action));
    serial_list_free(list);
    buffer_free(&errors);
}

static void an_empty_file_lists_nobody(void **state)
{
    (void)state;
    struct buffer errors;
    struct serial_list *list = parse("", &errors);
    assert_non_null(list);
    assert_int_equal(serial_list_count(list), 0);
    assert_not_listed(list, "");
    serial_list_free(list);
    buffer_free(&errors);
}

/* All or nothing, and each mistake by its line. */
static void bad_lines_are_named(void **state)
{
    (void)state;
    struct buffer errors;
    assert_null(parse("allow SN-1\n"
                      "SN-2\n"
                      "Allow SN-3\n"
                      "deny\n"
                      "# fine\n"
                      "allow SN\x01-4\n"
                      "allow SN-\xc3\xa4\n"
                      "deny SN-1\n"
                      "allow SN-9",
                      &errors));
    static const char *const lines[] = {
        "access.file: \"serials\", line 2: does not begin with ",
        "access.file: \"serials\", line 3: does not begin with ",
        "access.file: \"serials\", line 4: has no serial number; write one after the word\n",
        "access.file: \"serials\", line 6: has octets other than visible ASCII; ",
        "access.file: \"serials\", line 7: has octets other than visible ASCII; ",
        "access.file: \"serials\", line 8: says something else of a serial number than a line above; ",
        "access.file: \"serials\", line 9: has no line end: the file was cut off",
    };
    const char *at = buffer_string(&errors);
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        if (strncmp(at, lines[i], strlen(lines[i])) != 0)
            fail_msg("no \"%s\" in\n%s", lines[i], buffer_string(&errors));
        at = strchr(at, '\n') + 1;
    }
    assert_string_equal(at, "");
    buffer_free(&errors);
}

static void a_serial_number_has_a_longest_length(void **state)
{
    (void)state;
    char line[300] = "allow ";
    struct buffer errors;
    memset(line + 6, 'x', SERIAL_OCTETS_MAX);
    strcpy(line + 6 + SERIAL_OCTETS_MAX, "\n");
    struct serial_list *list = parse(line, &errors);
    assert_non_null(list);
    line[6 + SERIAL_OCTETS_MAX] = '\0';
    assert_listed(list, line + 6, ACCESS_ALLOW);
    serial_list_free(list);
    buffer_free(&errors);
    strcpy(line + 6 + SERIAL_OCTETS_MAX, "x\n");
    assert_null(parse(line, &errors));
    assert_non_null(strstr(buffer_string(&errors), "line 1: has a serial number of more than 255 octets"));
    buffer_free(&errors);
}

static void the_errors_are_bounded(void **state)
{
    (void)state;
    char text[2000 * 2 + 1] = "";
    struct buffer errors;
    for (size_t i = 0; i < 2000; i++)
        memcpy(text + 2 * i, "x\n", 3);
    assert_null(parse(text, &errors));
    assert_int_equal(errors.status, STATUS_OK);
    assert_non_null(strstr(buffer_string(&errors), ", line 20: "));
    assert_null(strstr(buffer_string(&errors), ", line 21: "));
    assert_non_null(strstr(buffer_string(&errors), ": 1980 more lines are wrong"));
    buffer_free(&errors);
}

/* A million serial numbers: found, and others not, in memory and time that are told. */
static void a_million_serial_numbers(void **state)
{
    (void)state;
    enum { COUNT = 1000000 };
    struct buffer text, errors;
    struct timespec begin, end;
    buffer_init(&text, (size_t)32 * 1024 * 1024);
    buffer_init(&errors, MADE_LIMIT);
    for (unsigned i = 0; i < COUNT; i++) {
        char line[32];
        int len = snprintf(line, sizeof(line), "%s METER-%08u\n", i % 10 == 0 ? "deny" : "allow", 7 * i);
        buffer_append(&text, (struct bytes){(const uint8_t *)line, (size_t)len});
    }
    assert_int_equal(text.status, STATUS_OK);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
    struct serial_list *list = serial_list_parse(buffer_view(&text), FILE_NAME, &errors);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    assert_string_equal(buffer_string(&errors), "");
    assert_int_equal(serial_list_count(list), COUNT);
    print_message("%.0f ms, %zu octets each\n",
                  (double)(end.tv_sec - begin.tv_sec) * 1e3 + (double)(end.tv_nsec - begin.tv_nsec) / 1e6,
                  serial_list_octets(list) / COUNT);
    assert_in_range(serial_list_octets(list) / COUNT, 14 + 2 + 5, 14 + 2 + 11 + 6);
    for (unsigned i = 0; i < COUNT; i += 97) {
        char serial[32];
        snprintf(serial, sizeof(serial), "METER-%08u", 7 * i);
        assert_listed(list, serial, i % 10 == 0 ? ACCESS_DENY : ACCESS_ALLOW);
        snprintf(serial, sizeof(serial), "METER-%08u", 7 * i + 1);
        assert_not_listed(list, serial);
    }
    serial_list_free(list);
    buffer_free(&text);
    buffer_free(&errors);
}

static void a_file_is_read_whole(void **state)
{
    (void)state;
    struct buffer errors;
    char file[] = "/tmp/serial-list-XXXXXX";
    int descriptor = mkstemp(file);
    assert_true(descriptor >= 0);
    assert_int_equal(write(descriptor, "allow SN-1\ndeny SN-2\n", 21), 21);
    close(descriptor);
    buffer_init(&errors, MADE_LIMIT);
    struct serial_list *list = serial_list_load(file, &errors);
    assert_string_equal(buffer_string(&errors), "");
    assert_listed(list, "SN-2", ACCESS_DENY);
    serial_list_free(list);

    written_meanwhile = file; /* a whole line is left: it could be taken for the whole file */
    assert_null(serial_list_load(file, &errors));
    assert_non_null(strstr(buffer_string(&errors), "it was changed meanwhile; put it in place by renaming"));
    written_meanwhile = NULL;
    buffer_reset(&errors);
    unlink(file);

    assert_null(serial_list_load(file, &errors));
    assert_non_null(strstr(buffer_string(&errors), "cannot be read: No such file or directory"));
    buffer_reset(&errors);
    assert_null(serial_list_load("/tmp", &errors));
    assert_non_null(strstr(buffer_string(&errors), "cannot be read: it is no regular file"));
    buffer_free(&errors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_says_what_becomes_of_a_serial_number),
        cmocka_unit_test(an_empty_file_lists_nobody),
        cmocka_unit_test(bad_lines_are_named),
        cmocka_unit_test(a_serial_number_has_a_longest_length),
        cmocka_unit_test(the_errors_are_bounded),
        cmocka_unit_test(a_million_serial_numbers),
        cmocka_unit_test(a_file_is_read_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
