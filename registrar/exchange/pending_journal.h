/* Keeps the pending enrolments on a disk, from a thread of its own: the loops hand records over and go on,
 * and whoever must know that they are safe is told by a letter. Records that come while others are written
 * are written together. */
#ifndef ESTUARY_REGISTRAR_EXCHANGE_PENDING_JOURNAL_H
#define ESTUARY_REGISTRAR_EXCHANGE_PENDING_JOURNAL_H

#include "common/bytes.h"
#include "common/mailbox.h"
#include "registrar/exchange/pending_record.h"

struct metrics;
struct pending_journal;

/* A disk that takes no more holds up twice this at most; what comes then is not recorded, and enrolments
 * whose record is out of date are in doubt after a restart. */
#define PENDING_JOURNAL_QUEUE_OCTETS ((size_t)16 << 20)

/* Locks folder, opens the journal in it or makes one (journal_file), and starts the thread. On failure NULL,
 * and errors names what is wrong. Borrows metrics. */
struct pending_journal *pending_journal_open(const char *folder, struct metrics *metrics,
                                             struct buffer *errors, struct buffer *warnings);

/* Writes what is queued, if the disk takes it. */
void pending_journal_close(struct pending_journal *journal);

/* Before the first record is put: hands out what is known, with times of the monotonic clock. For each
 * enrolment an ENTRY, perhaps followed by DELIVERED. STATUS_SYSTEM with errno, STATUS_NO_MEMORY,
 * STATUS_MALFORMED. */
enum status pending_journal_restore(struct pending_journal *journal,
                                    void (*take)(void *user, const struct pending_record *record),
                                    void *user);

/* Queues a record with times of the monotonic clock. Thread safe, never waits for the disk. False: it is not
 * queued, for want of room. */
bool pending_journal_put(struct pending_journal *journal, const struct pending_record *record);

/* Whether the disk takes what is written. While it does not, what is queued is tried again every second. */
bool pending_journal_works(const struct pending_journal *journal);

/* Embedded in whoever waits; letter.open and mailbox are set by it. */
struct journal_waiter {
    struct letter letter;
    struct mailbox *mailbox;
    struct journal_waiter *next;
    enum status status; /* once the letter is opened: STATUS_OK, all is on the disk; else it is not */
};

/* Posts the waiter's letter when all that was put before is on the disk, or was tried in vain. */
void pending_journal_wait(struct pending_journal *journal, struct journal_waiter *waiter);

/* True: the letter will not be posted. False: it has been; it may still lie in the mailbox. May block while a
 * write is under way: for the end of a registrar only. */
bool pending_journal_leave(struct pending_journal *journal, struct journal_waiter *waiter);

#endif
