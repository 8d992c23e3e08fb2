#include "registrar/exchange/serial_list.h"

#include "common/siphash.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SETTING      "access.file"
#define MISTAKES_MAX 20 /* lines that are named */
#define FREE_SLOT    UINT32_MAX
#define SLOTS_MIN    8

/* An entry is an octet of its action, an octet of its length, and its serial number. A slot is where one
 * begins; the slots are a hash table with open addressing, at most three quarters full. */
struct serial_list {
    struct buffer entries;
    uint32_t *slots;
    size_t slot_count; /* a power of two */
    size_t count;
    bool asks;
};

static const struct action_word {
    const char *word;
    enum access_action action;
} words[] = {{"allow", ACCESS_ALLOW}, {"deny", ACCESS_DENY}, {"ask", ACCESS_ASK}};

/* The file is the operator's own. */
static const struct siphash_key hash_key = {{0}};

static bool make_room(struct serial_list *list, struct bytes text);
static size_t read_lines(struct serial_list *list, struct bytes text, const char *file,
                         struct buffer *errors);
static const char *read_line(struct serial_list *list, struct bytes line);
static bool read_action(struct bytes word, enum access_action *action);
static struct bytes trim(struct bytes text);
static struct bytes without_comment(struct bytes text);
static bool is_visible(struct bytes text);
static const char *add(struct serial_list *list, struct bytes serial, enum access_action action);
static uint32_t *find_slot(const struct serial_list *list, struct bytes serial);
static struct bytes serial_at(const struct serial_list *list, uint32_t entry);
static enum access_action action_at(const struct serial_list *list, uint32_t entry);
static bool read_file(const char *file, struct buffer *text, struct buffer *errors);
static bool has_changed(int descriptor, const struct stat *before);

struct serial_list *serial_list_load(const char *file, struct buffer *errors)
{
    struct buffer text;
    buffer_init(&text, SERIAL_LIST_FILE_MAX);
    struct serial_list *list =
        read_file(file, &text, errors) ? serial_list_parse(buffer_view(&text), file, errors) : NULL;
    buffer_free(&text);
    return list;
}

static bool read_file(const char *file, struct buffer *text, struct buffer *errors)
{
    struct stat found = {.st_size = 0};
    int descriptor = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool opened = descriptor >= 0 && fstat(descriptor, &found) == 0;
    const char *why = opened ? NULL : strerror(errno);
    if (opened && !S_ISREG(found.st_mode))
        why = "it is no regular file";
    if (why == NULL && (size_t)found.st_size > SERIAL_LIST_FILE_MAX)
        why = "it is larger than 512 MiB";
    uint8_t *at = why == NULL ? buffer_extend(text, (size_t)found.st_size) : NULL;
    if (why == NULL && at == NULL && found.st_size > 0)
        why = status_text(STATUS_NO_MEMORY);
    size_t len = 0;
    for (ssize_t got = 1; why == NULL && got > 0 && len < (size_t)found.st_size; len += (size_t)got) {
        got = read(descriptor, at + len, (size_t)found.st_size - len);
        if (got < 0) {
            why = strerror(errno);
            break;
        }
    }
    text->len = len;
    if (why == NULL && (len < (size_t)found.st_size || has_changed(descriptor, &found)))
        why = "it was changed meanwhile; put it in place by renaming";
    if (descriptor >= 0)
        close(descriptor);
    if (why != NULL)
        buffer_printf(errors,
                      SETTING ": \"%s\" cannot be read: %s; name a file that est-registrar may read\n", file,
                      why);
    return why == NULL;
}

/* Half of an old file and half of a new one is neither. */
static bool has_changed(int descriptor, const struct stat *before)
{
    struct stat now;
    return fstat(descriptor, &now) != 0 || now.st_size != before->st_size ||
           now.st_mtim.tv_sec != before->st_mtim.tv_sec || now.st_mtim.tv_nsec != before->st_mtim.tv_nsec;
}

struct serial_list *serial_list_parse(struct bytes text, const char *file, struct buffer *errors)
{
    struct serial_list *list = calloc(1, sizeof(*list));
    if (list == NULL || !make_room(list, text)) {
        buffer_printf(errors, SETTING ": \"%s\": %s\n", file, status_text(STATUS_NO_MEMORY));
        serial_list_free(list);
        return NULL;
    }
    if (read_lines(list, text, file, errors) > 0) {
        serial_list_free(list);
        return NULL;
    }
    return list;
}

void serial_list_free(struct serial_list *list)
{
    if (list == NULL)
        return;
    buffer_free(&list->entries);
    free(list->slots);
    free(list);
}

size_t serial_list_count(const struct serial_list *list)
{
    return list->count;
}

bool serial_list_asks(const struct serial_list *list)
{
    return list->asks;
}

size_t serial_list_octets(const struct serial_list *list)
{
    return sizeof(*list) + list->entries.room + list->slot_count * sizeof(list->slots[0]);
}

bool serial_list_find(const struct serial_list *list, struct bytes serial, enum access_action *action)
{
    uint32_t entry = *find_slot(list, serial);
    if (entry == FREE_SLOT)
        return false;
    *action = action_at(list, entry);
    return true;
}

/* As many slots as the lines need. An entry never takes more octets than its line: "deny X" and its end are
 * two more than the serial number, and then some. */
static bool make_room(struct serial_list *list, struct bytes text)
{
    size_t lines = 1;
    for (size_t i = 0; i < text.len; i++)
        lines += text.at[i] == '\n';
    if (lines > SERIAL_LIST_COUNT_MAX)
        lines = SERIAL_LIST_COUNT_MAX;
    for (list->slot_count = SLOTS_MIN; list->slot_count * 3 < lines * 4;)
        list->slot_count *= 2;
    list->slots = malloc(list->slot_count * sizeof(list->slots[0]));
    if (list->slots == NULL)
        return false;
    memset(list->slots, 0xff, list->slot_count * sizeof(list->slots[0])); /* FREE_SLOT */
    buffer_init(&list->entries, text.len);
    bool reserved =
        text.len == 0 || buffer_extend(&list->entries, text.len) != NULL; /* once, not by doubling */
    list->entries.len = 0;
    return reserved;
}

/* Gives how many lines are wrong. */
static size_t read_lines(struct serial_list *list, struct bytes text, const char *file, struct buffer *errors)
{
    size_t number = 1, mistakes = 0;
    for (; text.len > 0; number++) {
        bool ended = memchr(text.at, '\n', text.len) != NULL;
        struct bytes line;
        (void)bytes_take_line(&text, &line);
        const char *wrong = ended ? read_line(list, line)
                                  : "has no line end: the file was cut off, or lacks it; write it anew";
        if (wrong != NULL && ++mistakes <= MISTAKES_MAX)
            buffer_printf(errors, SETTING ": \"%s\", line %zu: %s\n", file, number, wrong);
    }
    if (mistakes > MISTAKES_MAX)
        buffer_printf(errors, SETTING ": \"%s\": %zu more lines are wrong; mend those above first\n", file,
                      mistakes - MISTAKES_MAX);
    return mistakes;
}

/* Gives what is wrong, or NULL. */
static const char *read_line(struct serial_list *list, struct bytes line)
{
    struct bytes text = trim(without_comment(line));
    if (text.len == 0)
        return NULL;
    size_t word = 0;
    while (word < text.len && text.at[word] != ' ' && text.at[word] != '\t')
        word++;
    struct bytes serial = trim(bytes_slice(text, word, text.len));
    enum access_action action;
    if (!read_action(bytes_slice(text, 0, word), &action))
        return "does not begin with allow, deny or ask; write such a word before the serial number";
    if (serial.len == 0)
        return "has no serial number; write one after the word";
    if (serial.len > SERIAL_OCTETS_MAX)
        return "has a serial number of more than 255 octets; no certificate has that";
    if (!is_visible(serial))
        return "has octets other than visible ASCII; write the serial number as the certificate has it";
    return add(list, serial, action);
}

static bool read_action(struct bytes word, enum access_action *action)
{
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (bytes_equal(word, bytes_from_string(words[i].word))) {
            *action = words[i].action;
            return true;
        }
    }
    return false;
}

/* Blanks, and the carriage return of a line end. */
static struct bytes trim(struct bytes text)
{
    while (text.len > 0 && (text.at[0] == ' ' || text.at[0] == '\t'))
        text = bytes_slice(text, 1, text.len);
    while (text.len > 0 && memchr(" \t\r", text.at[text.len - 1], 3) != NULL)
        text.len--;
    return text;
}

/* A comment is at the beginning or follows a blank, so that a serial number may have a "#". */
static struct bytes without_comment(struct bytes text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.at[i] == '#' && (i == 0 || text.at[i - 1] == ' ' || text.at[i - 1] == '\t'))
            return bytes_slice(text, 0, i);
    return text;
}

static bool is_visible(struct bytes text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.at[i] < 0x20 || text.at[i] >= 0x7f)
            return false;
    return true;
}

static const char *add(struct serial_list *list, struct bytes serial, enum access_action action)
{
    uint32_t *slot = find_slot(list, serial);
    if (*slot != FREE_SLOT)
        return action_at(list, *slot) == action
                   ? NULL
                   : "says something else of a serial number than a line above; remove one of the two";
    if (list->count == SERIAL_LIST_COUNT_MAX)
        return "is beyond the ten millionth serial number; use rules or the webhook for so many";
    size_t entry = list->entries.len;
    buffer_append_byte(&list->entries, (uint8_t)action);
    buffer_append_byte(&list->entries, (uint8_t)serial.len);
    buffer_append(&list->entries, serial);
    if (list->entries.status != STATUS_OK)
        return status_text(list->entries.status);
    *slot = (uint32_t)entry;
    list->asks |= action == ACCESS_ASK;
    list->count++;
    return NULL;
}

/* That of the serial number, or the free one where it would be. */
static uint32_t *find_slot(const struct serial_list *list, struct bytes serial)
{
    size_t mask = list->slot_count - 1;
    size_t at = (size_t)siphash(&hash_key, serial) & mask;
    while (list->slots[at] != FREE_SLOT && !bytes_equal(serial_at(list, list->slots[at]), serial))
        at = (at + 1) & mask;
    return &list->slots[at];
}

static struct bytes serial_at(const struct serial_list *list, uint32_t entry)
{
    const uint8_t *at = list->entries.at + entry;
    return (struct bytes){at + 2, at[1]};
}

static enum access_action action_at(const struct serial_list *list, uint32_t entry)
{
    return (enum access_action)list->entries.at[entry];
}
