/* What a function has to say about how it went. */
#ifndef ESTUARY_COMMON_STATUS_H
#define ESTUARY_COMMON_STATUS_H

enum status {
    STATUS_OK,
    STATUS_NO_MEMORY,   /* an allocation failed */
    STATUS_TOO_LARGE,   /* a limit of ours was reached */
    STATUS_MALFORMED,   /* the input breaks its grammar */
    STATUS_UNSUPPORTED, /* well formed, but not something we do */
    STATUS_NOT_FOUND,
    STATUS_MISMATCH,  /* two things that belong together do not */
    STATUS_FORBIDDEN, /* understood and refused */
    STATUS_UNTRUSTED, /* a certificate or signature did not verify */
    STATUS_BUSY,      /* no room now; later there may be */
    STATUS_CLOSED,    /* the peer or the resource is gone */
    STATUS_SYSTEM,    /* a system call failed; errno says why */
    STATUS_CRYPTO,    /* OpenSSL failed for a reason of its own */
    STATUS_COUNT
};

/* Lower-case English without a full stop; never NULL. */
const char *status_text(enum status status);

#endif
