/* RA-9: the Location of a redirect. Where it leads is an https URL without user, and the origin that is
 * compared with the permitted ones is the origin of that very URL. */
#include "registrar/protocol/https_origin.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char base[] = "https://est.example.com:8443/.well-known/est/simpleenroll";
    struct https_origin origin, again;
    struct buffer url;
    buffer_init(&url, 2 * HTTPS_URL_OCTETS_MAX);
    if (https_url_resolve(base, (struct bytes){data, size}, &url, &origin) == STATUS_OK) {
        const char *text = buffer_string(&url);
        if (strncmp(text, "https://", 8) != 0 || https_url_origin(text, &again) != STATUS_OK ||
            !https_origin_equal(&origin, &again))
            abort();
        size_t authority = strcspn(text + 8, "/?#");
        if (memchr(text + 8, '@', authority) != NULL || strpbrk(text, "\r\n") != NULL)
            abort();
    }
    buffer_free(&url);
    return 0;
}
