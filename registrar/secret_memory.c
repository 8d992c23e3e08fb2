#include "registrar/secret_memory.h"

#include <curl/curl.h>
#include <openssl/crypto.h>

#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

/* OpenSSL's secure heap: far more than the keys that one loop handles at a time, for nothing waits in it. */
#define SECURE_HEAP_OCTETS ((size_t)1 << 20)
#define SECURE_HEAP_LEAST  64

/* What CRYPTO_secure_malloc_init says of a heap that it could not lock, or put between guard pages. */
#define HEAP_IS_UNPROTECTED 2

/* Buffers of locked pages (buffer_init_locked), at a time. */
#define BUFFERS_OCTETS ((size_t)4 << 20)

static bool can_lock(size_t octets);
static void warn(struct buffer *warnings);
static void wipe_and_free(void *at);
static void *wiping_realloc(void *at, size_t size);
static void *openssl_malloc(size_t size, const char *file, int line);
static void *openssl_realloc(void *at, size_t size, const char *file, int line);
static void openssl_free(void *at, const char *file, int line);

enum status secret_memory_start(struct buffer *warnings)
{
    if (CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free) != 1)
        return STATUS_BUSY;
    if (curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc, wipe_and_free, wiping_realloc, strdup, calloc) !=
        CURLE_OK)
        return STATUS_NO_MEMORY;
    int made = CRYPTO_secure_malloc_init(SECURE_HEAP_OCTETS, SECURE_HEAP_LEAST);
    if (made == 0)
        return STATUS_NO_MEMORY;
    if (made == HEAP_IS_UNPROTECTED || !can_lock(BUFFERS_OCTETS))
        warn(warnings);
    return STATUS_OK;
}

bool secret_memory_is_started(void)
{
    return CRYPTO_secure_malloc_initialized() == 1;
}

/* The limit alone would not tell: who may do so locks as much as it likes. */
static bool can_lock(size_t octets)
{
    void *at = mmap(NULL, octets, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool locked = at != MAP_FAILED && mlock(at, octets) == 0;
    if (at != MAP_FAILED)
        munmap(at, octets);
    return locked;
}

static void warn(struct buffer *warnings)
{
    struct rlimit limit = {0, 0};
    getrlimit(RLIMIT_MEMLOCK, &limit);
    buffer_printf(
        warnings,
        "memory cannot be locked (RLIMIT_MEMLOCK: %llu octets): keys of devices and passwords may be swapped "
        "to a disk; allow %zu (LimitMEMLOCK= of a unit, --ulimit memlock= of a container)\n",
        (unsigned long long)limit.rlim_cur, SECURE_HEAP_OCTETS + BUFFERS_OCTETS);
}

static void wipe_and_free(void *at)
{
    if (at != NULL)
        OPENSSL_cleanse(at, malloc_usable_size(at));
    free(at);
}

/* Not realloc, which leaves the old octets where they were. */
static void *wiping_realloc(void *at, size_t size)
{
    size_t room = at == NULL ? 0 : malloc_usable_size(at);
    if (at != NULL && size > 0 && size <= room && size >= room / 2)
        return at;
    void *moved = malloc(size > 0 ? size : 1);
    if (moved == NULL)
        return NULL;
    if (at != NULL)
        memcpy(moved, at, size < room ? size : room);
    wipe_and_free(at);
    return moved;
}

static void *openssl_malloc(size_t size, const char *file, int line)
{
    (void)file, (void)line;
    return malloc(size);
}

static void *openssl_realloc(void *at, size_t size, const char *file, int line)
{
    (void)file, (void)line;
    return wiping_realloc(at, size);
}

static void openssl_free(void *at, const char *file, int line)
{
    (void)file, (void)line;
    wipe_and_free(at);
}
