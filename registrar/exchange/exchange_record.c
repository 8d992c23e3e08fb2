#include "registrar/exchange/exchange_record.h"

#include "common/coap_message.h"

static void write_quoted(struct buffer *line, const char *name, struct bytes value);
static void write_code(struct buffer *line, const char *name, uint8_t code);

void exchange_record_write(const struct exchange_record *record, struct buffer *line)
{
    const char *client = record->client == NULL ? "" : client_identity_name(record->client);
    write_quoted(line, "client", bytes_from_string(client));
    if (record->client != NULL)
        buffer_printf(line, " trust=%s", trust_store_name(client_identity_trust(record->client)));
    buffer_printf(line, " operation=%s", record->operation->name);
    if (record->label.len > 0)
        write_quoted(line, " label", record->label);
    if (record->rule != NULL)
        write_quoted(line, " rule", bytes_from_string(record->rule));
    if (record->http_status != 0)
        buffer_printf(line, " upstream=%u", record->http_status);
    else
        buffer_printf(line, " upstream=%s", record->source);
    write_code(line, "code", record->code);
    if (record->outcome != 0)
        write_code(line, "outcome", record->outcome);
    if (record->repeats_in_doubt)
        buffer_append_string(line, " repeats=in-doubt");
    buffer_printf(line, " ms=%u", record->elapsed_ms);
    if (record->serial.len > 0) {
        buffer_append_string(line, " serial=");
        buffer_append(line, record->serial);
    }
    if (record->diagnostic.len > 0)
        write_quoted(line, " diagnostic", record->diagnostic);
}

/* Quotes within are escaped, so that no value can pretend to be more than one. */
static void write_quoted(struct buffer *line, const char *name, struct bytes value)
{
    buffer_printf(line, "%s=\"", name);
    for (size_t i = 0; i < value.len; i++) {
        if (value.at[i] == '"' || value.at[i] == '\\')
            buffer_append_byte(line, '\\');
        buffer_append_byte(line, value.at[i]);
    }
    buffer_append_byte(line, '"');
}

static void write_code(struct buffer *line, const char *name, uint8_t code)
{
    char text[5];
    buffer_printf(line, " %s=%s", name, coap_code_text(code, text));
}
