/* The files that hold what nobody else may know: keys, pass-phrases, passwords. Read whole, into locked
 * memory. */
#ifndef ESTUARY_REGISTRAR_PROTOCOL_CREDENTIAL_FILE_H
#define ESTUARY_REGISTRAR_PROTOCOL_CREDENTIAL_FILE_H

#include "common/bytes.h"
#include "registrar/protocol/pem_file.h"

#define CREDENTIAL_FILE_OCTETS_MAX ((size_t)1024 * 1024)
#define CREDENTIAL_LINE_OCTETS_MAX ((size_t)1024)

/* Initialises content as a locked buffer, and fills it; on failure a line in errors names setting, file and
 * cure, and content is empty. Free it with buffer_wipe. */
enum status credential_file_read(const struct pem_file *file, struct buffer *content, struct buffer *errors);

/* The same for the first line of the file, without its end: a pass-phrase, PIN or password. An empty line is
 * an error. */
enum status credential_file_read_line(const struct pem_file *file, struct buffer *line,
                                      struct buffer *errors);

/* The callback of PEM_read_bio_…: gives OpenSSL the pass-phrase that user, a struct bytes, views; an empty
 * one fails. It never asks at the terminal, as OpenSSL would by itself, and wait. */
int credential_give_passphrase(char *to, int size, int writing, void *user);

/* Appends a line when everybody on the machine may read the file. */
void credential_file_warn_of_mode(const struct pem_file *file, struct buffer *warnings);

#endif
