/* One simulated device: performs operations in order at a registrar, without ever blocking. */
#ifndef DEVICE_DEVICE_H
#define DEVICE_DEVICE_H

#include "enrolment.h"
#include "operation.h"
#include "session.h"

enum verify_issued {
    VERIFY_CRTS,  /* against what /crts returned, which is fetched first when it was not yet */
    VERIFY_TRUST, /* against the registrar's trust anchors */
    VERIFY_OFF
};

struct device_settings { /* everything in it is borrowed, for the life of the device */
    const struct server_address *server;
    const struct identity *identity; /* the manufacturer's certificate and key, or NULL */
    struct trust *trust;             /* for the registrar; NULL accepts any */
    struct dtls_offer offer;         /* ciphers, groups, max_fragment, mtu, no_extended_master_secret */
    struct path_parts path;          /* root "/.well-known/est", label or NULL */
    const char *query;               /* of discover, "rt=ace.est*", or NULL */
    int accept;                      /* 281, 287, 62 or CONTENT_FORMAT_NONE */
    unsigned block_size;
    bool confirmable;
    bool ask_size;
    struct view etag;                 /* named by crts and att */
    struct enrolment_plan plan;       /* subject NULL: that of the identity; asks, curve, ready_made, pop */
    struct encryption_wish wish;      /* skg, skc: what the CSR says of the key's encryption */
    struct key_decryption decryption; /* skg, skc */
    bool repeat_identical;            /* enrolments after the first send its CSR again, to the octet */
    bool keep_key; /* sren asks for the key that it has (renew) and not for a fresh one (rekey) */
    enum verify_issued verify;
    bool close_when_untrusted; /* RFC 9148 section 9.1: when the server does not chain to the /crts anchors */
    uint16_t local_port;
    unsigned ack_timeout_ms;
    int max_retransmit;
    int handshake_retransmit;
    unsigned response_timeout_ms; /* from the last message sent to its response */
    unsigned attempts;            /* of one operation, at least 1 */
    int64_t max_wait_ms;          /* the longest Max-Age that is waited for; -1: any */
    int64_t timeout_ms;           /* of all operations together */
    void (*finished)(void *observer, const struct operation_result *result); /* valid during the call only */
    void *observer;
};

struct device;

/* Gives a device that is about to perform the operations. */
struct device *device_create(const struct device_settings *settings, const enum operation *operations,
                             size_t count);

/* Ends it at any moment; an association that is left is closed with close_notify. */
void device_free(struct device *device);

/* Does whatever is due now. */
void device_step(struct device *device);

/* Readable when device_step has something to do; -1 while there is no session. */
int device_descriptor(const struct device *device);

/* Milliseconds after which device_step wants to be called. */
int device_due_ms(const struct device *device);

/* All operations have been performed or given up. */
bool device_is_finished(const struct device *device);

/* All of them succeeded. */
bool device_succeeded(const struct device *device);

#endif
