/* How a journal lies in its file: a header, then frames with a record each. Whoever reads it can tell a frame
 * that was never completely written from one that has been damaged since. Pure. */
#ifndef ESTUARY_REGISTRAR_EXCHANGE_JOURNAL_FORMAT_H
#define ESTUARY_REGISTRAR_EXCHANGE_JOURNAL_FORMAT_H

#include "common/bytes.h"
#include "common/siphash.h"

/* All numbers are in network byte order.
 *
 *   header   8 octets "ESTUARY" and the version, 1
 *           16 octets drawn at random for this file: the key of all checksums
 *            8 octets checksum of the 24 before
 *   frame    8 octets checksum of all that follows in the frame, and of the frame's place in the file
 *            4 octets length of the record
 *            8 octets up to where the file was known to be on the disk when this frame was written
 *              the record
 *
 * The checksum is SipHash-2-4. With a key of the file's own and the place, what an older file has left on the
 * disk is no frame of this one. */
#define JOURNAL_HEADER_OCTETS 32
#define JOURNAL_FRAME_OCTETS  20 /* beside the record */
#define JOURNAL_RECORD_MAX    (UINT32_C(2) << 20)

/* Appends a header. */
void journal_format_begin(const struct siphash_key *key, struct buffer *file);

/* Where a frame stands. */
struct journal_place {
    uint64_t at;   /* in the file */
    uint64_t safe; /* up to here the file is on the disk: at most at */
};

/* Appends the frame of a record of at most JOURNAL_RECORD_MAX octets. */
void journal_format_frame(const struct siphash_key *key, const struct journal_place *place,
                          struct bytes record, struct buffer *file);

/* Reads a frame that stands alone. STATUS_MALFORMED. Borrows from frame. */
enum status journal_format_read(const struct siphash_key *key, uint64_t at, struct bytes frame,
                                struct bytes *record);

struct journal_reader {
    struct bytes file; /* borrowed */
    struct siphash_key key;
    size_t at; /* of the next frame */
};

/* STATUS_MALFORMED: it is no journal, or its header is damaged. STATUS_UNSUPPORTED: of another version. */
enum status journal_reader_begin(struct journal_reader *reader, struct bytes file);

enum journal_verdict {
    JOURNAL_RECORD,
    JOURNAL_END,
    JOURNAL_TORN,   /* what begins here was being written when the machine stopped: nothing after it counts */
    JOURNAL_DAMAGED /* what begins here was on the disk once, and is not what it was */
};

/* The next record; the reader moves on only with JOURNAL_RECORD. Borrows from the file. */
enum journal_verdict journal_reader_next(struct journal_reader *reader, struct bytes *record);

#endif
