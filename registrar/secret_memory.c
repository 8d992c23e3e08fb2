#include "registrar/secret_memory.h"

#include <curl/curl.h>
#include <openssl/crypto.h>

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

/* OpenSSL's secure heap: far more than the keys that one loop handles at a time, for nothing waits in it. */
#define SECURE_HEAP_OCTETS ((size_t)1 << 20)
#define SECURE_HEAP_LEAST  64

static void wipe_and_free(void *at);
static void *wiping_realloc(void *at, size_t size);
static void *openssl_malloc(size_t size, const char *file, int line);
static void *openssl_realloc(void *at, size_t size, const char *file, int line);
static void openssl_free(void *at, const char *file, int line);

enum status secret_memory_start(void)
{
    if (CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free) != 1)
        return STATUS_BUSY;
    if (curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc, wipe_and_free, wiping_realloc, strdup, calloc) !=
        CURLE_OK)
        return STATUS_NO_MEMORY;
    return CRYPTO_secure_malloc_init(SECURE_HEAP_OCTETS, SECURE_HEAP_LEAST) != 0 ? STATUS_OK
                                                                                 : STATUS_NO_MEMORY;
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
