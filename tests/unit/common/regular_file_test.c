/* Files are opened, and nothing that would wait for somebody. */
#include "common/regular_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void files_are_opened(void **state)
{
    char name[] = "/tmp/regular-file-XXXXXX", octets[8] = "";
    const char *why;
    int fd = mkstemp(name);
    (void)state;
    assert_int_equal(write(fd, "text", 4), 4);
    close(fd);
    FILE *stream = regular_file_open(name, &why);
    assert_non_null(stream);
    assert_int_equal(fread(octets, 1, sizeof octets, stream), 4);
    assert_string_equal(octets, "text");
    fclose(stream);
    unlink(name);
    assert_null(regular_file_open(name, &why));
    assert_string_equal(why, strerror(ENOENT));
}

static void what_would_keep_us_waiting_is_not(void **state)
{
    char folder[] = "/tmp/regular-file-XXXXXX", fifo[64];
    const char *why;
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(fifo, sizeof fifo, "%s/fifo", folder);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_null(regular_file_open(fifo, &why)); /* at once */
    assert_string_equal(why, "it is no regular file");
    assert_null(regular_file_open("/dev/zero", &why));
    assert_string_equal(why, "it is no regular file");
    unlink(fifo);
    rmdir(folder);
}

static void a_folder_fails_when_it_is_read(void **state)
{
    char octet;
    const char *why;
    FILE *stream = regular_file_open("/tmp", &why);
    (void)state;
    assert_non_null(stream);
    assert_int_equal(fread(&octet, 1, 1, stream), 0);
    assert_int_equal(errno, EISDIR);
    fclose(stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_opened),
        cmocka_unit_test(what_would_keep_us_waiting_is_not),
        cmocka_unit_test(a_folder_fails_when_it_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
