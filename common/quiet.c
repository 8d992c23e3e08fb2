#include "common/quiet.h"

bool quiet_may_speak(struct quiet *quiet, uint64_t now_ms, unsigned *unsaid)
{
    if (quiet->spoken && now_ms < quiet->spoken_ms + QUIET_MS) {
        quiet->unsaid++;
        return false;
    }
    *unsaid = quiet->unsaid;
    *quiet = (struct quiet){.spoken = true, .spoken_ms = now_ms};
    return true;
}
