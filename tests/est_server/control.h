/* What tests ask of the server besides EST: statistics, and approvals.

   GET /stats[?label=LABEL]      all that was counted, or what concerns one label, in JSON
   POST /stats/reset             forgets it
   POST /approve[?label=LABEL]   approves what waits under that label, or everything */
#ifndef EST_SERVER_CONTROL_H
#define EST_SERVER_CONTROL_H

#include "est_service.h"

/* Gives the response to a control request, or NULL where the request is none. */
struct http_response *control_answer(struct est_service *service, const struct http_request *request);

#endif
