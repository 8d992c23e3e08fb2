/* Preloaded into a program under test (LD_PRELOAD): the time of day is ahead by as many seconds as the file
 * holds that ESTUARY_WALL_CLOCK names, an int64_t that a test changes while the program runs. OpenSSL checks
 * dates by time(), and so do we. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *ahead_s;

__attribute__((constructor)) static void map_file(void)
{
    const char *file = getenv("ESTUARY_WALL_CLOCK");
    int fd = file != NULL ? open(file, O_RDONLY | O_CLOEXEC) : -1;
    void *at = mmap(NULL, sizeof *ahead_s, PROT_READ, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED)
        abort();
    ahead_s = at;
    close(fd);
}

time_t time(time_t *now_s)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    time_t moved_s = now.tv_sec + (time_t)(ahead_s != NULL ? *ahead_s : 0);
    if (now_s != NULL)
        *now_s = moved_s;
    return moved_s;
}
