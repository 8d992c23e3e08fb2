/* What a label asks of the server: the grammar of labels, and the misbehaviour that each word of it stands
   for.

   A label is words joined by dots, such as "status-503.retry-120". Each word is one entry of a table in
   behaviour.c, from which parsing and --help-labels follow. */
#ifndef EST_SERVER_BEHAVIOUR_H
#define EST_SERVER_BEHAVIOUR_H

#include "connection.h"

#include <limits.h>

enum {
    LABEL_LIMIT = 256,    /* octets of a decoded label */
    WORD_TEXT_LIMIT = 64, /* octets of text in one word */
    WORD_HEX_LIMIT = 128  /* octets that the hexadecimal digits of one word stand for */
};

#define RETRY_ABSENT UINT_MAX

enum error_text { ERROR_PLAIN, ERROR_CRLF, ERROR_HTML, ERROR_BINARY };
enum redirect { REDIRECT_NOT, REDIRECT_PATH, REDIRECT_SAME, REDIRECT_OTHER, REDIRECT_LOOP };
enum media_type { TYPE_RIGHT, TYPE_TEXT, TYPE_HTML, TYPE_NONE, TYPE_BARE, TYPE_SHOUTED, TYPE_SPACED };
enum base64_form { BASE64_64_LF, BASE64_76_CRLF, BASE64_ONE_LINE, BASE64_TABS, BASE64_NOT };
enum damage { DAMAGE_NONE, DAMAGE_CHARACTER, DAMAGE_PADDING, DAMAGE_EXTRA_TEXT };
enum key_form { KEY_PKCS8, KEY_SEC1, KEY_PKCS1, KEY_OTHER, KEY_MISSING, KEY_TWICE, KEY_CMS };
enum http_authentication { HTTP_AUTH_AS_SET, HTTP_AUTH_BASIC, HTTP_AUTH_DIGEST, HTTP_AUTH_OFF };

/* Every member that a word sets is an unsigned, a text or the octets of csrattrs, so that one table can say
 * where. */
struct behaviour {
    char tag[WORD_TEXT_LIMIT + 1]; /* stays first: see the table */

    /* the response */
    unsigned status;  /* answered at once, 0: the request is processed */
    unsigned success; /* status of a success, 200 unless set */
    unsigned error_text, redirect;
    unsigned retry_s, retry_date_s; /* RETRY_ABSENT */
    char retry_text[WORD_TEXT_LIMIT + 1];
    unsigned max_age_s; /* RETRY_ABSENT */
    unsigned media_type;
    unsigned no_transfer_encoding;
    char transfer_encoding[WORD_TEXT_LIMIT + 1];
    unsigned framing; /* enum http_framing */
    unsigned http10, head_padding;

    /* its body */
    unsigned base64, damage, trailing, garbage, empty, oversize;
    unsigned wrong_key, other_subject, no_certificate, with_ca, ca_first, multi_ca;
    unsigned csrattrs_none;
    unsigned csrattrs_set;
    uint8_t csrattrs[WORD_HEX_LIMIT];
    size_t csrattrs_len;
    unsigned key_form, certificate_first, multipart_lf, preamble, quoted_boundary;

    /* its delivery */
    unsigned close_first, ending; /* enum ending */
    unsigned delay_ms, hold, octets_per_second, keepalive_die;

    /* approval, authentication, and how often */
    unsigned manual, approve_attempts, approve_ms;
    unsigned http_auth;
    unsigned times;

    unsigned libest;
};

/* What a request without a label meets. */
struct behaviour behaviour_default(void);

/* Whether label follows the grammar; result then holds the default changed by its words, the last word of a
 * kind winning. */
bool behaviour_parse(const char *label, struct behaviour *result);

/* Writes label without its redirect words and their dots to rest, which has LABEL_LIMIT + 1 octets. */
void behaviour_label_after_redirect(const char *label, char *rest);

/* Prints the grammar: one line a word, as a Markdown table. */
void behaviour_print_help(void);

#endif
