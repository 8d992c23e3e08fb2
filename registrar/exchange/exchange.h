/* One EST request on its way: from the device through the checks to the EST server and back (RFC 9148 section
 * 5). The path in exchange.c is the table of contents of the program. */
#ifndef ESTUARY_REGISTRAR_EXCHANGE_EXCHANGE_H
#define ESTUARY_REGISTRAR_EXCHANGE_EXCHANGE_H

#include "common/bytes.h"
#include "common/coap_message.h"
#include "registrar/keygen/key_package.h"
#include "registrar/protocol/channel_binding.h"
#include "registrar/protocol/client_identity.h"
#include "registrar/protocol/client_standing.h"
#include "registrar/protocol/content_format.h"
#include "registrar/protocol/est_operation.h"
#include "registrar/settings.h"

struct access_rules;
struct event_base;
struct mailbox;
struct metrics;
struct est_client;
struct pending_enrolments;
struct pending_journal;
struct response_cache;
struct key_workshop;
struct webhook;
struct rate_table;
struct exchanges;

/* What downstream asks. Everything is borrowed for the call only; the client is held on to as needed. */
struct est_request {
    struct est_route route;
    uint8_t method; /* CM_GET, CM_POST, … */
    struct coap_uint_option accept, content_format;
    struct bytes body;
    const struct coap_etag *etags; /* of representations that the device has */
    size_t etag_count;
    struct client_identity *client;
    enum client_standing standing;  /* of the client, now */
    struct channel_binding binding; /* of the association that brought it */
};

/* What the device gets. */
struct est_answer {
    uint8_t code;
    enum content_format content_format; /* CONTENT_FORMAT_NONE: no such option */
    struct coap_uint_option max_age, size1;
    struct coap_etag etag;
    struct bytes
        payload; /* the whole representation, or a diagnostic of at most 128 octets; borrowed for the call */
    uint32_t secret_ms;    /* a private key is in it: how long any copy may be kept (SKG-9); 0: none is */
    bool had_effect;       /* the EST server has or may have acted on the request: never run it again */
    bool ends_association; /* the client has lost its rights: it is heard no longer than the answer takes */
};

/* Where the answer goes. The two numbers name an association (a generation handle, never a pointer) and a
 * request on it; either may be gone when the answer comes: answer then returns false, and a certificate waits
 * in the pending table instead of being taken for delivered. Called once an exchange, perhaps before
 * exchange_start returns. */
struct est_reply {
    bool (*answer)(void *user, uint64_t association, uint32_t request, const struct est_answer *answer);
    void *user;
    uint64_t association;
    uint32_t request;
};

/* What all exchanges of one worker share. Everything is borrowed, but for the last three, which it copies and
 * holds on to: they can be replaced. */
struct exchange_services {
    const struct settings *settings;
    struct event_base *base;
    struct metrics *metrics;
    struct mailbox *mailbox; /* of base: where a shared fetch wakes an exchange */
    struct est_client *est_client;
    struct pending_enrolments *pending; /* shared by all workers */
    struct pending_journal *journal;    /* of pending; NULL: none */
    struct response_cache *cache;       /* shared by all workers */
    struct rate_table *request_rates;   /* of devices; shared by all workers */
    struct key_workshop *workshop;      /* where keys are made (SKG-5); of the worker */
    OSSL_LIB_CTX *library;              /* of OpenSSL, for CSRs and what is issued for them; NULL will do */
    struct access_rules *access_rules;
    struct webhook *webhook;             /* of the worker */
    struct key_directory *key_directory; /* keys of devices (SKG-7); NULL: none */
    struct key_package_signer signer;    /* of what is made here */
};

/* Gives the owner of one worker's exchanges; NULL: no memory. */
struct exchanges *exchanges_create(const struct exchange_services *services);

/* For whatever exchanges do from now on. */
void exchanges_use_access_rules(struct exchanges *exchanges, struct access_rules *rules);
void exchanges_use_key_directory(struct exchanges *exchanges, struct key_directory *directory);
void exchanges_use_signer(struct exchanges *exchanges, const struct key_package_signer *signer);

/* The registrar is about to stop: keys that are being made for devices are given up, for no EST server knows
 * of them yet, and RSA takes seconds. Their devices are told to come back (5.03 with Max-Age). */
void exchanges_drain(struct exchanges *exchanges);

/* The registrar stops: whoever waits is told to come back, at once (5.03 with Max-Age). */
void exchanges_put_off(struct exchanges *exchanges);

/* Drops exchanges that still run: what the EST server has been sent is recorded as in doubt. To be called
 * after est_client_free, and before mailbox_free, which opens the letters that are under way. */
void exchanges_free(struct exchanges *exchanges);

/* Whether a request of a client is let in at all (SEC-3): code 0, or what to answer at once, with Max-Age. To
 * be asked once a request, before anything is kept of it. */
struct exchange_admission {
    uint8_t code; /* 4.29: this client asks too often (RFC 8516). 5.03: there is too much to do */
    uint32_t max_age_s;
};
struct exchange_admission exchanges_admit(struct exchanges *exchanges, const struct client_identity *client);

/* Starts one. Every exchange answers exactly once, whatever happens. */
void exchange_start(struct exchanges *exchanges, const struct est_request *request,
                    const struct est_reply *reply);

/* How many have not yet ended; an exchange whose device was answered early (DLY-3) runs on until the EST
 * server has answered. */
size_t exchanges_running(const struct exchanges *exchanges);

#endif
