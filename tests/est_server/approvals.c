#include "approvals.h"

#include "memory.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WAITING_LIMIT = 4096 }; /* beyond it the oldest is forgotten */

struct waiting {
    char *label;
    struct fingerprint key;
    unsigned attempts;
    uint64_t since_ms;
    bool granted;
};

struct approvals {
    struct waiting waiting[WAITING_LIMIT];
    size_t count;
};

static struct waiting *find(struct approvals *approvals, const char *label, const struct fingerprint *key);
static struct waiting *add(struct approvals *approvals, const char *label, const struct fingerprint *key);
static void drop(struct approvals *approvals, struct waiting *entry);
static uint64_t now_ms(void);

struct approvals *approvals_create(void)
{
    return memory_allocate(sizeof(struct approvals));
}

void approvals_free(struct approvals *approvals)
{
    if (approvals == NULL)
        return;
    while (approvals->count > 0)
        drop(approvals, &approvals->waiting[approvals->count - 1]);
    free(approvals);
}

bool approvals_ask(struct approvals *approvals, const char *label, const struct fingerprint *key,
                   const struct approval_rule *rule)
{
    struct waiting *entry = find(approvals, label, key);
    if (entry == NULL)
        entry = add(approvals, label, key);
    entry->attempts++;
    bool approved = entry->granted || (rule->attempts > 0 && entry->attempts >= rule->attempts) ||
                    (rule->wait_ms > 0 && now_ms() - entry->since_ms >= rule->wait_ms);
    if (approved)
        drop(approvals, entry);
    return approved;
}

unsigned approvals_grant(struct approvals *approvals, const char *label)
{
    unsigned granted = 0;
    for (size_t i = 0; i < approvals->count; i++) {
        struct waiting *entry = &approvals->waiting[i];
        if (label != NULL && strcmp(entry->label, label) != 0)
            continue;
        granted += !entry->granted;
        entry->granted = true;
    }
    return granted;
}

static struct waiting *find(struct approvals *approvals, const char *label, const struct fingerprint *key)
{
    for (size_t i = 0; i < approvals->count; i++)
        if (strcmp(approvals->waiting[i].label, label) == 0 &&
            strcmp(approvals->waiting[i].key.hex, key->hex) == 0)
            return &approvals->waiting[i];
    return NULL;
}

static struct waiting *add(struct approvals *approvals, const char *label, const struct fingerprint *key)
{
    if (approvals->count == WAITING_LIMIT)
        drop(approvals, &approvals->waiting[0]);
    struct waiting *entry = &approvals->waiting[approvals->count++];
    *entry = (struct waiting){.label = memory_copy(label), .key = *key, .since_ms = now_ms()};
    return entry;
}

static void drop(struct approvals *approvals, struct waiting *entry)
{
    size_t after = approvals->count - (size_t)(entry - approvals->waiting) - 1;
    free(entry->label);
    memmove(entry, entry + 1, after * sizeof(*entry));
    approvals->count--;
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}
