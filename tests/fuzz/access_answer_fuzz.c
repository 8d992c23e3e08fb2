/* SEC-1: whatever the webhook answers. */
#include "registrar/exchange/access_question.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buffer reason;
    buffer_init(&reason, 128);
    enum access_answer answer = access_answer_read((struct bytes){data, size}, &reason);
    if (reason.status != STATUS_OK || reason.len > 128 || (answer != ANSWER_DENY && reason.len > 0))
        abort();
    for (size_t i = 0; i < reason.len; i++)
        if (reason.at[i] < 0x20 || reason.at[i] >= 0x7f)
            abort();
    buffer_free(&reason);
    return 0;
}
