#include "joinproxy/pledge_answer.h"

bool pledge_answer_admit(const struct services *services, size_t link, int fd,
                         const struct udp_datagram *answer)
{
    if (!neighbours_admit(services->neighbours, fd, &answer->peer, answer->interface)) {
        metrics_add(services->metrics, COUNTER_UNKNOWN_NEIGHBOURS, 1);
        return false;
    }
    if (!traffic_limits_admit_down(services->limits, link, answer->payload.len, services->now_ms())) {
        metrics_add(services->metrics, COUNTER_RATE_LIMITED, 1);
        return false;
    }
    return true;
}
