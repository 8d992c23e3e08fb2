/* Block-wise transfers of one association (RFC 7959): assembles request bodies from Block1, and serves a
 * representation in Block2 blocks without asking anybody again. Knows no socket, loop or clock. */
#ifndef ESTUARY_REGISTRAR_DOWNSTREAM_BLOCK_TRANSFER_H
#define ESTUARY_REGISTRAR_DOWNSTREAM_BLOCK_TRANSFER_H

#include "common/coap_message.h"
#include "registrar/settings.h"

struct metrics;
struct block_transfer;

#define BLOCK_UPLOADS_MAX         2 /* request bodies of one association in assembly at a time */
#define BLOCK_REPRESENTATIONS_MAX 2 /* representations of one association kept for follow-up blocks */

/* What of a request matters for its answer, once the request's datagram is gone. A plain value. */
struct block_context {
    uint8_t method;
    uint8_t target[16]; /* truncated SHA-256 of method, path, query, Accept: the cache key of RFC 7959
                           section 2.4 */
    struct coap_block block1, block2;
    bool wants_size2;
};

enum block_verdict {
    BLOCK_DELIVER, /* body is the whole request body: hand it on */
    BLOCK_RESPOND  /* response is filled in: 2.31, a stored block, or an error; the request goes no further */
};

/* Borrows settings and metrics (COUNTER_BUFFERED_BYTES is the process-wide account that max_buffered_bytes
 * bounds). Gives; NULL: no memory. */
struct block_transfer *block_transfer_create(const struct coap_settings *settings, struct metrics *metrics);
void block_transfer_free(struct block_transfer *transfer);

/* The largest datagram payload the association can carry (max_fragment_length, MTU) lowers the block size we
 * offer; octets of CoAP payload. */
void block_transfer_limit_block(struct block_transfer *transfer, size_t octets);

/* Takes one request that passed option checks. With BLOCK_DELIVER body borrows from the request's datagram or
 * from the transfer until the next call, and context is filled in. With BLOCK_RESPOND response is filled in
 * (code, options, payload; payload borrows until the next call). */
enum block_verdict block_transfer_request(struct block_transfer *transfer, uint64_t now_ms,
                                          const struct coap_message *request, struct block_context *context,
                                          struct bytes *body, struct coap_message *response);

/* Completes a final answer: echoes Block1, and where the payload is larger than a block, stores it and leaves
 * only block 0 in the response (Block2, Size2). response->payload then borrows from the transfer until the
 * next call. Out of room: the response becomes 5.03. */
void block_transfer_answer(struct block_transfer *transfer, uint64_t now_ms,
                           const struct block_context *context, struct coap_message *response);

/* Drops what has been idle for EXCHANGE_LIFETIME. */
void block_transfer_tick(struct block_transfer *transfer, uint64_t now_ms);
uint64_t block_transfer_deadline(const struct block_transfer *transfer);

#endif
