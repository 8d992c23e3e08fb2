#include "http_request.h"

#include "memory.h"

#include <ctype.h>
#include <errno.h>
#include <event2/buffer.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    MORE = 0,
    AGAIN = 1,
    CONTINUE = 100,
    COMPLETE = 200
}; /* verdicts of the steps, beside refusing statuses */

enum phase { REQUEST_LINE, FIELDS, SIZED_BODY, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER, ALL_READ };

struct field {
    char *name;
    char *value;
};

struct http_request {
    enum phase phase;
    size_t head_octets;
    char *line; /* the request line, cut into the three below */
    const char *method, *target, *version;
    struct field fields[HTTP_FIELDS_LIMIT];
    size_t field_count;
    size_t wanted; /* octets of body or chunk that are still to come */
    bool chunked;
    bool continued;
    struct evbuffer *body;
};

static int read_request_line(struct http_request *request, struct evbuffer *input);
static int read_field(struct http_request *request, struct evbuffer *input);
static int begin_body(struct http_request *request);
static int read_body(struct http_request *request, struct evbuffer *input);
static int read_chunk_size(struct http_request *request, struct evbuffer *input);
static int read_chunk_end(struct http_request *request, struct evbuffer *input);
static int read_trailer(struct http_request *request, struct evbuffer *input);
static int read_nothing(struct http_request *request, struct evbuffer *input);
static int read_line(struct http_request *request, struct evbuffer *input, char **line);
static int split_field(char *line, struct field *field);
static bool parse_size(const char *text, int base, size_t *size);

struct http_request *http_request_create(void)
{
    struct http_request *request = memory_allocate(sizeof(*request));
    request->method = request->target = request->version = "";
    request->body = evbuffer_new();
    return request;
}

void http_request_free(struct http_request *request)
{
    if (request == NULL)
        return;
    for (size_t i = 0; i < request->field_count; i++)
        free(request->fields[i].name);
    free(request->line);
    evbuffer_free(request->body);
    free(request);
}

int http_request_read(struct http_request *request, struct evbuffer *input)
{
    static int (*const steps[])(struct http_request *, struct evbuffer *) = {
        [REQUEST_LINE] = read_request_line, [FIELDS] = read_field,     [SIZED_BODY] = read_body,
        [CHUNK_SIZE] = read_chunk_size,     [CHUNK_DATA] = read_body,  [CHUNK_END] = read_chunk_end,
        [TRAILER] = read_trailer,           [ALL_READ] = read_nothing,
    };
    int verdict;
    do
        verdict = steps[request->phase](request, input);
    while (verdict == AGAIN);
    return verdict;
}

static int read_request_line(struct http_request *request, struct evbuffer *input)
{
    char *line;
    int verdict = read_line(request, input, &line);
    if (verdict != AGAIN)
        return verdict;
    if (*line == '\0') { /* RFC 9112 section 2.2: an empty line before it is ignored */
        free(line);
        return AGAIN;
    }
    request->line = line;
    char *target = strchr(line, ' ');
    char *version = target != NULL ? strchr(target + 1, ' ') : NULL;
    if (version == NULL)
        return 400;
    *target++ = '\0';
    *version++ = '\0';
    if (strncmp(version, "HTTP/1.", 7) != 0)
        return 505;
    request->method = line;
    request->target = target;
    request->version = version;
    request->phase = FIELDS;
    return AGAIN;
}

static int read_field(struct http_request *request, struct evbuffer *input)
{
    char *line;
    int verdict = read_line(request, input, &line);
    if (verdict != AGAIN)
        return verdict;
    if (*line == '\0') {
        free(line);
        return begin_body(request);
    }
    if (request->field_count == HTTP_FIELDS_LIMIT) {
        free(line);
        return 431;
    }
    return split_field(line, &request->fields[request->field_count++]);
}

/* RFC 9112 section 5. The name owns the memory of the whole line. */
static int split_field(char *line, struct field *field)
{
    field->name = line;
    field->value = line + strlen(line);
    char *colon = strchr(line, ':');
    if (colon == NULL || colon == line || isspace((unsigned char)colon[-1]) || isspace((unsigned char)*line))
        return 400;
    *colon = '\0';
    field->value = colon + 1 + strspn(colon + 1, " \t");
    for (char *end = field->value + strlen(field->value);
         end > field->value && isspace((unsigned char)end[-1]);)
        *--end = '\0';
    return AGAIN;
}

/* RFC 9112 section 6.3. */
static int begin_body(struct http_request *request)
{
    const char *length = http_request_field(request, "Content-Length");
    const char *coding = http_request_field(request, "Transfer-Encoding");
    if (coding != NULL && (length != NULL || strcasecmp(coding, "chunked") != 0))
        return 400;
    if (length != NULL && !parse_size(length, 10, &request->wanted))
        return 400;
    if (request->wanted > HTTP_BODY_LIMIT)
        return 413;
    request->chunked = coding != NULL;
    request->phase = request->chunked ? CHUNK_SIZE : SIZED_BODY;
    const char *expect = http_request_field(request, "Expect");
    bool waits = expect != NULL && strcasecmp(expect, "100-continue") == 0;
    return waits && (request->chunked || request->wanted > 0) ? CONTINUE : AGAIN;
}

/* A body of known length, or the data of one chunk. */
static int read_body(struct http_request *request, struct evbuffer *input)
{
    size_t there = evbuffer_get_length(input);
    size_t part = there < request->wanted ? there : request->wanted;
    evbuffer_remove_buffer(input, request->body, part);
    request->wanted -= part;
    if (request->wanted > 0)
        return MORE;
    request->phase = request->phase == CHUNK_DATA ? CHUNK_END : ALL_READ;
    return AGAIN;
}

static int read_chunk_size(struct http_request *request, struct evbuffer *input)
{
    char *line;
    int verdict = read_line(request, input, &line);
    if (verdict != AGAIN)
        return verdict;
    line[strcspn(line, "; \t")] = '\0';
    bool good = parse_size(line, 16, &request->wanted);
    free(line);
    if (!good)
        return 400;
    if (request->wanted > HTTP_BODY_LIMIT - evbuffer_get_length(request->body))
        return 413;
    request->phase = request->wanted > 0 ? CHUNK_DATA : TRAILER;
    return AGAIN;
}

static int read_chunk_end(struct http_request *request, struct evbuffer *input)
{
    char *line;
    int verdict = read_line(request, input, &line);
    if (verdict != AGAIN)
        return verdict;
    bool empty = *line == '\0';
    free(line);
    request->phase = CHUNK_SIZE;
    return empty ? AGAIN : 400;
}

/* Fields after the last chunk are dropped. */
static int read_trailer(struct http_request *request, struct evbuffer *input)
{
    char *line;
    int verdict = read_line(request, input, &line);
    if (verdict != AGAIN)
        return verdict;
    if (*line == '\0')
        request->phase = ALL_READ;
    free(line);
    return AGAIN;
}

static int read_nothing(struct http_request *request, struct evbuffer *input)
{
    (void)request;
    (void)input;
    return COMPLETE;
}

/* Gives one line without its end; all lines together may have HTTP_HEAD_LIMIT octets. */
static int read_line(struct http_request *request, struct evbuffer *input, char **line)
{
    size_t len;
    *line = evbuffer_readln(input, &len, EVBUFFER_EOL_CRLF);
    if (*line == NULL)
        return request->head_octets + evbuffer_get_length(input) > HTTP_HEAD_LIMIT ? 431 : MORE;
    request->head_octets += len + 2;
    if (request->head_octets <= HTTP_HEAD_LIMIT && memchr(*line, '\0', len) == NULL)
        return AGAIN;
    free(*line);
    return request->head_octets > HTTP_HEAD_LIMIT ? 431 : 400;
}

static bool parse_size(const char *text, int base, size_t *size)
{
    if (!isxdigit((unsigned char)*text))
        return false;
    char *end;
    errno = 0;
    *size = strtoul(text, &end, base);
    return errno == 0 && *end == '\0';
}

bool http_request_begun(const struct http_request *request)
{
    return request->head_octets > 0;
}

const char *http_request_method(const struct http_request *request)
{
    return request->method;
}

const char *http_request_target(const struct http_request *request)
{
    return request->target;
}

const char *http_request_field(const struct http_request *request, const char *name)
{
    for (size_t i = 0; i < request->field_count; i++)
        if (strcasecmp(request->fields[i].name, name) == 0)
            return request->fields[i].value;
    return NULL;
}

struct octets http_request_body(const struct http_request *request)
{
    return octets_of(request->body);
}

bool http_request_is_chunked(const struct http_request *request)
{
    return request->chunked;
}

bool http_request_keeps_alive(const struct http_request *request)
{
    const char *connection = http_request_field(request, "Connection");
    if (connection != NULL && strcasecmp(connection, "close") == 0)
        return false;
    if (strcmp(request->version, "HTTP/1.0") == 0)
        return connection != NULL && strcasecmp(connection, "keep-alive") == 0;
    return true;
}
