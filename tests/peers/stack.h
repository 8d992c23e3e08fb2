/* What a DTLS library does for a device of the tests: one association at a time with the registrar, over a
   UDP socket that never blocks. Implemented by one file for each library; relay.c makes a program of each. */
#ifndef PEERS_STACK_H
#define PEERS_STACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { VERIFY_DATA_OCTETS = 12, TROUBLE_MAX = 128, RETRANSMIT_AFTER_MS = 200, GIVE_UP_AFTER_MS = 20000 };

struct stack_options {
    const char *certificate, *key, *trust; /* PEM files; the device's certificate with its intermediates */
    unsigned mtu;                          /* octets of a datagram; 0: the library's own choice */
    unsigned max_fragment_length;          /* 512, 1024 (RFC 6066 section 4); 0: none */
};

struct stack_facts {
    const char *cipher; /* as the library spells it */
    bool resumed;
    uint8_t tls_unique[VERIFY_DATA_OCTETS]; /* RFC 5929 section 3.1: the first Finished */
};

enum progress {
    PROGRESS_DONE,
    PROGRESS_WAIT,   /* for a datagram or a timer */
    PROGRESS_CLOSED, /* the registrar said close_notify */
    PROGRESS_FAILED  /* stack_trouble says why */
};

struct stack;

/* Borrows options. Gives a stack; NULL: a file or a setting is not what the library takes. */
struct stack *stack_create(const struct stack_options *options);
void stack_free(struct stack *stack);

/* Begins an association over udp, which is connected. It borrows udp until stack_close, and resumes the
   session of the association before where there was one. */
bool stack_open(struct stack *stack, int udp);

/* To be called again while it is PROGRESS_WAIT, whenever a datagram came and at least every few milliseconds.
 */
enum progress stack_handshake(struct stack *stack);
enum progress stack_renegotiate(struct stack *stack);

/* One record's application data. */
enum progress stack_read(struct stack *stack, uint8_t *to, size_t room, size_t *size);
bool stack_write(struct stack *stack, const uint8_t *octets, size_t size);

/* Of the association whose handshake is done. */
void stack_facts(struct stack *stack, struct stack_facts *facts);

/* Says close_notify, keeps the session. */
void stack_close(struct stack *stack);

void stack_trouble(const struct stack *stack, char text[TROUBLE_MAX]);

#endif
