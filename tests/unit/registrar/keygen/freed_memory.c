#include "tests/unit/registrar/keygen/freed_memory.h"

/* clang-format off */
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#define BLOCKS_MAX 200000

static struct {
    void *blocks[BLOCKS_MAX];
    size_t count;
    bool is_keeping;
} freed;

static void *allocate(size_t len, const char *file, int line)
{
    (void)file, (void)line;
    return malloc(len);
}

static void release(void *block, const char *file, int line)
{
    (void)file, (void)line;
    if (block == NULL || !freed.is_keeping) {
        free(block);
        return;
    }
    assert_true(freed.count < BLOCKS_MAX);
    freed.blocks[freed.count++] = block;
}

static void *reallocate(void *block, size_t len, const char *file, int line)
{
    if (!freed.is_keeping)
        return realloc(block, len);
    void *moved = malloc(len);
    size_t old = block != NULL ? malloc_usable_size(block) : 0;
    if (moved != NULL && block != NULL)
        memcpy(moved, block, old < len ? old : len);
    release(block, file, line);
    return moved;
}

void freed_memory_set_up(void)
{
    if (CRYPTO_set_mem_functions(allocate, reallocate, release) != 1)
        abort();
}

void freed_memory_start(void)
{
    freed.is_keeping = true;
}

void freed_memory_stop(void)
{
    freed.is_keeping = false;
    while (freed.count > 0)
        free(freed.blocks[--freed.count]);
}

bool freed_memory_holds(struct bytes secret)
{
    uint8_t backwards[512];
    assert_true(secret.len > 0 && secret.len <= sizeof(backwards));
    for (size_t i = 0; i < secret.len; i++)
        backwards[i] = secret.at[secret.len - 1 - i];
    for (size_t i = 0; i < freed.count; i++) {
        size_t len = malloc_usable_size(freed.blocks[i]);
        if (memmem(freed.blocks[i], len, secret.at, secret.len) != NULL ||
            memmem(freed.blocks[i], len, backwards, secret.len) != NULL)
            return true;
    }
    return false;
}
