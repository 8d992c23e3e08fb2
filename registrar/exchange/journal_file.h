/* The journal of pending enrolments on the disk: one file in a folder that is locked against a second
 * registrar. Blocks, so it is for start-up and for the I/O thread (pending_journal), and for one of them at a
 * time. */
#ifndef ESTUARY_REGISTRAR_EXCHANGE_JOURNAL_FILE_H
#define ESTUARY_REGISTRAR_EXCHANGE_JOURNAL_FILE_H

#include "common/bytes.h"

#define JOURNAL_FILE_NAME     "pending.journal"
#define JOURNAL_FILE_NAME_NEW "pending.journal.new" /* while it is rewritten */

/* The file is rewritten without what counts no more once it is larger than this and more than twice of what
 * counts. */
#define JOURNAL_REWRITE_MIN (UINT64_C(1) << 20)

struct journal_file;

/* Makes the file if there is none, and repairs one whose last write was cut off. On failure NULL, and errors
 * says what, where and how to cure it; in warnings stands what was repaired. */
struct journal_file *journal_file_open(const char *folder, struct buffer *errors, struct buffer *warnings);
void journal_file_free(struct journal_file *file);

/* Whether journal_file_open would find a folder that it can use, and a whole file or none, without locking it
 * or changing anything. The file of a registrar that runs is that one's to judge. */
enum status journal_file_check(const char *folder, struct buffer *errors);

/* Hands out all that counts: for each enrolment its last entry, and its delivery if that came after it
 * (pending_record). STATUS_SYSTEM with errno, STATUS_NO_MEMORY, STATUS_MALFORMED. */
enum status journal_file_read(struct journal_file *file, void (*take)(void *user, struct bytes record),
                              void *user);

/* Appends a record, in the form of pending_record, to a batch. */
void journal_batch_add(struct buffer *batch, struct bytes record);

/* The system has all records of the batch when it returns STATUS_OK, so that they outlive this process;
 * otherwise none of them counts, and the batch may be tried again. STATUS_SYSTEM with errno,
 * STATUS_NO_MEMORY. */
enum status journal_file_write(struct journal_file *file, struct bytes batch);

/* All that was written is on the disk when it returns STATUS_OK; otherwise it may be tried again. Status as
 * above. */
enum status journal_file_sync(struct journal_file *file);
bool journal_file_is_synced(const struct journal_file *file);

/* Rewrites the file if it is time to. Whatever goes wrong, the old one stays. Status as above. */
enum status journal_file_tidy(struct journal_file *file);

uint64_t journal_file_octets(const struct journal_file *file);

#endif
