#include "common/glob.h"

/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <string.h>
#include <time.h>

static void fits_what_it_describes(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *text;
        bool fits;
    } rows[] = {
        {"", "", true},
        {"", "a", false},
        {"a", "", false},
        {"a", "a", true},
        {"a", "A", false},
        {"a", "ab", false},
        {"ab", "a", false},
        {"*", "", true},
        {"*", "anything", true},
        {"**", "", true},
        {"?", "", false},
        {"?", "x", true},
        {"?", "xy", false},
        {"??", "xy", true},
        {"?*", "", false},
        {"?*", "x", true},
        {"a*", "a", true},
        {"a*", "ba", false},
        {"*a", "ba", true},
        {"*a", "ab", false},
        {"*a*", "bab", true},
        {"a*b*c", "abc", true},
        {"a*b*c", "a1b2c", true},
        {"a*b*c", "acb", false},
        {"*ab", "aab", true},
        {"*aab", "aaaab", true},
        {"*ab*ab", "abab", true},
        {"*ab*ab", "ab", false},
        {"a?c", "abc", true},
        {"a?c", "ac", false},
        {"*?", "", false},
        {"*?b", "ab", true},
        {"*?b", "b", false},
        {"[a]", "a", false},
        {"[a]", "[a]", true},
        {"\\*", "\\x", true},
        {"CN=*,O=x", "CN=a,O=x", true},
        {"CN=*,O=x", "CN=a,O=xy", false},
        {"*.meters.example", "a.b.meters.example", true},
        {"*.meters.example", "meters.example", false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (glob_matches(bytes_from_string(rows[i].pattern), bytes_from_string(rows[i].text)) != rows[i].fits)
            fail_msg("\"%s\" with \"%s\"", rows[i].pattern, rows[i].text);
}

/* A NUL is an octet as any other: nothing ends there. */
static void knows_no_end_of_string(void **state)
{
    (void)state;
    assert_false(glob_matches(BYTES_LITERAL("SN-1"), BYTES_LITERAL("SN-1\0x")));
    assert_true(glob_matches(BYTES_LITERAL("SN-1?x"), BYTES_LITERAL("SN-1\0x")));
}

/* The plain rule that the loop must follow, by recursion. */
static bool follows(struct bytes pattern, struct bytes text)
{
    if (pattern.len == 0)
        return text.len == 0;
    struct bytes rest = bytes_slice(pattern, 1, pattern.len);
    if (pattern.at[0] == '*') {
        for (size_t i = 0; i <= text.len; i++)
            if (follows(rest, bytes_slice(text, i, text.len)))
                return true;
        return false;
    }
    return text.len > 0 && (pattern.at[0] == '?' || pattern.at[0] == text.at[0]) &&
           follows(rest, bytes_slice(text, 1, text.len));
}

/* Every pattern of up to five octets of "ab*?" with every text of up to five of "ab". */
static void agrees_with_its_definition(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 6 * 1024; i++) {
        uint8_t pattern[5], text[5];
        for (size_t at = 0; at < 5; at++)
            pattern[at] = (uint8_t) "ab*?"[i >> (2 * at) & 3];
        for (unsigned j = 0; j < 6 * 32; j++) {
            for (size_t at = 0; at < 5; at++)
                text[at] = (uint8_t) "ab"[j >> at & 1];
            struct bytes p = {pattern, i / 1024}, t = {text, j / 32};
            if (glob_matches(p, t) != follows(p, t))
                fail_msg("\"%.*s\" with \"%.*s\"", (int)p.len, pattern, (int)t.len, text);
        }
    }
}

/* What takes exponential time by naive backtracking: stars without an end that fits. */
static void no_pattern_takes_long(void **state)
{
    (void)state;
    static uint8_t pattern[512], text[100000];
    struct timespec begin, end;
    memset(text, 'a', sizeof(text));
    for (size_t i = 0; i < sizeof(pattern); i++)
        pattern[i] = i % 2 == 0 ? '*' : 'a';
    pattern[sizeof(pattern) - 1] = 'b';
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
    assert_false(glob_matches((struct bytes){pattern, sizeof(pattern)}, (struct bytes){text, sizeof(text)}));
    memset(pattern, 'a', sizeof(pattern));
    pattern[0] = '*';
    pattern[sizeof(pattern) - 1] = 'b';
    assert_false(glob_matches((struct bytes){pattern, sizeof(pattern)}, (struct bytes){text, sizeof(text)}));
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    assert_true(end.tv_sec - begin.tv_sec < 5); /* 50 million steps at most each */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fits_what_it_describes),
        cmocka_unit_test(knows_no_end_of_string),
        cmocka_unit_test(agrees_with_its_definition),
        cmocka_unit_test(no_pattern_takes_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
