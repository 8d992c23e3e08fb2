/* SEC-1: views never reach past their end, buffers never grow past their limit. */
#include "common/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/crypto.h>

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#if defined(__has_feature)
#define IS_SANITIZED __has_feature(address_sanitizer)
#elif defined(__SANITIZE_ADDRESS__)
#define IS_SANITIZED 1
#else
#define IS_SANITIZED 0
#endif

/* Read by the sanitizers before main: let an allocation fail instead of ending the program. */
const char *__asan_default_options(void);
const char *__tsan_default_options(void);

const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static void views_of_strings(void **state)
{
    (void)state;
    struct bytes view = bytes_from_string("est");
    assert_int_equal(view.len, 3);
    assert_memory_equal(view.at, "est", 3);
    assert_int_equal(bytes_from_string("").len, 0);
    assert_null(bytes_from_string(NULL).at);
    assert_int_equal(BYTES_LITERAL("a\0b").len, 3);
}

static void equality(void **state)
{
    (void)state;
    const struct bytes none = {NULL, 0};
    assert_true(bytes_equal(BYTES_LITERAL("crts"), BYTES_LITERAL("crts")));
    assert_false(bytes_equal(BYTES_LITERAL("crts"), BYTES_LITERAL("CRTS")));
    assert_false(bytes_equal(BYTES_LITERAL("crt"), BYTES_LITERAL("crts")));
    assert_true(bytes_equal(none, BYTES_LITERAL("")));
    assert_true(bytes_equal_ignoring_case(BYTES_LITERAL("Content-Type"), BYTES_LITERAL("content-TYPE")));
    assert_false(bytes_equal_ignoring_case(BYTES_LITERAL("a"), BYTES_LITERAL("b")));
    assert_false(bytes_equal_ignoring_case(BYTES_LITERAL("a"), BYTES_LITERAL("ab")));
    assert_true(bytes_equal_ignoring_case(none, none));
}

static void slices_stay_within(void **state)
{
    (void)state;
    const struct bytes whole = BYTES_LITERAL("0123456789");
    assert_true(bytes_equal(bytes_slice(whole, 0, 10), whole));
    assert_true(bytes_equal(bytes_slice(whole, 3, 4), BYTES_LITERAL("3456")));
    assert_true(bytes_equal(bytes_slice(whole, 8, 4), BYTES_LITERAL("89")));
    assert_true(bytes_equal(bytes_slice(whole, 9, SIZE_MAX), BYTES_LITERAL("9")));
    assert_int_equal(bytes_slice(whole, 10, 1).len, 0);
    assert_int_equal(bytes_slice(whole, SIZE_MAX, SIZE_MAX).len, 0);
    assert_int_equal(bytes_slice((struct bytes){NULL, 0}, 0, 1).len, 0);
}

static void a_buffer_holds_what_was_appended(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 1000);
    assert_null(buffer.at);
    buffer_append(&buffer, BYTES_LITERAL("ab"));
    buffer_append_byte(&buffer, 'c');
    buffer_append_string(&buffer, "de");
    buffer_printf(&buffer, "%d-%s", 42, "f");
    uint8_t *room = buffer_extend(&buffer, 2);
    assert_non_null(room);
    memcpy(room, "gh", 2);
    buffer_append(&buffer, (struct bytes){NULL, 0});
    assert_int_equal(buffer.status, STATUS_OK);
    assert_true(bytes_equal(buffer_view(&buffer), BYTES_LITERAL("abcde42-fgh")));
    assert_string_equal(buffer_string(&buffer), "abcde42-fgh");
    assert_int_equal(buffer.len, 11);
    buffer_free(&buffer);
    assert_null(buffer.at);
    assert_int_equal(buffer.limit, 1000);
}

static void lines_are_headed_by_a_name(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 64);
    buffer_append_lines(&buffer, "file", "");
    assert_string_equal(buffer_string(&buffer), "");
    buffer_append_lines(&buffer, "file", "one\n\ntwo %s\nthree");
    assert_string_equal(buffer_string(&buffer), "file: one\nfile: two %s\nfile: three\n");
    buffer_free(&buffer);
}

static void lines_are_taken_off_a_text(void **state)
{
    (void)state;
    const struct bytes expected[] = {BYTES_LITERAL("one"), BYTES_LITERAL(""), BYTES_LITERAL("two\r"),
                                     BYTES_LITERAL("three")};
    struct bytes text = BYTES_LITERAL("one\n\ntwo\r\nthree"), line;
    for (size_t i = 0; i < 4; i++) {
        assert_true(bytes_take_line(&text, &line));
        assert_true(bytes_equal(line, expected[i]));
    }
    assert_false(bytes_take_line(&text, &line));
    text = BYTES_LITERAL("last\n");
    assert_true(bytes_take_line(&text, &line));
    assert_false(bytes_take_line(&text, &line));
}

static void content_survives_growing(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 5000);
    for (unsigned i = 0; i < 5000; i++)
        buffer_append_byte(&buffer, (uint8_t)(i * 31));
    assert_int_equal(buffer.status, STATUS_OK);
    assert_int_equal(buffer.len, 5000);
    for (unsigned i = 0; i < 5000; i++)
        assert_int_equal(buffer.at[i], (uint8_t)(i * 31));
    buffer_free(&buffer);
}

static void the_limit_is_exact_for_every_way_of_writing(void **state)
{
    (void)state;
    for (size_t limit = 0; limit < 200; limit++) {
        struct buffer appended, printed, extended;
        char text[201];
        memset(text, 'x', limit + 1);
        text[limit] = '\0';
        buffer_init(&appended, limit);
        buffer_init(&printed, limit);
        buffer_init(&extended, limit);
        buffer_append_string(&appended, text);
        buffer_printf(&printed, "%s", text);
        assert_non_null(buffer_extend(&extended, limit));
        assert_int_equal(appended.status, STATUS_OK);
        assert_int_equal(printed.status, STATUS_OK);
        assert_string_equal(buffer_string(&appended), text); /* the NUL may stand past the limit */
        assert_string_equal(buffer_string(&printed), text);
        buffer_append_byte(&appended, 'y');
        buffer_printf(&printed, "y");
        assert_null(buffer_extend(&extended, 1));
        assert_int_equal(appended.status, STATUS_TOO_LARGE);
        assert_int_equal(printed.status, STATUS_TOO_LARGE);
        assert_int_equal(extended.status, STATUS_TOO_LARGE);
        assert_int_equal(appended.len, limit);
        assert_int_equal(printed.len, limit);
        buffer_free(&appended);
        buffer_free(&printed);
        buffer_free(&extended);
    }
}

static void the_first_failure_sticks(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 4);
    buffer_append_string(&buffer, "abc");
    buffer_append_string(&buffer, "de");
    assert_int_equal(buffer.status, STATUS_TOO_LARGE);
    buffer_append_byte(&buffer, 'd'); /* it would fit */
    buffer_printf(&buffer, "d");
    assert_null(buffer_extend(&buffer, 0));
    assert_int_equal(buffer.len, 3);
    assert_string_equal(buffer_string(&buffer), "");
    buffer_reset(&buffer);
    assert_int_equal(buffer.status, STATUS_OK);
    assert_int_equal(buffer.len, 0);
    buffer_append_string(&buffer, "abcd");
    assert_string_equal(buffer_string(&buffer), "abcd");
    buffer_free(&buffer);
}

static void absurd_lengths_are_refused(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 100);
    buffer_append_byte(&buffer, 'x');
    assert_null(buffer_extend(&buffer, SIZE_MAX));
    assert_int_equal(buffer.status, STATUS_TOO_LARGE);
    buffer_free(&buffer);
}

static void memory_that_cannot_be_had_is_told(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, SIZE_MAX);
    assert_null(buffer_extend(&buffer, SIZE_MAX / 4 * 3));
    assert_int_equal(buffer.status, STATUS_NO_MEMORY);
    buffer_free(&buffer);
}

static size_t cleansed; /* octets */

/* In the program itself it comes before that of OpenSSL, whoever calls. */
void OPENSSL_cleanse(void *at, size_t len)
{
    memset(at, 0, len);
    cleansed += len;
}

/* SKG-9: what is given up is overwritten first: by buffer_wipe, by growing, and by whatever frees locked
 * memory. */
static void what_is_given_up_is_overwritten(void **state)
{
    (void)state;
    for (int locked = 0; locked <= 1; locked++) {
        struct buffer buffer;
        buffer_init(&buffer, 100000);
        buffer.locked = locked != 0;
        cleansed = 0;
        buffer_append_string(&buffer, "private key");
        size_t room = buffer.room;
        assert_int_equal(cleansed, 0);
        assert_non_null(buffer_extend(&buffer, room));
        assert_int_equal(cleansed, room);
        cleansed = 0;
        room = buffer.room;
        if (locked)
            buffer_free(&buffer);
        else
            buffer_wipe(&buffer);
        assert_int_equal(cleansed, room);
    }
}

static void wiping_leaves_nothing(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 100);
    buffer_append_string(&buffer, "private key");
    buffer_wipe(&buffer);
    assert_null(buffer.at);
    assert_int_equal(buffer.len, 0);
    buffer_wipe(&buffer); /* and once more does no harm */
}

static void an_empty_buffer_is_an_empty_string(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 0);
    assert_string_equal(buffer_string(&buffer), "");
    assert_int_equal(buffer.status, STATUS_OK);
    buffer_free(&buffer);
}

/* SKG-9: locked where RLIMIT_MEMLOCK lets us, left out of core dumps and of children, and otherwise like any
 * buffer. */
static void locked_buffers(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init_locked(&buffer, 100000);
    for (unsigned i = 0; i < 50000; i++)
        buffer_append_byte(&buffer, (uint8_t)i);
    assert_int_equal(buffer.status, STATUS_OK);
    for (unsigned i = 0; i < 50000; i++)
        assert_int_equal(buffer.at[i], (uint8_t)i);

    bool found = false;
    char line[256], flags[256] = "";
    FILE *maps = fopen("/proc/self/smaps", "r");
    assert_non_null(maps);
    while (fgets(line, sizeof(line), maps) != NULL) {
        unsigned long begin, end;
        if (sscanf(line, "%lx-%lx ", &begin, &end) == 2)
            found = begin <= (uintptr_t)buffer.at && (uintptr_t)buffer.at < end;
        else if (found && strncmp(line, "VmFlags:", 8) == 0)
            memcpy(flags, line, sizeof(flags));
    }
    fclose(maps);
    assert_non_null(strstr(flags, " dd")); /* not dumped */
    assert_non_null(strstr(flags, " wf")); /* wiped on fork */
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &limit), 0);
    if (limit.rlim_cur > 1000000 && !IS_SANITIZED) /* sanitizers swallow mlock */
        assert_non_null(strstr(flags, " lo"));

    static const uint8_t more[50000];
    buffer_append(&buffer, (struct bytes){more, sizeof(more)});
    buffer_append_byte(&buffer, 0);
    assert_int_equal(buffer.status, STATUS_TOO_LARGE);
    buffer_free(&buffer);
    assert_null(buffer.at);
    assert_int_equal(buffer.limit, 100000);
    assert_true(buffer.locked);
    buffer_append_byte(&buffer, 1);
    assert_int_equal(buffer.len, 1);
    buffer_wipe(&buffer);
    assert_null(buffer.at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(views_of_strings),
        cmocka_unit_test(equality),
        cmocka_unit_test(slices_stay_within),
        cmocka_unit_test(a_buffer_holds_what_was_appended),
        cmocka_unit_test(lines_are_headed_by_a_name),
        cmocka_unit_test(lines_are_taken_off_a_text),
        cmocka_unit_test(content_survives_growing),
        cmocka_unit_test(the_limit_is_exact_for_every_way_of_writing),
        cmocka_unit_test(the_first_failure_sticks),
        cmocka_unit_test(absurd_lengths_are_refused),
        cmocka_unit_test(memory_that_cannot_be_had_is_told),
        cmocka_unit_test(what_is_given_up_is_overwritten),
        cmocka_unit_test(wiping_leaves_nothing),
        cmocka_unit_test(an_empty_buffer_is_an_empty_string),
        cmocka_unit_test(locked_buffers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
