/* What went wrong, in one sentence for the person in front of the screen. */
#ifndef DEVICE_EXPLANATION_H
#define DEVICE_EXPLANATION_H

#include <stdbool.h>

struct explanation {
    char text[320];
};

/* Writes the sentence and returns false, so that a check can end with it. */
bool explain(struct explanation *why, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* As explain, with OpenSSL's own reason appended; empties OpenSSL's error queue. */
bool explain_openssl(struct explanation *why, const char *what);

#endif
