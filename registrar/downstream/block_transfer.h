/* Block-wise transfers of one association (RFC 7959): assembles request bodies from Block1, and serves a
 * representation in Block2 blocks without asking anybody again. Knows no socket, loop or clock. */
#ifndef ESTUARY_REGISTRAR_DOWNSTREAM_BLOCK_TRANSFER_H
#define ESTUARY_REGISTRAR_DOWNSTREAM_BLOCK_TRANSFER_H

#include "common/coap_message.h"
#include "registrar/settings.h"

struct metrics;
struct block_transfer;

/* Request bodies of one association in assembly, and representations kept for follow-up blocks, at a time.
 * One more takes the place of the one that was idle for the longest time. */
#define BLOCK_UPLOADS_MAX         2
#define BLOCK_REPRESENTATIONS_MAX 2

#define BLOCK_RETRY_AFTER_S 10 /* Max-Age of a 5.03 when max_buffered_bytes is used up */

/* What of a request matters for its answer, once the request's datagram is gone. A plain value. */
struct block_context {
    uint8_t resource[16];           /* truncated SHA-256 of method, path and query: names an upload */
    struct coap_uint_option accept; /* with resource: the cache key of RFC 7959 section 2.4, which names a
                                       representation */
    struct coap_block block1, block2;
    bool wants_size2;
};

/* A request that is complete. */
struct block_delivery {
    struct block_context context;
    struct bytes body; /* the whole of it */
};

enum block_verdict {
    BLOCK_DELIVER, /* hand the request on, and answer it with block_transfer_answer */
    BLOCK_RESPOND  /* response is filled in: 2.31, a stored block, or an error; the request goes no further */
};

/* Borrows settings and metrics (COUNTER_BUFFERED_BYTES is the process-wide account that max_buffered_bytes
 * bounds). Gives; NULL: no memory. */
struct block_transfer *block_transfer_create(const struct coap_settings *settings, struct metrics *metrics);

/* Wipes what it holds: a representation may carry a private key. */
void block_transfer_free(struct block_transfer *transfer);

/* The largest CoAP payload that the association can carry (max_fragment_length, MTU), in octets, lowers the
 * block size that we offer. */
void block_transfer_limit_block(struct block_transfer *transfer, size_t octets);

/* Takes one request that passed option checks. With BLOCK_DELIVER delivery is filled in; its body borrows
 * from the request's datagram or from the transfer until block_transfer_release or the next request. With
 * BLOCK_RESPOND response is filled in (code, options, payload; payload borrows until the next call).
 *
 * Block1: num 0 begins a body and replaces an unfinished one of the same resource. Blocks are taken in order;
 * one that is there already is acknowledged again. A gap, an unknown transfer or another
 * Content-Format: 4.08. A block of another length than its SZX says, but for a last one that is
 * shorter: 4.00. Longer than max_request_bytes, or announced to be by Size1: 4.13 with Size1. Errors end the
 * transfer, but for a gap, which may be a late datagram. Block2, num > 0: served from the representation
 * stored for the same method, path, query and Accept. None stored: 4.08 for a POST, which must not run again
 * (BLK-4); a GET is safe and may start anywhere, so it is delivered, and block_transfer_answer gives the
 * block that was asked for. Past the end: 4.00. */
enum block_verdict block_transfer_request(struct block_transfer *transfer, uint64_t now_ms,
                                          const struct coap_message *request, struct block_delivery *delivery,
                                          struct coap_message *response);

/* Forgets the body that was delivered last. */
void block_transfer_release(struct block_transfer *transfer);

/* Completes a final answer: echoes Block1, and where the payload is larger than a block, stores it and leaves
 * only one block in the response (Block2, Size2 where the client asked for it). response->payload then
 * borrows from the transfer until the next call. Out of room: the response becomes 5.03. */
void block_transfer_answer(struct block_transfer *transfer, uint64_t now_ms,
                           const struct block_context *context, struct coap_message *response);

/* The Block1 of the final response to a request that carried block1: the same, M not set, for nothing more is
 * waited for (RFC 7959 section 2.3); absent where the SZX was the reserved one. */
struct coap_block block_transfer_final_block1(const struct coap_block *block1);

/* Drops what has been idle for EXCHANGE_LIFETIME, or for secret_ms of the response that was stored. */
void block_transfer_tick(struct block_transfer *transfer, uint64_t now_ms);
uint64_t block_transfer_deadline(const struct block_transfer *transfer);

#endif
