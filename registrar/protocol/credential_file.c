#include "registrar/protocol/credential_file.h"

#include "common/regular_file.h"

#include <openssl/crypto.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static enum status read_stream(FILE *stream, struct buffer *content);

enum status credential_file_read(const struct pem_file *file, struct buffer *content, struct buffer *errors)
{
    buffer_init_locked(content, CREDENTIAL_FILE_OCTETS_MAX);
    const char *why_not;
    FILE *stream = regular_file_open(file->name, &why_not);
    if (stream == NULL) {
        pem_file_say(file, errors, "cannot be read: %s; name a file that the user of est-registrar may read",
                     why_not);
        return STATUS_SYSTEM;
    }
    enum status status = read_stream(stream, content);
    int why = errno;
    fclose(stream);
    if (status == STATUS_OK)
        return STATUS_OK;
    pem_file_say(file, errors, "cannot be read: %s; name another file",
                 status == STATUS_SYSTEM ? strerror(why) : "it is larger than 1 MiB");
    buffer_wipe(content);
    return status;
}

/* STATUS_SYSTEM with errno. */
static enum status read_stream(FILE *stream, struct buffer *content)
{
    uint8_t chunk[4096];
    size_t len;
    setvbuf(stream, NULL, _IONBF, 0); /* no copy of a key in a buffer of stdio */
    while (content->status == STATUS_OK && (len = fread(chunk, 1, sizeof chunk, stream)) > 0)
        buffer_append(content, (struct bytes){chunk, len});
    int why = errno;
    OPENSSL_cleanse(chunk, sizeof chunk);
    errno = why;
    return ferror(stream) != 0 ? STATUS_SYSTEM : content->status;
}

enum status credential_file_read_line(const struct pem_file *file, struct buffer *line, struct buffer *errors)
{
    struct buffer content;
    buffer_init_locked(line, CREDENTIAL_LINE_OCTETS_MAX + 1); /* and a NUL */
    enum status status = credential_file_read(file, &content, errors);
    if (status != STATUS_OK)
        return status;
    size_t len = 0;
    while (len < content.len && strchr("\r\n", content.at[len]) == NULL) /* a zero octet ends it as well */
        len++;
    if (len <= CREDENTIAL_LINE_OCTETS_MAX)
        buffer_append(line, bytes_slice(buffer_view(&content), 0, len));
    buffer_wipe(&content);
    if (line->len == 0) {
        status = line->status != STATUS_OK ? line->status : STATUS_MALFORMED;
        pem_file_say(file, errors,
                     "has no first line of 1 to %zu octets: write the secret into it, and nothing else",
                     CREDENTIAL_LINE_OCTETS_MAX);
        buffer_wipe(line);
    }
    return status;
}

void credential_file_warn_of_mode(const struct pem_file *file, struct buffer *warnings)
{
    struct stat found;
    if (stat(file->name, &found) == 0 && (found.st_mode & (S_IROTH | S_IWOTH)) != 0)
        pem_file_say(file, warnings,
                     "may be read by everybody on this machine: chmod 600, or 640 and the group of "
                     "est-registrar");
}

int credential_give_passphrase(char *to, int size, int writing, void *user)
{
    const struct bytes *passphrase = user;
    (void)writing;
    if (passphrase->len == 0 || size < 0 || passphrase->len > (size_t)size)
        return -1;
    memcpy(to, passphrase->at, passphrase->len);
    return (int)passphrase->len;
}
